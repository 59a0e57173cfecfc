#include "server/node/public_api.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/backoff.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "base/status_macros.h"
#include "quorate/v1/node.pb.h"
#include "server/node/member.h"
#include "server/node/node.h"
#include "txn/errors.h"
#include "txn/id.h"

namespace quorate::server {

namespace {

constexpr Duration kSweepInterval = 5s;
constexpr Duration kNoTimeRetry = 1s;
constexpr Duration kTimePoll = 20ms;
// When the node is full of sessions, those unused for this long are the first to go.
constexpr Duration kUnusedMin = 5s;
constexpr int kEndedAtOnceMax = 16;
// What a call, or a session, costs beside its bytes.
constexpr size_t kCallBytes = 4 << 10;
constexpr size_t kKeyBytes = 64;
// What is written is held twice until it is committed: in the transaction's buffer, and in the
// Commit that is sent; and an Execute as it came, too.
constexpr size_t kWriteCopies = 2;

Duration Timeout(uint32_t asked_ms, Duration given) {
  const Duration asked = asked_ms == 0 ? limits::kRequestTimeoutDefault
                                       : Duration(std::chrono::milliseconds(asked_ms));
  return std::min({asked, given, limits::kRequestTimeoutMax});
}

// Of a call that had no effect.
void FillRefusal(const quorate::Status& status, v1::Error* error) {
  StatusToError(status, error);
  error->set_no_effect(true);
}

// Whether it says what became of its transaction.
bool IsFact(const v1::Error& error) {
  return error.no_effect() || EffectOf(StatusFromError(error).code()) != Effect::kUnknown;
}

template <class Request>
size_t BytesHeldFor(const Request& request) {
  return request.ByteSizeLong();
}
size_t BytesHeldFor(const v1::ExecuteRequest& request) {
  return (1 + kWriteCopies) * request.ByteSizeLong();
}

void FillNoTime(const quorate::Status& status, v1::Error* error) {
  StatusToError(status, error);
  error->set_retry_after_ms(static_cast<uint32_t>(ToMillis(kNoTimeRetry)));
}

// Whether others may have been sent that the request speaks of: what this one meets says nothing of
// what became of them.
template <class Request>
bool IsOneOfMany(const Request&) {
  return false;
}
bool IsOneOfMany(const v1::ExecuteRequest& request) { return !request.txn_id().empty(); }
bool IsOneOfMany(const v1::SessionCommitRequest&) { return true; }
bool IsOneOfMany(const v1::GetOutcomeRequest&) { return true; }

// Of what a caller names as its transaction, what can be said back: what none can have may be as
// long as a request.
v1::TxnRef ReferenceIn(const v1::TxnRef& named) {
  v1::TxnRef txn;
  if (named.txn_id().size() > TxnId::kBytes || named.anchor_key().size() > limits::kKeyBytesMax) {
    return txn;
  }
  txn.set_txn_id(named.txn_id());
  txn.set_start_ts(named.start_ts());
  txn.set_anchor_key(named.anchor_key());
  return txn;
}

// What a session keeps of it at most: of a key that is read both ends of a range are kept.
size_t BytesRead(const v1::SessionReadRequest& request) {
  size_t bytes = 0;
  for (const std::string& key : request.keys()) bytes += 2 * key.size() + 1 + kKeyBytes;
  return bytes;
}
size_t BytesRead(const v1::SessionScanRequest&) { return 2 * limits::kKeyBytesMax + kKeyBytes; }
size_t BytesWritten(const v1::SessionWriteRequest& request) {
  size_t bytes = 0;
  for (const v1::Write& write : request.writes()) {
    bytes += write.key().size() + write.value().size() + kKeyBytes;
  }
  return kWriteCopies * bytes;
}
size_t BytesKept(const client::Database::Session::Size& size) {
  return size.read_bytes + size.read_entries * kKeyBytes +
         kWriteCopies * (size.written_bytes + size.written_keys * kKeyBytes);
}

}  // namespace

// Of one long scan.
struct PublicApi::Pages {
  const size_t bytes_max;
  std::optional<Fetch> fetch;  // of the next page
};

struct PublicApi::Session {
  Session(std::shared_ptr<SharedBound> places, std::shared_ptr<SharedBound> bytes,
          const std::string& c)
      : client(c), place(std::move(places), c), memory(std::move(bytes), c) {}

