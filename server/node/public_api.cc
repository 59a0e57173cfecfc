#include "server/node/public_api.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/backoff.h"
#include "base/limits.h"
#include "quorate/v1/node.pb.h"
#include "server/node/execute.h"
#include "server/node/member.h"
#include "server/node/node.h"
#include "txn/errors.h"

namespace quorate::server {

namespace {

constexpr Duration kSessionLife = 60s;
constexpr Duration kSweepInterval = 5s;
constexpr size_t kSessionsMax = limits::kLiveTxnsMax;

Duration Timeout(uint32_t asked_ms, Duration given) {
  const Duration asked = asked_ms == 0 ? limits::kRequestTimeoutDefault
                                       : Duration(std::chrono::milliseconds(asked_ms));
  return std::min({asked, given, limits::kRequestTimeoutMax});
}

}  // namespace

struct PublicApi::Session {
  uint64_t id = 0;
  std::unique_ptr<client::Database::Session> session;
  Instant last_used;
  bool busy = false;
};

class PublicApi::Use {
 public:
  Use(Env& env, std::shared_ptr<Session> session) : env_(env), session_(std::move(session)) {
    session_->busy = true;
  }
  Use(const Use&) = delete;
  ~Use() {
    session_->busy = false;
    session_->last_used = env_.Now();
  }
  client::Database::Session& operator*() const { return *session_->session; }
  client::Database::Session* operator->() const { return session_->session.get(); }

