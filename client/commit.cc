// The client's end of the commit protocol (docs/transactions.md, section 4): send, send again, ask.
#include <algorithm>

#include "base/backoff.h"
#include "base/probe.h"
#include "client/core.h"
#include "proto/node.pb.h"
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
Settled Aborted(Status status) {
  return {Settled::State::kAborted, std::move(status), Timestamp(), 0};
}
Settled Unknown(Status status) {
  return {Settled::State::kUnknown, std::move(status), Timestamp(), 0};
}

// What an answered error of a Commit means for the transaction as a whole, copies included.
enum class Verdict : uint8_t {
  kFact,          // no copy can take effect
  kThisCopyOnly,  // this sending had no effect; earlier unanswered ones may
  kNothingKnown,
};
Verdict VerdictOf(Code code) {
  switch (code) {
    // The coordinator answers these once no copy can commit any more.
    case Code::kReadConflict:
    case Code::kLockConflict:
    case Code::kAborted:
    // Judged on the request alone: every copy is refused alike.
    case Code::kInvalidArgument:
    case Code::kSchemaFenced:
      return Verdict::kFact;
    case Code::kStaleEpoch:
    case Code::kNotLeader:
    case Code::kOverloaded:
    case Code::kNoSpace:
    case Code::kTimestampExhausted:
    case Code::kWrongCluster:
    case Code::kWrongNode:
    case Code::kUninitialized:
    case Code::kFailedPrecondition:
    case Code::kNotFound:
    case Code::kAlreadyExists:
    case Code::kSnapshotTooOld:
      return Verdict::kThisCopyOnly;
    case Code::kOk:
    case Code::kUnavailable:
    case Code::kDeadlineExceeded:
    case Code::kTooOld:
    case Code::kUnknownOutcome:
    case Code::kIoError:
    case Code::kCorruption:
    case Code::kCancelled:
    case Code::kInternal:
      return Verdict::kNothingKnown;
  }
  return Verdict::kNothingKnown;
}

bool WorthSendingAgain(Code code) {
  return code == Code::kCancelled || code == Code::kInternal || code == Code::kIoError;
}

}  // namespace

Task<Settled> AskOutcome(Core* core, TxnHandle txn, Instant deadline) {
  Env& env = core->env();
  Backoff pause(kPauseInitial, kPauseMax);
  Caller::Fill fill = [txn](uint64_t shard_id, uint64_t version) {
    v1::NodeRequest request;
    v1::PushRequest* push = request.mutable_push();
    push->mutable_route()->set_shard_id(shard_id);
    push->mutable_route()->set_version(version);
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
      if (last.code() == Code::kTooOld || last.code() == Code::kInvalidArgument) break;
    }
    const Duration left = deadline - env.Now();
    if (left > Duration(0)) {
      co_await Sleep(env.executor, std::min(left, pause.Next(env.random)));
    }
  }
  co_return Unknown(std::move(last));
}

Task<Settled> SendCommit(Core* core, std::shared_ptr<v1::CommitRequest> request, Instant deadline) {
  Env& env = core->env();
  const Duration left = deadline - env.Now();
  const Instant send_until = deadline - std::min(kAskReserveMax, left / kAskReserveShare);
  bool maybe_done = false;
  Status last;
  Backoff pause(kPauseInitial, kPauseMax);
  Caller::Fill fill = [request](uint64_t shard_id, uint64_t version) {
    v1::NodeRequest message;
    *message.mutable_commit() = *request;
    v1::ShardRoute* route = message.mutable_commit()->mutable_route();
    route->set_shard_id(shard_id);
    route->set_version(version);
    return message;
  };
  const std::string anchor = request->anchor_key();
  while (true) {
    Result<v1::NodeResponse> response = co_await core->Call(anchor, fill, send_until, &maybe_done);
    if (response.ok()) {
      const v1::CommitResponse& commit = response->commit();
      core->slots().Observe(Timestamp(commit.commit_ts()));
      co_return Committed(Timestamp(commit.commit_ts()), commit.shards());
    }
    last = response.status();
    const Verdict verdict = VerdictOf(last.code());
    if (verdict == Verdict::kFact) co_return Aborted(std::move(last));
    // The caller's own UNAVAILABLE says that nothing was sent.
    const bool unsent = last.code() == Code::kUnavailable && !maybe_done;
    if (verdict == Verdict::kNothingKnown && !unsent) maybe_done = true;
    if (!maybe_done) co_return Aborted(std::move(last));
    if (!WorthSendingAgain(last.code())) break;
    const Duration wait = pause.Next(env.random);
    if (env.Now() + wait >= send_until) break;
    co_await Sleep(env.executor, wait);
  }
  PROBE("client.commit_asks_for_outcome");
  TxnHandle txn;
  txn.txn_id = *TxnId::FromBytes(request->txn_id());
  txn.start_ts = Timestamp(request->start_ts());
  txn.anchor_key = anchor;
  Settled settled = co_await AskOutcome(core, std::move(txn), deadline);
  if (settled.state == Settled::State::kUnknown) settled.status = std::move(last);
  co_return settled;
}

}  // namespace quorate::client
