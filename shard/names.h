// Names: what a replica knows of transactions that their callers gave a name
// (docs/transactions.md, section 8). A function of the store's content, as Table is, which owns it.
//
//   name records    one per name and part in the shard: COMMITTED{commit_ts} from the moment the
//                   part becomes versions here; or one per name and shard, CLOSED: no part of that
//                   name will ever be prepared here. Neither ever changes, but that what was CLOSED
//                   on one side of a merge may be COMMITTED on the other, or PREPARED and then
//                   COMMITTED: the fact stands, at every key. Dropped when the names horizon has
//                   passed the name's own time, from when on the name is TOO_OLD here.
//   prepared        PREPARED participant records that carry the name
//
// In memory a record takes about 100 bytes and its key.
#pragma once

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/limits.h"
#include "base/status.h"
#include "shard/keys.h"
#include "storage/kv_store.h"
#include "txn/given_name.h"
#include "txn/timestamp.h"

namespace quorate::shard {

struct NameRecord {
  // Numbers are stored: never renumber.
  enum class State : uint8_t { kCommitted = 1, kClosed = 2 };
  State state = State::kClosed;
  GivenName name;
  Timestamp commit_ts;   // kCommitted
  std::string key;       // where it is kept: the part's first written key, or the key asked about
  std::string last_key;  // the part's last written key: a split between the two copies the record
};

bool DecodeRecord(std::string_view store_key, std::string_view stored, NameRecord* record);

// How many names are remembered at most: by one shard, and by all shards of one node together.
struct NameBounds {
  size_t shard = limits::kShardNamesMax;
  size_t node = limits::kShardNamesMax * 8;
  // What the shards of the node remember; null: nobody counts.
  std::shared_ptr<size_t> on_node;
};

class Names {
 public:
  explicit Names(NameBounds bounds) : bounds_(std::move(bounds)) {}
  ~Names() { Count(-static_cast<ptrdiff_t>(records_.size())); }
  Names(const Names&) = delete;
  Names& operator=(const Names&) = delete;

  struct Kept {
    std::string key;
    std::string last_key;  // empty: it is `key`
  };
  struct Entry {
    NameRecord::State state;
    Timestamp commit_ts;
    std::string key;
    std::string last_key;  // empty: it is `key`
    // Of the other records of the name here, one for each part of its transaction; rarely any.
    std::unique_ptr<std::vector<Kept>> more;
  };

  void Clear();
  // ---- changes, in Apply only -----------------------------------------------------------------
  // The first record of a name stands, but for a CLOSED one before a COMMITTED one. Each part of
  // one committed transaction has a copy of it.
  void Store(NameRecord record, storage::WriteBatch* batch);
  // One of an absorbed shard, which `batch` stores already: all records of the name agree then.
  void Absorb(NameRecord record, storage::WriteBatch* batch);
  void Load(const NameRecord& record);
  void AddPrepared(const GivenName& name, const Owner& owner) { prepared_.insert({name, owner}); }
  void RemovePrepared(const GivenName& name, const Owner& owner) { prepared_.erase({name, owner}); }
  // Gives up what is kept at keys from `at` on, which is another shard's from now on. Records of
  // parts with written keys on both sides, for all that is known, are copied there, to `at`: there
  // may be keys of the part right behind it, and its last one may be a third shard's by now. Null:
  // the child has a state, and its log alone says what is in it.
  void Split(std::string_view at, storage::WriteBatch* child);
  // Drops the oldest records that `horizon` has passed, `max` at most.
  void Collect(Timestamp horizon, size_t max, storage::WriteBatch* batch);

  // ---- looking --------------------------------------------------------------------------------
  const Entry* Find(const GivenName& name) const;
  std::vector<Owner> Prepared(const GivenName& name) const;
  size_t size() const { return records_.size(); }
  // OVERLOADED: no further name can be remembered until old ones have gone. In evaluation only:
  // what is logged is stored, whatever this node has.
  Status CheckRoom() const;
  // Whether Collect would drop something.
  bool AnyBelow(Timestamp horizon) const;

  static bool TooOld(const GivenName& name, Timestamp horizon) {
    return name.unix_ms() < horizon.physical_ms();
  }

 private:
  using Records = absl::btree_map<GivenName, Entry>;

  // What is known of it was CLOSED.
  void StateCommitted(Timestamp commit_ts, Records::iterator stands, storage::WriteBatch* batch);
  static void Put(const NameRecord& record, storage::WriteBatch* batch);
  void Count(ptrdiff_t change) {
    if (bounds_.on_node != nullptr) *bounds_.on_node += static_cast<size_t>(change);
  }

  const NameBounds bounds_;
  Records records_;  // oldest first
  absl::btree_set<std::pair<GivenName, Owner>> prepared_;
};

}  // namespace quorate::shard
