// Capped exponential backoff with full jitter from a seeded source.
#pragma once

#include <algorithm>

#include "base/clock.h"
#include "base/random.h"

namespace quorate {

class Backoff {
 public:
  Backoff(Duration initial, Duration max) : initial_(initial), max_(max), next_(initial) {}

  // The time to wait before the next attempt: uniform in [step/2, step], step doubling up to max.
  Duration Next(Random& random) {
    const Duration step = next_;
    next_ = std::min(next_ * 2, max_);
    return Duration(random.Between(step.count() / 2, step.count()));
  }
  void Reset() { next_ = initial_; }

 private:
  Duration initial_;
  Duration max_;
  Duration next_;
};

}  // namespace quorate
