// Shrinking: the smallest plan that still fails like a given one does. Leaves out fault kinds,
// then single faults, clients, keys, workloads and time, each as long as the failure stays. Every
// try runs in a child process, since a failure may be an abort or a run without an end.
#pragma once

#include <functional>
#include <string>

#include "tests/sim/run.h"

namespace quorate::sim {

enum class Failure : uint8_t { kNone, kViolation, kStall, kAbort, kEndless };
std::string_view FailureName(Failure failure);

// How `plan` ends, in a child process that is ended after `wall_seconds`.
Failure TryPlan(const Plan& plan, int wall_seconds);

struct ShrinkOptions {
  int tries_max = 400;
  int wall_seconds = 60;  // of one try
  std::function<void(const std::string& line)> progress;
};
// Precondition: `plan` fails with `failure`.
Plan Shrink(Plan plan, Failure failure, const ShrinkOptions& options);

}  // namespace quorate::sim
