// Inside of Cluster, shared by its two sources: the actors, and the shards with their messages.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "tests/coordinator/cluster.h"

namespace quorate::coordinator::model {

using State = TxnState;
constexpr Timestamp kStart = Timestamp::FromParts(2, 0);

std::string ShardName(int shard);
std::string Show(const Standing& s);
std::string Show(const PartAnswer& a);
PartAnswer ToAnswer(const Standing& s);
inline Standing Never() { return {.code = Code::kNotLeader}; }

struct Cluster::Entry {
  enum class Kind { kStage, kOnePhase, kPrepare, kRefuse, kDecide, kResolve, kDone, kHorizon };
  Kind kind;
  std::string label;
  Timestamp ts;
  bool commit = false;
  bool unstaged = false;  // by who knows of no record
  // What stands after applying; NOT_LEADER: it never will be applied.
  std::vector<std::function<void(Standing)>> done;
};

struct Cluster::Shard {
  int term = 1;
  Timestamp floor;
  std::deque<Entry> log;  // proposed, not applied
  Standing record;        // the participant record
  bool ever_resolved = false;
  bool below = false;  // the horizon has passed txn1
  Code refuses = Code::kOk;
  bool exhausted = false;
};

struct Cluster::Coordinator {
  Coordinator(std::string n, size_t parts, int t) : name(std::move(n)), machine(parts), term(t) {}
  std::string name;
  CommitMachine machine;
  int term;
};

struct Cluster::Recoverer {
  std::string name;
  RecoveryMachine machine;
  int term;
  bool recorded = false;
};

}  // namespace quorate::coordinator::model
