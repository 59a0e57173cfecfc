// The client's end of the commit protocol (docs/transactions.md, section 4): send, send again, ask.
#include <algorithm>

#include "base/backoff.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "base/steps.h"
#include "client/core.h"
#include "quorate/v1/node.pb.h"
#include "txn/errors.h"

namespace quorate::client {
namespace {

constexpr Duration kPauseInitial = 5ms;
constexpr Duration kPauseMax = 200ms;
// Of the time that is left, the end is kept for asking what became of an unanswered Commit.
constexpr Duration kAskReserveMax = 1s;
constexpr int kAskReserveShare = 4;

Settled Committed(Timestamp commit_ts, uint32_t shards) {
  return {Settled::State::kCommitted, Status::Ok(), commit_ts, static_cast<int>(shards)};
}
Settled Aborted(Status status) { return {Settled::State::kAborted, std::move(status)}; }
Settled Unknown(Status status) { return {Settled::State::kUnknown, std::move(status)}; }

// What an answered error of a Commit means for the transaction as a whole, copies included. Only a
// fact is one: a sending that was refused for another reason may have a copy that the network still
// holds, and that copy may find everything in order.
enum class Verdict : uint8_t {
  kAborted,    // a fact
  kSendAgain,  // the same Commit, after a pause
  kAsk,
};
// `from_coordinator`: false if the node refused the request before it got there.
Verdict VerdictOf(Code code, bool from_coordinator) {
  switch (code) {
    // The coordinator answers these once no copy can commit any more.
    case Code::kReadConflict:
    case Code::kLockConflict:
    case Code::kAborted:
    // Judged on the request alone: every copy is refused alike.
    case Code::kInvalidArgument:
    case Code::kSchemaFenced:
    // No attempt of the name can commit any more.
    case Code::kAlreadyExists:
      return Verdict::kAborted;
    // From the coordinator, likewise facts: it aborts before it answers.
    case Code::kOverloaded:
      from_coordinator |= MUTANT("client-refusal-is-a-fact");
      return from_coordinator ? Verdict::kAborted : Verdict::kSendAgain;
    case Code::kNoSpace:
      return from_coordinator ? Verdict::kAborted : Verdict::kAsk;
    case Code::kStaleEpoch:
    case Code::kTimestampExhausted:
    case Code::kIoError:
    case Code::kCancelled:
    case Code::kInternal:
      return Verdict::kSendAgain;
    default:
      return Verdict::kAsk;
  }
}

// Why an asked-about transaction did not commit: what its Commit was refused with, if that says
// more than that it is aborted.
Status Reason(const Settled& settled, const Status& refusal) {
  if (settled.state == Settled::State::kUnknown) return refusal;
  const bool refused = EffectOf(refusal.code()) == Effect::kNothingHappened &&
                       RetryClassOf(refusal.code()) == RetryClass::kNone;
  return refused ? refusal : settled.status;
}

}  // namespace

Task<Settled> AskOutcome(Core* core, TxnHandle txn, Instant deadline) {
  Env& env = core->env();
  Backoff pause(kPauseInitial, kPauseMax);
  Caller::Fill fill = [txn](const Route& route) {
    v1::NodeRequest request;
    v1::PushRequest* push = request.mutable_push();
    SetRoute(route, push->mutable_route());
    if (txn.named()) {
      push->set_name(std::string(txn.txn_id.bytes()));
      push->set_key(txn.anchor_key);
      return request;
    }
    push->mutable_txn()->set_txn_id(std::string(txn.txn_id.bytes()));
    push->mutable_txn()->set_start_ts(txn.start_ts.bits());
    push->mutable_txn()->set_anchor_key(txn.anchor_key);
    return request;
  };
  Status last = DeadlineExceeded("there was no time left to ask for the outcome");
  while (env.Now() < deadline) {
    Result<v1::NodeResponse> response = co_await core->Call(txn.anchor_key, fill, deadline);
    if (response.ok()) {
      const v1::PushResponse& push = response->push();
      if (push.state() == v1::COMMITTED) {
        co_return Committed(Timestamp(push.commit_ts()), push.participants_size());
      }
      if (push.state() == v1::ABORTED_STATE) {
        co_return Aborted(Status(Code::kAborted, "the transaction was aborted"));
      }
      last = Internal("the anchor's leader answered without an outcome");
    } else {
      last = response.status();
      if (last.code() == Code::kTooOld && MUTANT("client-too-old-is-aborted")) {
        co_return Aborted(Status(Code::kAborted, "too old"));
      }
      if (last.code() == Code::kTooOld || last.code() == Code::kInvalidArgument) break;
    }
    const Duration left = deadline - env.Now();
    if (left > Duration(0)) {
      co_await Sleep(env.executor, std::min(left, pause.Next(env.random)));
    }
  }
  co_return Unknown(std::move(last));
}

Task<Settled> SendCommit(Core* core, std::shared_ptr<v1::CommitRequest> request, Instant deadline,
                         int* times_sent) {
  Env& env = core->env();
  const Duration left = deadline - env.Now();
  const Instant send_until = deadline - std::min(kAskReserveMax, left / kAskReserveShare);
  Status last;
  Backoff pause(kPauseInitial, kPauseMax);
  Caller::Fill fill = [request, times_sent](const Route& route) {
    ++*times_sent;
    v1::NodeRequest message;
    *message.mutable_commit() = *request;
    SetRoute(route, message.mutable_commit()->mutable_route());
    return message;
  };
  while (true) {
    MarkStep(env.executor, CommitStep::kSent, request->txn_id());
    const Result<v1::NodeResponse> response =
        co_await core->caller().CallShard(request->anchor_key(), fill, send_until);
    if (!response.ok()) {
      last = response.status();
      // Never sent, or refused at the door by a node of another cluster.
      const bool nowhere =
          *times_sent == 0 || (*times_sent == 1 && last.code() == Code::kWrongCluster);
      if (nowhere) co_return Aborted(std::move(last));
      break;
    }
    const v1::Error& error = ErrorOf(*response);
    if (error.code() == v1::OK) {
      const v1::CommitResponse& commit = response->commit();
      core->slots().Observe(Timestamp(commit.commit_ts()));
      Settled settled = Committed(Timestamp(commit.commit_ts()), commit.shards());
      settled.earlier = commit.earlier();
      co_return settled;
    }
    last = StatusFromError(error);
    const Duration retry_after = std::chrono::milliseconds(error.retry_after_ms());
    if (last.code() == Code::kWrongCluster && *times_sent == 1) co_return Aborted(last);
    // Of the name, or of this attempt: either way nothing can be said of the name's others.
    if (last.code() == Code::kTooOld && !request->name().empty()) co_return Unknown(last);
    const Verdict verdict = VerdictOf(last.code(), response->error().code() == v1::OK);
    if (verdict == Verdict::kAborted) {
      Settled settled = Aborted(std::move(last));
      settled.retry_after = retry_after;
      co_return settled;
    }
    if (verdict == Verdict::kAsk) break;
    const Duration wait = std::max(retry_after, pause.Next(env.random));
    if (env.Now() + wait >= send_until) break;
    co_await Sleep(env.executor, wait);
  }
  if (MUTANT("client-unknown-retried-anew")) co_return Aborted(Status(Code::kAborted, "no answer"));
  if (MUTANT("client-unknown-is-failed")) co_return Aborted(DeadlineExceeded("no answer"));
  PROBE("client: commit asks for outcome");
  TxnHandle txn;
  txn.txn_id = *TxnId::FromBytes(request->txn_id());
  txn.start_ts = Timestamp(request->start_ts());
  txn.anchor_key = request->anchor_key();
  Settled settled = co_await AskOutcome(core, std::move(txn), deadline);
  if (settled.state != Settled::State::kCommitted) settled.status = Reason(settled, last);
  co_return settled;
}

}  // namespace quorate::client
