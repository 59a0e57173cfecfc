#include "base/mutant.h"
#include "quorate/v1/shard.pb.h"
#include "shard/apply/apply.h"
#include "shard/evaluate_prepare.h"
#include "shard/mvcc.h"
#include "shard/records.h"

namespace quorate::shard {

Applied ApplyCommitOnePhase(ApplyContext context, const v1::CommitOnePhase& command) {
  Table& table = context.table;
  const auto txn_id = TxnId::FromBytes(command.txn_id());
  const auto past = table.Transaction(command.anchor_key(), *txn_id);
  if (past && !MUTANT("txn-one-phase-twice")) {
    return StandingOf(*past);
  }
  const Timestamp start_ts(command.start_ts());
  if (start_ts < table.horizon()) return RefusedTooOld(table, start_ts);
  const GivenName name = GivenName::FromBytes(command.name()).value_or(GivenName());
  if (auto refused = RefusedByName(table, name, command.writes(0).key()))
    return *std::move(refused);
  for (const v1::Write& write : command.writes()) {
    if (table.IntentOn(write.key()) != nullptr) {
      return Refused(Code::kLockConflict, "another transaction's intent came first");
    }
  }

  const Timestamp commit_ts(command.commit_ts());
  TransactionRecord record;
  record.state = NextState(TxnState::kNone, TransactionEvent::kCommitOnePhase);
  record.txn_id = *txn_id;
  record.start_ts = start_ts;
  record.commit_ts = commit_ts;
  record.anchor_key = command.anchor_key();
  record.done = true;
  context.batch->ops.reserve(command.writes_size() + 1);
  record.writes.reserve(command.writes_size());
  for (const v1::Write& write : command.writes()) {
    PutVersion(write.key(), commit_ts, write.deletion(), write.value(), context.batch);
    record.writes.push_back(write.key());
  }
  Applied applied = StandingOf(record);
  applied.prepare_ts = commit_ts;
  table.Store(std::move(record), context.batch);
  if (name.given()) {
    table.names().Store({.state = NameRecord::State::kCommitted,
                         .name = name,
                         .commit_ts = commit_ts,
                         .key = command.writes(0).key(),
                         .last_key = command.writes(command.writes_size() - 1).key()},
                        context.batch);
  }
  return applied;
}

}  // namespace quorate::shard
