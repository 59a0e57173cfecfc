#include "raft/host/log_budget.h"

#include <algorithm>

namespace quorate::raft {
namespace {

constexpr int64_t kHalvingsMax = 40;  // then nothing is left of any budget

size_t Allowed(const LogShare& share, size_t equal) {
  return equal >> std::clamp<int64_t>(share.unused / kLogHalfLife, 0, kHalvingsMax);
}

}  // namespace

std::vector<size_t> DivideBudget(const std::vector<LogShare>& shares, size_t budget, size_t most) {
  // The largest equal part that fits, by bisection.
  const auto fits = [&](size_t equal) {
    size_t sum = 0;
    for (const LogShare& share : shares) sum += std::min(share.bytes, Allowed(share, equal));
    return sum <= budget;
  };
  size_t low = 0;
  size_t high = most;
  if (fits(most)) low = most;
  while (low < high) {
    const size_t middle = low + (high - low + 1) / 2;
    if (fits(middle)) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  std::vector<size_t> allowed;
  allowed.reserve(shares.size());
  for (const LogShare& share : shares) allowed.push_back(Allowed(share, low));
  return allowed;
}

}  // namespace quorate::raft
