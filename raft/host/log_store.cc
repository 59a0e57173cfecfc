#include "raft/host/log_store.h"

#include <algorithm>
#include <iterator>

#include "base/check.h"
#include "base/coding.h"
#include "base/mutant.h"
#include "base/probe.h"

namespace quorate::raft {
namespace {

constexpr std::string_view kMetaPrefix("\0raft", 5);
static_assert(kMetaPrefix[0] == storage::kStorageTag);
constexpr std::string_view kTombstonePrefix("\0tomb", 5);
constexpr std::string_view kNotePrefix("\0note", 5);
constexpr size_t kChangesMax = 1024;

std::string KeyUnder(std::string_view prefix, GroupId group) {
  std::string body(prefix);
  PutOrdered64(&body, group.value());
  return storage::MakeKey(body);
}

std::pair<std::string, std::string> SpanUnder(std::string_view prefix) {
  std::string end(prefix);
  ++end.back();
  return {storage::MakeKey(prefix), storage::MakeKey(end)};
}

bool ParseUnder(std::string_view prefix, std::string_view key, GroupId* group) {
  std::string_view body = storage::KeyBody(key);
  if (!body.starts_with(prefix)) return false;
  body.remove_prefix(prefix.size());
  uint64_t id = 0;
  if (!GetOrdered64(&body, &id) || !body.empty() || id == 0) return false;
  *group = GroupId(id);
  return true;
}

std::vector<Entry> FromWal(std::vector<storage::WalEntry> entries) {
  std::vector<Entry> out;
  out.reserve(entries.size());
  for (auto& entry : entries) {
    out.push_back({LogIndex(entry.index), Term(entry.term), static_cast<EntryType>(entry.type),
                   std::move(entry.payload)});
  }
  return out;
}

std::vector<storage::WalEntry> ToWal(std::vector<Entry> entries) {
  std::vector<storage::WalEntry> out;
  out.reserve(entries.size());
  for (Entry& entry : entries) {
    out.push_back({entry.index.value(), entry.term.value(), static_cast<uint8_t>(entry.type),
                   std::move(entry.payload)});
  }
  return out;
}

storage::WalHardState ToWal(const HardState& state) {
  return {state.term.value(), state.vote.value(), state.commit.value()};
}

storage::WalRecord NewRecord(GroupId group, uint64_t incarnation) {
  storage::WalRecord record;
  record.group = group;
  record.incarnation = incarnation;
  return record;
}

// The first start of a group on this node.
void StartFresh(GroupId group, const std::optional<Configuration>& bootstrap,
                const std::optional<Tombstone>& tombstone, Recovered* out) {
  out->begins = true;
  if (tombstone) {
    // Learns everything from a leader, of a later term.
    out->initial.hard_state.term =
        MUTANT("raft-tombstone-term-ignored") ? Term(0) : tombstone->term;
    out->record = NewRecord(group, out->incarnation);
    out->record->hard_state = ToWal(out->initial.hard_state);
    out->record->reset = true;
    out->record->mark.emplace();
    return;
  }
  out->fresh = true;
  if (!bootstrap) {
    // Learns everything from a leader. Its first state goes to the store before it goes to the log,
    // which has to know by then that there is a replica, or it would seem to have lost it.
    out->record = NewRecord(group, out->incarnation);
    out->record->hard_state.emplace();
    return;
  }
  // Every first member starts from the same committed entry, so each log tells who the members are.
  Entry entry = BootstrapEntry(*bootstrap);
  out->initial.hard_state = {entry.term, ReplicaId(), entry.index};
  out->initial.entries = {entry};
  out->record = NewRecord(group, out->incarnation);
  out->record->hard_state = ToWal(out->initial.hard_state);
  out->record->entries = ToWal(std::vector<Entry>{std::move(entry)});
}

// Whether the log `state` holds `index` with `term`, or starts right above it.
bool LogHas(const InitialState& state, LogIndex index, Term term) {
  if (index == state.snapshot.index) return term == state.snapshot.term;
  if (index < state.snapshot.index) return false;
  const uint64_t offset = index - state.snapshot.index - 1;
  return offset < state.entries.size() && state.entries[offset].term == term;
}

// Why what the log says cannot be: behind right checksums, and yet no log that a core has written.
// Empty if it can.
std::string Nonsense(const storage::WalGroup& wal) {
  uint64_t term = wal.mark.term;
  for (const storage::WalEntry& entry : wal.entries) {
    if (entry.term < term) {
      return fmt::format("entry {} is of term {}, behind one of term {}", entry.index, entry.term,
                         term);
    }
    term = entry.term;
    if (entry.type > static_cast<uint8_t>(EntryType::kEmpty)) {
      return fmt::format("entry {} is of unknown type {}", entry.index, entry.type);
    }
    Configuration ignored;
    if (entry.type == static_cast<uint8_t>(EntryType::kConfiguration) &&
        !DecodeConfiguration(entry.payload, &ignored)) {
      return fmt::format("entry {} is no configuration", entry.index);
    }
  }
  return {};
}

// Why the replica cannot go on from what it has; empty if it can.
std::string Damage(const Stored& stored) {
  if (MUTANT("raft-damaged-replica-goes-on")) return {};
  if (stored.wal == nullptr) return "the log lost its records, or may have";
  if (stored.wal->damaged) return "damaged log records";
  // A replica that was begun empty has a term, perhaps, and nothing else before its first snapshot.
  const bool empty =
      stored.wal->entries.empty() && stored.wal->mark.index == 0 && !stored.applied && !stored.meta;
  if (!stored.state && !stored.replacing && !empty) return "what the group began with is gone";
  if (stored.applied.value() < stored.wal->mark.index) {
    return fmt::format("the store is at {}, the log starts behind {}", stored.applied,
                       stored.wal->mark.index);
  }
  if (stored.applied && !stored.meta) return "the store's record of the group is unreadable";
  if (stored.applied && stored.meta->changes.empty()) {
    return "the store's record of the group names no members";
  }
  if (stored.meta && !stored.meta->changes.empty() &&
      stored.meta->changes.back().index > stored.applied) {
    return fmt::format("the store is at {}, its record of the group at {}", stored.applied,
                       stored.meta->changes.back().index);
  }
  return Nonsense(*stored.wal);
}

// Raises the start of the log to the oldest configuration that is known for certain.
void RaiseStart(const GroupMeta& meta, InitialState* state) {
  const LogIndex oldest = meta.changes.empty() ? LogIndex() : meta.changes.front().index;
  if (oldest <= state->snapshot.index) return;
  const uint64_t drop = oldest - state->snapshot.index;
  CHECK(drop <= state->entries.size(), "configuration at {} is not in the log", oldest);
  state->snapshot.index = oldest;
  state->snapshot.term = state->entries[drop - 1].term;
  state->entries.erase(state->entries.begin(), state->entries.begin() + static_cast<int64_t>(drop));
}

}  // namespace

std::string GroupMetaKey(GroupId group) { return KeyUnder(kMetaPrefix, group); }
std::pair<std::string, std::string> GroupMetaSpan() { return SpanUnder(kMetaPrefix); }
bool ParseGroupMetaKey(std::string_view key, GroupId* group) {
  return ParseUnder(kMetaPrefix, key, group);
}

std::string TombstoneKey(GroupId group) { return KeyUnder(kTombstonePrefix, group); }
std::pair<std::string, std::string> TombstoneSpan() { return SpanUnder(kTombstonePrefix); }
bool ParseTombstoneKey(std::string_view key, GroupId* group) {
  return ParseUnder(kTombstonePrefix, key, group);
}

std::string NoteKey(GroupId group) { return KeyUnder(kNotePrefix, group); }
std::pair<std::string, std::string> NoteSpan() { return SpanUnder(kNotePrefix); }
bool ParseNoteKey(std::string_view key, GroupId* group) {
  return ParseUnder(kNotePrefix, key, group);
}

std::string Tombstone::Encode() const {
  std::string out;
  PutVarint(&out, incarnation);
  PutVarint(&out, term.value());
  return out;
}

bool Tombstone::Decode(std::string_view bytes, Tombstone* tombstone) {
  uint64_t term = 0;
  if (!GetVarint(&bytes, &tombstone->incarnation) || !GetVarint(&bytes, &term)) return false;
  tombstone->term = Term(term);
  return bytes.empty();
}

void GroupMeta::AddChange(LogIndex index, Configuration configuration, LogIndex mark) {
  CHECK(changes.empty() || changes.back().index < index, "configuration {} after {}", index,
        changes.back().index);
  changes.push_back({index, std::move(configuration)});
  const auto above = std::find_if(changes.begin(), changes.end(),
                                  [&](const Change& change) { return change.index > mark; });
  if (above - changes.begin() > 1) changes.erase(changes.begin(), std::prev(above));
  // A log that hardly grows keeps its mark for long. Of what is older than these, nobody is told.
  if (changes.size() > kChangesMax) changes.erase(changes.begin());
}

Configuration GroupMeta::At(LogIndex index) const {
  Configuration found;
  for (const Change& change : changes) {
    if (change.index <= index) found = change.configuration;
  }
  return found;
}

std::string GroupMeta::Encode() const {
  std::string out;
  PutVarint(&out, applied_term.value());
  PutVarint(&out, changes.size());
  for (const Change& change : changes) {
    PutVarint(&out, change.index.value());
    PutLengthPrefixed(&out, EncodeConfiguration(change.configuration));
  }
  return out;
}

bool GroupMeta::Decode(std::string_view bytes, GroupMeta* meta) {
  *meta = {};
  uint64_t term = 0;
  uint64_t count = 0;
  if (!GetVarint(&bytes, &term) || !GetVarint(&bytes, &count) || count > kChangesMax) return false;
  meta->applied_term = Term(term);
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t index = 0;
    std::string_view configuration;
    Change change;
    if (!GetVarint(&bytes, &index) || !GetLengthPrefixed(&bytes, &configuration) ||
        !DecodeConfiguration(configuration, &change.configuration)) {
      return false;
    }
    change.index = LogIndex(index);
    if (!meta->changes.empty() && meta->changes.back().index >= change.index) return false;
    meta->changes.push_back(std::move(change));
  }
  return bytes.empty();
}

