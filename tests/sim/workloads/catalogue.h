// One function per workload; workload.h's AllWorkloads() lists them with what they are for.
#pragma once

#include <memory>

#include "tests/sim/workloads/workload.h"

namespace quorate::sim {

std::unique_ptr<Workload> MakeBank(const WorkloadContext& context);
std::unique_ptr<Workload> MakeListAppend(const WorkloadContext& context);
std::unique_ptr<Workload> MakeRwRegister(const WorkloadContext& context);
std::unique_ptr<Workload> MakeSingleKey(const WorkloadContext& context);
std::unique_ptr<Workload> MakeSet(const WorkloadContext& context);
std::unique_ptr<Workload> MakeCounter(const WorkloadContext& context);
std::unique_ptr<Workload> MakeLongFork(const WorkloadContext& context);
std::unique_ptr<Workload> MakeCausalReverse(const WorkloadContext& context);
std::unique_ptr<Workload> MakeWriteSkew(const WorkloadContext& context);
std::unique_ptr<Workload> MakePhantom(const WorkloadContext& context);
std::unique_ptr<Workload> MakeMonotonic(const WorkloadContext& context);
std::unique_ptr<Workload> MakeInternal(const WorkloadContext& context);
std::unique_ptr<Workload> MakeLarge(const WorkloadContext& context);
std::unique_ptr<Workload> MakeHot(const WorkloadContext& context);
std::unique_ptr<Workload> MakeLocks(const WorkloadContext& context);
std::unique_ptr<Workload> MakeLongSnapshot(const WorkloadContext& context);
std::unique_ptr<Workload> MakeClientDeath(const WorkloadContext& context);
std::unique_ptr<Workload> MakeOutcome(const WorkloadContext& context);
std::unique_ptr<Workload> MakeNames(const WorkloadContext& context);
std::unique_ptr<Workload> MakeHostile(const WorkloadContext& context);
std::unique_ptr<Workload> MakeMutated(const WorkloadContext& context);
std::unique_ptr<Workload> MakeStale(const WorkloadContext& context);
std::unique_ptr<Workload> MakeThin(const WorkloadContext& context);

}  // namespace quorate::sim
