// Interrupt: SIGINT and SIGTERM, waited for instead of delivered, so that a command that is
// interrupted still stops its nodes and takes its data away. Made before any thread.
#pragma once

#include <signal.h>

#include <algorithm>

#include "base/real_clock.h"

namespace quorate::cli {

class Interrupt {
 public:
  Interrupt() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGINT);
    sigaddset(&signals_, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  }
  // Sleeps until `until`; true if it was interrupted.
  bool SleepUntil(Instant until) const {
    const Duration left = std::max<Duration>(until - RealClock::BootNow(), Duration(0));
    const timespec timeout{.tv_sec = left / 1s, .tv_nsec = (left % 1s).count()};
    return sigtimedwait(&signals_, nullptr, &timeout) > 0;
  }
  bool SleepFor(Duration duration) const { return SleepUntil(RealClock::BootNow() + duration); }

 private:
  sigset_t signals_;
};

}  // namespace quorate::cli
