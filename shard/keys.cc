#include "shard/keys.h"

#include "base/check.h"
#include "base/coding.h"
#include "base/limits.h"

namespace quorate::shard {
namespace {

static_assert(1 + TxnId::kBytes + sizeof(uint64_t) + 1 <= limits::kStoreKeyOverhead,
              "tag, longest suffix and its length fit what the limit of keys leaves");

std::string Key(Tag tag, std::string_view key, std::string_view suffix = {}) {
  return storage::MakeKey(static_cast<char>(tag), key, suffix);
}

}  // namespace

std::string VersionKey(std::string_view key, Timestamp commit_ts) {
  std::string suffix;
  PutOrderedDescending64(&suffix, commit_ts.bits());
  return Key(Tag::kVersions, key, suffix);
}

std::string IntentKey(std::string_view key) { return Key(Tag::kIntents, key); }

std::string ParticipantKey(const Owner& owner) {
  std::string suffix(owner.txn_id.bytes());
  PutOrdered64(&suffix, owner.digest.value());
  return Key(Tag::kParticipants, owner.key, suffix);
}

std::string TransactionKey(std::string_view anchor_key, const TxnId& txn_id) {
  return Key(Tag::kTransactions, anchor_key, txn_id.bytes());
}

std::string NameKey(std::string_view key, const GivenName& name) {
  return Key(Tag::kNames, key, name.bytes());
}

std::string ShardStateKey(ShardId shard) {
  std::string id;
  PutOrdered64(&id, shard.value());
  return Key(Tag::kShardState, id);
}

std::string_view UserKey(std::string_view store_key) {
  return storage::KeyBody(store_key).substr(1);
}

bool IsVersionKey(std::string_view store_key) {
  return storage::KeyBody(store_key).starts_with(static_cast<char>(Tag::kVersions)) &&
         storage::KeySuffix(store_key).size() == sizeof(uint64_t);
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
  owner.key = UserKey(store_key);
  return owner;
}

std::pair<std::string, std::string> StoreSpan(Tag tag, std::string_view from, std::string_view to) {
  const auto next = static_cast<Tag>(static_cast<char>(tag) + 1);
  return {Key(tag, from), to.empty() ? Key(next, {}) : Key(tag, to)};
}

std::pair<std::string, std::string> StoreSpanOfKey(Tag tag, std::string_view key) {
  std::string next;
  next.reserve(key.size() + 1);
  next.append(key).push_back('\0');
  return {Key(tag, key), Key(tag, next)};
}

}  // namespace quorate::shard
