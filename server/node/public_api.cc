#include "server/node/public_api.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "proto/node.pb.h"
#include "server/node/execute.h"
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
  co_return co_await server::Execute(env_, node_.database(), std::move(request), timeout);
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
  session->session = node_.database().Begin(request.read_only(), TxnId(), kSessionLife);
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
  auto session = Find(request.session_id());
  if (!session.ok()) {
    StatusToError(session.status(), response.mutable_error());
    co_return response;
  }
  const Use use(env_, *session);
  sessions_.erase(request.session_id());
  const client::CommitResult result = co_await use->Commit(Timeout(request.timeout_ms(), timeout));
  FillTxn(use->handle(), response.mutable_txn());
  response.set_commit_ts(result.commit_ts.bits());
  if (!result.ok()) FillCommitError(result, response.mutable_error());
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
  const std::optional<TxnId> id = TxnId::FromBytes(request.txn().txn_id());
  if (!id) {
    StatusToError(InvalidArgument("a transaction id has 16 bytes"), response.mutable_error());
    co_return response;
  }
  client::TxnHandle handle{*id, Timestamp(request.txn().start_ts()), request.txn().anchor_key()};
  const Result<client::Outcome> outcome = co_await node_.database().OutcomeAsync(
      std::move(handle), Timeout(request.timeout_ms(), timeout));
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
