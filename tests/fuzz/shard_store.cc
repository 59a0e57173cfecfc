// shard/keys, records and intents: what a shard keeps in the store; and pairs of a snapshot, which
// are whatever a peer sent: those that are understood can be loaded, read, and applied upon.
#include <algorithm>

#include "base/check.h"
#include "quorate/v1/shard.pb.h"
#include "shard/intents.h"
#include "shard/keys.h"
#include "shard/mvcc.h"
#include "shard/records.h"
#include "shard/state_machine.h"
#include "tests/fuzz/fuzz.h"
#include "tests/shard/map_reader.h"

namespace quorate::fuzz {
namespace {

using namespace quorate::shard;

template <class Record>
void CheckRecord(std::string_view store_key, std::string_view stored) {
  Record record;
  if (!DecodeRecord(store_key, stored, &record)) return;
  storage::WriteBatch batch;
  PutRecord(record, &batch);
  CHECK(batch.ops.size() == 1 && batch.ops[0].key == store_key);
  Record same;
  CHECK(DecodeRecord(store_key, *batch.ops[0].value, &same));
  storage::WriteBatch again;
  PutRecord(same, &again);
  CHECK(again.ops[0].value == batch.ops[0].value, "the encoding is canonical");
}

void CheckIntent(std::string_view key, std::string_view stored) {
  Intent intent;
  if (!DecodeIntent(stored, &intent)) return;
  storage::WriteBatch batch;
  PutIntent(key, {intent.txn_id, intent.digest, {}}, intent.prepare_ts, intent.deletion,
            intent.value, &batch);
  CHECK(batch.ops[0].key == IntentKey(key));
  Intent same;
  CHECK(DecodeIntent(*batch.ops[0].value, &same) && same.Of({intent.txn_id, intent.digest, {}}) &&
        same.prepare_ts == intent.prepare_ts && same.deletion == intent.deletion &&
        (same.deletion || same.value == intent.value));
}

// Keys are read back, and stand in the store in the order of what they are made of.
void CheckKeys(std::string_view a, std::string_view b, uint64_t time) {
  const std::string version = VersionKey(a, Timestamp(time));
  CHECK(UserKey(version) == a && VersionTimestamp(version) == Timestamp(time));
  const int order = storage::CompareKeys(version, VersionKey(b, Timestamp(time)));
  CHECK((order < 0) == (a < b) && (order == 0) == (a == b));
  if (time > 0) {
    CHECK(storage::CompareKeys(version, VersionKey(a, Timestamp(time - 1))) < 0, "newest first");
  }
  const auto [from, to] = StoreSpanOfKey(Tag::kVersions, a);
  const bool within =
      storage::CompareKeys(from, version) <= 0 && storage::CompareKeys(version, to) < 0;
  CHECK(within);
  if (a < b) {
    const auto [first, end] = StoreSpan(Tag::kVersions, a, b);
    CHECK(storage::CompareKeys(first, version) <= 0 && storage::CompareKeys(version, end) < 0);
  }
}

void CheckPairs(std::string_view input) {
  testing::MapReader store;
  storage::WriteBatch batch;
  std::vector<std::string> keys;
  for (int i = 0; i < 16 && !input.empty(); ++i) {
    const std::string key(TakeFrame(&input));
    const std::string_view value = TakeFrame(&input);
    // As every key of a snapshot (raft/host/snapshot_chunks.h).
    if (key.empty() || static_cast<uint8_t>(key.back()) >= key.size()) continue;
    if (!Understands(key, value)) continue;
    batch.Put(key, std::string(value));
    keys.emplace_back(UserKey(key));
  }
  if (keys.empty()) return;
  store.Apply(std::move(batch));
  v1::ShardDescriptor descriptor;
  descriptor.set_shard_id(7);
  descriptor.set_version(1);
  Table table(store, descriptor);
  const auto visit = [](std::string_view, Timestamp, bool, std::string_view) { return true; };
  for (const std::string& key : keys) {
    (void)NewestVersion(store, key);
    (void)VersionAt(store, key, Timestamp(~0ull));
    (void)GetIntent(store, key);
  }
  (void)ScanVersions(store, Span{}, Timestamp(~0ull), 1000, visit);
  (void)ScanVersionsBack(store, Span{}, Timestamp(~0ull), 1000, visit);
  (void)DigestOf(table);
  if (!table.broken().empty()) return;
  v1::ShardCommand horizon;
  horizon.set_term(1);
  horizon.set_version(table.version());
  horizon.mutable_advance_horizon()->set_horizon(~0ull);
  for (int i = 0; i < 4 && table.broken().empty(); ++i) {
    storage::WriteBatch changes;
    ApplyEntry({table, &changes}, raft::Term(1), horizon);
    store.Apply(std::move(changes));
  }
}

}  // namespace

void Run(std::string_view input) {
  CheckPairs(input);
  std::string id(input.substr(0, std::min(input.size(), TxnId::kBytes)));
  id.resize(TxnId::kBytes);
  uint64_t number = 0;
  for (const char c : id) number = number * 131 + static_cast<uint8_t>(c);
  input.remove_prefix(std::min(input.size(), TxnId::kBytes));
  const std::string key(TakeFrame(&input).substr(0, 400));
  const Owner owner{*TxnId::FromBytes(id), Digest(number), key};
  CheckRecord<ParticipantRecord>(ParticipantKey(owner), input);
  CHECK(ParticipantOwner(ParticipantKey(owner)) == owner);
  CheckRecord<TransactionRecord>(TransactionKey(key, owner.txn_id), input);
  CheckIntent(key, input);
  CheckKeys(key, input.substr(0, 400), number);
}

std::vector<std::string> Seeds() {
  const std::string id = "0123456789abcdef";
  std::string prefix = id;
  PutFrame(&prefix, "marker");
  ParticipantRecord participant;
  participant.state = TxnState::kPrepared;
  participant.txn_id = *TxnId::FromBytes(id);
  participant.prepare_ts = Timestamp(77);
  participant.marker_key = "marker";
  participant.anchor_key = "anchor";
  participant.writes = {"a", "b"};
  participant.guards = {{"a", "c"}, {"d", ""}};
  TransactionRecord transaction;
  transaction.state = TxnState::kStaged;
  transaction.txn_id = participant.txn_id;
  transaction.anchor_key = "marker";
  transaction.participants = {{"m", Digest(1)}, {"n", Digest(2)}};
  transaction.writes = {"x"};
  storage::WriteBatch batch;
  PutRecord(participant, &batch);
  PutRecord(transaction, &batch);
  PutIntent("marker", {participant.txn_id, Digest(3)}, Timestamp(9), false, "value", &batch);
  std::vector<std::string> seeds;
  for (const auto& op : batch.ops) seeds.push_back(prefix + *op.value);
  PutIntent("a", OwnerOf(participant), Timestamp(77), false, "value", &batch);
  PutIntent("b", OwnerOf(participant), Timestamp(77), true, "", &batch);
  PutVersion("a", Timestamp(5), false, "value", &batch);
  PutVersion("b", Timestamp(6), true, "", &batch);
  transaction.state = TxnState::kCommitted;
  transaction.anchor_key = "other";
  transaction.done = true;
  PutRecord(transaction, &batch);
  v1::ShardState state;
  state.mutable_shard()->set_shard_id(7);
  state.mutable_shard()->set_version(1);
  batch.Put(ShardStateKey(ShardId(7)), state.SerializeAsString());
  std::string pairs;
  for (const auto& op : batch.ops) {
    PutFrame(&pairs, op.key);
    PutFrame(&pairs, *op.value);
  }
  seeds.push_back(pairs);
  return seeds;
}

}  // namespace quorate::fuzz
