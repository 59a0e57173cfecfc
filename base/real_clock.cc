#include "base/real_clock.h"

#include <sys/random.h>
#include <time.h>

#include "base/check.h"

namespace quorate {
namespace {

Duration Read(clockid_t id) {
  timespec now{};
  CHECK(clock_gettime(id, &now) == 0, "clock {} cannot be read", id);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

}  // namespace

Instant RealClock::BootNow() { return Instant(Read(CLOCK_BOOTTIME)); }
int64_t RealClock::WallMillis() const { return ToMillis(Read(CLOCK_REALTIME)); }

uint64_t EntropySeed() {
  uint64_t seed = 0;
  const ssize_t n = getrandom(&seed, sizeof seed, 0);
  CHECK(n == sizeof seed, "the kernel gives no randomness");
  return seed;
}

}  // namespace quorate
