// Participant and transaction records in the store. The encodings are canonical: equal records are
// equal bytes on every replica.
#pragma once

#include <optional>
#include <string_view>

#include "shard/keys.h"
#include "storage/kv_store.h"
#include "txn/record.h"

namespace quorate::shard {

inline Owner OwnerOf(const ParticipantRecord& record) {
  return {record.txn_id, record.digest, record.marker_key};
}
inline Owner OwnerOf(const TransactionRecord& record) {
  return {record.txn_id, Digest(), record.anchor_key};
}

void PutRecord(const ParticipantRecord& record, storage::WriteBatch* batch);
void PutRecord(const TransactionRecord& record, storage::WriteBatch* batch);

// From the store; see Table for the ones that use its index.
std::optional<ParticipantRecord> GetParticipantRecord(const storage::KvReader& store,
                                                      const Owner& owner);
std::optional<TransactionRecord> GetTransactionRecord(const storage::KvReader& store,
                                                      std::string_view anchor_key,
                                                      const TxnId& txn_id);

// From a pair of the store. False if malformed.
bool DecodeRecord(std::string_view store_key, std::string_view stored, ParticipantRecord* record);
bool DecodeRecord(std::string_view store_key, std::string_view stored, TransactionRecord* record);

}  // namespace quorate::shard
