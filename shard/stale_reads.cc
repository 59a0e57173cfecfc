// Reads of the past on any replica, and the closing that makes them possible (docs/transactions.md,
// section 11).
#include <algorithm>

#include "base/mutant.h"
#include "base/probe.h"
#include "base/status_macros.h"
#include "quorate/v1/shard.pb.h"
#include "shard/closed.h"
#include "shard/rep.h"
#include "txn/errors.h"

namespace quorate::shard {
namespace {

constexpr Duration kSlotTimeout = 2s;

// What has its place between others in the log. What changes the range, or who leads, closes
// nothing: it may pass entries that were evaluated before it and are kept back.
bool MayClose(const v1::ShardCommand& command) {
  return command.has_commit_one_phase() || command.has_prepare() || command.has_resolve() ||
         command.has_advance_horizon();
}

Status Elsewhere(std::string why) { return Status(Code::kNotLeader, std::move(why)); }

}  // namespace

// ---- serving ------------------------------------------------------------------------------------

Status Shard::Rep::HasAll(const ReadAsk& ask, uint64_t version) const {
  if (superseded) return StaleEpoch(table);
  const bool whole = group->has_state() || MUTANT("closed-of-half-a-state");
  if (absorbed || !whole || table.version() == 0 || !table.broken().empty()) {
    return Elsewhere(fmt::format("the replica of shard {} here has no state", table.id()));
  }
  if (OwnsAll(ask, table.span())) return Status::Ok();
  // Behind what the caller knows: nothing to learn from.
  if (table.version() < version) {
    return Elsewhere(fmt::format("the replica here is behind: it has version {} of shard {}",
                                 table.version(), table.id()));
  }
  return StaleEpoch(table);
}

std::optional<Duration> Shard::Rep::AgeOf(Timestamp ts) const {
  const std::optional<uint64_t> now = deps.slots.UnixMillisAtMost();
  if (!now) return std::nullopt;
  return std::chrono::milliseconds(*now - std::min(*now, ts.physical_ms()));
}

Timestamp Shard::Rep::YoungEnough(const v1::StaleRead& stale) const {
  const Timestamp not_before(stale.not_before());
  const Timestamp at = std::max(ToClose(deps.slots.newest(), settings.close_lag),
                                not_before.is_slot() ? not_before : not_before.NextSlot());
  const std::optional<Duration> age = AgeOf(at);
  const bool young = age && *age <= std::chrono::milliseconds(stale.max_age_ms());
  return young && at <= deps.slots.newest() && at >= table.horizon() ? at : Timestamp();
}

Result<Timestamp> Shard::Rep::WhereStale(const ReadAsk& ask, const v1::ReadRequest& request) const {
  const Timestamp newest = NewestServable(ask, table);
  if (const Timestamp named(request.read_ts()); named) {
    if (named <= newest || MUTANT("closed-named-above")) return named;
    return Elsewhere(fmt::format("this replica of shard {} can be read at {} at most, not at {}",
                                 table.id(), newest, named));
  }
  const Timestamp not_before(request.stale().not_before());
  if (newest < not_before || newest < table.horizon() || !newest) {
    return Elsewhere(
        fmt::format("this replica of shard {} can be read at {} at most, which is below {}",
                    table.id(), newest, std::max(not_before, table.horizon())));
  }
  const std::optional<Duration> age = AgeOf(newest);
  const Duration max_age = std::chrono::milliseconds(request.stale().max_age_ms());
  if (age && *age <= max_age) return newest;
  return Elsewhere(fmt::format(
      "what this replica of shard {} can tell is {} old, and may be {} ms", table.id(),
      age ? fmt::format("{} ms", ToMillis(*age)) : "of unknown age,", ToMillis(max_age)));
}

// `ask`, `request` and `response` are in the frame of the caller, which awaits this.
Task<Status> Shard::Rep::ReadStale(const ReadAsk& ask, const v1::ReadRequest& request,
                                   Instant deadline, v1::ReadResponse* response) {
  const Duration max_age = std::chrono::milliseconds(request.stale().max_age_ms());
  Status whole = HasAll(ask, request.route().version());
  if (!whole.ok()) {
    stale_refused.Add();
    co_return whole;
  }
  const Result<Timestamp> where = WhereStale(ask, request);
  // Who is sent to the leader asks there.
  const bool behind =
      Timestamp(std::max(request.read_ts(), request.stale().not_before())) > table.closed();
  if ((where.ok() || lead != nullptr) && (behind || max_age > Duration(0))) {
    WantCloser(behind ? Duration(0) : max_age);
  }
  if (!where.ok()) {
    PROBE("shard: a replica sent a reader of the past to the leader");
    stale_refused.Add();
    co_return where.status();
  }
  response->set_read_ts(where->bits());
  Reading reading(ask, *where, settings.read_versions_max, response);
  // Nothing prepared at or below is in the way, and so nothing committed is that is no version yet.
  const LockTable no_locks{Random(0)};
  for (;;) {
    const bool prepared = ask.scans.empty() || deps.store.PrepareScan();
    if (prepared && reading.Step(table, no_locks, settings.step_versions)) break;
    PROBE("shard: a read of the past was done in parts");
    co_await NextTurn();
    CO_RETURN_IF_ERROR(HasAll(ask, request.route().version()));
    if (Now() >= deadline) co_return DeadlineExceeded("read a part of what was asked");
  }
  // On the state that was read, or a later one.
  if (*where < table.horizon() && !MUTANT("gc-read-below-horizon")) {
    co_return Status(Code::kSnapshotTooOld,
                     fmt::format("{} is below the horizon {}", *where, table.horizon()));
  }
  if (lead == nullptr) PROBE("shard: a replica that does not lead served a read of the past");
  stale_reads.Add();
  ++served.stale_reads;
  co_return Status::Ok();
}

// ---- closing ------------------------------------------------------------------------------------

Timestamp Shard::Rep::NextToClose(const Leadership& under) const {
  if (!under.serving() || Now() - under.closed_at < settings.close_interval) return {};
  const Timestamp next = ToClose(deps.slots.newest(), settings.close_lag);
  return next > std::max(under.closed, table.closed()) ? next : Timestamp();
}

void Shard::Rep::CloseWith(Leadership& under, JudgedCommand* command) {
  if (!MayClose(**command)) return;
  const Timestamp closed = NextToClose(under);
  if (!closed) return;
  under.closed = closed;
  under.closed_at = Now();
  if (!MUTANT("closed-not-raised")) under.RaiseReadHigh(closed);
  command->Close(closed);
}

void Shard::Rep::WantCloser(Duration max_age) {
  const std::optional<Duration> age = AgeOf(table.closed());
  if (age && *age <= max_age / 2) return;
  if (lead != nullptr) {
    if (!lead->serving() || lead->closing) return;
    if (Now() - lead->closed_at < settings.close_interval) return;
    lead->closing = true;
    scope.Spawn(CloseNow(lead));
    return;
  }
  if (!deps.ask_to_close || Now() - asked_to_close < settings.close_interval) return;
  asked_to_close = Now();
  deps.ask_to_close(max_age);
}

Task<void> Shard::Rep::CloseNow(std::shared_ptr<Leadership> under) {
  const Result<Timestamp> slot = co_await deps.slots.Fetch(kSlotTimeout);
  // Another entry may have done it meanwhile.
  const bool room = !deps.check_room || deps.check_room(raft::Growth::kShrinks).ok();
  if (slot.ok() && room && NextToClose(*under)) {
    PROBE("shard: a leader closed a timestamp for a reader");
    v1::ShardCommand command;
    command.mutable_advance_horizon();
    (void)co_await Propose(under, std::move(command), std::nullopt, std::nullopt);
  }
  under->closing = false;
}

}  // namespace quorate::shard
