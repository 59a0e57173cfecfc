// Log: the entries of one replica in memory, above a mark, and how far they are on disk.
//
//        compacted | in memory: known durable | handed to the host | not yet handed
//   ───────────────┼──────────────────────────┼────────────────────┼────────────────►
//               mark()                    stable()             written()           last()
//
// A term below the mark or beyond the end is "unknown", never a number (RC41). Configurations are
// kept beside the log by index and follow every append, truncation and compaction (RC3, RC15).
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "raft/core/types.h"

namespace quorate::raft {

class Log {
 public:
  // Everything given is durable.
  Log(const SnapshotMeta& snapshot, std::vector<Entry> entries);

  LogIndex mark() const { return mark_; }
  LogIndex first() const { return mark_ + 1; }
  LogIndex last() const { return mark_ + size(); }
  Term last_term() const { return size() == 0 ? mark_term_ : entries_.back().term; }
  LogIndex stable() const { return stable_; }
  LogIndex written() const { return written_; }
  bool has_unwritten() const { return written_ < last(); }
  // About how much memory the entries take.
  size_t bytes() const { return bytes_; }

  // Of an index in [mark, last].
  std::optional<Term> TermAt(LogIndex index) const;
  bool Matches(LogIndex index, Term term) const { return TermAt(index) == term; }
  // Whether a log that ends in (index, term) has everything this one may have committed
  // (thesis 3.6.1).
  bool UpToDate(LogIndex index, Term term) const {
    return term > last_term() || (term == last_term() && index >= last());
  }
  const Entry& At(LogIndex index) const {
    CHECK(index > mark_ && index <= last(), "entry {} of ({}, {}]", index, mark_, last());
    return entries_[head_ + (index - mark_) - 1];
  }
  // Copies of [from, to], cut at `bytes_max` of payload but never empty unless from > to.
  std::vector<Entry> Copy(LogIndex from, LogIndex to, size_t bytes_max) const;
  // The largest index <= `from` whose term is <= `term`: where logs may agree again. At the mark
  // the search ends.
  LogIndex LastWithTermUpTo(LogIndex from, Term term) const;

  // `entry.index` is last() + 1.
  void Append(Entry entry);
  // Drops everything at and above `from` (> mark).
  void TruncateFrom(LogIndex from);
  // Moves the mark up to `index` (<= last), for which the log must have a term.
  void Compact(LogIndex index);
  // Moves the mark to a snapshot. Entries above it stay if the log agrees with it there, since they
  // may have been acknowledged; they count as not yet written, for the host replaces its whole log.
  void ResetTo(const SnapshotMeta& snapshot);

  // Entries that the host has not been given yet; they count as written from now on.
  std::vector<Entry> TakeUnwritten();
  // A write that ended at `last` is durable. It says nothing once what it wrote was truncated or
  // reset: `truncations` is what truncations() was when the write was taken (RC49).
  void MarkStable(LogIndex last, uint64_t truncations);
  uint64_t truncations() const { return truncations_; }

  // Newest configuration, committed or not (thesis 4.1).
  const Configuration& configuration() const { return configurations_.back().second; }
  LogIndex configuration_index() const { return configurations_.back().first; }
  // In force at `index` (>= mark).
  const Configuration& ConfigurationAt(LogIndex index) const;

 private:
  static size_t Bytes(const Entry& entry) { return sizeof(Entry) + entry.payload.size(); }
  size_t size() const { return entries_.size() - head_; }
  void DropFront(size_t count);

  LogIndex mark_;
  Term mark_term_;
  LogIndex stable_;
  LogIndex written_;
  uint64_t truncations_ = 0;
  size_t bytes_ = 0;
  // entries_[head_] has index mark_ + 1; what lies before head_ is dead and erased in bulk.
  size_t head_ = 0;
  std::vector<Entry> entries_;
  // Never empty; the first is the one at the mark.
  std::vector<std::pair<LogIndex, Configuration>> configurations_;
};

}  // namespace quorate::raft
