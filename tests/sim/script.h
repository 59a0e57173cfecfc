// Scripts: a plan as text, so that what a seed found stays found when the code that draws changes.
//
//   # why it is kept
//   options seed=42 nodes=3 ...        what is not named has its default
//   workloads bank set
//   fault at=1500000000 kill node=2 length=300000000
#pragma once

#include <string>

#include "base/status.h"
#include "tests/sim/run.h"

namespace quorate::sim {

std::string ToScript(const Plan& plan, const std::string& comment);
// INVALID_ARGUMENT names the line.
Result<Plan> ParseScript(const std::string& text);
Result<Plan> ReadScript(const std::string& path);

}  // namespace quorate::sim
