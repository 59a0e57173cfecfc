// Table: what a replica keeps in memory of its applied state, so that hot paths need not read the
// store for it. All of it is a function of the store's content: Load rebuilds it after a start or a
// snapshot, and Apply keeps it in step, so it may be used in Apply without replicas diverging.
#pragma once

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>
#include <absl/container/flat_hash_map.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "raft/core/types.h"
#include "shard/keys.h"
#include "shard/names.h"
#include "txn/record.h"

namespace quorate::v1 {
class FrozenShard;
class ShardDescriptor;
class ShardState;
}  // namespace quorate::v1

namespace quorate::shard {

// A record in a final state that nothing needs once the horizon has passed `at`: COMMITTED ones
// (transaction records: once done) by their commit_ts, ABORTED ones by their start_ts. With the
// record of a key's newest version go the versions below it (mvcc.h), so nothing ever sweeps the
// whole range.
struct Collectable {
  Timestamp at;
  bool participant = false;
  Owner owner;
  friend auto operator<=>(const Collectable&, const Collectable&) = default;
};

// After a split records may name keys of the other half, and collect nothing there. So each half
// goes through its range once, when the horizon has passed all of them.
struct SweepAt {
  Timestamp after;   // from which horizon on
  std::string next;  // the first key that was not looked at
};

// What became of attempts to merge a right neighbour: of all up to that version of it.
struct SettledMerge {
  uint64_t version = 0;
  bool absorbed = false;  // else abandoned
};

// Whether [first, last], or one of the spans, lies on both sides of `at`, or they do together.
bool LiesAcross(std::string_view first, std::string_view last, const std::vector<Span>& spans,
                std::string_view at);

class Table {
 public:
  // `descriptor` is used if the store holds no state of this shard.
  Table(const storage::KvReader& store, const v1::ShardDescriptor& descriptor,
        NameBounds names = {});
  ~Table();

  // Reads everything again from the store (which now holds the shard's state).
  void Load();
  const storage::KvReader& store() const { return store_; }

  ShardId id() const { return id_; }
  const Span& span() const { return span_; }
  uint64_t version() const { return version_; }
  const v1::ShardDescriptor& descriptor() const { return *descriptor_; }
  Timestamp horizon() const { return horizon_; }
  Timestamp floor() const { return floor_; }
  // The highest that an applied entry has closed: whatever is not applied yet is prepared above.
  Timestamp closed() const { return closed_; }
  // Names whose time lies below are TOO_OLD: their records may be gone.
  Timestamp names_horizon() const { return names_horizon_; }
  const Names& names() const { return names_; }
  Names& names() { return names_; }  // to be changed in Apply only

  // Why this replica's state cannot be gone on from: the store holds what no version wrote, or the
  // log contradicts it. Empty: it can.
  const std::string& broken() const { return broken_; }
  void Break(std::string why);

  // ---- changes, in Apply only -----------------------------------------------------------------
  // The descriptor follows the Raft configuration, which alone decides who the members are.
  void SetMembers(raft::LogIndex index, const raft::Configuration& members,
                  storage::WriteBatch* batch);
  void SetHorizon(Timestamp horizon, storage::WriteBatch* batch);
  void SetNamesHorizon(Timestamp horizon, storage::WriteBatch* batch);
  void SetFloor(Timestamp floor, storage::WriteBatch* batch);
  void SetClosed(Timestamp closed, storage::WriteBatch* batch);
  // Stores the record and keeps the indexes below in step. A record in a final state is never
  // passed again (P1, A1), but for a COMMITTED transaction record that becomes done.
  void Store(ParticipantRecord record, storage::WriteBatch* batch);
  void Store(TransactionRecord record, storage::WriteBatch* batch);
  void ForgetCollected(const Collectable& collected, storage::WriteBatch* batch);
  // Divides the shard. Precondition: `at` is inside, and nothing prepared lies on both sides of it.
  // This one keeps [from, at); what is kept at keys from `at` on is the child's, which begins with
  // the same members.
  struct Child {
    ShardId id;
    bool by_hand = false;  // its descriptor says so
    // Here too, and so its scalars go into the batch, unless the store has some: of a replica that
    // came here another way and is further on.
    bool begins = true;
  };
  void Split(std::string_view at, const Child& child, Timestamp read_high,
             storage::WriteBatch* batch);
  // The child of the last split since the start, as it began; null: none.
  const v1::ShardDescriptor* child() const { return child_.get(); }
  void SetSweep(std::optional<SweepAt> sweep, storage::WriteBatch* batch);
  void Freeze(ShardId into, Timestamp read_high, storage::WriteBatch* batch);
  void Thaw(storage::WriteBatch* batch);
  // The shard grows to the right, by what CheckFrozen was content with. Whatever the store has
  // there gives way to it.
  void Absorb(const v1::FrozenShard& frozen, storage::WriteBatch* batch);
  void Settle(ShardId neighbour, SettledMerge merge, storage::WriteBatch* batch);

