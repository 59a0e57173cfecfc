#include <algorithm>

#include "base/coding.h"
#include "base/crc32c.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "base/status_macros.h"
#include "quorate/v1/shard.pb.h"
#include "shard/apply/apply.h"
#include "shard/state_machine.h"
#include "txn/errors.h"

namespace quorate::shard {
namespace {

// Versions and the like, at a key of the shard.
bool KeptAt(std::string_view store_key, const Span& span) {
  if (store_key.empty() || static_cast<uint8_t>(store_key.back()) + 2u > store_key.size()) {
    return false;
  }
  const Tag tag = static_cast<Tag>(storage::KeyBody(store_key).front());
  return std::find(std::begin(kKeyedTags), std::end(kKeyedTags), tag) != std::end(kKeyedTags) &&
         span.Contains(UserKey(store_key));
}

}  // namespace

Status CheckFrozen(const v1::FrozenShard& frozen) {
  const v1::ShardDescriptor& shard = frozen.state().shard();
  if (shard.shard_id() == 0 || shard.version() == 0 || frozen.state().frozen_into() == 0) {
    return InvalidArgument("that is no frozen shard");
  }
  const Span span{shard.from(), shard.to()};
  RETURN_IF_ERROR(CheckKey(shard.from(), "shard.from"));
  RETURN_IF_ERROR(CheckSpan(span));
  if (Crc32c(frozen.pairs()) != frozen.crc32c()) {
    return InvalidArgument("the state of the frozen shard is damaged");
  }
  std::string_view left = frozen.pairs();
  while (!left.empty()) {
    std::string_view key, value;
    if (!GetLengthPrefixed(&left, &key) || !GetLengthPrefixed(&left, &value) ||
        !KeptAt(key, span) || !Understands(key, value)) {
      return InvalidArgument("a frozen shard keeps nothing like this");
    }
  }
  return Status::Ok();
}

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

Applied ApplyAbsorb(ApplyContext context, const v1::AbsorbCommand& command) {
  Table& table = context.table;
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
  if (table.span().to.empty() ||
      (table.span().to != frozen.from() && !MUTANT("merge-absorbs-twice"))) {
    return Refused(Code::kStaleEpoch, "the frozen shard is no right neighbour");
  }
  const auto* why_not_free = context.why_not_free;
  if (why_not_free != nullptr && *why_not_free) {
    const std::string why = (*why_not_free)(id, {frozen.from(), frozen.to()});
    if (!why.empty()) {
      PROBE("shard: a replica needs a snapshot instead of an Absorb");
      table.Break("the range of an absorbed shard is not free here: " + why);
      return {};
    }
  }
  table.Absorb(command.frozen(), context.batch);
  return {};
}

Applied ApplyAbandonMerge(ApplyContext context, const v1::AbandonMerge& command) {
  Table& table = context.table;
  const ShardId id(command.shard_id());
  const auto settled = table.merges().find(id);
  if (settled != table.merges().end() && settled->second.version >= command.version()) return {};
  // Whoever absorbs it later has this log, or has absorbed who has it.
  if (table.span().to.empty() || table.span().to != command.from()) {
    return Refused(Code::kStaleEpoch, "the frozen shard is no right neighbour");
  }
  table.Settle(id, {command.version(), false}, context.batch);
  return {};
}

}  // namespace quorate::shard
