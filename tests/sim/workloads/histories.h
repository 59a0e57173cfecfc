// A workload's history for tests/history, kept as the operations go on.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/history/check.h"
#include "tests/sim/world.h"

namespace quorate::sim {

class History {
 public:
  History(World& world, history::Workload kind) : world_(world), kind_(kind) {}

  // A transaction that begins now; unknown until Complete says otherwise.
  history::Transaction* Invoke(int process, std::vector<history::MicroOp> ops = {});
  void Complete(history::Transaction* transaction, history::Outcome outcome);
  // What the stand-alone checker finds, each as a sentence.
  std::vector<std::string> Judge() const;
  // As a file that quorate_history, or any checker of Jepsen's histories, reads.
  std::string ToEdn() const;

 private:
  std::vector<history::Transaction> All() const;
  int64_t Now() const { return world_.now().time_since_epoch().count(); }

  World& world_;
  const history::Workload kind_;
  std::vector<std::unique_ptr<history::Transaction>> transactions_;
};

}  // namespace quorate::sim
