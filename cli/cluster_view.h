// ClusterView: the cluster as its own nodes report it at one moment.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "quorate/v1/admin.pb.h"

namespace quorate::cli {

class Admin;

struct ClusterView {
  v1::RoutesResponse map;
  // By node id; nullopt: the node does not answer, whatever else answers at its address.
  std::map<uint64_t, std::optional<v1::StatusResponse>> nodes;
  // Groups that each node leads and serves (an own LeaderStart applied), placement not counted.
  std::map<uint64_t, int> led;
  // Serving leader by shard id.
  std::map<uint64_t, uint64_t> leader_of;
  uint64_t placement_leader = 0;

  size_t answering() const;
  // Shards of the map that have a serving leader; one that has just begun may lead, and be in no
  // map yet.
  size_t served() const;
  // Replicas on it as the map has them, those of placement counted.
  size_t Holds(uint64_t node) const;
  // "silent": it does not answer. Of one that is to hold nothing "draining" and, once the map has
  // nothing there, "drained". "full": it takes no writes. Else "up".
  std::string_view StateOf(const v1::NodeInfo& node) const;
  // Every node answers and every shard has a serving leader.
  bool healthy() const;
  // Why nobody would take a write somewhere: what leads is missing. Empty: leaders are there, who
  // may still refuse for lack of space (ReplicaStatus.writes_refused).
  std::string WhyNoWrites() const;
  // How many more nodes may be lost, whichever they are, before some shard or placement has no
  // majority; negative: one has none already.
  int Survives() const;
  // Of one group whose replicas are on `nodes`.
  int Survives(const std::vector<uint64_t>& nodes) const;
};

// Whether what operators ask of shards is done, by the map. False is no word against it: a map may
// be late.
bool IsMoved(const ClusterView& view, uint64_t shard, uint64_t from,
             uint64_t to);  // to 0: anywhere
bool IsSplit(const ClusterView& view, uint64_t shard, std::string_view at);
// `before`: a map that had both. One that is older yet, of before they were two, is told apart.
bool IsMerged(const ClusterView& view, const v1::RoutesResponse& before, uint64_t shard,
              uint64_t with);

std::vector<uint64_t> ReplicaNodes(const v1::ShardDescriptor& shard);

// The map from the first of `addresses` that has one and is a member, and a status from each node
// in it. WRONG_NODE: whoever has one was removed from its cluster, and the map is of before.
Result<ClusterView> ViewCluster(Admin& admin, const std::vector<std::string>& addresses,
                                Duration timeout);

}  // namespace quorate::cli
