// ClusterView: the cluster as this node knows it: what it answers to whoever asks for routes.
// Filled from the bootstrap message, then by the placement leader's answers to heartbeats; replicas
// of this node know better who leads them.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/features.h"
#include "base/strong_type.h"
#include "placement/shard_map.h"
#include "quorate/v1/placement.pb.h"
#include "txn/key_span.h"

namespace quorate::server {

class ClusterView {
 public:
  void Seed(const v1::BootstrapRequest& bootstrap);
  void Update(const v1::RoutesResponse& map);
  // The node was met at this address, which counts until the map names another one than now. Nodes
  // that are not known yet begin here.
  void SetFound(const v1::NodeInfo& node);
  // A descriptor from a replica's own log.
  void Update(const v1::ShardDescriptor& shard);
  // Grows whenever the members or ranges of shards, or the members of placement, change.
  uint64_t changes() const { return changes_; }

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
  // Of the shard that owns `key`, as far as this node knows; likewise.
  const v1::ShardDescriptor* Owner(std::string_view key) const { return map_.Find(key); }
  // Of the placement group: whether the node is a voter or a learner, and since which entry of the
  // group's log that is so.
  bool HasPlacement(NodeId node) const;
  uint64_t placement_members_index() const { return placement_members_index_; }
  const v1::NodeInfo* FindNode(NodeId node) const;
  // Whether every member understands it, as far as this node knows.
  bool Allows(Feature feature) const { return quorate::Allows(cluster_version_, feature); }
  const std::map<NodeId, v1::NodeInfo>& nodes() const { return nodes_; }
  // The leader, with its address, as an error hints it; false if it is not known.
  bool FillLeader(NodeId leader, v1::Replica* hint) const;

 private:
  struct Found {
    std::string address;
    std::string in_map;  // what the map said then
  };

  void PutNode(const v1::NodeInfo& node);

  std::string cluster_id_;
  std::map<NodeId, v1::NodeInfo> nodes_;  // with the addresses of found_
  std::map<NodeId, Found> found_;
  placement::ShardMap map_;
  std::map<ShardId, NodeId> leaders_;  // as placement last said
  std::vector<uint64_t> placement_nodes_;
  std::vector<uint64_t> placement_learners_;
  uint64_t placement_members_index_ = 0;
  NodeId placement_leader_;
  uint32_t cluster_version_ = 0;
  uint64_t changes_ = 0;
  // The first piece of each shard, as of indexed_at_.
  mutable std::map<ShardId, const v1::ShardDescriptor*> by_id_;
  mutable uint64_t indexed_at_ = 0;
  LocalLeader local_leader_;
};

}  // namespace quorate::server
