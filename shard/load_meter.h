// LoadMeter: how many requests a second the leader of a shard serves, and for which keys: a shard
// that is too busy is divided where half of them lie on either side, unless most are for one key,
// which no split would help.
//
// A request counts as one, at its first key. Of busy shards some are sampled, chosen at random; the
// newest kSamples are kept, so what is said follows the load within seconds.
//
// Volatile and of one leadership. Executor's thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/random.h"

namespace quorate::shard {

class LoadMeter {
 public:
  static constexpr size_t kSamples = 256;
  // Younger or with fewer samples it says nothing.
  static constexpr Duration kAgeMin = std::chrono::seconds(10);

  LoadMeter(Instant now, Random random) : random_(random) { Reset(now); }

  void Count(Instant now, std::string_view key);
  // Averaged over a minute, or since it began; 0: too young to tell.
  uint64_t PerSecond(Instant now);

  struct Spread {
    // About as many requests are for keys below as from it on, and there are such below; nullopt:
    // there is no such key.
    std::optional<std::string> middle;
    uint32_t busiest_percent = 0;  // of requests, for the busiest key
  };
  // What the samples say; nothing from too few.
  Spread Look() const;
  // The range is another one.
  void Reset(Instant now);

 private:
  void Roll(Instant now);

  Random random_;
  Instant begun_;
  Instant second_;        // the one that is counted
  uint64_t counted_ = 0;  // in it
  double rate_ = 0;
  uint64_t step_ = 1;  // one of so many is sampled
  size_t next_ = 0;
  std::vector<std::string> samples_;  // a ring
};

}  // namespace quorate::shard
