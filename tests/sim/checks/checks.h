// Checks: all checkers that look into the machines, as one object that a run starts and ends.
//
//   durability   what is synced when answers leave, terms, votes         (durability.h)
//   replicas     leaders, digests, slots, map, WAL, while the run goes on (replicas.h)
//   rest         nothing left over when everything has converged         (rest.h)
//
// What clients saw is judged by the workloads and the contents check (workloads/set.h).
#pragma once

#include <string>
#include <vector>

#include "tests/sim/checks/durability.h"
#include "tests/sim/checks/replicas.h"

namespace quorate::sim {

class Cluster;

class Checks {
 public:
  // Watches from now on, and looks at the replicas at intervals of virtual time. The cluster
  // outlives it; its world runs no more events after it.
  explicit Checks(Cluster& cluster);
  Checks(const Checks&) = delete;

  // What is left over from clients' requests and transactions right now.
  std::vector<std::string> LeftOver() const;
  // At rest, after everything has converged: the last look.
  void End();
  // Everything found wrong so far, each as a sentence.
  std::vector<std::string> Violations() const;

 private:
  void Tick();

  Cluster& cluster_;
  Durability durability_;
  Replicas replicas_;
  uint64_t ticks_ = 0;
  std::vector<std::string> left_over_;
};

}  // namespace quorate::sim
