// A random cluster with random mishaps, from a seed; then all heals, and everything must be as the
// rules ask and stay so.
#pragma once

#include <cstdint>
#include <string>

namespace quorate::placement::model {

// What was broken; empty: nothing.
std::string RandomRun(uint64_t seed);

// Every removal from every set of voters, against the definition of a quorum.
std::string CheckRemovals();

}  // namespace quorate::placement::model
