// Atlas: which machine's synced data is damaged, so that damage stays within what must heal.
//
// One machine at a time. A replica that finds its log or state damaged is silent until its leader
// has sent it everything (raft/host/group.h), so each group must have its majority without it:
// every other machine is sound. A machine is sound again when it was started after the damage,
// serves, and none of its replicas waits for a snapshot.
#pragma once

#include <map>
#include <optional>
#include <set>

#include "tests/sim/cluster.h"

namespace quorate::sim {

class Atlas {
 public:
  explicit Atlas(Cluster& cluster) : cluster_(cluster) {}

  // Whether this machine may be damaged now.
  bool MayDamage(SimNode& node);
  // It was.
  void Damaged(SimNode& node);
  // All of it was put back to an earlier state. It is sound again when the others listen to it.
  void Reverted(SimNode& node);
  // The machine that does not count for any majority now; nullopt: none.
  std::optional<int> damaged();
  // Whether the node may end by itself because it finds that out.
  bool MayBeStale(const SimNode& node) const { return reverted_ever_.contains(node.index()); }

 private:
  bool Sound(SimNode& node) const;
  void Look();
  bool Lacking(SimNode& node);

  // A machine as it was when it was last seen up.
  struct Seen {
    NodeId id;
    std::set<GroupId> whole;  // groups whose state it has
  };

  Cluster& cluster_;
  std::optional<int> damaged_;
  int incarnation_ = 0;  // the last one before the damage
  bool reverted_ = false;
  std::set<int> reverted_ever_;
  std::map<int, Seen> seen_;
};

}  // namespace quorate::sim
