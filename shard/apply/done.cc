#include "base/check.h"
#include "proto/shard.pb.h"
#include "shard/apply/apply.h"
#include "shard/records.h"

namespace quorate::shard {
namespace {

void MarkDone(ApplyContext context, std::string_view txn_bytes) {
  const auto txn_id = TxnId::FromBytes(txn_bytes);
  CHECK(txn_id.has_value(), "a Done without transaction");
  const auto it = context.table.unfinished().find(*txn_id);
  if (it == context.table.unfinished().end()) return;  // a copy
  TransactionRecord record = it->second;
  // Only a decision is ever resolved, and only what is resolved is done.
  if (record.state != TxnState::kCommitted) {
    return;
  }
  record.done = true;
  context.table.Store(std::move(record), context.batch);
}

}  // namespace

Applied ApplyDone(ApplyContext context, const v1::Done& command) {
  MarkDone(context, command.txn_id());
  for (const std::string& txn_id : command.more_txn_ids()) MarkDone(context, txn_id);
  return {};
}

}  // namespace quorate::shard