Entry BootstrapEntry(const Configuration& configuration) {
  return {LogIndex(1), Term(1), EntryType::kConfiguration, EncodeConfiguration(configuration)};
}

Recovered Recover(GroupId group, Stored stored, const std::optional<Configuration>& bootstrap) {
  Recovered out;
  storage::WalGroup* wal = stored.wal;
  const LogIndex applied = stored.applied;
  if (stored.tombstone) out.incarnation = stored.tombstone->incarnation + 1;
  // Behind a destruction there was no state, so nothing was voted or acknowledged that the log
  // could have lost.
  const bool never_was = stored.tombstone || stored.noted || !stored.lost_records;
  out.noted = stored.noted;
  if (wal == nullptr && !applied && !stored.meta && never_was) {
    StartFresh(group, bootstrap, stored.tombstone, &out);
    return out;
  }
  InitialState& state = out.initial;
  if (wal != nullptr) {
    out.incarnation = wal->incarnation;
    out.mark = wal->mark;
    state.hard_state = {Term(wal->hard_state.term), ReplicaId(wal->hard_state.vote),
                        LogIndex(wal->hard_state.commit)};
    state.snapshot.index = LogIndex(wal->mark.index);
    state.snapshot.term = Term(wal->mark.term);
  }
  out.quarantine = Damage(stored);
  if (wal != nullptr) state.entries = FromWal(std::move(wal->entries));
  if (stored.meta) out.meta = std::move(*stored.meta);
  state.applied = applied;
  // Terms that are durable elsewhere count, too: state may be flushed before the hard state is
  // written. No vote can have been given in such a term, since votes are durable before they leave.
  Term term = std::max(state.snapshot.term, out.meta.applied_term);
  if (!state.entries.empty()) term = std::max(term, state.entries.back().term);
  const bool raised = term > state.hard_state.term;
  if (raised) state.hard_state = {term, ReplicaId(), state.hard_state.commit};
  if (!out.quarantine.empty()) return out;

  if (!LogHas(state, applied, out.meta.applied_term)) {
    PROBE("raft host: recovered state ahead of log");
    state.snapshot.index = applied;
    state.snapshot.term = out.meta.applied_term;
    state.entries.clear();
    out.record = NewRecord(group, out.incarnation);
    out.record->mark = out.mark = {applied.value(), out.meta.applied_term.value()};
    out.record->reset = true;
  } else {
    RaiseStart(out.meta, &state);
  }
  state.snapshot.configuration = out.meta.At(state.snapshot.index);
  const LogIndex last = state.snapshot.index + state.entries.size();
  state.hard_state.commit = std::min(std::max(state.hard_state.commit, applied), last);
  if (raised && !out.record) out.record = NewRecord(group, out.incarnation);
  if (out.record) out.record->hard_state = ToWal(state.hard_state);
  return out;
}