  const std::string client;
  uint64_t id = 0;
  std::unique_ptr<client::Database::Session> session;
  std::string written_key;  // one of those that it wrote; empty: none yet
  Instant last_used;
  Holding place;
  Holding memory;                                     // of its buffer, and of what it has read
  std::list<uint64_t>::iterator by_use;               // while it is in no call,
  std::list<uint64_t>::iterator by_own_use;           // and among its client's own
  std::optional<Promise<quorate::Status>> interrupt;  // while it is in one
  bool ended = false;
};

class PublicApi::Use {
 public:
  Use(PublicApi* api, std::shared_ptr<Session> session) : api_(api), session_(std::move(session)) {
    session_->interrupt.emplace(api_->env_.executor);
    session_->session->SetIdle(false);
    session_->session->Extend(limits::kSessionLife + 2 * kSweepInterval);
    api_->Unlist(*session_);
  }
  Use(const Use&) = delete;
  ~Use() {
    session_->interrupt.reset();
    if (session_->ended) return;
    // What it keeps of the call is known now: at most what was held for it.
    const size_t kept = kCallBytes + BytesKept(session_->session->size());
    session_->memory.Shrink(session_->memory.amount() - std::min(kept, session_->memory.amount()));
    session_->session->SetIdle(true);
    api_->List(session_.get());
  }
  client::Database::Session* operator->() const { return session_->session.get(); }

