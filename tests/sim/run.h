// One simulated run, from a plan to a verdict.
//
//   bootstrap ─► setup ─► chaos (faults, clients) ─► a core of the nodes is healed for good and
//   must serve and converge; the others stay down or cut off ─► all healed ─► audit, everything at
//   rest
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/sim/checks/record.h"
#include "tests/sim/faults.h"
#include "tests/sim/options.h"

namespace quorate::sim {

// Everything that a run depends on, besides the binary.
struct Plan {
  Options options;
  std::vector<std::string> workloads;  // names in AllWorkloads(), side by side
  std::vector<Fault> faults;           // in order of time

  static Plan Draw(uint64_t seed, Duration chaos, const FaultFilter& filter = {});
  // The same without any fault: what fails then is not about faults.
  void Calm();
};

struct Verdict {
  std::vector<std::string> violations;  // wrong answers, lost or resurrected data, divergence
  std::vector<std::string> stalls;      // did not start, converge or finish in bounded virtual time
  uint64_t trace_hash = 0;
  uint64_t next_draw = 0;  // of the streams after the run
  uint64_t events = 0;
  Duration simulated{0};
  uint64_t acknowledged = 0;
  uint64_t unknown = 0;
  Witnessed witnessed;
  std::map<std::string, int> faults;  // injected with an effect, by name
  bool ok() const { return violations.empty() && stalls.empty(); }
};

class StepMatrix;

// What clients asked for and saw, as EDN, by workload.
using Histories = std::map<std::string, std::string>;

// `matrix`, if given, watches (report.h); `histories`, if given, is filled.
Verdict RunPlan(const Plan& plan, bool trace, StepMatrix* matrix = nullptr,
                Histories* histories = nullptr);

}  // namespace quorate::sim
