// Shard::Rep: what the bodies of shard.h share. Private to this folder. By file:
//
//   shard.cc     facade, applying, leadership
//   reads.cc     Read, Lock
//   stale_reads.cc  reads of the past, and what makes them possible
//   lock_wait.h  waiting for locks
//   prepares.cc  evaluation, proposal, participants
//   records.cc   (store encodings; not part of Rep)
//   split.cc     dividing the shard
//   merge.cc     becoming one with a neighbour
//   upkeep.cc    starting to serve, pushing old PREPARED records, the horizon
#pragma once

#include <vector>

#include "base/metrics.h"
#include "shard/command.h"
#include "shard/evaluate_prepare.h"
#include "shard/evaluate_read.h"
#include "shard/leadership.h"
#include "shard/shard.h"
#include "shard/table.h"
#include "txn/judge.h"

namespace quorate::v1 {
class StaleRead;
}

namespace quorate::shard {

struct Shard::Rep {
  Rep(Deps deps, Settings settings, const v1::ShardDescriptor& descriptor);
  ~Rep();

  // ---- shard.cc -------------------------------------------------------------------------------
  bool serving() const { return lead != nullptr && lead->serving(); }
  Instant Now() const { return deps.env.Now(); }
  void BeginLeadership(raft::Term term);
  void EndLeadership();
  void OnServing();
  // The leadership to work under: waits a little for one that has just begun. NOT_LEADER.
  Task<Result<std::shared_ptr<Leadership>>> Serving(Instant deadline);
  Status NotLeader() const;
  // `status` with what its code lets a caller do: the leader, the descriptor.
  void FillError(const Status& status, v1::Error* error) const;
  // Why `under` has no slot: NOT_LEADER if it is over, so that the caller goes on looking.
  Status WithoutSlot(const Leadership& under, const Status& why) const;
  // Waits until a timestamp named by a request is known not to be above every slot.
  // INVALID_ARGUMENT if it is.
  Task<Status> CheckNamed(std::shared_ptr<Leadership> under, Timestamp named, Instant deadline);
  bool needs_check(Timestamp named) const;

  // Completes the command with term and version and proposes it in this very step, if it is fit to
  // be logged. `owner`: whose lock goes if it is never applied. `ended` is set in a later turn than
  // the future, also if it is never applied.
  Future<Applied> Propose(const std::shared_ptr<Leadership>& under, v1::ShardCommand command,
                          std::optional<Owner> owner, std::optional<Instant> deadline,
                          std::optional<Promise<bool>> ended = std::nullopt);
  Future<Applied> Propose(const std::shared_ptr<Leadership>& under, JudgedCommand command,
                          std::optional<Owner> owner, std::optional<Instant> deadline,
                          std::optional<Promise<bool>> ended = std::nullopt);
  // Of those that Propose has judged.
  void ProposeNow(const std::shared_ptr<Leadership>& under, JudgedCommand command,
                  std::optional<Owner> owner, Promise<Applied> promise, TimerId timer,
                  std::optional<Promise<bool>> ended);
  // Between two parts of something long: everybody else has their turn.
  Task<void> NextTurn();

  // ---- reads.cc -------------------------------------------------------------------------------
  Task<Status> Read(Judged<v1::ReadRequest> request, Instant deadline, v1::ReadResponse* response);
  Task<Status> ReadAll(std::shared_ptr<Leadership> under, const ReadAsk& ask, Timestamp at,
                       Instant deadline, v1::ReadResponse* response);
  // Raises read_high and waits until nothing is in the way at `at`. The leadership it looked under.
  Task<Result<std::shared_ptr<Leadership>>> ClearWay(const ReadAsk* ask, Timestamp at,
                                                     Instant deadline);
  // The leadership was not lost before now: what was read under it may be answered.
  Task<Status> ConfirmLeadership(std::shared_ptr<Leadership> under, Instant deadline);
  Task<Status> Lock(Judged<v1::LockRequest> request, Instant deadline);

  // ---- stale_reads.cc -------------------------------------------------------------------------
  // NOT_LEADER: not here, and why. Whoever leads goes on as if it had not been asked for.
  Task<Status> ReadStale(const ReadAsk& ask, const v1::ReadRequest& request, Instant deadline,
                         v1::ReadResponse* response);
  // Whether there is a state here that has all of the keys. NOT_LEADER, STALE_EPOCH.
  Status HasAll(const ReadAsk& ask, uint64_t version) const;
  // Where to read, or why not here.
  Result<Timestamp> WhereStale(const ReadAsk& ask, const v1::ReadRequest& request) const;
  // Where the leader serves who may be told what is that old: not above what replicas will soon be
  // able to tell, so that who goes on from there finds them there. Zero: at a fresh slot.
  Timestamp YoungEnough(const v1::StaleRead& stale) const;
  // The age of `ts`, at most; nullopt: it cannot be told.
  std::optional<Duration> AgeOf(Timestamp ts) const;
  // Somebody reads who may be told what is `max_age` old: before `closed` is, the leader closes.
  void WantCloser(Duration max_age);
  // In the step that proposes it: nothing is evaluated behind it at or below what it closes.
  void CloseWith(Leadership& under, JudgedCommand* command);
  Timestamp NextToClose(const Leadership& under) const;
  Task<void> CloseNow(std::shared_ptr<Leadership> under);