 private:
  PublicApi* api_;
  std::shared_ptr<Session> session_;
};

PublicApi::PublicApi(Env& env, Node& node, size_t held_max)
    : env_(env),
      node_(node),
      memory_(std::make_shared<SharedBound>(held_max)),
      places_(std::make_shared<SharedBound>(limits::kSessionsMax)),
      turns_(env),
      scope_(env.executor) {}
PublicApi::~PublicApi() = default;

// ---- the door -----------------------------------------------------------------------------------

template <class Request, class Response>
bool PublicApi::Enter(const Request& request, PublicCall* call, Response* response) {
  constexpr bool begins = std::is_same_v<Request, v1::ExecuteRequest> ||
                          std::is_same_v<Request, v1::BeginRequest> ||
                          std::is_same_v<Request, v1::ScanAllRequest>;
  quorate::Status status;
  if (begins && node_.stopping()) {
    status = quorate::Status(Code::kOverloaded, "this node is stopping; ask another one");
  } else if (begins && !node_.excluded().empty()) {
    status = quorate::Status(Code::kWrongNode, node_.excluded());
  } else if (call->timeout <= Duration(0)) {
    status = DeadlineExceeded("the deadline had passed before anything was done");
  } else {
    status = CheckRequest(request);
  }
  // Who ends something is let through: there is one such call for each session.
  constexpr bool ends = std::is_same_v<Request, v1::SessionCommitRequest>;
  if (status.ok() && !ends) status = Hold(call, kCallBytes + BytesHeldFor(request));
  if (status.ok()) return true;
  StatusToError(status, response->mutable_error());
  response->mutable_error()->set_no_effect(!IsOneOfMany(request));
  return false;
}

quorate::Status PublicApi::Hold(PublicCall* call, size_t bytes) {
  call->holding->Open(memory_, call->client);
  if (call->holding->Grow(bytes)) return quorate::Status::Ok();
  const bool retry = MakeRoom(*memory_, call->client);
  return retry && call->holding->Grow(bytes) ? quorate::Status::Ok() : TooMuchHeld();
}

Task<v1::ExecuteResponse> PublicApi::Execute(v1::ExecuteRequest request, PublicCall call) {
  v1::ExecuteResponse response;
  if (!Enter(request, &call, &response)) co_return response;
  const Instant deadline = env_.Now() + Timeout(request.timeout_ms(), call.timeout);
  uint64_t unix_ms = 0;
  if (!request.txn_id().empty()) {
    const Result<uint64_t> now = co_await UnixMillis(deadline - env_.Now());
    if (!now.ok()) {
      FillNoTime(now.status(), response.mutable_error());
      co_return response;
    }
    unix_ms = *now;
  }
  const Duration left = std::max<Duration>(deadline - env_.Now(), 1ms);
  co_return co_await server::Execute(env_, node_.database(), &turns_, std::move(request), unix_ms,
                                     std::move(call), left);
}

Task<Result<uint64_t>> PublicApi::UnixMillis(Duration timeout) {
  const Member* member = node_.member();
  // It is of no cluster, and whatever is named gets no further.
  if (member == nullptr) co_return static_cast<uint64_t>(env_.clock.WallMillis());
  // The first slot comes with the first heartbeat.
  const Instant deadline = env_.Now() + timeout;
  while (!member->knows_time()) {
    if (env_.Now() >= deadline) {
      co_return Unavailable(
          "this node does not know the cluster's time yet, by which names are judged: send this "
          "again");
    }
    co_await Sleep(env_.executor, std::min(kTimePoll, deadline - env_.Now()));
  }
  co_return member->UnixMillis();
}

bool PublicApi::Keep(Session* session, size_t bytes) {
  if (session->memory.Grow(bytes)) return true;
  return MakeRoom(*memory_, session->client) && session->memory.Grow(bytes);
}

// ---- sessions -----------------------------------------------------------------------------------

Result<std::shared_ptr<PublicApi::Session>> PublicApi::Find(uint64_t id) {
  const auto it = sessions_.find(id);
  if (it == sessions_.end()) {
    return NotFound(
        fmt::format("session {} does not exist on this node: it ended, or was unused "
                    "for a minute, or the node needed its place; begin again",
                    id));
  }
  if (it->second->interrupt) {
    return quorate::Status(Code::kFailedPrecondition,
                           fmt::format("session {} is in another call", id));
  }
  return it->second;
}

void PublicApi::End(Sessions::iterator it) {
  Session& session = *it->second;
  session.ended = true;
  if (session.interrupt) {
    session.interrupt->Set(Cancelled("the session was rolled back meanwhile"));
  } else {
    Unlist(session);
  }
  // What it wrote may have been sent under its name to another node: whoever commits it all the
  // same hears what its name says where it wrote, and else that nothing was written.
  v1::SessionCommitResponse answer;
  FillTxn(session.session->handle(), answer.mutable_txn());
  answer.mutable_txn()->set_anchor_key(session.written_key);
  const quorate::Status ended(
      session.written_key.empty() ? Code::kAborted : Code::kUnknownOutcome,
      fmt::format("session {} ended before it was committed (rolled back, unused for a minute, or "
                  "its place was needed): it wrote nothing",
                  session.id));
  if (session.written_key.empty()) {
    FillRefusal(ended, answer.mutable_error());
  } else {
    StatusToError(ended, answer.mutable_error());  // no fact: CommitAgain asks
  }
  answers_.Begin(session.id, env_.Now());
  answers_.Finish(session.id, std::move(answer));
  session.session->Rollback();
  sessions_.erase(it);
}

void PublicApi::List(Session* session) {
  session->last_used = env_.Now();
  session->by_use = by_use_.insert(by_use_.end(), session->id);
  std::list<uint64_t>& own = by_own_use_[session->client];
  session->by_own_use = own.insert(own.end(), session->id);
}

void PublicApi::Unlist(const Session& session) {
  by_use_.erase(session.by_use);
  const auto own = by_own_use_.find(session.client);
  own->second.erase(session.by_own_use);
  if (own->second.empty()) by_own_use_.erase(own);
}

bool PublicApi::MakeRoom(const SharedBound& bound, const std::string& client) {
  int ended = 0;
  for (; ended < kEndedAtOnceMax; ++ended) {
    const bool anybodys = bound.used() > bound.total() / 2;
    const auto own = by_own_use_.find(client);
    if (anybodys ? by_use_.empty() : own == by_own_use_.end()) break;
    const auto longest = sessions_.find(anybodys ? by_use_.front() : own->second.front());
    if (env_.Now() - longest->second->last_used < kUnusedMin) break;
    End(longest);
  }
  return ended > 0;
}

Task<void> PublicApi::ExpireLoop() {
  while (!sessions_.empty()) {
    co_await Sleep(env_.executor, kSweepInterval);
    while (!by_use_.empty()) {
      const auto longest = sessions_.find(by_use_.front());
      if (env_.Now() - longest->second->last_used < limits::kSessionLife) break;
      End(longest);
    }
  }
  expiring_ = false;
}

Task<v1::BeginResponse> PublicApi::Begin(v1::BeginRequest request, PublicCall call) {
  v1::BeginResponse response;
  if (!Enter(request, &call, &response)) co_return response;
  const Result<uint64_t> now = co_await UnixMillis(Timeout(0, call.timeout));
  if (!now.ok()) {
    FillNoTime(now.status(), response.mutable_error());
    response.mutable_error()->set_no_effect(true);
    co_return response;
  }
  auto session = std::make_shared<Session>(places_, memory_, call.client);
  bool placed = session->place.Grow(1);
  if (!placed && MakeRoom(*places_, call.client)) placed = session->place.Grow(1);
  if (!placed || !session->memory.Grow(kCallBytes)) {
    FillRefusal(quorate::Status(Code::kOverloaded,
                                fmt::format("{} of {} sessions are open on this node, too many of "
                                            "them this client's: end some",
                                            places_->used(), places_->total())),
                response.mutable_error());
    co_return response;
  }
  do {
    session->id = env_.random.Next();
  } while (session->id == 0 || sessions_.contains(session->id));
  const GivenName name = GivenName::Make(*now, env_.random);
  session->session = node_.database().Begin(request.read_only(), name, limits::kSessionLife);
  session->session->SetStale(StaleOf(request.stale()));
  session->session->SetIdle(true);
  List(session.get());
  response.set_session_id(session->id);
  FillTxn(session->session->handle(), response.mutable_txn());
  sessions_[session->id] = std::move(session);
  if (!std::exchange(expiring_, true)) scope_.Spawn(ExpireLoop());
  co_return response;
}

template <class Response, class Request, class Body>
Task<Response> PublicApi::Step(Body body, Request request, size_t bytes, PublicCall call) {
  Response response;
  if (!Enter(request, &call, &response)) co_return response;
  auto session = Find(request.session_id());
  if (!session.ok()) {
    FillRefusal(session.status(), response.mutable_error());
    co_return response;
  }
  const Use use(this, *session);
  AnswerRoom room(env_, call, &turns_);
  const Duration timeout = Timeout(request.timeout_ms(), call.timeout);
  quorate::Status status = TooMuchHeld();
  if (Keep(session->get(), bytes)) {
    status = co_await BreakOff(env_, call.gone, env_.Now() + timeout, *(*session)->interrupt,
                               (this->*body)(session->get(), std::move(request), &room, &response));
  }
  if (!status.ok()) {
    response.Clear();
    FillRefusal(status, response.mutable_error());
  }
  co_return response;
}

Task<quorate::Status> PublicApi::ReadStep(Session* session, v1::SessionReadRequest request,
                                          AnswerRoom* room, v1::SessionReadResponse* response) {
  co_return co_await ReadKeys(&session->session->transaction(),
                              {request.keys().begin(), request.keys().end()}, request.for_update(),
                              room, response->mutable_values());
}

Task<v1::SessionReadResponse> PublicApi::Read(v1::SessionReadRequest request, PublicCall call) {
  const size_t bytes = BytesRead(request);
  return Step<v1::SessionReadResponse>(&PublicApi::ReadStep, std::move(request), bytes,
                                       std::move(call));
}

Task<quorate::Status> PublicApi::ScanStep(Session* session, v1::SessionScanRequest request,
                                          AnswerRoom* room, v1::SessionScanResponse* response) {
  RowScan scan{{request.from(), request.to()},
               request.limit(),
               request.limit_bytes(),
               request.reverse(),
               request.keys_only()};
  CO_ASSIGN_OR_RETURN(ScanCut cut,
                      co_await ScanRows(&session->session->transaction(), std::move(scan), room,
                                        response->mutable_rows()));
  response->set_more(cut.more);
  response->set_resume_key(std::move(cut.resume_key));
  co_return quorate::Status::Ok();
}

Task<v1::SessionScanResponse> PublicApi::Scan(v1::SessionScanRequest request, PublicCall call) {
  const size_t bytes = BytesRead(request);
  return Step<v1::SessionScanResponse>(&PublicApi::ScanStep, std::move(request), bytes,
                                       std::move(call));
}

Task<v1::SessionWriteResponse> PublicApi::Write(v1::SessionWriteRequest request, PublicCall call) {
  v1::SessionWriteResponse response;
  if (!Enter(request, &call, &response)) co_return response;
  auto session = Find(request.session_id());
  if (!session.ok()) {
    FillRefusal(session.status(), response.mutable_error());
    co_return response;
  }
  const Use use(this, *session);
  quorate::Status status = TooMuchHeld();
  const size_t bytes = BytesWritten(request);
  if (Keep(session->get(), bytes)) {
    std::vector<client::BufferedWrite> writes;
    writes.reserve(static_cast<size_t>(request.writes_size()));
    for (v1::Write& write : *request.mutable_writes()) {
      client::BufferedWrite& out = writes.emplace_back();
      out.key = std::move(*write.mutable_key());
      if (!write.deletion()) out.value = std::move(*write.mutable_value());
    }
    const std::string first = writes.empty() ? std::string() : writes.front().key;
    status = use->WriteAll(std::move(writes));
    if (status.ok() && !first.empty()) (*session)->written_key = first;
    if (!status.ok()) (*session)->memory.Shrink(bytes);
  }
  if (!status.ok()) FillRefusal(status, response.mutable_error());
  co_return response;
}

Task<v1::SessionCommitResponse> PublicApi::Commit(v1::SessionCommitRequest request,
                                                  PublicCall call) {
  v1::SessionCommitResponse response;
  if (!Enter(request, &call, &response)) co_return response;
  const uint64_t id = request.session_id();
  const Duration timeout = Timeout(request.timeout_ms(), call.timeout);
  auto session = Find(id);
  if (session.status().code() == Code::kNotFound) {
    co_return co_await CommitAgain(std::move(request), timeout);
  }
  if (!session.ok()) {
    StatusToError(session.status(), response.mutable_error());
    co_return response;
  }
  const std::string own((*session)->session->handle().txn_id.bytes());
  const std::string_view named = request.txn().txn_id();
  if (!named.empty() && named != own) {
    FillRefusal(
        InvalidArgument(fmt::format("txn_id {} is not that of session {}, which Begin gave: "
                                    "{}; nothing was done, and the session goes on",
                                    ToHex(named.substr(0, TxnId::kBytes)), id, ToHex(own))),
        response.mutable_error());
    co_return response;
  }
  const Use use(this, *session);
  const Instant deadline = env_.Now() + timeout;
  std::unique_ptr<ByteTurns::Turn> turn;
  if (ByteTurns::NeedsNone((*session)->memory.amount() / kWriteCopies)) {
    turns_.small.Saw(call.client, env_.Now());
  } else {
    const quorate::Status waited = co_await BreakOff(
        env_, call.gone, deadline, *(*session)->interrupt, TakeTurn(session->get(), call, &turn));
    if (!waited.ok()) {
      FillRefusal(waited, response.mutable_error());
      co_return response;
    }
  }
  (*session)->ended = true;
  sessions_.erase(id);
  answers_.Begin(id, env_.Now());
  const client::CommitResult result =
      co_await use->Commit(std::max<Duration>(deadline - env_.Now(), 1ms));
  FillTxn(result.unknown ? *result.unknown : use->handle(), response.mutable_txn());
  response.set_commit_ts(result.commit_ts.bits());
  response.set_read_ts(use->transaction().start_ts().bits());
  if (!result.ok()) FillCommitError(result, response.mutable_error());
  answers_.Finish(id, response);
  co_return response;
}

Task<quorate::Status> PublicApi::TakeTurn(Session* session, PublicCall call,
                                          std::unique_ptr<ByteTurns::Turn>* turn) {
  const size_t bytes = session->memory.amount() / kWriteCopies;
  *turn = co_await turns_.writes.TakeExactly(call.client, bytes, kWritePatience);
  co_return quorate::Status::Ok();
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
  if (found.response && IsFact(found.response->error())) co_return *std::move(found.response);
  v1::SessionCommitResponse response;
  // By its name: as this node knew it, or as the caller does. A key of the caller's may be none
  // that was written.
  v1::TxnRef txn = found.response ? found.response->txn() : v1::TxnRef();
  const bool own_key = !txn.anchor_key().empty();
  if (!own_key) {
    v1::TxnRef told = ReferenceIn(request.txn());
    if (!txn.txn_id().empty()) told.set_txn_id(txn.txn_id());
    txn = std::move(told);
  }
  *response.mutable_txn() = txn;
  std::string why;
  if (found.known && !found.response) {
    // Asking would end it.
    why = "is still being committed: repeat";
  } else if (txn.txn_id().empty() || txn.anchor_key().empty()) {
    why =
        "is not known on this node (any more): repeat with txn, which has txn_id from Begin and "
        "one written key as anchor_key, or ask GetOutcome";
  } else {
    const Duration left = std::max<Duration>(deadline - env_.Now(), 1ms);
    const std::string key = txn.anchor_key();
    const Result<client::Outcome> outcome = co_await Ask(std::move(txn), left);
    if (outcome.ok() && *outcome == client::Outcome::kAborted && !own_key) {
      // A fact of the session only if it wrote the key, which the caller knows.
      StatusToError(
          quorate::Status(Code::kAborted,
                          fmt::format("the session did not write \"{}\", and never will: if that "
                                      "is a key of its writes it did not commit, else ask with one",
                                      Printable(key))),
          response.mutable_error());
      co_return response;
    }
    if (outcome.ok()) {
      if (*outcome == client::Outcome::kAborted) {
        FillRefusal(quorate::Status(Code::kAborted, "the session did not commit, and never will"),
                    response.mutable_error());
      }
      response.set_commit_ts(outcome->commit_ts.bits());
      answers_.Finish(request.session_id(), response);
      co_return response;
    }
    if (outcome.status().code() == Code::kTooOld) {
      StatusToError(outcome.status(), response.mutable_error());
      co_return response;
    }
    why = fmt::format("may have committed: repeat, or ask GetOutcome (last: {})",
                      outcome.status().ToString());
  }
  // Whatever is in the way of the question, it is none of the answers.
  StatusToError(quorate::Status(Code::kUnknownOutcome,
                                fmt::format("session {} {}", request.session_id(), why)),
                response.mutable_error());
  *response.mutable_error()->mutable_txn() = response.txn();
  co_return response;
}

Task<v1::SessionRollbackResponse> PublicApi::Rollback(v1::SessionRollbackRequest request,
                                                      PublicCall call) {
  v1::SessionRollbackResponse response;
  const auto session = sessions_.find(request.session_id());
  if (session != sessions_.end()) {
    End(session);
  } else {
    FillRefusal(Find(request.session_id()).status(), response.mutable_error());
  }
  co_return response;
}

// ---- long scans ---------------------------------------------------------------------------------

Task<quorate::Status> PublicApi::SendPage(AnswerRoom* room, PublicCall call, PageSink* sink,
                                          Pages* pages, client::ScanPage page) {
  const bool last = page.resume_key.empty();
  v1::ScanAllResponse response;
  response.set_read_ts(page.read_ts.bits());
  response.set_resume_key(std::move(page.resume_key));
  for (client::Row& row : page.rows) {
    v1::KeyValue* out = response.add_rows();
    out->set_key(std::move(row.key));
    out->set_value(std::move(row.value));
    out->set_found(true);
  }
  const size_t bytes = response.ByteSizeLong();
  pages->fetch->Brought(bytes);
  CO_RETURN_IF_ERROR(Hold(&call, bytes));
  call.answer->Grow(bytes);
  const bool sent = co_await sink->Write(std::move(response));
  call.answer->Shrink(bytes);
  call.holding->Shrink(bytes);
  if (!sent) {
    // Nothing more is written to it, not even why its scan ended.
    call.gone->Set();
    co_return Cancelled("the client is gone");
  }
  if (last) co_return quorate::Status::Ok();
  CO_ASSIGN_OR_RETURN(Fetch next, co_await room->Begin(pages->bytes_max));
  pages->fetch.emplace(std::move(next));
  co_return quorate::Status::Ok();
}

Task<quorate::Status> PublicApi::SendPages(v1::ScanAllRequest request, PublicCall call,
                                           PageSink* sink) {
  client::ScanAllOptions options;
  options.reverse = request.reverse();
  options.keys_only = request.keys_only();
  options.limit = request.limit();
  if (request.page_bytes() != 0) options.page_bytes = request.page_bytes();
  options.read_ts = Timestamp(request.read_ts());
  options.stale = StaleOf(request.stale());
  options.page_timeout = Timeout(0, call.timeout);
  AnswerRoom room(env_, call, &turns_);
  Pages pages{.bytes_max = options.page_bytes + kRowBytesMax};
  CO_ASSIGN_OR_RETURN(Fetch first, co_await room.Begin(pages.bytes_max));
  pages.fetch.emplace(std::move(first));
  const auto take = [this, &room, call, sink, &pages](client::ScanPage page) {
    return SendPage(&room, call, sink, &pages, std::move(page));
  };
  co_return co_await node_.database().ScanAllAsync(request.from(), request.to(), options, take);
}

Task<void> PublicApi::ScanAll(v1::ScanAllRequest request, PublicCall call, PageSink* sink) {
  v1::ScanAllResponse last;
  if (Enter(request, &call, &last)) {
    const quorate::Status status = co_await BreakOff(
        env_, call.gone, env_.Now() + std::min(call.timeout, limits::kRequestTimeoutMax),
        Promise<quorate::Status>(env_.executor), SendPages(std::move(request), call, sink));
    if (status.ok() || call.gone->set()) co_return;
    FillRefusal(status, last.mutable_error());
  }
  (void)co_await sink->Write(std::move(last));
}

// ---- outcomes and operators ---------------------------------------------------------------------

Task<v1::GetOutcomeResponse> PublicApi::GetOutcome(v1::GetOutcomeRequest request, PublicCall call) {
  v1::GetOutcomeResponse response;
  if (!Enter(request, &call, &response)) co_return response;
  const Result<client::Outcome> outcome =
      co_await Ask(request.txn(), Timeout(request.timeout_ms(), call.timeout));
  if (outcome.ok()) {
    response.set_state(*outcome == client::Outcome::kCommitted ? v1::COMMITTED : v1::ABORTED_STATE);
    response.set_commit_ts(outcome->commit_ts.bits());
  } else {
    StatusToError(outcome.status(), response.mutable_error());
  }
  co_return response;
}

Task<Result<client::Outcome>> PublicApi::Ask(v1::TxnRef txn, Duration timeout) {
  const Instant deadline = env_.Now() + timeout;
  CO_ASSIGN_OR_RETURN(const uint64_t now, co_await UnixMillis(timeout));
  CO_ASSIGN_OR_RETURN(client::TxnHandle handle, ParseTxn(txn, now));
  const Duration left = std::max<Duration>(deadline - env_.Now(), 1ms);
  co_return co_await node_.database().OutcomeAsync(std::move(handle), left);
}

Task<v1::InitResponse> PublicApi::Init(v1::InitRequest request, PublicCall call) {
  v1::InitResponse refused;
  if (!Enter(request, &call, &refused)) co_return refused;
  v1::NodeRequest message;
  message.set_timeout_ms(static_cast<uint32_t>(std::max<int64_t>(1, ToMillis(call.timeout))));
  *message.mutable_init() = std::move(request);
  v1::NodeResponse answer = co_await node_.Handle(node_.cluster_id(), 0, std::move(message));
  if (answer.error().code() != v1::OK) *answer.mutable_init()->mutable_error() = answer.error();
  v1::Error* error = answer.mutable_init()->mutable_error();
  if (error->code() == v1::ALREADY_EXISTS) error->set_no_effect(true);
  co_return std::move(*answer.mutable_init());
}

Task<v1::StatusResponse> PublicApi::Status(v1::StatusRequest request, PublicCall call) {
  v1::StatusResponse refused;
  if (!Enter(request, &call, &refused)) co_return refused;
  co_return node_.Status();
}

}  // namespace quorate::server
