// WorkloadSet: the workloads of one run side by side on one database. Each step of a client is one
// of some workload's; all are recorded, and a last scan of everything is judged with the rest.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/sim/checks/record.h"
#include "tests/sim/cluster.h"
#include "tests/sim/workloads/workload.h"

namespace quorate::sim {

class WorkloadSet {
 public:
  // `names` are in AllWorkloads().
  WorkloadSet(const WorkloadContext& context, const std::vector<std::string>& names);

  Task<Status> Setup(SimClient* client);
  Task<void> Step(SimClient* client, int index, Random* random);
  Task<Status> Audit(SimClient* client);
  std::vector<std::string> Violations() const;
  // Of those workloads that keep one, by their names, as EDN.
  std::map<std::string, std::string> Histories() const;

  Record& record() { return record_; }
  uint64_t Acknowledged() const;
  uint64_t Unknown() const;

 private:
  Record record_;
  std::vector<std::unique_ptr<Workload>> workloads_;
  size_t set_up_ = 0;
  bool audited_ = false;
};

}  // namespace quorate::sim
