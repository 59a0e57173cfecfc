#include <algorithm>

#include "base/probe.h"
#include "quorate/v1/shard.pb.h"
#include "shard/apply/apply.h"
#include "shard/mvcc.h"

namespace quorate::shard {

// From here on this log has nothing to say about the child's keys, and no entry that was evaluated
// before can: they are of an earlier version.
Applied ApplySplit(ApplyContext context, const v1::SplitCommand& command) {
  Table& table = context.table;
  const std::string& at = command.at();
  if (at <= table.span().from || !table.span().Contains(at)) {
    return Refused(Code::kInvalidArgument, "the shard cannot be split there: it is not inside");
  }
  // The child begins with one majority, and its first configuration is in no entry of its log.
  const auto& members = table.descriptor().replicas();
  if (std::any_of(members.begin(), members.end(),
                  [](const v1::Replica& member) { return member.role() == v1::OUTGOING; })) {
    return Refused(Code::kFailedPrecondition, "a change of members is under way");
  }
  if (table.PreparedAcross(at)) {
    PROBE("shard: a split met what was prepared on both sides");
    return Refused(Code::kFailedPrecondition, "a prepared transaction lies on both sides");
  }
  const ShardId child(command.child_shard_id());
  const auto* may_begin = context.may_begin;
  const bool begins = may_begin == nullptr || !*may_begin || (*may_begin)(child, context.batch);
  table.Split(at, {child, command.by_hand(), begins}, Timestamp(command.read_high()),
              context.batch);
  return {};
}

Applied ApplySweep(ApplyContext context) {
  Table& table = context.table;
  if (!table.sweep() || table.horizon() <= table.sweep()->after) {
    return Refused(Code::kFailedPrecondition, "there is nothing to sweep");
  }
  SweepAt sweep = *table.sweep();
  std::vector<std::pair<std::string, Timestamp>> keys;
  std::optional<std::string> resume =
      ScanVersions(table.store(), {sweep.next, table.span().to}, table.horizon(), kSweepPerEntry,
                   [&keys](std::string_view key, Timestamp commit_ts, bool, std::string_view) {
                     keys.emplace_back(key, commit_ts);
                     return true;
                   });
  size_t budget = kSweepPerEntry;
  for (const auto& [key, commit_ts] : keys) {
    const size_t deleted =
        CollectVersions(table.store(), key, commit_ts, table.horizon(), budget, context.batch);
    if (deleted >= budget) {
      resume = key;  // perhaps not all of it: again, once these deletions are stored
      break;
    }
    budget -= deleted;
  }
  if (!resume) {
    table.SetSweep(std::nullopt, context.batch);
  } else {
    sweep.next = *std::move(resume);
    table.SetSweep(std::move(sweep), context.batch);
  }
  return {};
}

}  // namespace quorate::shard