LogStore::LogStore(storage::Wal& wal, storage::OrderedStore& store, GroupId group,
                   uint64_t incarnation, storage::WalRecord::Mark mark)
    : wal_(wal),
      store_(store),
      group_(group),
      incarnation_(incarnation),
      mark_(mark),
      self_(std::make_shared<LogStore*>(this)) {}

LogStore::~LogStore() { *self_ = nullptr; }

void LogStore::Write(const std::optional<HardState>& hard_state, std::vector<Entry> entries,
                     const std::optional<SnapshotMeta>& snapshot, Durable done) {
  Item item;
  item.done = std::move(done);
  item.record = NewRecord(group_, incarnation_);
  if (hard_state) item.record.hard_state = ToWal(*hard_state);
  item.record.entries = ToWal(std::move(entries));
  if (snapshot) {
    mark_ = {snapshot->index.value(), snapshot->term.value()};
    item.record.mark = mark_;
    item.record.reset = true;
    if (!MUTANT("raft-log-reset-before-flush")) {
      item.state = Item::State::kFlushing;
      store_.Flush([self = self_, sequence = first_ + items_.size()](Status status) {
        // After a failed flush nothing is acknowledged any more (OrderedStore::OnFailure).
        if (*self != nullptr && status.ok()) (*self)->OnItem(sequence, Item::State::kReady);
      });
    }
  }
  Enqueue(std::move(item));
}

