// What the logs of a node's groups may keep, together, of what no crash needs.
//
// A budget is divided so that nobody is cut who keeps little: everybody gets the same, and as much
// as there is, but whoever was not used for a while gets half of that for each kLogHalfLife. So
// what idle groups keep gives way to what busy ones need, and one busy group among idle ones may
// have nearly all of it.
#pragma once

#include <cstddef>
#include <vector>

#include "base/clock.h"

namespace quorate::raft {

inline constexpr Duration kLogHalfLife = std::chrono::seconds(1);

struct LogShare {
  size_t bytes = 0;   // what it keeps
  Duration unused{};  // since it grew
};

// How much each of `shares` may keep, so that together they keep at most `budget`, and none more
// than `most`. In the order of `shares`.
std::vector<size_t> DivideBudget(const std::vector<LogShare>& shares, size_t budget, size_t most);

}  // namespace quorate::raft
