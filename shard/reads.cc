// Reads at a timestamp, and advisory locks.
#include <algorithm>

#include "base/check.h"
#include "base/limits.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "proto/shard.pb.h"
#include "shard/rep.h"
#include "txn/errors.h"

namespace quorate::shard {
namespace {

constexpr Duration kAdvisoryTtlDefault = 5s;
constexpr Duration kAdvisoryTtlMax = 30s;
constexpr size_t kAdvisoryKeysMax = 1'000;     // in one request
constexpr size_t kAdvisoryLocksMax = 100'000;  // in one shard

Task<void> RunBarrier(raft::GroupHandle* group, Promise<Status> done) {
  done.Set(co_await group->ReadBarrier());
}

}  // namespace

Task<Status> Shard::Rep::Read(v1::ReadRequest request, Instant deadline,
                              v1::ReadResponse* response) {
  Result<ReadAsk> parsed = ParseRead(request, settings.scan_step_versions);
  if (!parsed.ok()) co_return parsed.status();
  const ReadAsk& ask = *parsed;
  // First of all: whoever does not lead says so, even if it is cut off from the oracle.
  const auto serving = co_await Serving(deadline);
  if (!serving.ok()) co_return serving.status();
  Timestamp at(request.read_ts());
  if (!at) {
    const Duration left = std::max(Duration(0), deadline - Now());
    const Result<Timestamp> slot = co_await deps.slots.Fetch(left);
    if (!slot.ok()) co_return WithoutSlot(**serving, slot.status());
    at = *slot;
  } else if (needs_check(at)) {
    // A read above the slots to come would push commit timestamps above them (T1).
    CO_RETURN_IF_ERROR(co_await CheckNamed(*serving, at, deadline));
  }

  const auto cleared = co_await ClearWay(&ask, at, deadline);
  if (!cleared.ok()) co_return cleared.status();
  const std::shared_ptr<Leadership>& under = *cleared;
  response->set_read_ts(at.bits());
  CO_RETURN_IF_ERROR(ReadKeys(ask, at, table, under->locks(), response));
  for (const ScanAsk& scan : ask.scans) {
    v1::ScanResult* result = response->add_scans();
    if (!scan.reverse) {
      ScanForward(scan, at, table, under->locks(), result);
      continue;
    }
    ReverseScan reverse(scan, at);
    while (!reverse.Step(table, under->locks())) {
      co_await Sleep(deps.env.executor, Duration(0));
      if (!under->serving()) co_return NotLeader();
    }
    reverse.Finish(result);
  }
  // On the state that was read, or a later one: the horizon never goes down.
  if (at < table.horizon() && !MUTANT("gc-read-below-horizon")) {
    co_return Status(Code::kSnapshotTooOld,
                     fmt::format("{} is below the horizon {}", at, table.horizon()));
  }
  reads.Add();
  // After reading: a pause between check and read must not matter.
  co_return co_await ConfirmLeadership(under, deadline);
}

Task<Result<std::shared_ptr<Leadership>>> Shard::Rep::ClearWay(const ReadAsk* ask, Timestamp at,
                                                               Instant deadline) {
  const auto serving = co_await Serving(deadline);
  if (!serving.ok()) co_return serving.status();
  const std::shared_ptr<Leadership>& under = *serving;
  QueuePlace place(under);
  Instant push_at = Now() + settings.push_after;
  for (;;) {
    if (!under->serving()) co_return NotLeader();
    if (!OwnsAll(*ask, table.span())) co_return StaleEpoch(table);
    // One step with the look at the locks: what is evaluated later is above `at`.
    if (!MUTANT("txn-read-no-raise")) under->RaiseReadHigh(at);
    const PreparedLock* blocker = BlockerOf(*ask, at, under->locks());
    if (blocker == nullptr) co_return under;
    const Owner owner = blocker->owner;
    const Instant now = Now();
    if (now >= deadline) co_return DeadlineExceeded("waited for another transaction's outcome");
    if (under->locks().waiting() >= limits::kShardWaitersMax) {
      co_return Status(Code::kOverloaded, "too many requests wait for locks");
    }
    read_waits.Add();
    if (now >= push_at) {
      StartPush(under, owner);
      push_at = now + settings.push_after;
    }
    place.Take(under->locks().Observe(owner));
    co_await Leadership::Wait(under, place.id(), std::min(deadline, push_at));
  }
}

Task<Status> Shard::Rep::ConfirmLeadership(std::shared_ptr<Leadership> under, Instant deadline) {
  if (!under->serving()) co_return NotLeader();
  if (MUTANT("txn-lease-not-checked")) co_return Status::Ok();
  if (Now() < group->lease_until()) co_return Status::Ok();
  PROBE("shard: a read without a lease");
  const Promise<Status> done(deps.env.executor);
  const Duration left = std::max(Duration(0), deadline - Now());
  const TimerGuard timer(deps.env.executor, deps.env.executor.After(left, [done] {
    done.Set(DeadlineExceeded("leadership was not confirmed in time"));
  }));
  // Owned by this frame, so that it goes with its caller.
  TaskScope barrier(deps.env.executor);
  barrier.Spawn(RunBarrier(group, done));
  CO_RETURN_IF_ERROR(co_await done.future());
  co_return under->serving() ? Status::Ok() : NotLeader();
}

Task<Status> Shard::Rep::Lock(v1::LockRequest request, Instant deadline) {
  const auto txn_id = TxnId::FromBytes(request.txn_id());
  const auto first_id = TxnId::FromBytes(request.priority().txn_id());
  if (!txn_id || !txn_id->valid()) co_return InvalidArgument("txn_id has 16 bytes, not all 0");
  if (!first_id && !request.release()) co_return InvalidArgument("priority.txn_id has 16 bytes");
  if (static_cast<size_t>(request.keys_size()) > kAdvisoryKeysMax) {
    co_return InvalidArgument(fmt::format("{} keys in one lock request: the limit is {}",
                                          request.keys_size(), kAdvisoryKeysMax));
  }
  LockAsk ask;
  ask.asker = Asker::kAdvisory;
  ask.owner = {*txn_id, Digest(), {}};
  ask.priority = {Timestamp(request.priority().start_ts()), first_id.value_or(TxnId())};
  for (const std::string& key : request.keys()) {
    CO_RETURN_IF_ERROR(CheckKey(key));
    ask.writes.push_back(key);
  }
  const auto serving = co_await Serving(deadline);
  if (!serving.ok()) co_return serving.status();
  const std::shared_ptr<Leadership>& under = *serving;
  if (request.release()) {
    under->locks().ReleaseAdvisory(*txn_id);
    under->Wake();
    co_return Status::Ok();
  }
  const Duration ttl = request.ttl_ms() == 0
                           ? kAdvisoryTtlDefault
                           : std::min<Duration>(kAdvisoryTtlMax, request.ttl_ms() * 1ms);

  QueuePlace place(under);
  Instant push_at = Now() + settings.push_after;
  for (;;) {
    if (!under->serving()) co_return NotLeader();
    for (std::string_view key : ask.writes) {
      if (!table.span().Contains(key)) co_return StaleEpoch(table);
    }
    const LockVerdict verdict = under->locks().Judge(ask, Now(), place.id());
    CHECK(verdict.kind != LockVerdict::Kind::kDie, "an advisory request dies of nobody");
    if (verdict.kind == LockVerdict::Kind::kGo) {
      if (under->locks().advisory_count() + ask.writes.size() > kAdvisoryLocksMax) {
        co_return Status(Code::kOverloaded, "too many advisory locks");
      }
      under->locks().TakeAdvisory(*txn_id, ask.priority, ask.writes, Now() + ttl);
      under->Wake();
      ArmUpkeep();
      co_return Status::Ok();
    }
    const Instant now = Now();
    if (now >= deadline) co_return DeadlineExceeded("waited for locks");
    if (place.id() == 0) {
      if (under->locks().waiting() >= limits::kShardWaitersMax) {
        co_return Status(Code::kOverloaded, "too many requests wait for locks");
      }
      place.Take(under->locks().Enqueue(ask));
    }
    prepare_waits.Add();
    if (now >= push_at) {
      if (verdict.blocker) StartPush(under, *verdict.blocker);
      push_at = now + settings.push_after;
    }
    Instant until = std::min(deadline, push_at);
    if (verdict.recheck) until = std::min(until, *verdict.recheck);
    co_await Leadership::Wait(under, place.id(), until);
  }
}

}  // namespace quorate::shard
