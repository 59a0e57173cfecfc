// What happens to large clusters, and what has to come of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"

namespace quorate::placement::scale {

struct Size {
  uint64_t nodes = 1000;
  uint64_t shards = 100'000;
  uint32_t zones = 5;
  uint32_t racks = 10;  // of each zone
  uint64_t seed = 1;
  int64_t day_seconds = 86'400;
};

struct Outcome {
  std::string scenario;
  std::string wrong;  // what is not as it has to be; empty: nothing
  std::string note;
  int64_t seconds = 0;       // until all was as it should be
  uint64_t moves = 0;        // replicas that were copied
  uint64_t least_moves = 0;  // that would do
  uint64_t transfers = 0;
  uint64_t rounds = 0;
  Duration round_mean{}, round_max{};
  std::string svg;
};

// In the order in which `all` runs them.
std::vector<std::string> Scenarios();
std::string HelpOf(const std::string& scenario);
// `clock` measures rounds.
Outcome Run(const std::string& scenario, const Size& size, const Clock& clock);

}  // namespace quorate::placement::scale
