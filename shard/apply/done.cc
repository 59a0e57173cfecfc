#include "quorate/v1/shard.pb.h"
#include "shard/apply/apply.h"
#include "shard/records.h"

namespace quorate::shard {
namespace {

void MarkDone(ApplyContext context, std::string_view txn_bytes, const std::string& anchor_key) {
  const auto txn_id = TxnId::FromBytes(txn_bytes);
  const auto it = context.table.unfinished().find({*txn_id, Digest(), anchor_key});
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
  MarkDone(context, command.txn_id(), command.anchor_key());
  for (int i = 0; i < command.more_txn_ids_size(); ++i) {
    MarkDone(context, command.more_txn_ids(i), command.more_anchor_keys(i));
  }
  return {};
}

}  // namespace quorate::shard
