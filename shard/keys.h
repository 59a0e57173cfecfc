// Layout of a shard's state in the store. Data is stored by key, not by shard, so that a split
// moves nothing. A store key is body | suffix (storage/kv_store.h):
//
//   table           body                 suffix                        value
//   versions        'v' user key         commit_ts, descending (8)     kind (1), value
//   intents         'i' user key         -                             txn, digest, ts, kind, value
//   participants    'p' marker key       txn_id (16), digest (8)       participant record
//   names           'n' key asked or written  name (16)              name record (names.h)
//   transactions    't' anchor key       txn_id (16)                   transaction record
//   shard state     's' shard id (8)     -                             scalars
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "base/limits.h"
#include "base/strong_type.h"
#include "storage/kv_store.h"
#include "txn/given_name.h"
#include "txn/id.h"
#include "txn/key_span.h"
#include "txn/timestamp.h"

namespace quorate::shard {

// Names one participant of one grouping of a transaction, on its shard: all three parts of it.
// Nobody but its client keeps a txn_id from coming twice, so what is found by id alone may be
// somebody else's.
struct Owner {
  TxnId txn_id;
  Digest digest;    // 0: the transaction itself
  std::string key;  // where its record is: the marker key, or the anchor key with digest 0
  friend auto operator<=>(const Owner&, const Owner&) = default;
  template <class H>
  friend H AbslHashValue(H h, const Owner& owner) {
    return H::combine(std::move(h), owner.txn_id, owner.digest, owner.key);
  }
};

// The longest key, marker or anchor that the tables below can hold: what the store allows, less
// tag, longest suffix and its length.
inline constexpr size_t kStoredKeyBytesMax = limits::kLmdbKeyBytesMax - limits::kStoreKeyOverhead;

enum class Tag : char {
  kVersions = 'v',
  kIntents = 'i',
  kNames = 'n',
  kParticipants = 'p',
  kTransactions = 't',
  kShardState = 's',
};
// The tables that a user key (or an address made of one) places, in the order of their tags.
inline constexpr Tag kKeyedTags[] = {Tag::kIntents, Tag::kNames, Tag::kParticipants,
                                     Tag::kTransactions, Tag::kVersions};

std::string VersionKey(std::string_view key, Timestamp commit_ts);
std::string IntentKey(std::string_view key);
std::string ParticipantKey(const Owner& owner);
std::string TransactionKey(std::string_view anchor_key, const TxnId& txn_id);
std::string NameKey(std::string_view key, const GivenName& name);
std::string ShardStateKey(ShardId shard);

// The user key (or marker, anchor) of a store key of a keyed table.
std::string_view UserKey(std::string_view store_key);
// Whether `store_key` is of the versions table, as VersionKey makes them.
bool IsVersionKey(std::string_view store_key);
// Precondition: a key of the versions table.
Timestamp VersionTimestamp(std::string_view store_key);
// Precondition: a key of the participants table.
Owner ParticipantOwner(std::string_view store_key);

// [from, to) in the store for the part of a table that `span` places.
std::pair<std::string, std::string> StoreSpan(Tag tag, std::string_view from, std::string_view to);
// All versions of one key.
std::pair<std::string, std::string> StoreSpanOfKey(Tag tag, std::string_view key);

}  // namespace quorate::shard
