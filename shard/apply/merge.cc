#include <algorithm>

#include "base/mutant.h"
#include "base/probe.h"
#include "quorate/v1/shard.pb.h"
#include "shard/apply/apply.h"

namespace quorate::shard {
namespace {

// Who begins at a key, and was absorbed, does not begin there again, though another may.
bool IsRight(const Table& table, ShardId shard, const std::string& from) {
  return !from.empty() && table.span().to == from && (!table.right() || table.right() == shard);
}

std::optional<Applied> RefusedAbsorb(const Table& table, const v1::AbsorbCommand& command) {
  const v1::ShardDescriptor& frozen = command.frozen().state().shard();
  const ShardId id(frozen.shard_id());
  if (command.frozen().state().frozen_into() != table.id().value() || id == table.id()) {
    return Refused(Code::kInvalidArgument, "it was frozen for another shard");
  }
  const auto settled = table.merges().find(id);
  if (settled != table.merges().end() && settled->second.version >= frozen.version() &&
      !MUTANT("merge-absorbs-twice")) {
    PROBE("shard: an Absorb came too late");
    return Refused(Code::kFailedPrecondition, "the merge was settled before");
  }
  const bool right = IsRight(table, id, frozen.from()) || MUTANT("merge-absorbs-twice");
  if (table.span().to.empty() || !right) {
    return Refused(Code::kStaleEpoch, "the frozen shard is no right neighbour");
  }
  return std::nullopt;
}

}  // namespace

// What is in the log behind it was evaluated before, or by a leader that does not know it yet.
Applied ApplyFreeze(ApplyContext context, const v1::FreezeCommand& command) {
  Table& table = context.table;
  const auto& members = table.descriptor().replicas();
  if (std::any_of(members.begin(), members.end(),
                  [](const v1::Replica& member) { return member.role() == v1::OUTGOING; })) {
    return Refused(Code::kFailedPrecondition, "a change of members is under way");
  }
  table.Freeze(ShardId(command.into_shard_id()), Timestamp(command.read_high()), context.batch);
  return {};
}

Applied ApplyThaw(ApplyContext context) {
  if (!context.table.frozen_into()) {
    return Refused(Code::kFailedPrecondition, "the shard is not frozen");
  }
  context.table.Thaw(context.batch);
  return {};
}

InTheWay WhatIsInTheWay(ApplyContext context, const v1::AbsorbCommand& command) {
  const auto* make_room = context.make_room;
  if (make_room == nullptr || !*make_room || RefusedAbsorb(context.table, command)) return {};
  return (*make_room)(command.frozen().state().shard());
}

Applied ApplyAbsorb(ApplyContext context, const v1::AbsorbCommand& command) {
  if (auto refused = RefusedAbsorb(context.table, command)) return *std::move(refused);
  context.table.Absorb(command.frozen(), context.batch);
  return {};
}

Applied ApplyAbandonMerge(ApplyContext context, const v1::AbandonMerge& command) {
  Table& table = context.table;
  const ShardId id(command.shard_id());
  const auto settled = table.merges().find(id);
  if (settled != table.merges().end() && settled->second.version >= command.version()) return {};
  // Whoever absorbs it later has this log, or has absorbed who has it.
  if (!IsRight(table, id, command.from())) {
    return Refused(Code::kStaleEpoch, "the frozen shard is no right neighbour");
  }
  table.Settle(id, {command.version(), false}, context.batch);
  return {};
}

}  // namespace quorate::shard
