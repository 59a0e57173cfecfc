// The machine's clocks, and its randomness to seed with.
#pragma once

#include "base/clock.h"

namespace quorate {

class RealClock final : public Clock {
 public:
  static Instant BootNow();  // CLOCK_BOOTTIME: goes on while the machine sleeps
  Instant Now() const override { return BootNow(); }
  int64_t WallMillis() const override;
};

// From the kernel; differs for every process.
uint64_t EntropySeed();

}  // namespace quorate
