// Merging, on both leaders (docs/transactions.md, section 10).
//
//   right, B                                left, A
//   serving ends, Freeze logged
//   Contents ─────────────────────────────► Absorb logged, or not
//   told which (again and again, by         AbandonMerge logged, unless Absorb was
//   whoever leads B) ◄─────────────────────
//   Thaw logged, or the replicas go
//
// While B is frozen its leaders have a Leadership that does not serve: requests wait for it, and
// ask again.
#include <algorithm>

#include "base/check.h"
#include "base/coding.h"
#include "base/crc32c.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "base/status_macros.h"
#include "quorate/v1/shard.pb.h"
#include "shard/apply/frozen.h"
#include "shard/rep.h"
#include "shard/state_machine.h"
#include "txn/errors.h"
#include "txn/judge.h"

namespace quorate::shard {

Result<v1::FrozenShard> Shard::Rep::Contents() const {
  v1::FrozenShard frozen;
  const auto scalars = table.store().Get(ShardStateKey(table.id()));
  if (!scalars.ok()) return scalars.status();
  if (!scalars->has_value() || !frozen.mutable_state()->ParseFromString(**scalars)) {
    return Internal("a shard without scalars");
  }
  std::string* pairs = frozen.mutable_pairs();
  for (const Tag tag : kKeyedTags) {
    const auto [from, to] = StoreSpan(tag, table.span().from, table.span().to);
    const Status status =
        table.store().Scan(from, to, [pairs](std::string_view key, std::string_view value) {
          PutLengthPrefixed(pairs, key);
          PutLengthPrefixed(pairs, value);
          return pairs->size() <= kAbsorbedBytesMax;
        });
    if (!status.ok()) return status;
    if (pairs->size() > kAbsorbedBytesMax) {
      return Status(Code::kFailedPrecondition, fmt::format("shard {} keeps more than {} KiB",
                                                           table.id(), kAbsorbedBytesMax >> 10));
    }
  }
  frozen.set_crc32c(Crc32c(frozen.pairs()));
  return frozen;
}

Task<Status> Shard::Rep::Freeze(ShardId into, Instant deadline) {
  const auto serving = co_await Serving(deadline);
  if (!serving.ok()) co_return serving.status();
  const std::shared_ptr<Leadership> under = *serving;
  if (cut != nullptr) {
    co_return Status(Code::kFailedPrecondition, "a split or a merge is under way");
  }
  CO_RETURN_IF_ERROR(MembersSettled());
  // As whoever is to absorb it will judge it: what nobody takes is not frozen.
  auto contents = Contents();
  if (!contents.ok()) co_return contents.status();
  contents->mutable_state()->set_frozen_into(into.value());
  CO_RETURN_IF_ERROR(CheckFrozen(*contents));
  v1::ShardCommand command;
  command.mutable_freeze()->set_into_shard_id(into.value());
  // What is under way may be committed up to its prepare_ts before the entry.
  Timestamp read_high = under->read_high();
  for (const auto& [owner, lock] : under->locks().prepared()) {
    if (lock->prepare_ts != kUndecided) read_high = std::max(read_high, lock->prepare_ts);
  }
  command.mutable_freeze()->set_read_high(read_high.bits());
  Future<Applied> proposed = Propose(under, std::move(command), std::nullopt, std::nullopt);
  // In the step of the proposal: nothing is evaluated, and nothing read, behind it.
  EndLeadership();
  const Applied applied = co_await std::move(proposed);
  const bool leads = soft.role == raft::Role::kLeader && !absorbed;
  if (!applied.status.ok() && lead == nullptr && leads) BeginLeadership(soft.term);
  co_return applied.status;
}

Task<Status> Shard::Rep::Thaw() {
  const std::shared_ptr<Leadership> under = lead;
  if (under == nullptr || absorbed) co_return NotLeader();
  if (!table.frozen_into()) co_return Status(Code::kFailedPrecondition, "it is not frozen");
  v1::ShardCommand command;
  command.mutable_thaw();
  co_return (co_await Propose(under, std::move(command), std::nullopt, std::nullopt)).status;
}

// A leader that is thawed begins as after an election, with a floor above all that was read.
void Shard::Rep::OnFrozenOrThawed() {
  PROBE("shard: a shard was frozen or thawed");
  if (lead != nullptr) EndLeadership();
  if (soft.role == raft::Role::kLeader) BeginLeadership(soft.term);
  if (deps.on_descriptor) deps.on_descriptor();
}

Status Shard::Rep::MembersSettled() const {
  if (!group->configuration().joint() && group->configuration_index() <= group->applied_index()) {
    return Status::Ok();
  }
  return Status(Code::kFailedPrecondition, "a change of members is under way");
}

Task<Status> Shard::Rep::Absorb(v1::FrozenShard frozen, uint64_t members, Instant deadline) {
  CO_RETURN_IF_ERROR(CheckFrozen(frozen));
  const auto serving = co_await Serving(deadline);
  if (!serving.ok()) co_return serving.status();
  const std::shared_ptr<Leadership> under = *serving;
  if (const Timestamp named = NewestNamed(frozen); needs_check(named)) {
    CO_RETURN_IF_ERROR(co_await CheckNamed(under, named, deadline));
    if (!under->serving()) co_return NotLeader();
  }
  if (cut != nullptr) {
    co_return Status(Code::kFailedPrecondition, "a split or a merge is under way");
  }
  // Who became a member since may have no room for it.
  CO_RETURN_IF_ERROR(MembersSettled());
  if (table.descriptor().membership_version() != members) {
    co_return Status(Code::kFailedPrecondition, "its members have changed");
  }
  const std::string& from = frozen.state().shard().from();
  if (table.span().to.empty() || table.span().to != from) co_return StaleEpoch(table);
  v1::ShardCommand command;
  *command.mutable_absorb()->mutable_frozen() = std::move(frozen);
  // What is evaluated meanwhile is logged behind it, under the next version.
  const auto mine = std::make_shared<Cut>();
  mine->absorbs = true;
  mine->proposed = true;
  cut = mine;
  const Applied applied = co_await Propose(under, std::move(command), std::nullopt, std::nullopt);
  EndCut(mine);
  co_return applied.status;
}

Task<Status> Shard::Rep::Abandon(v1::AbandonMerge merge) {
  if (!serving()) co_return NotLeader();
  v1::ShardCommand command;
  *command.mutable_abandon_merge() = std::move(merge);
  co_return (co_await Propose(lead, std::move(command), std::nullopt, std::nullopt)).status;
}

void Shard::Rep::OnAbsorbed(const v1::FrozenShard& frozen) {
  PROBE("shard: a shard absorbed its neighbour");
  if (deps.on_absorb) deps.on_absorb(ShardId(frozen.state().shard().shard_id()));
  if (deps.on_descriptor) deps.on_descriptor();
  if (!serving()) return;
  // In a later turn: the entry is still being applied.
  struct Announce {
    static Task<void> Run(Rep* rep, std::shared_ptr<Leadership> under) {
      if (under->serving()) rep->deps.observer.OnServing(rep->table.id(), under->term());
      co_return;
    }
  };
  scope.Spawn(Announce::Run(this, lead));
}

void Shard::Rep::EndAbsorbed(const v1::ShardDescriptor* by) {
  if (by != nullptr) {
    children.push_back(*by);
    superseded = true;
  } else {
    absorbed = true;
  }
  if (lead != nullptr) EndLeadership();
}

}  // namespace quorate::shard
