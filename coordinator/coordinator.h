// Coordinator: commits transactions whose anchor key is led from here (docs/transactions.md,
// section 4). One object per node; it owns everything else in this folder.
//
//   Commit ─┬─ registry: a copy joins what is there
//           ├─ one shard:  slot ─► Shard::CommitOnePhase ─► applied ─► answer
//           └─ several:    slot, grouping ─► CommitMachine, performed by short coroutines:
//                          Shard::PrepareAndStage ‖ Participants::Prepare ─► answer
//                          ─► Resolver::Early, Shard::Decide ─► Resolver::Resolve ─► Done
//
// The answer to a commit waits for one consensus round and never for its Decide; ABORTED waits for
// the applied Decide, but for READ_CONFLICT of the own evaluation. A transaction over several
// shards goes on when its caller is gone; one on one shard ends with it, and nothing is left
// behind.
//
// Executor's thread only.
#pragma once

#include <array>
#include <memory>

#include "base/byte_turns.h"
#include "base/env.h"
#include "base/limits.h"
#include "base/task.h"
#include "client/route/caller.h"
#include "coordinator/admission.h"
#include "coordinator/commit_machine.h"
#include "coordinator/participants.h"
#include "coordinator/recovery.h"
#include "coordinator/registry.h"
#include "coordinator/resolver.h"
#include "coordinator/shard_directory.h"
#include "txn/slot_source.h"

namespace quorate::v1 {
class CommitRequest;
class CommitResponse;
}  // namespace quorate::v1

namespace quorate::coordinator {

class Coordinator {
 public:
  struct Deps {
    Env& env;
    client::Caller& caller;
    SlotSource& slots;
    ShardDirectory& directory;
    size_t part_bytes_max = limits::kPartBytesMax;
  };
  // All outlive it.
  explicit Coordinator(Deps deps);
  ~Coordinator();

  // What the answer's code says:
  //   OK                                   committed at commit_ts
  //   READ_CONFLICT, LOCK_CONFLICT, ABORTED, OVERLOADED, NO_SPACE, SCHEMA_FENCED, INVALID_ARGUMENT
  //                                        nothing was committed and nothing will be
  //   ALREADY_EXISTS                       the same, of every attempt under its name
  //   NOT_LEADER, STALE_EPOCH              this copy did nothing: send it to the leader
  //   UNAVAILABLE, TOO_OLD, DEADLINE_EXCEEDED   unknown: send it again, or Push
  Task<v1::CommitResponse> Commit(v1::CommitRequest request, Instant deadline);
  // See Recovery::HandlePush.
  Task<v1::PushResponse> HandlePush(v1::PushRequest request, Instant deadline);

  shard::Pusher& pusher() { return recovery_; }
  shard::ShardObserver& observer() { return recovery_; }
  // Transactions that have not been answered (one shard) or closed with Done (several).
  size_t live() const { return admission_.live(); }
  // Commits and recoveries that a copy or a push could join.
  size_t registered() const { return registry_.size(); }

 private:
  struct Live;
  using LivePtr = std::shared_ptr<Live>;
  // Where a Commit runs: the anchor's shard, in the term in which it began.
  struct Anchor {
    ShardId shard;
    raft::Term term;
    TxnId txn;
    Instant deadline;
  };

  Task<v1::CommitResponse> CommitHere(v1::CommitRequest request, Anchor anchor);
  Task<void> StepHere(CommitMachine::Action action, shard::TxnName name, Anchor anchor,
                      const Registration* registration, CommitMachine* machine);
  Task<v1::CommitResponse> CommitAcross(v1::CommitRequest request, Anchor anchor);
  // The min_ts of a commit that read nothing, or zero; also refuses a start_ts above every slot.
  Task<Result<Timestamp>> MinTimestamp(Timestamp start_ts, bool has_reads, Instant deadline);
  // What recovery makes of a transaction that somebody staged before.
  Task<v1::CommitResponse> AskRecovery(shard::TxnName name, Anchor anchor);
  // `response`, or what stands for the name if that is what its attempt was refused for: another
  // attempt came first, or the name was closed.
  Task<v1::CommitResponse> AskIfOthers(GivenName given, shard::TxnName name,
                                       v1::CommitResponse response, Instant deadline);
  Task<Standing> DecideOnce(shard::TxnName txn, Anchor anchor, CommitMachine::Action decide);

  void Perform(const LivePtr& live);
  void PerformOne(const LivePtr& live, const CommitMachine::Action& action);
  Task<void> EvaluateOwn(LivePtr live, Timestamp min_ts);
  Task<void> SendPrepare(LivePtr live, size_t participant, Timestamp min_ts, bool again);
  Task<void> FetchSlot(LivePtr live);
  Task<void> LogDecide(LivePtr live, CommitMachine::Action decide);
  Task<void> JoinRecovery(LivePtr live);
  void Answer(const LivePtr& live, const CommitMachine::Action& action);
  void ArmDeadline(const LivePtr& live, Duration left);

  void Count(const v1::CommitResponse& response);

  Env& env_;
  SlotSource& slots_;
  ShardDirectory& directory_;
  Admission admission_;
  Registry registry_;
  Participants participants_;
  ByteTurns parts_sent_;
  Resolver resolver_;
  Recovery recovery_;
  Counter& commits_one_;
  Counter& commits_many_;
  std::array<Counter*, 32> aborts_{};  // by code, made when first met
  Histogram& latency_;
  TaskScope scope_;
};

}  // namespace quorate::coordinator
