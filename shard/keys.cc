#include "shard/keys.h"

#include "base/check.h"
#include "base/coding.h"
#include "base/limits.h"

namespace quorate::shard {
namespace {

static_assert(1 + TxnId::kBytes + sizeof(uint64_t) + 1 <= limits::kStoreKeyOverhead,
              "tag, longest suffix and its length fit what the limit of keys leaves");

std::string Body(Tag tag, std::string_view key) {
  std::string body;
  body.reserve(key.size() + 2);
  body.push_back(static_cast<char>(tag));
  body.append(key);
  return body;
}

}  // namespace

std::string VersionKey(std::string_view key, Timestamp commit_ts) {
  std::string suffix;
  PutOrderedDescending64(&suffix, commit_ts.bits());
  return storage::MakeKey(Body(Tag::kVersions, key), suffix);
}

std::string IntentKey(std::string_view key) { return storage::MakeKey(Body(Tag::kIntents, key)); }

std::string ParticipantKey(std::string_view marker_key, const Owner& owner) {
  std::string suffix(owner.txn_id.bytes());
  PutOrdered64(&suffix, owner.digest.value());
  return storage::MakeKey(Body(Tag::kParticipants, marker_key), suffix);
}

std::string TransactionKey(std::string_view anchor_key, const TxnId& txn_id) {
  return storage::MakeKey(Body(Tag::kTransactions, anchor_key), txn_id.bytes());
}

std::string ShardStateKey(ShardId shard) {
  std::string id;
  PutOrdered64(&id, shard.value());
  return storage::MakeKey(Body(Tag::kShardState, id));
}

std::string_view UserKey(std::string_view store_key) {
  return storage::KeyBody(store_key).substr(1);
}

Timestamp VersionTimestamp(std::string_view store_key) {
  std::string_view suffix = storage::KeySuffix(store_key);
  uint64_t bits = 0;
  CHECK(GetOrderedDescending64(&suffix, &bits) && suffix.empty(), "a version key without time");
  return Timestamp(bits);
}

Owner ParticipantOwner(std::string_view store_key) {
  std::string_view suffix = storage::KeySuffix(store_key);
  CHECK(suffix.size() == TxnId::kBytes + sizeof(uint64_t), "a participant key without owner");
  Owner owner;
  owner.txn_id = *TxnId::FromBytes(suffix.substr(0, TxnId::kBytes));
  suffix.remove_prefix(TxnId::kBytes);
  uint64_t digest = 0;
  CHECK(GetOrdered64(&suffix, &digest));
  owner.digest = Digest(digest);
  return owner;
}

std::pair<std::string, std::string> StoreSpan(Tag tag, std::string_view from, std::string_view to) {
  std::string end = to.empty() ? storage::MakeKey(std::string(1, static_cast<char>(tag) + 1))
                               : storage::MakeKey(Body(tag, to));
  return {storage::MakeKey(Body(tag, from)), std::move(end)};
}

std::pair<std::string, std::string> StoreSpanOfKey(Tag tag, std::string_view key) {
  std::string next = Body(tag, key);
  next.push_back('\0');
  return {storage::MakeKey(Body(tag, key)), storage::MakeKey(next)};
}

}  // namespace quorate::shard