void LogStore::Truncate(storage::WalRecord::Mark mark) {
  CHECK(mark.index >= mark_.index, "mark {} after {}", mark.index, mark_.index);
  mark_ = mark;
  Item item;
  item.record = NewRecord(group_, incarnation_);
  item.record.mark = mark;
  Enqueue(std::move(item));
}

void LogStore::Append(storage::WalRecord record, Durable done) {
  Item item;
  item.record = std::move(record);
  item.done = std::move(done);
  Enqueue(std::move(item));
}

void LogStore::Enqueue(Item item) {
  items_.push_back(std::move(item));
  Advance();
}

void LogStore::OnItem(uint64_t sequence, Item::State state) {
  CHECK(sequence >= first_, "log item {} completed twice", sequence);
  items_[sequence - first_].state = state;
  Advance();
}

void LogStore::Advance() {
  for (; unwritten_ < first_ + items_.size(); ++unwritten_) {
    Item& item = items_[unwritten_ - first_];
    if (item.state == Item::State::kFlushing) break;
    item.state = Item::State::kWriting;
    wal_.Append(std::move(item.record), [self = self_, sequence = unwritten_] {
      if (*self != nullptr) (*self)->OnItem(sequence, Item::State::kDurable);
    });
  }
  while (!items_.empty() && items_.front().state == Item::State::kDurable) {
    Durable done = std::move(items_.front().done);
    items_.erase(items_.begin());
    ++first_;
    if (done) done();
  }
}

}  // namespace quorate::raft
