// Clocks. Correctness rests only on the boot clock's bounded drift (leader leases); the wall clock
// feeds the timestamp oracle's physical part and log lines.
#pragma once

#include <chrono>
#include <cstdint>

namespace quorate {

using Duration = std::chrono::nanoseconds;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""us;
using std::chrono_literals::operator""min;

// A point on this node's CLOCK_BOOTTIME. Never compared between nodes.
struct BootClockTag {
  using duration = Duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<BootClockTag>;
  static constexpr bool is_steady = true;
};
using Instant = std::chrono::time_point<BootClockTag>;

inline int64_t ToMillis(Duration d) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(d).count();
}

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Instant Now() const = 0;
  // Milliseconds since the Unix epoch by this node's wall clock: may jump either way.
  virtual int64_t WallMillis() const = 0;
};

}  // namespace quorate
