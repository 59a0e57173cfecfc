// Upkeep: what a leader does without being asked. Every loop ends when it has nothing to do, so
// that an idle shard costs nothing.
#include <algorithm>

#include "base/backoff.h"
#include "base/check.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "quorate/v1/shard.pb.h"
#include "shard/rep.h"

namespace quorate::shard {
namespace {

constexpr Duration kSlotTimeout = 2s;
constexpr Duration kPushTimeout = 5s;
constexpr Duration kUpkeepInterval = 1s;
// Looks at names that only wait for their end, in the time that they are kept.
constexpr int kNameLooks = 60;
constexpr Duration kMeterPause = 50ms;   // between parts of a measurement
constexpr Duration kCollectPause = 5ms;  // between entries that only collect

}  // namespace

// The floor must be a slot requested after the old lease has ended. It has ended by now: every
// voter of this election refused its vote for kElectionTicksMin after it last heard the old leader,
// whose lease is shorter by the drift margin (base/limits.h); a leader that hands over gives its
// lease up first (raft/core/node.h).
Task<void> Shard::Rep::StartServing(std::shared_ptr<Leadership> under) {
  Backoff backoff(20ms, 500ms);
  // A frozen shard is not served: of what is read no leader of it would know.
  while (under->active() && !under->serving() && !table.frozen_into()) {
    if (MUTANT("txn-serve-before-leader-start")) co_return OnServing();
    const Result<Timestamp> slot = co_await deps.slots.Fetch(kSlotTimeout);
    if (!under->active() || table.frozen_into()) co_return;
    if (slot.ok()) {
      v1::ShardCommand command;
      command.mutable_leader_start()->set_floor(slot->bits());
      const Applied applied =
          co_await Propose(under, std::move(command), std::nullopt, std::nullopt);
      if (applied.status.ok() || !under->active()) co_return;
    }
    co_await Sleep(deps.env.executor, backoff.Next(random));
  }
}

void Shard::Rep::ArmUpkeep() {
  if (!lead->upkeep_running &&
      (!lead->locks().prepared().empty() || lead->locks().any_advisory())) {
    lead->upkeep_running = true;
    scope.Spawn(UpkeepLoop(lead));
  }
  if (!lead->meter_running && lead->meter.due()) {
    lead->meter_running = true;
    scope.Spawn(MeterLoop(lead));
  }
  const bool garbage =
      !table.collectable().empty() || table.names().size() > 0 || table.sweep().has_value();
  if (!lead->horizon_running && garbage) {
    lead->horizon_running = true;
    scope.Spawn(HorizonLoop(lead));
  }
}

Task<void> Shard::Rep::MeterLoop(std::shared_ptr<Leadership> under) {
  do {
    co_await Sleep(deps.env.executor, kMeterPause);
    if (!under->serving()) co_return;
  } while (!under->meter.Step(table.store(), table.span(), settings.step_versions / 2));
  under->meter_running = false;
}

Task<void> Shard::Rep::UpkeepLoop(std::shared_ptr<Leadership> under) {
  for (;;) {
    co_await Sleep(deps.env.executor, std::min(kUpkeepInterval, settings.prepared_push_after));
    if (!under->serving()) co_return;
    const size_t advisory = under->locks().ExpireAdvisory(Now());
    under->Wake();
    if (advisory == 0 && under->locks().prepared().empty()) break;
    std::vector<Owner> old;
    for (const auto& [owner, lock] : under->locks().prepared()) {
      if (lock->applied && lock->since + settings.prepared_push_after <= Now()) {
        old.push_back(owner);
      }
    }
    for (const Owner& owner : old) StartPush(under, owner);
  }
  under->upkeep_running = false;
}

void Shard::Rep::StartPush(const std::shared_ptr<Leadership>& under, const Owner& owner) {
  const PreparedLock* lock = under->locks().Find(owner);
  // In flight: its end is this shard's own log.
  if (lock == nullptr || !lock->applied || lock->pushing || lock->one_phase) return;
  if (under->pushes >= limits::kShardPushesMax) return;
  under->locks().MarkPushing(owner, true);
  ++under->pushes;
  pushes.Add();
  scope.Spawn(Push(under, owner, TxnName{owner.txn_id, lock->start_ts, lock->anchor_key}));
}

Task<void> Shard::Rep::Push(std::shared_ptr<Leadership> under, Owner owner, TxnName txn) {
  const Result<PushOutcome> outcome = co_await deps.pusher.Push(txn, Now() + kPushTimeout);
  const PreparedLock* lock = under->serving() ? under->locks().Find(owner) : nullptr;
  if (lock != nullptr && outcome.ok()) {
    v1::Resolution resolution;
    resolution.set_txn_id(std::string(owner.txn_id.bytes()));
    resolution.set_digest(owner.digest.value());
    resolution.set_marker_key(owner.key);
    resolution.set_start_ts(lock->start_ts.bits());
    resolution.set_outcome(v1::ABORTED_STATE);
    if (outcome->state == PushOutcome::State::kCommitted) {
      // A part of another grouping of a committed transaction: the staged parts write everything,
      // and writing once more could bring back what was deleted and collected since. Nor can a part
      // have counted that was prepared above the commit_ts: it is a copy that somebody sent under a
      // later start_ts once the first one's record was collected.
      const StagedParticipant self{owner.key, owner.digest};
      const auto& staged = outcome->participants;
      if (outcome->commit_ts >= lock->prepare_ts &&
          std::find(staged.begin(), staged.end(), self) != staged.end()) {
        resolution.set_outcome(v1::COMMITTED);
        resolution.set_commit_ts(outcome->commit_ts.bits());
      }
    } else if (outcome->state == PushOutcome::State::kTooOld) {
      // A COMMITTED record outlives the PREPARED ones that it staged, and nothing can be staged
      // below the horizon any more.
      PROBE("shard: a prepared record below its anchor's horizon was resolved as aborted");
    }
    v1::ResolveRequest request;
    *request.add_resolutions() = std::move(resolution);
    Result<Judged<v1::ResolveRequest>> judged = Judge(std::move(request));
    const Status resolved = judged.ok() ? co_await Resolve(*std::move(judged)) : judged.status();
    if (!resolved.ok()) PROBE("shard: resolving what was pushed failed");
  }
  --under->pushes;
  if (under->active() && under->locks().Find(owner)) under->locks().MarkPushing(owner, false);
}

Task<Status> Shard::Rep::AdvanceHorizon(std::shared_ptr<Leadership> under, Timestamp horizon,
                                        Timestamp names_horizon) {
  v1::ShardCommand command;
  command.mutable_advance_horizon()->set_horizon(horizon.bits());
  command.mutable_advance_horizon()->set_names_horizon(names_horizon.bits());
  const Applied applied = co_await Propose(under, std::move(command), std::nullopt, std::nullopt);
  co_return applied.status;
}

// What a split left to be gone through, if the horizon is far enough.
Task<void> Shard::Rep::Sweep(std::shared_ptr<Leadership> under, Timestamp horizon,
                             Timestamp names_horizon) {
  if (!table.sweep() || horizon <= table.sweep()->after) co_return;
  // Nothing else may have needed it to go on.
  if (table.horizon() < horizon) (void)co_await AdvanceHorizon(under, horizon, names_horizon);
  while (under->serving() && table.sweep() && table.horizon() > table.sweep()->after) {
    v1::ShardCommand command;
    command.mutable_sweep();
    if (!(co_await Propose(under, std::move(command), std::nullopt, std::nullopt)).status.ok()) {
      co_return;
    }
    co_await Sleep(deps.env.executor, kCollectPause);
  }
}

// As far as is known without asking for the time: of shards that were written once and then no more
// there may be thousands, and each would ask every few seconds. It is later by now, if anything, so
// this may be too long, but never by more than a transaction lives.
Duration Shard::Rep::UntilCollectable() const {
  if (table.collectable().empty() || table.sweep()) return Duration(0);
  const auto oldest = static_cast<int64_t>(table.collectable().begin()->at.physical_ms());
  const auto newest = static_cast<int64_t>(deps.slots.newest().physical_ms());
  const Duration left = std::chrono::milliseconds(oldest - newest) + settings.txn_lifetime;
  return std::clamp(left, Duration(0), settings.txn_lifetime);
}

Task<void> Shard::Rep::HorizonLoop(std::shared_ptr<Leadership> under) {
  while (!table.collectable().empty() || table.names().size() > 0 || table.sweep()) {
    // Spread, so that the shards of a node do not all do it at once.
    int64_t interval = settings.horizon_interval.count();
    // Names stay for long: where nothing else is left, there is no hurry.
    if (table.collectable().empty() && !table.sweep()) {
      interval = std::max(interval, settings.name_retention.count() / kNameLooks);
    }
    const Duration pause(random.Between(interval * 9 / 10, interval));
    co_await Sleep(deps.env.executor, std::max(pause, UntilCollectable()));
    if (!under->serving()) co_return;
    const Result<Timestamp> slot = co_await deps.slots.Fetch(kSlotTimeout);
    if (!under->serving()) co_return;
    if (!slot.ok()) continue;
    Timestamp newest = *slot;
    if (MUTANT("gc-horizon-of-wall-clock")) {
      newest = Timestamp::FromParts(static_cast<uint64_t>(deps.env.clock.WallMillis()), 0);
    }
    const Timestamp horizon =
        std::max(table.horizon(), newest.MinusMillis(ToMillis(settings.txn_lifetime)));
    const Timestamp names_horizon =
        std::max(table.names_horizon(), slot->MinusMillis(ToMillis(settings.name_retention)));
    while ((!table.collectable().empty() && table.collectable().begin()->at < horizon) ||
           table.names().AnyBelow(names_horizon)) {
      if (!(co_await AdvanceHorizon(under, horizon, names_horizon)).ok()) break;
      if (!under->serving()) co_return;
      co_await Sleep(deps.env.executor, kCollectPause);
      if (!under->serving()) co_return;
    }
    if (!under->serving()) co_return;
    co_await Sweep(under, horizon, names_horizon);
    if (!under->serving()) co_return;
  }
  under->horizon_running = false;
}

}  // namespace quorate::shard
