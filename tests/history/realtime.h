// Real-time order without its transitive part, in time and space linear in the history times the
// number of transactions that run at once.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "tests/history/history.h"

namespace quorate::history {

struct Interval {
  uint32_t id = 0;
  int64_t invoked = 0;
  int64_t completed = INT64_MAX;  // INT64_MAX: perhaps never
};

// Calls visit(a, b) for pairs of ids with a completed before b invoked; all other such pairs follow
// from these. Keeps the frontier: what completed, and before whose invocation nothing else that
// completed lies behind it.
template <typename Visit>
void ForEachRealtimePair(std::vector<Interval> intervals, Visit visit) {
  std::vector<Interval> by_completed;
  for (const Interval& interval : intervals) {
    if (interval.completed != INT64_MAX) by_completed.push_back(interval);
  }
  std::sort(by_completed.begin(), by_completed.end(), [](const Interval& a, const Interval& b) {
    return std::pair(a.completed, a.id) < std::pair(b.completed, b.id);
  });
  std::sort(intervals.begin(), intervals.end(), [](const Interval& a, const Interval& b) {
    return std::pair(a.invoked, a.id) < std::pair(b.invoked, b.id);
  });
  std::vector<Interval> frontier;
  size_t next = 0;
  for (const Interval& interval : intervals) {
    for (; next < by_completed.size() && by_completed[next].completed < interval.invoked; ++next) {
      const Interval& done = by_completed[next];
      std::erase_if(frontier, [&](const Interval& f) { return f.completed < done.invoked; });
      frontier.push_back(done);
    }
    for (const Interval& before : frontier) visit(before.id, interval.id);
  }
}

inline Interval IntervalOf(uint32_t id, const Transaction& t) {
  return {id, t.invoked, t.outcome == Outcome::kOk ? t.completed : INT64_MAX};
}

}  // namespace quorate::history
