// What must hold of one replica at any time, and from one moment to the next. Both stop the process
// when broken. The simulator and the tests call them after every step.
#pragma once

#include <vector>

#include "raft/core/log.h"
#include "raft/core/node.h"
#include "raft/core/progress.h"

namespace quorate::raft {

// One replica, seen from inside.
struct ReplicaState {
  ReplicaId self;
  SoftState soft;
  ReplicaId vote;
  LogIndex commit;
  LogIndex handed;
  LogIndex applied;
  LogIndex term_start;  // leaders: index of their term's first entry
  const Log* log;
  const std::vector<Progress>* progress;  // leaders: of the other members
};

void CheckState(const ReplicaState& state);

// Compares a replica with itself a step earlier: term, commit and applied never go back, a leader
// stays leader of its term or leaves it for good, and never drops an entry (thesis 3.4). Begin a
// new one after a restart.
class DeltaCheck {
 public:
  void Observe(const Node& node);

 private:
  bool seen_ = false;
  SoftState soft_;
  LogIndex commit_;
  LogIndex applied_;
  LogIndex last_;
  Term last_term_;
};

}  // namespace quorate::raft
