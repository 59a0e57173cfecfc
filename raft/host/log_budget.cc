#include "raft/host/log_budget.h"

#include <algorithm>
#include <limits>

namespace quorate::raft {
namespace {

constexpr int64_t kHalvingsMax = 40;  // then nothing is left beside anybody in use

int64_t Halvings(const LogShare& share) {
  return std::clamp<int64_t>(share.unused / kLogHalfLife, 0, kHalvingsMax);
}

}  // namespace

std::vector<size_t> DivideBudget(const std::vector<LogShare>& shares, size_t budget, size_t most) {
  // Halved first and cut to `most` then: what those in use have no need for, the others may keep.
  const auto allowed_of = [most](const LogShare& share, size_t equal) {
    return std::min(most, equal >> Halvings(share));
  };
  const auto fits = [&](size_t equal) {
    size_t sum = 0;
    for (const LogShare& share : shares) sum += std::min(share.bytes, allowed_of(share, equal));
    return sum <= budget;
  };
  // The largest equal part that fits, by bisection; with more than this all may have `most`.
  size_t low = 0;
  size_t high = std::min(most, std::numeric_limits<size_t>::max() >> kHalvingsMax) << kHalvingsMax;
  while (low < high) {
    const size_t middle = high - (high - low) / 2;
    if (fits(middle)) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  std::vector<size_t> allowed;
  allowed.reserve(shares.size());
  for (const LogShare& share : shares) allowed.push_back(allowed_of(share, low));
  return allowed;
}

}  // namespace quorate::raft