 private:
  Env& env_;
  std::shared_ptr<Session> session_;
};

PublicApi::PublicApi(Env& env, Node& node) : env_(env), node_(node), scope_(env.executor) {}
PublicApi::~PublicApi() = default;

quorate::Status PublicApi::Admit() const {
  if (!node_.stopping()) return quorate::Status::Ok();
  return quorate::Status(Code::kOverloaded, "this node is stopping; ask another one");
}

Task<v1::ExecuteResponse> PublicApi::Execute(v1::ExecuteRequest request, Duration timeout) {
  if (const quorate::Status status = Admit(); !status.ok()) {
    v1::ExecuteResponse response;
    StatusToError(status, response.mutable_error());
    co_return response;
  }
  timeout = Timeout(request.timeout_ms(), timeout);
  co_return co_await server::Execute(env_, node_.database(), std::move(request), UnixMillis(),
                                     timeout);
}

uint64_t PublicApi::UnixMillis() const {
  const Member* member = node_.member();
  return member == nullptr ? static_cast<uint64_t>(env_.clock.WallMillis()) : member->UnixMillis();
}

// ---- sessions -----------------------------------------------------------------------------------

Result<std::shared_ptr<PublicApi::Session>> PublicApi::Find(uint64_t id) {
  const auto it = sessions_.find(id);
  if (it == sessions_.end()) {
    return NotFound(
        fmt::format("session {} does not exist on this node: it ended, or was unused "
                    "for a minute; begin again",
                    id));
  }
  if (it->second->busy) {
    return quorate::Status(Code::kFailedPrecondition,
                           fmt::format("session {} is in another call", id));
  }
  return it->second;
}

Task<void> PublicApi::ExpireLoop() {
  while (!sessions_.empty()) {
    co_await Sleep(env_.executor, kSweepInterval);
    const Instant now = env_.Now();
    std::erase_if(sessions_, [now](const auto& entry) {
      Session& session = *entry.second;
      if (session.busy || now - session.last_used < kSessionLife) return false;
      session.session->Rollback();
      return true;
    });
  }
}

Task<v1::BeginResponse> PublicApi::Begin(v1::BeginRequest request, Duration timeout) {
  v1::BeginResponse response;
  quorate::Status status = Admit();
  if (status.ok() && sessions_.size() >= kSessionsMax) {
    status = quorate::Status(Code::kOverloaded,
                             fmt::format("{} sessions are open on this node", kSessionsMax));
  }
  if (!status.ok()) {
    StatusToError(status, response.mutable_error());
    co_return response;
  }
  auto session = std::make_shared<Session>();
  do {
    session->id = env_.random.Next();
  } while (session->id == 0 || sessions_.contains(session->id));
  const GivenName name = GivenName::Make(UnixMillis(), env_.random);
  session->session = node_.database().Begin(request.read_only(), name, kSessionLife);
  session->last_used = env_.Now();
  response.set_session_id(session->id);
  FillTxn(session->session->handle(), response.mutable_txn());
  if (sessions_.empty()) scope_.Spawn(ExpireLoop());
  sessions_[session->id] = std::move(session);
  co_return response;
}

Task<v1::SessionReadResponse> PublicApi::Read(v1::SessionReadRequest request, Duration timeout) {
  v1::SessionReadResponse response;
  auto session = Find(request.session_id());
  if (!session.ok()) {
    StatusToError(session.status(), response.mutable_error());
    co_return response;
  }
  const Use use(env_, *session);
  const quorate::Status status =
      co_await ReadKeys(&use->transaction(), {request.keys().begin(), request.keys().end()},
                        request.for_update(), response.mutable_values());
  if (!status.ok()) {
    response.clear_values();
    StatusToError(status, response.mutable_error());
  }
  co_return response;
}

Task<v1::SessionScanResponse> PublicApi::Scan(v1::SessionScanRequest request, Duration timeout) {
  v1::SessionScanResponse response;
  auto session = Find(request.session_id());
  if (!session.ok()) {
    StatusToError(session.status(), response.mutable_error());
    co_return response;
  }
  const Use use(env_, *session);
  const Result<bool> more = co_await ScanRows(&use->transaction(), request.from(), request.to(),
                                              request.limit(), response.mutable_rows());
  if (more.ok()) {
    response.set_more(*more);
  } else {
    response.clear_rows();
    StatusToError(more.status(), response.mutable_error());
  }
  co_return response;
}

Task<v1::SessionWriteResponse> PublicApi::Write(v1::SessionWriteRequest request, Duration timeout) {
  v1::SessionWriteResponse response;
  auto session = Find(request.session_id());
  if (!session.ok()) {
    StatusToError(session.status(), response.mutable_error());
    co_return response;
  }
  const Use use(env_, *session);
  for (v1::Write& write : *request.mutable_writes()) {
    const quorate::Status status = BufferWrite(&use->transaction(), std::move(write));
    if (!status.ok()) {
      StatusToError(status, response.mutable_error());
      break;
    }
  }
  co_return response;
}

Task<v1::SessionCommitResponse> PublicApi::Commit(v1::SessionCommitRequest request,
                                                  Duration timeout) {
  v1::SessionCommitResponse response;
  const uint64_t id = request.session_id();
  timeout = Timeout(request.timeout_ms(), timeout);
  auto session = Find(id);
  if (session.status().code() == Code::kNotFound) {
    co_return co_await CommitAgain(std::move(request), timeout);
  }
  if (!session.ok()) {
    StatusToError(session.status(), response.mutable_error());
    co_return response;
  }
  const Use use(env_, *session);
  sessions_.erase(id);
  answers_.Begin(id, env_.Now());
  const client::CommitResult result = co_await use->Commit(timeout);
  FillTxn(use->handle(), response.mutable_txn());
  response.set_commit_ts(result.commit_ts.bits());
  response.set_read_ts(use->transaction().start_ts().bits());
  if (!result.ok()) FillCommitError(result, response.mutable_error());
  answers_.Finish(id, response);
  co_return response;
}

Task<v1::SessionCommitResponse> PublicApi::CommitAgain(v1::SessionCommitRequest request,
                                                       Duration timeout) {
  const Instant deadline = env_.Now() + timeout;
  SessionAnswers::Found found = answers_.Find(request.session_id());
  Backoff pause(5ms, 100ms);
  while (found.known && !found.response && env_.Now() < deadline) {
    co_await Sleep(env_.executor, pause.Next(env_.random));
    found = answers_.Find(request.session_id());
  }
  const bool facts = found.response &&
                     EffectOf(StatusFromError(found.response->error()).code()) != Effect::kUnknown;
  if (facts) co_return *std::move(found.response);
  // By its name: as this node knew it, or as the caller does.
  v1::SessionCommitResponse response;
  v1::TxnRef txn = found.response ? found.response->txn() : request.txn();
  if (txn.anchor_key().empty()) txn = request.txn();
  if (txn.txn_id().empty()) {
    StatusToError(
        quorate::Status(Code::kUnknownOutcome,
                        fmt::format("session {} is not known on this node (any more): repeat with "
                                    "txn_id from Begin and one written key, or ask GetOutcome",
                                    request.session_id())),
        response.mutable_error());
    co_return response;
  }
  v1::GetOutcomeRequest ask;
  *ask.mutable_txn() = txn;
  const Duration left = std::max<Duration>(deadline - env_.Now(), 1ms);
  const v1::GetOutcomeResponse outcome = co_await GetOutcome(std::move(ask), left);
  *response.mutable_txn() = std::move(txn);
  if (outcome.state() == v1::COMMITTED) {
    response.set_commit_ts(outcome.commit_ts());
  } else if (outcome.state() == v1::ABORTED_STATE) {
    StatusToError(quorate::Status(Code::kAborted, "the session did not commit, and never will"),
                  response.mutable_error());
  } else {
    *response.mutable_error() = outcome.error();
  }
  if (outcome.error().code() == v1::OK) answers_.Finish(request.session_id(), response);
  co_return response;
}

Task<v1::SessionRollbackResponse> PublicApi::Rollback(v1::SessionRollbackRequest request,
                                                      Duration timeout) {
  v1::SessionRollbackResponse response;
  auto session = Find(request.session_id());
  if (session.ok()) {
    (*session)->session->Rollback();
    sessions_.erase(request.session_id());
  } else {
    StatusToError(session.status(), response.mutable_error());
  }
  co_return response;
}

// ---- outcomes and operators ---------------------------------------------------------------------

Task<v1::GetOutcomeResponse> PublicApi::GetOutcome(v1::GetOutcomeRequest request,
                                                   Duration timeout) {
  v1::GetOutcomeResponse response;
  Result<client::TxnHandle> handle = ParseTxn(request.txn(), UnixMillis());
  if (!handle.ok()) {
    StatusToError(handle.status(), response.mutable_error());
    co_return response;
  }
  const Result<client::Outcome> outcome = co_await node_.database().OutcomeAsync(
      *std::move(handle), Timeout(request.timeout_ms(), timeout));
  if (!outcome.ok()) {
    StatusToError(outcome.status(), response.mutable_error());
    co_return response;
  }
  response.set_state(*outcome == client::Outcome::kCommitted ? v1::COMMITTED : v1::ABORTED_STATE);
  co_return response;
}

Task<v1::InitResponse> PublicApi::Init(v1::InitRequest request, Duration timeout) {
  v1::NodeRequest call;
  call.set_timeout_ms(static_cast<uint32_t>(std::max<int64_t>(1, ToMillis(timeout))));
  *call.mutable_init() = std::move(request);
  v1::NodeResponse answer = co_await node_.Handle(node_.cluster_id(), 0, std::move(call));
  if (answer.error().code() != v1::OK) *answer.mutable_init()->mutable_error() = answer.error();
  co_return std::move(*answer.mutable_init());
}

Task<v1::StatusResponse> PublicApi::Status(v1::StatusRequest, Duration) {
  co_return node_.Status();
}

}  // namespace quorate::server
