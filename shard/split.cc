// Splitting, on the leader (docs/transactions.md, section 9). What is evaluated meanwhile:
//
//   ordered ──► nothing prepared on both sides ──► entry logged ──► applied ──► two shards
//      prepares across wait                           everything waits
//
// and, between its evaluation and its entry, is kept and judged once more.
#include <algorithm>

#include "base/check.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "base/timer_guard.h"
#include "quorate/v1/shard.pb.h"
#include "shard/rep.h"
#include "txn/errors.h"

namespace quorate::shard {
namespace {

// How long prepares across the new border are kept waiting for those that are there to end; then
// the split is given up.
constexpr Duration kAcrossMax = 3s;
// Coordinators anchored on the child's side lose their rights with the split. Most end by
// themselves within this time, if no new ones begin.
constexpr Duration kCoordinatorsMax = 300ms;
constexpr Duration kLookAgain = 2ms;
constexpr size_t kChildrenMax = 4;

bool LockAcross(const PreparedLock& lock, std::string_view at) {
  std::string_view first = lock.owner.key;
  std::string_view last = lock.owner.key;
  if (!lock.writes.empty()) {
    first = std::min(first, std::string_view(lock.writes.front()));
    last = std::max(last, std::string_view(lock.writes.back()));
  }
  return LiesAcross(first, last, lock.guards, at);
}

}  // namespace

std::vector<Owner> Shard::Rep::LocksAcross(const Leadership& under, std::string_view at) const {
  std::vector<Owner> across;
  for (const auto& [owner, lock] : under.locks().prepared()) {
    if (LockAcross(*lock, at)) across.push_back(owner);
  }
  return across;
}

bool Shard::Rep::InTheWay(const PrepareAsk& ask) const {
  if (cut == nullptr || cut->absorbs) return false;
  const std::string_view at = cut->at;
  // A transaction that is anchored on the child's side begins there.
  if (ask.kind != PrepareKind::kParticipant && ask.anchor_key >= at) return true;
  const std::string_view last = ask.writes.empty() ? ask.marker_key : ask.writes.back();
  return LiesAcross(ask.marker_key, std::max(ask.marker_key, last), ask.guards, at);
}

bool Shard::Rep::InTheWay(const ReadAsk& ask) const {
  // What is read above the read_high of the entry would not be handed down.
  return cut != nullptr && !cut->absorbs && cut->proposed &&
         !OwnsAll(ask, {table.span().from, cut->at});
}

Task<Status> Shard::Rep::WaitForCut(Instant deadline) {
  if (cut == nullptr) co_return Status::Ok();
  const Promise<bool> ended(deps.env.executor);
  cut->waiters.push_back(ended);
  const TimerGuard timer(deps.env.executor, std::max(Duration(0), deadline - Now()),
                         [ended] { ended.Set(false); });
  if (co_await ended.future()) co_return Status::Ok();
  co_return DeadlineExceeded("the shard was being split");
}

bool Shard::Rep::StillOwns(const Deferred& deferred) const {
  const Span& span = table.span();
  // What a one-phase commit guards is in its lock alone.
  if (deferred.owner) {
    const PreparedLock* lock = deferred.under->locks().Find(*deferred.owner);
    if (lock == nullptr || !span.Contains(lock->owner.key)) return false;
    if (!span.to.empty() && LockAcross(*lock, span.to)) return false;
  }
  const v1::ShardCommand& command = *deferred.command;
  switch (command.command_case()) {
    case v1::ShardCommand::kCommitOnePhase:
      return span.Contains(command.commit_one_phase().anchor_key());
    case v1::ShardCommand::kPrepare:
      return !command.prepare().stage() || span.Contains(command.prepare().anchor_key());
    case v1::ShardCommand::kDecide:
      return span.Contains(command.decide().anchor_key());
    case v1::ShardCommand::kResolve: {
      const auto& resolutions = command.resolve().resolutions();
      return std::all_of(resolutions.begin(), resolutions.end(), [&](const v1::Resolution& each) {
        return span.Contains(each.marker_key());
      });
    }
    case v1::ShardCommand::kRefuse:
      return span.Contains(command.refuse().marker_key());
    case v1::ShardCommand::kCloseName:
      return span.Contains(command.close_name().key());
    case v1::ShardCommand::kDone:  // of what is not here it does nothing
    case v1::ShardCommand::kAdvanceHorizon:
    case v1::ShardCommand::kSweep:
    case v1::ShardCommand::kLeaderStart:
    case v1::ShardCommand::kAbandonMerge:  // applying judges it
      return true;
    case v1::ShardCommand::kFreeze:
    case v1::ShardCommand::kThaw:
    case v1::ShardCommand::kAbsorb:
    case v1::ShardCommand::kSplit:
    case v1::ShardCommand::COMMAND_NOT_SET:
      break;
  }
  CHECK(false, "command {} was kept", static_cast<int>(command.command_case()));
}

void Shard::Rep::EndCut(std::shared_ptr<Cut> ended) {
  if (cut != ended) return;
  cut.reset();
  for (Deferred& deferred : std::exchange(ended->deferred, {})) {
    Status refused;
    if (!deferred.under->serving()) {
      refused = NotLeader();
    } else if (!StillOwns(deferred)) {
      PROBE("shard: what was evaluated before a split belongs to the child");
      refused = StaleEpoch(table);
    }
    if (refused.ok()) {
      ProposeNow(deferred.under, std::move(deferred.command), std::move(deferred.owner),
                 deferred.promise, deferred.timer, std::move(deferred.ended));
      continue;
    }
    deps.env.executor.Cancel(deferred.timer);
    if (deferred.owner) deferred.under->OnNotApplied(*deferred.owner);
    if (deferred.ended) deferred.ended->Set(true);
    Applied applied;
    applied.status = std::move(refused);
    deferred.promise.Set(std::move(applied));
  }
  for (const Promise<bool>& waiter : std::exchange(ended->waiters, {})) waiter.Set(true);
}

Task<Status> Shard::Rep::Split(std::string at, ShardId child, Instant deadline, bool by_hand) {
  const auto serving = co_await Serving(deadline);
  if (!serving.ok()) co_return serving.status();
  const std::shared_ptr<Leadership>& under = *serving;
  if (cut != nullptr)
    co_return Status(Code::kFailedPrecondition, "a split or a merge is under way");
  if (at.empty()) {
    if (!under->meter.middle()) {
      co_return Status(Code::kFailedPrecondition,
                       "no key is in the middle, or it was not looked for yet");
    }
    at = *under->meter.middle();
  }
  if (at <= table.span().from || !table.span().Contains(at)) {
    co_return InvalidArgument("the key is not inside the range of the shard");
  }
  const auto mine = std::make_shared<Cut>();
  mine->at = at;
  cut = mine;
  const Instant begun = Now();
  for (;;) {
    if (!under->serving()) {
      EndCut(mine);
      co_return NotLeader();
    }
    const std::vector<Owner> across = LocksAcross(*under, at);
    const bool anchored =
        std::any_of(table.unfinished().begin(), table.unfinished().end(),
                    [&](const auto& entry) {
                      return entry.second.state == TxnState::kStaged && entry.first.key >= at;
                    }) ||
        std::any_of(under->locks().prepared().begin(), under->locks().prepared().end(),
                    [&](const auto& entry) {
                      const PreparedLock& lock = *entry.second;
                      return !lock.applied && lock.owner.key >= at && lock.anchor_key >= at;
                    });
    if (across.empty() && (!anchored || Now() - begun >= kCoordinatorsMax)) break;
    if (Now() - begun >= kAcrossMax || Now() >= deadline) {
      EndCut(mine);
      co_return Status(Code::kFailedPrecondition,
                       fmt::format("{} prepared transactions lie on both sides", across.size()));
    }
    for (const Owner& owner : across) {
      const PreparedLock* lock = under->locks().Find(owner);
      if (lock->since + settings.push_after <= Now()) StartPush(under, owner);
    }
    co_await Sleep(deps.env.executor, kLookAgain);
  }
  v1::ShardCommand command;
  command.mutable_split()->set_at(at);
  command.mutable_split()->set_child_shard_id(child.value());
  command.mutable_split()->set_by_hand(by_hand);
  // What is under way may be committed up to its prepare_ts before the split is applied.
  Timestamp read_high = under->read_high();
  for (const auto& [owner, lock] : under->locks().prepared()) {
    if (lock->prepare_ts != kUndecided) read_high = std::max(read_high, lock->prepare_ts);
  }
  command.mutable_split()->set_read_high(read_high.bits());
  mine->proposed = true;
  const Applied applied = co_await Propose(under, std::move(command), std::nullopt, std::nullopt);
  EndCut(mine);
  co_return applied.status;
}

void Shard::Rep::OnSplit() {
  PROBE("shard: a shard was split");
  children.push_back(*table.child());
  if (children.size() > kChildrenMax) children.erase(children.begin());
  if (deps.on_descriptor) deps.on_descriptor();
  if (deps.on_split) deps.on_split(*table.child(), serving());
  if (!serving() || MUTANT("split-registry-kept")) return;
  // In a later turn: the entry is still being applied.
  struct Announce {
    static Task<void> Run(Rep* rep, std::shared_ptr<Leadership> under, Span left) {
      if (under->serving()) rep->deps.observer.OnSplit(rep->table.id(), left);
      co_return;
    }
  };
  scope.Spawn(Announce::Run(this, lead, table.span()));
}

}  // namespace quorate::shard
