// Recovery: anyone can finish a transaction (docs/transactions.md, section 5). Asks the anchor's
// leader for those who wait, answers when this node is that leader, and as a new leader looks after
// every record that its predecessors left unfinished. Performs RecoveryMachine; one recovery per
// transaction at a time, by the registry.
//
// Executor's thread only.
#pragma once

#include <memory>

#include "base/env.h"
#include "base/task.h"
#include "client/route/caller.h"
#include "coordinator/participants.h"
#include "coordinator/recovery_machine.h"
#include "coordinator/registry.h"
#include "coordinator/resolver.h"
#include "coordinator/shard_directory.h"
#include "shard/pusher.h"
#include "shard/shard.h"
#include "txn/slot_source.h"

namespace quorate::v1 {
class PushRequest;
class PushResponse;
class TxnRecord;
}  // namespace quorate::v1

namespace quorate::coordinator {

class Recovery final : public shard::Pusher, public shard::ShardObserver {
 public:
  struct Deps {
    Env& env;
    client::Caller& caller;
    ShardDirectory& directory;
    SlotSource& slots;
    Registry& registry;
    Participants& participants;
    Resolver& resolver;
  };
  explicit Recovery(Deps deps);

  // shard::Pusher. An error (DEADLINE_EXCEEDED, UNAVAILABLE ...) says nothing about the outcome.
  Task<Result<shard::PushOutcome>> Push(shard::TxnName txn, Instant deadline) override;

  // On the anchor's leader; with a name, on the leader of the key. Errors: NOT_LEADER, STALE_EPOCH
  // (ask elsewhere); TOO_OLD (no record, below the horizon); INVALID_ARGUMENT; DEADLINE_EXCEEDED (a
  // live coordinator is still at it).
  Task<v1::PushResponse> HandlePush(v1::PushRequest request, Instant deadline);

  // What became of a transaction anchored in `shard`, which serves here in `term`: by its record,
  // with whoever is at it, or by starting a recovery.
  Task<v1::PushResponse> AskName(GivenName name, std::string key, Instant deadline);
  Task<Finding> Find(ShardId shard, raft::Term term, shard::TxnName txn, JoinUntil until,
                     Instant deadline);

  // shard::ShardObserver.
  void OnServing(ShardId shard, raft::Term term) override;
  void OnDeposed(ShardId shard) override;
  void OnSplit(ShardId shard, const Span& left) override;

 private:
  struct Run;
  using RunPtr = std::shared_ptr<Run>;

  // Registers and starts; there must be no entry yet.
  RunPtr Start(ShardId shard, raft::Term term, shard::TxnName txn);
  // Looks after one unfinished record of a new term.
  void StartUnfinished(ShardId shard, raft::Term term, const v1::TxnRecord& record);
  RunPtr MakeRun(ShardId shard, raft::Term term, shard::TxnName txn);
  RecoveryMachine::Record Look(Run* run);
  void Perform(const RunPtr& run);
  void Tell(const RunPtr& run, Finding finding);
  void PerformOne(const RunPtr& run, const RecoveryMachine::Action& action);
  Task<void> Query(RunPtr run, size_t participant, bool again);
  Task<void> LogDecide(RunPtr run, bool commit, Timestamp commit_ts, bool again);
  Task<void> TakeOver(ShardId shard, raft::Term term);

  Env& env_;
  client::Caller& caller_;
  ShardDirectory& directory_;
  SlotSource& slots_;
  Registry& registry_;
  Participants& participants_;
  Resolver& resolver_;
  Counter& recoveries_;
  TaskScope scope_;
};

}  // namespace quorate::coordinator
