#include "shard/records.h"

#include "base/check.h"
#include "base/coding.h"

namespace quorate::shard {
namespace {

void PutStrings(std::string* out, const std::vector<std::string>& strings) {
  PutVarint(out, strings.size());
  for (const std::string& s : strings) PutLengthPrefixed(out, s);
}

// Takes strings off the input until it has `count`; each takes at least one byte, so that a wrong
// count cannot make it allocate.
bool GetStrings(std::string_view* input, std::vector<std::string>* strings) {
  uint64_t count = 0;
  if (!GetVarint(input, &count) || count > input->size()) return false;
  strings->reserve(count);
  for (; count > 0; --count) {
    std::string_view bytes;
    if (!GetLengthPrefixed(input, &bytes)) return false;
    strings->emplace_back(bytes);
  }
  return true;
}

bool GetString(std::string_view* input, std::string* s) {
  std::string_view bytes;
  if (!GetLengthPrefixed(input, &bytes)) return false;
  *s = bytes;
  return true;
}

bool GetTimestamp(std::string_view* input, Timestamp* ts) {
  uint64_t bits = 0;
  if (!GetFixed64(input, &bits)) return false;
  *ts = Timestamp(bits);
  return true;
}

bool GetState(std::string_view* input, TxnState* state) {
  if (input->empty() || static_cast<uint8_t>(input->front()) > 4) return false;
  *state = static_cast<TxnState>(input->front());
  input->remove_prefix(1);
  return true;
}

std::optional<std::string> Get(const storage::KvReader& store, std::string_view key) {
  auto stored = store.Get(key);
  CHECK(stored.ok(), "reading the store: {}", stored.status().ToString());
  return std::move(stored).value();
}

}  // namespace

void PutRecord(const ParticipantRecord& record, storage::WriteBatch* batch) {
  std::string out;
  out.push_back(static_cast<char>(record.state));
  PutFixed64(&out, record.start_ts.bits());
  PutFixed64(&out, record.prepare_ts.bits());
  PutFixed64(&out, record.commit_ts.bits());
  PutFixed64(&out, record.priority.start_ts.bits());
  out.append(record.priority.txn_id.bytes());
  PutLengthPrefixed(&out, record.anchor_key);
  PutStrings(&out, record.writes);
  PutVarint(&out, record.guards.size());
  for (const Span& guard : record.guards) {
    PutLengthPrefixed(&out, guard.from);
    PutLengthPrefixed(&out, guard.to);
  }
  out.append(record.name.bytes());
  batch->Put(ParticipantKey(OwnerOf(record)), std::move(out));
}

bool DecodeRecord(std::string_view store_key, std::string_view in, ParticipantRecord* record) {
  if (storage::KeySuffix(store_key).size() != TxnId::kBytes + sizeof(uint64_t)) return false;
  Owner owner = ParticipantOwner(store_key);
  record->txn_id = owner.txn_id;
  record->digest = owner.digest;
  record->marker_key = std::move(owner.key);
  if (!GetState(&in, &record->state) || !GetTimestamp(&in, &record->start_ts) ||
      !GetTimestamp(&in, &record->prepare_ts) || !GetTimestamp(&in, &record->commit_ts) ||
      !GetTimestamp(&in, &record->priority.start_ts) || in.size() < TxnId::kBytes) {
    return false;
  }
  record->priority.txn_id = *TxnId::FromBytes(in.substr(0, TxnId::kBytes));
  in.remove_prefix(TxnId::kBytes);
  uint64_t guards = 0;
  if (!GetString(&in, &record->anchor_key) || !GetStrings(&in, &record->writes) ||
      !GetVarint(&in, &guards) || guards > in.size()) {
    return false;
  }
  record->guards.resize(guards);
  for (Span& guard : record->guards) {
    if (!GetString(&in, &guard.from) || !GetString(&in, &guard.to)) return false;
  }
  if (in.empty()) return true;  // without a name
  const auto name = GivenName::FromBytes(in);
  if (!name.has_value()) return false;
  record->name = *name;
  return true;
}

void PutRecord(const TransactionRecord& record, storage::WriteBatch* batch) {
  std::string out;
  out.push_back(static_cast<char>(record.state));
  out.push_back(record.done ? 1 : 0);
  PutFixed64(&out, record.start_ts.bits());
  PutFixed64(&out, record.commit_ts.bits());
  PutVarint(&out, record.participants.size());
  for (const ParticipantName& participant : record.participants) {
    PutLengthPrefixed(&out, participant.marker_key);
    PutFixed64(&out, participant.digest.value());
  }
  PutStrings(&out, record.writes);
  batch->Put(TransactionKey(record.anchor_key, record.txn_id), std::move(out));
}

bool DecodeRecord(std::string_view store_key, std::string_view in, TransactionRecord* record) {
  const auto txn_id = TxnId::FromBytes(storage::KeySuffix(store_key));
  if (!txn_id.has_value()) return false;
  record->txn_id = *txn_id;
  record->anchor_key = UserKey(store_key);
  uint64_t participants = 0;
  if (!GetState(&in, &record->state) || in.empty()) return false;
  record->done = in.front() != 0;
  in.remove_prefix(1);
  if (!GetTimestamp(&in, &record->start_ts) || !GetTimestamp(&in, &record->commit_ts) ||
      !GetVarint(&in, &participants) || participants > in.size()) {
    return false;
  }
  record->participants.resize(participants);
  for (ParticipantName& participant : record->participants) {
    uint64_t digest = 0;
    if (!GetString(&in, &participant.marker_key) || !GetFixed64(&in, &digest)) return false;
    participant.digest = Digest(digest);
  }
  return GetStrings(&in, &record->writes) && in.empty();
}

std::optional<ParticipantRecord> GetParticipantRecord(const storage::KvReader& store,
                                                      const Owner& owner) {
  const std::string key = ParticipantKey(owner);
  const auto stored = Get(store, key);
  if (!stored.has_value()) return std::nullopt;
  ParticipantRecord record;
  CHECK(DecodeRecord(key, *stored, &record), "a participant record does not decode");
  return record;
}

std::optional<TransactionRecord> GetTransactionRecord(const storage::KvReader& store,
                                                      std::string_view anchor_key,
                                                      const TxnId& txn_id) {
  const std::string key = TransactionKey(anchor_key, txn_id);
  const auto stored = Get(store, key);
  if (!stored.has_value()) return std::nullopt;
  TransactionRecord record;
  CHECK(DecodeRecord(key, *stored, &record), "a transaction record does not decode");
  return record;
}

}  // namespace quorate::shard