  // By whom it is to be absorbed: nothing changes until then; 0: by nobody.
  ShardId frozen_into() const { return frozen_into_; }
  // Splits and merges hand it on: whoever ends at a key knows what became of merges there.
  // The right neighbour's, while there is one, and those of the newest of others, which somebody
  // may still want to be told of: right() keeps what was absorbed from coming back.
  const std::map<ShardId, SettledMerge>& merges() const { return merges_; }
  // Which shard begins where this one ends; 0: the one that has begun there all along, or none.
  ShardId right() const { return right_; }

  // ---- indexes --------------------------------------------------------------------------------
  // PREPARED participant records.
  const std::map<Owner, ParticipantRecord>& prepared() const { return prepared_; }
  // Records as stored. Hot paths ask for those that are not there, which the index answers.
  std::optional<ParticipantRecord> Participant(const Owner& owner) const;
  std::optional<TransactionRecord> Transaction(std::string_view anchor_key,
                                               const TxnId& txn_id) const;
  const ParticipantRecord* FindPrepared(const Owner& owner) const;
  // Whose intent is on `key`; nullptr: nobody's.
  const Owner* IntentOn(std::string_view key) const;
  // STAGED transaction records, and COMMITTED ones that are not done.
  const std::map<Owner, TransactionRecord>& unfinished() const { return unfinished_; }
  const absl::btree_set<Collectable>& collectable() const { return collectable_; }
  // What is to be swept since a split, if anything.
  const std::optional<SweepAt>& sweep() const { return sweep_; }
  // Whether a prepared part has keys, guards or its marker on both sides of `at`.
  bool PreparedAcross(std::string_view at) const;
  // At least the highest commit_ts of the records that are still kept. Not the same on every
  // replica: one that loaded its state later may have seen fewer.
  Timestamp newest_commit() const { return newest_commit_; }

  // Descriptor, horizon, floor and the like.
  void StoreScalars(storage::WriteBatch* batch) const;

 private:
  struct StringHash {
    using is_transparent = void;
    size_t operator()(std::string_view s) const { return std::hash<std::string_view>()(s); }
  };

  void LoadIntents();
  void LoadScalars(const v1::ShardState& state);
  void AbsorbPairs(std::string_view pairs, storage::WriteBatch* batch);
  bool AbsorbPair(std::string_view store_key, std::string_view value, storage::WriteBatch* batch);
  void ForgetSettled(size_t keep);
  void Uncount(const Owner& owner);
  v1::ShardState Scalars() const;
  void Index(const ParticipantRecord& record);
  void Index(const TransactionRecord& record);

  const storage::KvReader& store_;
  ShardId id_;
  Span span_;
  uint64_t version_ = 0;
  std::unique_ptr<v1::ShardDescriptor> descriptor_;
  std::unique_ptr<v1::ShardDescriptor> child_;
  Timestamp horizon_;
  Timestamp floor_;
  Timestamp closed_;
  Timestamp names_horizon_;
  std::optional<SweepAt> sweep_;
  ShardId frozen_into_;
  std::map<ShardId, SettledMerge> merges_;
  ShardId right_;
  Names names_;
  std::string broken_;
  std::map<Owner, ParticipantRecord> prepared_;
  // To the keys of prepared_; looked up only.
  absl::flat_hash_map<std::string, const Owner*, StringHash, std::equal_to<>> intents_;
  std::map<Owner, TransactionRecord> unfinished_;
  absl::btree_set<Collectable> collectable_;
  Timestamp newest_commit_;
  // How many records there are of a transaction and digest (0: transaction records), at whatever
  // key: where it says none, there is no need to ask the store. Looked up only.
  absl::flat_hash_map<std::pair<TxnId, Digest>, uint32_t> records_;
};

}  // namespace quorate::shard
