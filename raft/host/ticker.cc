#include "raft/host/ticker.h"

#include <algorithm>

namespace quorate::raft {

void Ticker::Start() {
  if (timer_ != 0) return;
  due_ = env_.Now() + interval_;
  Arm();
}

void Ticker::Arm() {
  // Late handlers do not slow the ticks down, and a pause of the process is one tick, not many:
  // time that nobody could use to answer must not run down election timeouts.
  const Instant now = env_.Now();
  timer_ = env_.executor.After(std::max(due_ - now, Duration(0)), [this] {
    const Instant now = env_.Now();
    due_ = std::max(due_ + interval_, now + interval_ / 2);
    Arm();
    tick_(now);
  });
}

}  // namespace quorate::raft
