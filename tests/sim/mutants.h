// Mutants: shows that the simulator finds known bugs (base/mutant.h, docs/testing.md). Each is
// switched on alone and given seeds until one fails; one that no seed fails with has survived, and
// means that some fault, workload or check is missing.
//
// Every seed runs in a child process, since a bug may abort it or keep it from ending; both count
// as caught.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace quorate::sim {

struct Mutant {
  std::string_view name;
  std::string_view broken;  // what it does, in words
};

// Empty in a build without QUORATE_MUTANTS.
const std::vector<Mutant>& AllMutants();

// Switches it on for this process, before anything else runs. False: there is no such.
bool SwitchOn(std::string_view mutant);

struct MutantHunt {
  std::vector<std::string> names;  // empty: all
  uint64_t first_seed = 1;
  uint64_t seeds_max = 1000;
  Duration cpu_max = std::chrono::seconds(60);  // for one seed
  int parallel = 2;
};

// Runs a seed; what was found first, or nothing.
using RunSeedFn = std::function<std::string(uint64_t seed)>;

// Prints the table. Exit code: 0 all caught, 1 some survived, 2 an unknown name or none compiled
// in.
int HuntMutants(const MutantHunt& hunt, const RunSeedFn& run_seed);

}  // namespace quorate::sim
