#include "raft/core/lease.h"

namespace quorate::raft {
namespace {

constexpr int kTimesPerLease = 64;

}  // namespace

void RoundTimes::Sent(uint64_t round, Instant now, Duration lease) {
  if (!rounds_.empty() && now - rounds_.back().sent < lease / kTimesPerLease) return;
  // What left a whole lease ago gives no lease any more.
  auto it = rounds_.begin();
  while (it != rounds_.end() && it->sent + lease <= now) ++it;
  rounds_.erase(rounds_.begin(), it);
  rounds_.push_back({round, now});
}

Instant RoundTimes::SentAt(uint64_t round) const {
  for (auto it = rounds_.rbegin(); it != rounds_.rend(); ++it) {
    if (it->round <= round) return it->sent;
  }
  return Instant::min();
}

}  // namespace quorate::raft
