// LogWindow: sizes of applied entries, coarsely, to answer how much of a log's tail fits a bound.
#pragma once

#include <algorithm>
#include <iterator>
#include <vector>

#include "raft/core/types.h"

namespace quorate::raft {

class LogWindow {
 public:
  // Entries come in log order; after a jump (snapshot) everything before is forgotten.
  void Add(LogIndex index, size_t bytes) {
    if (index != newest_ + 1) points_.clear();
    newest_ = index;
    total_ += bytes + kEntryOverhead;
    if (points_.empty() || newest_ - points_.back().index >= kStepEntries ||
        total_ - points_.back().total >= kStepBytes) {
      points_.push_back({newest_, total_});
    }
  }

  // The index up to which the log may go so that at most about `entries` and `bytes` stay behind
  // it; 0 if everything fits.
  LogIndex Excess(size_t entries, size_t bytes) const {
    LogIndex excess;
    for (const Point& point : points_) {
      if (newest_ - point.index < entries && total_ - point.total < bytes) break;
      excess = point.index;
    }
    return excess;
  }

  // About how many bytes the entries above `index` have, as far as they are known.
  size_t BytesAbove(LogIndex index) const {
    const auto above =
        std::upper_bound(points_.begin(), points_.end(), index,
                         [](LogIndex wanted, const Point& point) { return wanted < point.index; });
    if (above == points_.end()) return 0;
    return total_ - (above == points_.begin() ? above->total : std::prev(above)->total);
  }

  // What is at or below `index` is gone.
  void Drop(LogIndex index) {
    const auto kept = std::find_if(points_.begin(), points_.end(),
                                   [index](const Point& point) { return point.index > index; });
    points_.erase(points_.begin(), kept);
  }

 private:
  static constexpr uint64_t kEntryOverhead = 64;
  static constexpr uint64_t kStepEntries = 16;
  static constexpr uint64_t kStepBytes = 16 << 10;
  struct Point {
    LogIndex index;
    uint64_t total;  // of everything up to index
  };
  std::vector<Point> points_;
  LogIndex newest_;
  uint64_t total_ = 0;
};

}  // namespace quorate::raft
