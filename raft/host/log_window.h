// LogWindow: sizes and terms of applied entries, coarsely: how much of a log's tail fits a bound,
// and where it may be cut.
#pragma once

#include <algorithm>
#include <iterator>
#include <optional>
#include <vector>

#include "raft/core/types.h"

namespace quorate::raft {

class LogWindow {
 public:
  // Where a log may begin: behind an entry whose term is known.
  struct Place {
    LogIndex index;
    Term term;
    friend bool operator==(const Place&, const Place&) = default;
  };

  // Entries come in log order; after a jump (snapshot) everything before is forgotten.
  void Add(LogIndex index, Term term, size_t bytes) {
    if (index != newest_.index + 1) {
      points_.clear();
      gone_ = total_;
    }
    newest_ = {index, term};
    total_ += bytes + kEntryOverhead;
    if (points_.empty() || index - points_.back().place.index >= kStepEntries ||
        total_ - points_.back().total >= kStepBytes) {
      points_.push_back({newest_, total_});
    }
  }

  // The index up to which the log may go so that about `entries` and `bytes`, or a little more,
  // stay behind it; 0 if everything fits.
  LogIndex Excess(size_t entries, size_t bytes) const {
    LogIndex excess;
    for (const Point& point : points_) {
      if (newest_.index - point.place.index < entries && total_ - point.total < bytes) break;
      excess = point.place.index;
    }
    return excess;
  }

  // The same for so much and no more.
  LogIndex Excess(size_t bytes) const {
    if (total_ - gone_ <= bytes) return LogIndex();
    for (const Point& point : points_) {
      if (total_ - point.total <= bytes) return point.place.index;
    }
    return newest_.index;
  }

  // The last known place at or below `index`.
  std::optional<Place> UpTo(LogIndex index) const {
    if (newest_.index <= index && newest_.index) return newest_;
    const auto above = Above(index);
    if (above == points_.begin()) return std::nullopt;
    return std::prev(above)->place;
  }

  // About how many bytes the entries above `index` have, as far as they are known.
  size_t BytesAbove(LogIndex index) const {
    if (index >= newest_.index) return 0;
    const auto above = Above(index);
    return total_ - (above == points_.begin() ? gone_ : std::prev(above)->total);
  }

  // What is at or below `index` is gone.
  void Drop(LogIndex index) {
    const auto above = Above(index);
    if (above != points_.begin()) gone_ = std::prev(above)->total;
    if (index >= newest_.index) gone_ = total_;
    points_.erase(points_.begin(), above);
    if (points_.empty()) points_.shrink_to_fit();  // of many groups that are idle
  }

 private:
  static constexpr uint64_t kEntryOverhead = 64;
  static constexpr uint64_t kStepEntries = 16;
  static constexpr uint64_t kStepBytes = 16 << 10;
  struct Point {
    Place place;
    uint64_t total;  // of everything up to there
  };

  // The first of them above `index`.
  std::vector<Point>::const_iterator Above(LogIndex index) const {
    return std::upper_bound(
        points_.begin(), points_.end(), index,
        [](LogIndex wanted, const Point& point) { return wanted < point.place.index; });
  }

  std::vector<Point> points_;
  Place newest_;
  uint64_t total_ = 0;
  uint64_t gone_ = 0;  // of it, before the first point: dropped
};

}  // namespace quorate::raft
