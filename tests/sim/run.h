// One simulated run, from a seed to a verdict.
//
//   bootstrap ─► setup ─► chaos (faults, clients) ─► heal all ─► converge within a bound ─► audit
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/sim/options.h"

namespace quorate::sim {

struct Verdict {
  std::vector<std::string> violations;  // wrong answers, lost or resurrected data, divergence
  std::vector<std::string> stalls;      // did not start, converge or finish in bounded virtual time
  uint64_t trace_hash = 0;
  uint64_t next_draw = 0;  // of the scheduler's stream after the run
  uint64_t events = 0;
  Duration simulated{0};
  uint64_t acknowledged = 0;
  uint64_t unknown = 0;
  std::map<std::string, int> faults;
  bool ok() const { return violations.empty() && stalls.empty(); }
};

// `workloads`: names in AllWorkloads(), side by side.
Verdict RunSeed(const Options& options, const std::vector<std::string>& workloads, bool trace);

}  // namespace quorate::sim
