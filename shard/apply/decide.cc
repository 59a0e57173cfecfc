#include <algorithm>

#include "base/mutant.h"
#include "base/probe.h"
#include "quorate/v1/shard.pb.h"
#include "shard/apply/apply.h"
#include "shard/evaluate_prepare.h"
#include "shard/records.h"

namespace quorate::shard {

Applied ApplyDecide(ApplyContext context, const v1::Decide& command) {
  Table& table = context.table;
  const auto txn_id = TxnId::FromBytes(command.txn_id());
  const bool commit = command.outcome() == v1::COMMITTED;
  auto record = table.Transaction(command.anchor_key(), *txn_id);
  const Timestamp start_ts(command.start_ts());
  if (!record.has_value()) {
    // Below the horizon an outcome may have been dropped: nobody may say now what it was.
    if (start_ts < table.horizon()) return RefusedTooOld(table, start_ts);
    record.emplace();
    record->txn_id = *txn_id;
    record->start_ts = std::max(start_ts, Timestamp(command.keep_ts()));
    record->anchor_key = command.anchor_key();
  }
  if (command.unless_staged() && record->state == TxnState::kStaged &&
      !MUTANT("txn-abort-of-nothing-over-staged")) {
    PROBE("shard: an abort of nothing was applied behind a stage");
    return StandingOf(*record);
  }
  const TxnState next = NextState(record->state, commit ? TransactionEvent::kDecideCommitted
                                                        : TransactionEvent::kDecideAborted);
  if (next == record->state) {
    if (record->state != TxnState::kNone) {
      PROBE("shard: a decision was applied behind another");
      return StandingOf(*record);
    }
    return Refused(Code::kFailedPrecondition, "only what was staged can be committed");
  }
  record->state = next;
  if (commit) {
    record->commit_ts = Timestamp(command.commit_ts());
  } else {
    record->participants.clear();
  }
  const Applied applied = StandingOf(*record);
  table.Store(*std::move(record), context.batch);
  return applied;
}

}  // namespace quorate::shard
