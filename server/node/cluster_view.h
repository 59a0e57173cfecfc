// ClusterView: the cluster as this node knows it: what it answers to whoever asks for routes.
// Filled from the bootstrap message, then by the placement leader's answers to heartbeats; replicas
// of this node know better who leads them.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/strong_type.h"
#include "placement/shard_map.h"
#include "quorate/v1/placement.pb.h"
#include "txn/key_span.h"

namespace quorate::server {

class ClusterView {
 public:
  void Seed(const v1::BootstrapRequest& bootstrap);
  void Update(const v1::RoutesResponse& map);
  // A descriptor from a replica's own log.
  void Update(const v1::ShardDescriptor& shard) { map_.Put(shard); }

  // Who leads a shard or (kPlacementGroup) the placement group, as a local replica sees it; 0: no
  // local replica, or it does not know.
  using LocalLeader = std::function<NodeId(GroupId)>;
  void SetLocalLeader(LocalLeader local) { local_leader_ = std::move(local); }

  // Routes that overlap `span`, with all nodes.
  v1::RoutesResponse Routes(const Span& span) const;
  NodeId LeaderOf(ShardId shard) const;
  NodeId PlacementLeader() const;
  // nullptr: not known. Valid until the next change.
  const v1::ShardDescriptor* FindShard(ShardId shard) const;
  const v1::NodeInfo* FindNode(NodeId node) const;
  const std::map<NodeId, v1::NodeInfo>& nodes() const { return nodes_; }
  // The leader, with its address, as an error hints it; false if it is not known.
  bool FillLeader(NodeId leader, v1::Replica* hint) const;

 private:
  std::string cluster_id_;
  std::map<NodeId, v1::NodeInfo> nodes_;
  placement::ShardMap map_;
  std::map<ShardId, NodeId> leaders_;  // as placement last said
  std::vector<uint64_t> placement_nodes_;
  NodeId placement_leader_;
  LocalLeader local_leader_;
};

}  // namespace quorate::server
