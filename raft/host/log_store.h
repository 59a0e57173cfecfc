// LogStore: one group's log over the node's shared WAL; Recover: what a restarted replica knows.
//
// Three things are durable, each on its own: WAL records (hard state, entries, mark), the store's
// state with its applied index, and GroupMeta, which is written in the same store batch as the
// entry it describes. Order and crash windows:
//
//   truncation    The mark follows the store's flush and never passes it. Crash in between: the WAL
//                 holds more than needed.
//   installation  BeginReplace (a mark; deletions and parts of the new state, over many flushes) ->
//                 EndReplace (last part, GroupMeta, index, the mark goes) -> flush -> record {mark,
//                 reset, hard state} -> answer.
//                 Crash before the first deletion is flushed: nothing happened. From then until the
//                 last flush: the mark is found. Applied index and GroupMeta are still those of the
//                 old state, so the log is recovered as it was, and votes and entries with it; but
//                 there is no state, and the group asks for one. Crash between flush and record:
//                 the store is at S, the log is still the old one. GroupMeta gives the term at S:
//                 unless the log has S with that term, Recover resets the log to S. What is dropped
//                 was below S or contradicts a committed entry. (A replica that is begun empty has
//                 a first record before that: no log at all is a lost one.)
//   applied first An entry may be applied, and flushed, before this node's own copy is durable.
//   Crash
//                 there: the same as above; the state is ahead of the log and the log is reset.
//   destruction   OrderedStore::Drop{state, GroupMeta; Tombstone instead} -> record {hard state of
//                 the tombstone's term, next incarnation}. Crash before the Drop's first flush:
//                 nothing happened. Behind it: what the WAL still has of the tombstone's
//                 incarnation is void, and the store goes on by itself. Either the store's or the
//                 WAL's word is enough to know of it if the other one is lost.
//   beginning     with a state that comes of another group's (a split): the state, and where this
//                 log has lost records a *note* (NoteKey), in one batch -> flush -> first record ->
//                 the note goes, flushed -> the replica takes part. While the note is there, no
//                 record of the group in the log means that there never was one, whatever was lost.
//   mark > state  Cannot be by the above: the store lost data. The replica is quarantined.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "raft/core/node.h"
#include "storage/kv_store.h"
#include "storage/ordered_store.h"
#include "storage/wal.h"

namespace quorate::raft {

// The store key of a group's GroupMeta, under storage::kStorageTag, and the span of all of them.
std::string GroupMetaKey(GroupId group);
std::pair<std::string, std::string> GroupMetaSpan();
bool ParseGroupMetaKey(std::string_view key, GroupId* group);

// What the store knows of a group's log at its applied index. Written when it changes.
struct GroupMeta {
  struct Change {
    LogIndex index;
    Configuration configuration;
    friend bool operator==(const Change&, const Change&) = default;
  };
  Term applied_term;  // of the entry at the applied index
  std::vector<Change>
      changes;  // ascending: the newest at or below the log's mark, and all above it

