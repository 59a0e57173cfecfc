// One function per workload; workload.h's AllWorkloads() lists them with what they are for.
#pragma once

#include <memory>

#include "tests/sim/workloads/workload.h"

namespace quorate::sim {

std::unique_ptr<Workload> MakeBank(const WorkloadContext& context);
std::unique_ptr<Workload> MakeListAppend(const WorkloadContext& context);

}  // namespace quorate::sim
