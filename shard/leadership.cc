#include "shard/leadership.h"

#include "base/check.h"
#include "base/mutant.h"
#include "base/steps.h"
#include "base/timer_guard.h"
#include "quorate/v1/shard.pb.h"
#include "shard/applied.h"

namespace quorate::shard {
namespace {

Owner OwnerIn(const std::string& txn_id, uint64_t digest, const std::string& key) {
  return {*TxnId::FromBytes(txn_id), Digest(digest), key};
}

}  // namespace

void Leadership::Serve(Timestamp floor, const Table& table) {
  CHECK(active_ && !serving_ && locks_.prepared().empty(), "a leader starts once");
  if (!MUTANT("txn-no-refloor")) {
    RaiseReadHigh(floor);
    // The floor is above it, as a slot that was fetched behind all that is closed. But whoever was
    // served by a replica must not depend on that.
    RaiseReadHigh(table.closed());
  }
  // Who named a timestamp a little above all slots may have raised commits of the term before above
  // the floor. What they read is as they saw it, up to there.
  RaiseReadHigh(table.newest_commit());
  AddLocks(table);
  serving_ = true;
  for (const Promise<bool>& waiter : start_waiters_) waiter.Set(true);
  start_waiters_.clear();
}

void Leadership::AddLocks(const Table& table) {
  for (const auto& [owner, record] : table.prepared()) {
    if (MUTANT("txn-locks-not-rebuilt")) break;
    if (locks_.Find(owner) != nullptr) continue;
    PreparedLock lock;
    lock.owner = owner;
    lock.priority = record.priority;
    lock.start_ts = record.start_ts;
    lock.prepare_ts = record.prepare_ts;
    lock.anchor_key = record.anchor_key;
    lock.writes = record.writes;
    lock.guards = record.guards;
    lock.since = env_.Now();
    lock.applied = true;
    locks_.Add(std::move(lock));
  }
}

// As a leader that begins, for the keys that were the neighbour's.
void Leadership::OnAbsorbed(const Table& table) {
  AddLocks(table);
  RaiseReadHigh(table.floor());
  RaiseReadHigh(table.newest_commit());
  meter.Reset();
}

void Leadership::End() {
  active_ = false;
  for (const auto& [id, waiter] : waiters_) waiter.Set(false);
  for (const Promise<bool>& waiter : start_waiters_) waiter.Set(false);
  start_waiters_.clear();
}

void Leadership::OnApplied(const v1::ShardCommand& command, const Applied& applied,
                           const Table& table) {
  switch (command.command_case()) {
    case v1::ShardCommand::kCommitOnePhase: {
      const v1::CommitOnePhase& commit = command.commit_one_phase();
      const Owner owner = OwnerIn(commit.txn_id(), 0, commit.anchor_key());
      if (locks_.Find(owner) == nullptr) return;
      // Its guards go now, and must go on protecting what it read up to its commit_ts.
      if (applied.state == TxnState::kCommitted && !MUTANT("txn-one-phase-no-raise")) {
        RaiseReadHigh(applied.commit_ts);
      }
      Release(owner);
      break;
    }
    case v1::ShardCommand::kPrepare: {
      const v1::PrepareCommand& prepare = command.prepare();
      const Owner owner = OwnerIn(prepare.txn_id(), prepare.digest(), prepare.marker_key());
      if (locks_.Find(owner) == nullptr) return;
      if (const ParticipantRecord* prepared = table.FindPrepared(owner)) {
        MarkStep(
            env_.executor,
            command.prepare().stage() ? CommitStep::kStageApplied : CommitStep::kPrepareApplied,
            owner.txn_id.bytes());
        locks_.MarkApplied(owner, prepared->prepare_ts);
      } else {
        Release(owner);
      }
      break;
    }
    case v1::ShardCommand::kResolve:
      OnResolved(command, table);
      break;
    case v1::ShardCommand::kDecide:
      MarkStep(env_.executor, CommitStep::kDecideApplied, command.decide().txn_id());
      return;
    case v1::ShardCommand::kRefuse:
      MarkStep(env_.executor, CommitStep::kRefusalLogged, command.refuse().txn_id());
      return;
    case v1::ShardCommand::kDone:
      MarkStep(env_.executor, CommitStep::kDone, command.done().txn_id());
      return;
    case v1::ShardCommand::kSplit:
      if (applied.status.ok()) OnSplit(table);
      return;
    case v1::ShardCommand::kAbsorb:
      if (applied.status.ok()) OnAbsorbed(table);
      return;
    case v1::ShardCommand::kFreeze:
    case v1::ShardCommand::kThaw:
    case v1::ShardCommand::kAbandonMerge:
    case v1::ShardCommand::kLeaderStart:
    case v1::ShardCommand::kAdvanceHorizon:
    case v1::ShardCommand::kCloseName:
    case v1::ShardCommand::kSweep:
    case v1::ShardCommand::COMMAND_NOT_SET:
      return;  // nobody holds or waits for a lock by these
  }
  Wake();
}

void Leadership::OnResolved(const v1::ShardCommand& command, const Table& table) {
  for (const v1::Resolution& resolution : command.resolve().resolutions()) {
    const Owner owner = OwnerIn(resolution.txn_id(), resolution.digest(), resolution.marker_key());
    MarkStep(env_.executor, CommitStep::kResolveApplied, resolution.txn_id());
    const PreparedLock* lock = locks_.Find(owner);
    // One in flight goes when its own entry is applied, behind this one.
    if (lock == nullptr || !lock->applied || table.FindPrepared(owner) != nullptr) continue;
    if (resolution.outcome() == v1::COMMITTED && !MUTANT("txn-resolve-no-raise")) {
      RaiseReadHigh(Timestamp(resolution.commit_ts()));
    }
    Release(owner);
  }
}

// The child's leader has the child's locks from its records. One that is not applied goes with what
// becomes of its proposal.
void Leadership::OnSplit(const Table& table) {
  std::vector<Owner> gone;
  for (const auto& [owner, lock] : locks_.prepared()) {
    if (lock->applied && !table.span().Contains(owner.key)) gone.push_back(owner);
  }
  for (const Owner& owner : gone) {
    if (!MUTANT("split-locks-kept")) Release(owner);
  }
  meter.Reset();
  load.Reset(env_.Now());
  // Whoever waits for keys of the child looks again, and finds that they are elsewhere.
  (void)locks_.TakeWoken();
  for (const auto& [id, waiter] : waiters_) waiter.Set(true);
}

void Leadership::OnNotApplied(const Owner& owner) {
  const PreparedLock* lock = locks_.Find(owner);
  if (!active_ || lock == nullptr || lock->applied) return;
  Release(owner);
  Wake();
}

void Leadership::Commit(const Owner& owner, Timestamp commit_ts) {
  const PreparedLock* lock = locks_.Find(owner);
  if (lock == nullptr || !lock->applied || lock->committed || commit_ts < lock->prepare_ts) return;
  // First: from now on its guards hold nobody up.
  if (!MUTANT("txn-resolve-no-raise")) RaiseReadHigh(commit_ts);
  locks_.MarkCommitted(owner, commit_ts);
  Wake();
}

void Leadership::Wake() {
  if (!locks_.any_woken()) return;
  for (WaiterId id : locks_.TakeWoken()) {
    const auto it = waiters_.find(id);
    if (it != waiters_.end()) it->second.Set(true);
  }
}

Task<void> Leadership::Wait(std::shared_ptr<Leadership> lead, WaiterId id, Instant until) {
  if (!lead->active_) co_return;
  struct Registration {
    std::shared_ptr<Leadership> lead;
    WaiterId id;
    ~Registration() { lead->waiters_.erase(id); }
  };
  Executor& executor = lead->env_.executor;
  Promise<bool> woken(executor);
  CHECK(lead->waiters_.emplace(id, woken).second, "a waiter waits once");
  const Registration registration{lead, id};
  const Duration delay = std::max(Duration(0), until - lead->env_.Now());
  const TimerGuard timer(executor, delay, [woken] { woken.Set(false); });
  co_await woken.future();
}

Task<void> Leadership::WaitServing(std::shared_ptr<Leadership> lead, Instant until) {
  if (!lead->active_ || lead->serving_) co_return;
  Executor& executor = lead->env_.executor;
  Promise<bool> done(executor);
  lead->start_waiters_.push_back(done);
  const Duration delay = std::max(Duration(0), until - lead->env_.Now());
  const TimerGuard timer(executor, delay, [done] { done.Set(false); });
  co_await done.future();
}

}  // namespace quorate::shard
