#include "raft/core/log.h"

#include <algorithm>

#include "base/check.h"
#include "base/mutant.h"

namespace quorate::raft {

Log::Log(const SnapshotMeta& snapshot, std::vector<Entry> entries)
    : mark_(snapshot.index),
      mark_term_(snapshot.term),
      stable_(snapshot.index),
      written_(snapshot.index) {
  configurations_.emplace_back(snapshot.index, snapshot.configuration);
  entries_.reserve(entries.size());
  for (Entry& entry : entries) Append(std::move(entry));
  stable_ = written_ = last();
}

std::optional<Term> Log::TermAt(LogIndex index) const {
  if (index == mark_) return mark_term_;
  if (index < mark_ || index > last()) return std::nullopt;
  return entries_[head_ + (index - mark_) - 1].term;
}

std::vector<Entry> Log::Copy(LogIndex from, LogIndex to, size_t bytes_max) const {
  std::vector<Entry> copy;
  if (from > to) return copy;
  CHECK(from > mark_ && to <= last(), "entries [{}, {}] of ({}, {}]", from, to, mark_, last());
  const Entry* begin = &At(from);
  const Entry* end = begin + (to - from) + 1;
  size_t bytes = 0;
  const Entry* stop = begin;
  do {
    bytes += stop->payload.size();
    ++stop;
  } while (stop != end && bytes + stop->payload.size() <= bytes_max);
  copy.assign(begin, stop);
  return copy;
}

LogIndex Log::LastWithTermUpTo(LogIndex from, Term term) const {
  LogIndex index = std::min(from, last());
  while (index > mark_ && *TermAt(index) > term) index = index - 1;
  return index;
}

void Log::Append(Entry entry) {
  CHECK(entry.index == last() + 1, "entry {} after {}", entry.index, last());
  CHECK(entry.term >= last_term(), "term {} after {}", entry.term, last_term());
  if (entry.type == EntryType::kConfiguration) {
    Configuration configuration;
    CHECK(DecodeConfiguration(entry.payload, &configuration), "entry {} is no configuration",
          entry.index);
    configurations_.emplace_back(entry.index, std::move(configuration));
  }
  bytes_ += Bytes(entry);
  entries_.push_back(std::move(entry));
}

void Log::TruncateFrom(LogIndex from) {
  CHECK(from > mark_, "truncating at {} below the mark {}", from, mark_);
  if (from > last()) return;
  for (LogIndex each = from; each <= last(); ++each) bytes_ -= Bytes(At(each));
  entries_.resize(entries_.size() - (last() - from) - 1);
  while (configurations_.back().first >= from) configurations_.pop_back();
  stable_ = std::min(stable_, from - 1);
  written_ = std::min(written_, from - 1);
  ++truncations_;
}

void Log::Compact(LogIndex index) {
  if (index <= mark_) return;
  std::optional<Term> term = TermAt(index);
  CHECK(term.has_value(), "compacting at {} beyond {}", index, last());
  size_t older = 0;
  while (older + 1 < configurations_.size() && configurations_[older + 1].first <= index) ++older;
  configurations_.erase(configurations_.begin(), configurations_.begin() + older);
  DropFront(index - mark_);
  mark_ = index;
  mark_term_ = *term;
  // What is applied from a quorum's copy may be compacted before this replica's own is durable.
  stable_ = std::max(stable_, index);
  written_ = std::max(written_, index);
}

void Log::ResetTo(const SnapshotMeta& snapshot) {
  CHECK(snapshot.index > mark_ || last() == mark_, "snapshot {} below the mark {}", snapshot.index,
        mark_);
  if (Matches(snapshot.index, snapshot.term)) {
    Compact(snapshot.index);
    configurations_.front() = {snapshot.index, snapshot.configuration};
  } else {
    entries_.clear();
    head_ = 0;
    bytes_ = 0;
    configurations_.clear();
    configurations_.emplace_back(snapshot.index, snapshot.configuration);
    mark_ = snapshot.index;
    mark_term_ = snapshot.term;
  }
  stable_ = written_ = mark_;
  ++truncations_;
}

void Log::DropFront(size_t count) {
  for (size_t i = 0; i < count; ++i) {
    bytes_ -= Bytes(entries_[head_ + i]);
    entries_[head_ + i].payload = std::string();
  }
  head_ += count;
  // Moving the rest is paid for by as many dropped entries.
  if (head_ >= entries_.size() - head_) {
    entries_.erase(entries_.begin(), entries_.begin() + head_);
    head_ = 0;
    // Of many groups that are idle even little is much.
    const bool far = entries_.capacity() > 64 && entries_.size() < entries_.capacity() / 8;
    if (far || entries_.empty()) entries_.shrink_to_fit();
  }
}

std::vector<Entry> Log::TakeUnwritten() {
  std::vector<Entry> entries = Copy(written_ + 1, last(), SIZE_MAX);
  written_ = last();
  return entries;
}

void Log::MarkStable(LogIndex last_written, uint64_t truncations) {
  if (truncations != truncations_ && !MUTANT("raft-truncated-write-counts")) return;
  CHECK(last_written <= written_, "{} is durable, {} was handed out", last_written, written_);
  stable_ = std::max(stable_, last_written);
}

const Configuration& Log::ConfigurationAt(LogIndex index) const {
  CHECK(index >= mark_, "configuration at {} below the mark {}", index, mark_);
  for (auto it = configurations_.rbegin(); it != configurations_.rend(); ++it) {
    if (it->first <= index) return it->second;
  }
  return configurations_.front().second;
}

}  // namespace quorate::raft