  // Records that `configuration` holds from `index` on; `mark` is the log's mark.
  void AddChange(LogIndex index, Configuration configuration, LogIndex mark);
  // The configuration at `index`; empty if it is older than what is kept.
  Configuration At(LogIndex index) const;
  std::string Encode() const;
  static bool Decode(std::string_view bytes, GroupMeta* meta);
  friend bool operator==(const GroupMeta&, const GroupMeta&) = default;
};

// What is kept of a replica that was destroyed here, for as long as the node lives: a later replica
// of the group must not pass for it. It begins in `term`, which is above all in which the destroyed
// one voted or acknowledged anything, so that no leader counts what the successor has forgotten: a
// leader of such a term is refused, and elected anew without it.
struct Tombstone {
  uint64_t incarnation = 0;
  Term term;
  std::string Encode() const;
  static bool Decode(std::string_view bytes, Tombstone* tombstone);
  friend bool operator==(const Tombstone&, const Tombstone&) = default;
};
std::string TombstoneKey(GroupId group);
std::pair<std::string, std::string> TombstoneSpan();
bool ParseTombstoneKey(std::string_view key, GroupId* group);

// The store key of the note that a replica begins (above); its value is empty.
std::string NoteKey(GroupId group);
std::pair<std::string, std::string> NoteSpan();
bool ParseNoteKey(std::string_view key, GroupId* group);

// The first entry of every group that is created with members: the same on each of them.
Entry BootstrapEntry(const Configuration& configuration);

// Of the first replica of a group on a node; that of one in place of a destroyed one is higher.
inline constexpr uint64_t kFirstIncarnation = 1;

struct Recovered {
  InitialState initial;
  GroupMeta meta;
  uint64_t incarnation = kFirstIncarnation;
  storage::WalRecord::Mark mark;  // as the WAL has it
  bool fresh = false;
  bool begins = false;  // the store may not have more of it than the log before `record` is durable
  // Must be appended before anything else: the first record, or the reset described above.
  std::optional<storage::WalRecord> record;
  // Not empty: why this replica must not vote or acknowledge before it has a leader's snapshot.
  std::string quarantine;
  bool lost_state = false;  // a part of its state was in a damaged page of the store
  bool noted = false;       // that it begins, in the store

  // Neither log nor store have anything of a state.
  bool applied_nothing() const {
    return !initial.applied && !initial.snapshot.index && initial.entries.empty();
  }
};

// What the three say of a group when the node starts.
struct Stored {
  storage::WalGroup* wal = nullptr;  // consumed; null: the log does not know the group
  bool lost_records = false;         // Wal::lost_records: not knowing it means nothing
  LogIndex applied;                  // the store's
  std::optional<GroupMeta> meta;     // nullopt: absent, or not readable
  bool state = true;                 // StateMachine::HasState
  std::optional<Tombstone> tombstone;
  bool replacing = false;  // OrderedStore::Replacing
  bool noted = false;      // its beginning (above)
};
Recovered Recover(GroupId group, Stored stored, const std::optional<Configuration>& bootstrap);

class LogStore {
 public:
  using Durable = storage::Wal::Durable;

  LogStore(storage::Wal& wal, storage::OrderedStore& store, GroupId group, uint64_t incarnation,
           storage::WalRecord::Mark mark);
  LogStore(const LogStore&) = delete;
  ~LogStore();

  // Makes a Ready's part durable; `done` runs in the order of the calls. With `snapshot` the store
  // is flushed first (see above), and what comes after waits for that.
  void Write(const std::optional<HardState>& hard_state, std::vector<Entry> entries,
             const std::optional<SnapshotMeta>& snapshot, Durable done);
  // Lets go of the log up to `mark`, which the store has flushed.
  void Truncate(storage::WalRecord::Mark mark);
  // Nothing is written any more, and no callback runs.
  void End() { *self_ = nullptr; }
  // Appends what Recover asked for.
  void Append(storage::WalRecord record, Durable done);

  const storage::WalRecord::Mark& mark() const { return mark_; }
  uint64_t incarnation() const { return incarnation_; }

 private:
  struct Item {
    enum class State : uint8_t { kFlushing, kReady, kWriting, kDurable } state = State::kReady;
    storage::WalRecord record;
    Durable done;
  };

  void Enqueue(Item item);
  void OnItem(uint64_t sequence, Item::State state);
  void Advance();

  storage::Wal& wal_;
  storage::OrderedStore& store_;
  const GroupId group_;
  const uint64_t incarnation_;
  storage::WalRecord::Mark mark_;
  std::vector<Item> items_;          // few; a deque would cost each idle replica half a KiB
  uint64_t first_ = 0;               // sequence of items_.front()
  uint64_t unwritten_ = 0;           // sequence of the first that was not yet handed to the WAL
  std::shared_ptr<LogStore*> self_;  // null once destroyed: callbacks may come later
};

}  // namespace quorate::raft
