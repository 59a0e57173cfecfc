// Reads at a timestamp, and advisory locks.
#include <algorithm>

#include "base/check.h"
#include "base/limits.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "base/status_macros.h"
#include "base/timer_guard.h"
#include "quorate/v1/shard.pb.h"
#include "shard/lock_wait.h"
#include "shard/rep.h"

namespace quorate::shard {
namespace {

constexpr Duration kAdvisoryTtlDefault = 5s;

Task<void> RunBarrier(raft::GroupHandle* group, Promise<Status> done) {
  done.Set(co_await group->ReadBarrier());
}

// Whoever asks for nothing keeps what it has, until others wait for it; it never takes anything.
bool MayStayIdle(const LockTable& locks, const TxnId& txn, const v1::LockRequest& request,
                 Instant now) {
  return !locks.AdvisoryAwaited(txn) &&
         std::all_of(request.keys().begin(), request.keys().end(),
                     [&](const std::string& key) { return locks.HoldsAdvisory(txn, key, now); });
}

}  // namespace

Task<Status> Shard::Rep::Read(Judged<v1::ReadRequest> request, Instant deadline,
                              v1::ReadResponse* response) {
  const ReadAsk ask = AskOf(request);
  if (request->has_stale()) {
    Status past = co_await ReadStale(ask, *request, deadline, response);
    if (past.code() != Code::kNotLeader || lead == nullptr) co_return past;
    response->Clear();
  }
  // First of all: whoever does not lead says so, even if it is cut off from the oracle.
  const auto serving = co_await Serving(deadline);
  if (!serving.ok()) co_return serving.status();
  Timestamp at(request->read_ts());
  if (!at && request->has_stale()) at = YoungEnough(request->stale());
  if (!at) {
    const Duration left = std::max(Duration(0), deadline - Now());
    const Result<Timestamp> slot = co_await deps.slots.Fetch(left);
    if (!slot.ok()) co_return WithoutSlot(**serving, slot.status());
    at = *slot;
  } else if (needs_check(at)) {
    // A read above the slots to come would push commit timestamps above them (T1).
    CO_RETURN_IF_ERROR(co_await CheckNamed(*serving, at, deadline));
  }

  if (at < Timestamp(request->stale().not_before())) {
    co_return InvalidArgument(fmt::format("not_before {} is above every slot issued ({})",
                                          Timestamp(request->stale().not_before()), at));
  }

  const auto cleared = co_await ClearWay(&ask, at, deadline);
  if (!cleared.ok()) co_return cleared.status();
  const std::shared_ptr<Leadership>& under = *cleared;
  response->set_read_ts(at.bits());
  CO_RETURN_IF_ERROR(co_await ReadAll(under, ask, at, deadline, response));
  // On the state that was read, or a later one: the horizon never goes down.
  if (at < table.horizon() && !MUTANT("gc-read-below-horizon")) {
    co_return Status(Code::kSnapshotTooOld,
                     fmt::format("{} is below the horizon {}", at, table.horizon()));
  }
  reads.Add();
  ++served.reads;
  if (!ask.keys.empty()) {
    under->load.Count(Now(), ask.keys.front());
  } else if (!ask.scans.empty()) {
    under->load.Count(Now(), ask.scans.front().span.from);
  }
  // After reading: a pause between check and read must not matter.
  co_return co_await ConfirmLeadership(under, deadline);
}

// In parts, so that nobody has to wait for all of it. What was read stays true between them:
// nothing at or below `at` changes any more (S2), as long as the horizon does not pass it and this
// leader leads. `ask` and `response` are in the frame of the caller, which awaits this.
Task<Status> Shard::Rep::ReadAll(std::shared_ptr<Leadership> under, const ReadAsk& ask,
                                 Timestamp at, Instant deadline, v1::ReadResponse* response) {
  Reading reading(ask, at, settings.read_versions_max, response);
  for (;;) {
    // What is read is this shard's in the step in which it is: else another's log changes it.
    if (!OwnsAll(ask, table.span())) co_return StaleEpoch(table);
    const bool prepared = ask.scans.empty() || deps.store.PrepareScan();
    if (prepared && reading.Step(table, under->locks(), settings.step_versions)) {
      co_return Status::Ok();
    }
    PROBE("shard: a read was done in parts");
    co_await NextTurn();
    if (!under->serving()) co_return NotLeader();
    if (Now() >= deadline) co_return DeadlineExceeded("read a part of what was asked");
  }
}

Task<Result<std::shared_ptr<Leadership>>> Shard::Rep::ClearWay(const ReadAsk* ask, Timestamp at,
                                                               Instant deadline) {
  const auto serving = co_await Serving(deadline);
  if (!serving.ok()) co_return serving.status();
  const std::shared_ptr<Leadership>& under = *serving;
  LockWait wait(*this, under, deadline);
  for (;;) {
    if (!under->serving()) co_return NotLeader();
    if (!OwnsAll(*ask, table.span())) co_return StaleEpoch(table);
    if (InTheWay(*ask)) {
      PROBE("shard: a read waited for a split");
      CO_RETURN_IF_ERROR(co_await WaitForCut(deadline));
      continue;
    }
    // One step with the look at the locks: what is evaluated later is above `at`.
    if (!MUTANT("txn-read-no-raise")) under->RaiseReadHigh(at);
    const PreparedLock* blocker = BlockerOf(*ask, at, under->locks());
    if (blocker == nullptr) co_return under;
    read_waits.Add();
    const Owner owner = blocker->owner;
    CO_RETURN_IF_ERROR(wait.Observe(owner));
    CO_RETURN_IF_ERROR(co_await wait.Wait(owner, std::nullopt));
  }
}

Task<Status> Shard::Rep::ConfirmLeadership(std::shared_ptr<Leadership> under, Instant deadline) {
  if (!under->serving()) co_return NotLeader();
  if (MUTANT("txn-lease-not-checked")) co_return Status::Ok();
  if (Now() < group->lease_until()) {
    group->KeepAwake();
    co_return Status::Ok();
  }
  PROBE("shard: a read without a lease");
  const Promise<Status> done(deps.env.executor);
  const Duration left = std::max(Duration(0), deadline - Now());
  const TimerGuard timer(deps.env.executor, left, [done] {
    done.Set(DeadlineExceeded("leadership was not confirmed in time"));
  });
  // Owned by this frame, so that it goes with its caller.
  TaskScope barrier(deps.env.executor);
  barrier.Spawn(RunBarrier(group, done));
  CO_RETURN_IF_ERROR(co_await done.future());
  co_return under->serving() ? Status::Ok() : NotLeader();
}

Task<Status> Shard::Rep::Lock(Judged<v1::LockRequest> request, Instant deadline) {
  const TxnId txn_id = *TxnId::FromBytes(request->txn_id());
  const auto serving = co_await Serving(deadline);
  if (!serving.ok()) co_return serving.status();
  const std::shared_ptr<Leadership>& under = *serving;
  if (request->keys_size() > 0) under->load.Count(Now(), request->keys(0));
  const bool lost = request->idle() && !MayStayIdle(under->locks(), txn_id, *request, Now());
  if (request->release() || lost) {
    under->locks().ReleaseAdvisory(txn_id);
    under->Wake();
    if (request->release()) co_return Status::Ok();
    co_return Status(Code::kLockConflict, "nobody uses the locks: they were given up to others");
  }
  LockAsk ask;
  ask.asker = Asker::kAdvisory;
  ask.owner = {txn_id, Digest(), {}};
  ask.priority = {Timestamp(request->priority().start_ts()),
                  *TxnId::FromBytes(request->priority().txn_id())};
  ask.writes.assign(request->keys().begin(), request->keys().end());
  std::sort(ask.writes.begin(), ask.writes.end());
  ask.writes.erase(std::unique(ask.writes.begin(), ask.writes.end()), ask.writes.end());
  const Duration ttl = request->ttl_ms() == 0
                           ? kAdvisoryTtlDefault
                           : std::min<Duration>(limits::kAdvisoryTtlMax, request->ttl_ms() * 1ms);

  if (request->idle()) {
    under->locks().TakeAdvisory(txn_id, ask.priority, ask.writes, Now(), Now() + ttl);
    co_return Status::Ok();
  }
  LockWait wait(*this, under, deadline);
  for (;;) {
    if (!under->serving()) co_return NotLeader();
    for (std::string_view key : ask.writes) {
      if (!table.span().Contains(key)) co_return StaleEpoch(table);
    }
    const LockVerdict verdict = under->locks().Judge(ask, Now(), wait.id());
    CHECK(verdict.kind != LockVerdict::Kind::kDie, "an advisory request dies of nobody");
    if (verdict.kind == LockVerdict::Kind::kGo) {
      const auto held = std::count_if(
          ask.writes.begin(), ask.writes.end(),
          [&](std::string_view key) { return under->locks().HoldsAdvisory(txn_id, key, Now()); });
      const size_t more = ask.writes.size() - static_cast<size_t>(held);
      if (more > 0 && under->locks().advisory_count() + more > limits::kShardAdvisoryMax) {
        co_return Status(
            Code::kOverloaded,
            fmt::format(
                "transactions hold {} advisory locks of this shard: the limit is {}; try again "
                "later",
                under->locks().advisory_count(), limits::kShardAdvisoryMax));
      }
      under->locks().TakeAdvisory(txn_id, ask.priority, ask.writes, Now(), Now() + ttl);
      under->Wake();
      ArmUpkeep();
      co_return Status::Ok();
    }
    prepare_waits.Add();
    CO_RETURN_IF_ERROR(wait.Queue(ask));
    const Status waited = co_await wait.Wait(verdict.blocker, verdict.recheck);
    if (waited.code() == Code::kDeadlineExceeded) {
      co_return Status(Code::kLockConflict, under->locks().Explain(ask, Now()));
    }
    CO_RETURN_IF_ERROR(waited);
  }
}

}  // namespace quorate::shard
