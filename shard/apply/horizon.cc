#include <algorithm>
#include <optional>

#include "base/mutant.h"
#include "base/probe.h"
#include "quorate/v1/shard.pb.h"
#include "shard/apply/apply.h"
#include "shard/evaluate_prepare.h"
#include "shard/mvcc.h"
#include "shard/records.h"

namespace quorate::shard {
namespace {

// Collects what lies below the record's writes, where these are the newest at the horizon. `budget`
// counts keys looked at and versions deleted. False: keys are left, which the record then names.
bool CollectWrites(ApplyContext context, Timestamp commit_ts, std::vector<std::string>* writes,
                   size_t* budget) {
  while (!writes->empty()) {
    if (*budget == 0) return false;
    // Another shard's since a split: its replicas must not see anything change under them.
    if (!context.table.span().Contains(writes->back()) && !MUTANT("split-garbage-of-others")) {
      --*budget;
      writes->pop_back();
      continue;
    }
    const size_t max = *budget;
    const size_t deleted =
        CollectVersions(context.table.store(), writes->back(), commit_ts,
                        MUTANT("gc-above-horizon") ? Timestamp(~0ull) : context.table.horizon(),
                        max, context.batch);
    *budget -= std::min(max, std::max<size_t>(1, deleted));
    // Perhaps not all of the key: again, once these deletions are stored.
    if (deleted >= max) return false;
    writes->pop_back();
  }
  return true;
}

template <class Record>
bool CollectRecord(ApplyContext context, const Collectable& due, std::optional<Record> record,
                   size_t* budget) {
  if (!record.has_value()) {
    context.table.Break("a record to be collected is not in the store");
    return false;
  }
  const size_t before = record->writes.size();
  if (record->state == TxnState::kCommitted &&
      !CollectWrites(context, record->commit_ts, &record->writes, budget)) {
    PROBE("shard: a record was collected in parts");
    if (record->writes.size() != before) PutRecord(*record, context.batch);
    return false;
  }
  context.table.ForgetCollected(due, context.batch);
  return true;
}

}  // namespace

void Collect(ApplyContext context, size_t budget) {
  Table& table = context.table;
  while (budget > 0 && !table.collectable().empty()) {
    const Collectable due = *table.collectable().begin();
    if (due.at >= table.horizon()) return;
    --budget;
    const bool whole =
        due.participant
            ? CollectRecord(context, due, table.Participant(due.owner), &budget)
            : CollectRecord(context, due, table.Transaction(due.owner.key, due.owner.txn_id),
                            &budget);
    // What one entry deletes it does not see as deleted, so it does not come back to a record.
    if (!whole) return;
  }
}

Applied ApplyAdvanceHorizon(ApplyContext context, const v1::AdvanceHorizon& command) {
  Table& table = context.table;
  const Timestamp horizon(command.horizon());
  if (horizon > table.horizon()) table.SetHorizon(horizon, context.batch);
  const Timestamp names_horizon(command.names_horizon());
  if (names_horizon > table.names_horizon()) table.SetNamesHorizon(names_horizon, context.batch);
  Collect(context, kCollectPerAdvance);
  CollectNames(context, kCollectPerAdvance);
  return {};
}

void CollectNames(ApplyContext context, size_t max) {
  const Table& table = context.table;
  context.table.names().Collect(
      MUTANT("name-behind-short-horizon") ? table.horizon() : table.names_horizon(), max,
      context.batch);
}

Applied Refused(Code code, std::string why) {
  Applied applied;
  applied.status = Status(code, std::move(why));
  return applied;
}

Applied RefusedTooOld(const Table& table, Timestamp start_ts) {
  Applied applied;
  applied.status = TooOld(start_ts, table);
  return applied;
}

}  // namespace quorate::shard