  // ---- prepares.cc ----------------------------------------------------------------------------
  Task<AnchorEvaluation> Evaluate(v1::PrepareRequest request, PrepareKind kind,
                                  std::vector<StagingPart> participants, Instant deadline);
  class Taken;
  Task<AnchorEvaluation> ValidateAndPropose(std::shared_ptr<Leadership> under,
                                            const PrepareAsk& ask,
                                            Judged<v1::PrepareRequest> request,
                                            std::vector<StagingPart> participants,
                                            Instant deadline);
  Status Admit(const v1::PrepareRequest& request) const;
  // Holds the turn of a large entry until it has `ended`, and for as long again: half of the time
  // the logs, disks and threads of the node and its followers are without any.
  using Turn = std::unique_ptr<ByteTurns::Turn>;
  Task<void> HoldTurn(Turn turn, Future<bool> ended);
  // What was evaluated under `under` at `version` may still be proposed.
  Status StillValid(const Leadership& under, uint64_t version, const PrepareAsk& ask,
                    Instant deadline) const;
  Task<Status> QueryPrepare(Judged<v1::QueryPrepareRequest> request, Instant deadline,
                            v1::QueryPrepareResponse* response);
  NameStanding LookUp(const GivenName& name);
  Task<Applied> CloseName(GivenName name, std::string key, Instant deadline);
  Task<Status> Resolve(Judged<v1::ResolveRequest> request);
  // The part of `resolutions` that is not known to be applied or void.
  std::vector<v1::Resolution> Unresolved(std::vector<v1::Resolution> resolutions) const;

  // ---- upkeep.cc ------------------------------------------------------------------------------
  Task<void> StartServing(std::shared_ptr<Leadership> under);
  // Starts the loops that have something to do.
  void ArmUpkeep();
  Task<void> UpkeepLoop(std::shared_ptr<Leadership> under);
  Task<void> MeterLoop(std::shared_ptr<Leadership> under);
  Task<void> Sweep(std::shared_ptr<Leadership> under, Timestamp horizon, Timestamp names_horizon);
  Duration UntilCollectable() const;
  Task<void> HorizonLoop(std::shared_ptr<Leadership> under);
  Task<Status> AdvanceHorizon(std::shared_ptr<Leadership> under, Timestamp horizon,
                              Timestamp names_horizon);
  // Finds out what became of a prepared lock, and resolves it. One at a time per lock.
  void StartPush(const std::shared_ptr<Leadership>& under, const Owner& owner);
  Task<void> Push(std::shared_ptr<Leadership> under, Owner owner, TxnName txn);

  // ---- split.cc -------------------------------------------------------------------------------
  // A split from its order to its end. While its entry is under way, nothing else is logged: what
  // was evaluated is kept until it is known which side it is on. So no entry that was evaluated
  // before the split comes behind it in the log.
  struct Deferred {
    std::shared_ptr<Leadership> under;
    JudgedCommand command;
    std::optional<Owner> owner;
    Promise<Applied> promise;
    TimerId timer;
    std::optional<Promise<bool>> ended;
  };
  struct Cut {
    std::string at;
    bool proposed = false;
    bool absorbs = false;  // the range grows: nobody has to wait
    std::vector<Deferred> deferred;
    std::vector<Promise<bool>> waiters;
  };
  Task<Status> Split(std::string at, ShardId child, Instant deadline, bool by_hand);
  // Whether the evaluation would stand in the way of the split that is prepared.
  bool InTheWay(const PrepareAsk& ask) const;
  // Whether a read may have to go to the child.
  bool InTheWay(const ReadAsk& ask) const;
  // Resumes when no split is under way any more. DEADLINE_EXCEEDED.
  Task<Status> WaitForCut(Instant deadline);
  // What is prepared, or about to be, on both sides.
  std::vector<Owner> LocksAcross(const Leadership& under, std::string_view at) const;
  void EndCut(std::shared_ptr<Cut> ended);
  // Follows the entry, on every replica.
  void OnSplit();
  // The keys of a command that was evaluated before the split are all of this side.
  bool StillOwns(const Deferred& deferred) const;

  // ---- merge.cc -------------------------------------------------------------------------------
  Task<Status> Freeze(ShardId into, Instant deadline);
  Task<Status> Thaw();
  Task<Status> Absorb(v1::FrozenShard frozen, uint64_t members, Instant deadline);
  Task<Status> Abandon(v1::AbandonMerge merge);
  Result<v1::FrozenShard> Contents() const;
  Status MembersSettled() const;
  // Follow the entries, on every replica.
  void OnFrozenOrThawed();
  void OnAbsorbed(const v1::FrozenShard& frozen);
  void EndAbsorbed(const v1::ShardDescriptor* by);

  Deps deps;
  Settings settings;
  Table table;
  raft::GroupHandle* group = nullptr;
  raft::SoftState soft;
  std::shared_ptr<Leadership> lead;  // null: not the leader
  std::shared_ptr<Cut> cut;          // null: no split is under way
  // Of the last splits here, for those who ask the parent: nobody else may know them yet.
  std::vector<v1::ShardDescriptor> children;
  bool absorbed = false;    // another replica here has the range: this one is about to be destroyed
  bool superseded = false;  // the shard was absorbed: the last of `children` has its keys
  Random random;
  Instant asked_to_close{};

  Served served;
  Counter& reads;
  Counter& stale_reads;
  Counter& stale_refused;
  Counter& read_waits;
  Counter& prepares;
  Counter& prepare_waits;
  Counter& lock_conflicts;
  Counter& read_conflicts;
  Counter& pushes;
  Counter& wild_timestamps;
  Counter& void_entries;

  TaskScope scope;  // last: its tasks use everything above
};

}  // namespace quorate::shard
