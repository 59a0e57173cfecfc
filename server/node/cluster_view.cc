#include "server/node/cluster_view.h"

#include <algorithm>

#include "placement/service.h"

namespace quorate::server {

void ClusterView::Seed(const v1::BootstrapRequest& bootstrap) {
  cluster_id_ = bootstrap.cluster_id();
  for (const v1::NodeInfo& node : bootstrap.nodes()) PutNode(node);
  for (const v1::ShardDescriptor& shard : bootstrap.shards()) Update(shard);
  placement_nodes_.assign(bootstrap.placement_nodes().begin(), bootstrap.placement_nodes().end());
}

void ClusterView::PutNode(const v1::NodeInfo& node) {
  const NodeId id(node.node_id());
  v1::NodeInfo& known = nodes_[id];
  known = node;
  const auto found = found_.find(id);
  if (found == found_.end()) return;
  if (found->second.in_map == node.address()) {
    known.set_address(found->second.address);
  } else {
    found_.erase(found);
  }
}

void ClusterView::SetFound(const v1::NodeInfo& node) {
  const NodeId id(node.node_id());
  const auto known = nodes_.try_emplace(id, node).first;
  const auto found = found_.try_emplace(id, Found{"", known->second.address()}).first;
  found->second.address = node.address();
  known->second.set_address(node.address());
}

void ClusterView::Update(const v1::ShardDescriptor& shard) {
  if (!map_.Put(shard).empty()) ++changes_;
}

void ClusterView::Update(const v1::RoutesResponse& map) {
  cluster_id_ = map.cluster_id();
  // All that there are: whoever is missing was removed.
  if (!map.nodes().empty()) nodes_.clear();
  for (const v1::NodeInfo& node : map.nodes()) PutNode(node);
  for (const v1::ShardRouteInfo& route : map.routes()) {
    Update(route.shard());
    if (route.leader_node_id() != 0) {
      leaders_[ShardId(route.shard().shard_id())] = NodeId(route.leader_node_id());
    }
  }
  // Of two leaders of the placement group, the older one may be heard later.
  if (!map.placement_nodes().empty() && map.placement_members_index() >= placement_members_index_) {
    if (map.placement_members_index() != placement_members_index_) ++changes_;
    placement_members_index_ = map.placement_members_index();
    placement_nodes_.assign(map.placement_nodes().begin(), map.placement_nodes().end());
    placement_learners_.assign(map.placement_learners().begin(), map.placement_learners().end());
  }
  cluster_version_ = std::max(cluster_version_, map.cluster_version());
  if (map.placement_leader() != 0) placement_leader_ = NodeId(map.placement_leader());
}

v1::RoutesResponse ClusterView::Routes(const Span& span) const {
  v1::RoutesResponse response;
  response.set_cluster_id(cluster_id_);
  for (const auto& [from, shard] : map_.pieces()) {
    if (!Span{shard.from(), shard.to()}.Overlaps(span)) continue;
    v1::ShardRouteInfo* route = response.add_routes();
    *route->mutable_shard() = shard;
    route->set_leader_node_id(LeaderOf(ShardId(shard.shard_id())).value());
  }
  for (const auto& [id, node] : nodes_) *response.add_nodes() = node;
  for (const uint64_t id : placement_nodes_) response.add_placement_nodes(id);
  for (const uint64_t id : placement_learners_) response.add_placement_learners(id);
  response.set_placement_members_index(placement_members_index_);
  response.set_placement_leader(PlacementLeader().value());
  response.set_cluster_version(cluster_version_);
  return response;
}

NodeId ClusterView::LeaderOf(ShardId shard) const {
  if (local_leader_) {
    if (const NodeId leader = local_leader_(GroupId(shard.value()))) return leader;
  }
  const auto it = leaders_.find(shard);
  return it == leaders_.end() ? NodeId() : it->second;
}

NodeId ClusterView::PlacementLeader() const {
  if (local_leader_) {
    if (const NodeId leader = local_leader_(placement::kPlacementGroup)) return leader;
  }
  return placement_leader_;
}

const v1::ShardDescriptor* ClusterView::FindShard(ShardId shard) const {
  if (indexed_at_ != changes_) {
    by_id_.clear();
    indexed_at_ = changes_;
    for (const auto& [from, descriptor] : map_.pieces()) {
      by_id_.try_emplace(ShardId(descriptor.shard_id()), &descriptor);
    }
  }
  const auto it = by_id_.find(shard);
  return it == by_id_.end() ? nullptr : it->second;
}

bool ClusterView::HasPlacement(NodeId node) const {
  const auto has = [node](const std::vector<uint64_t>& ids) {
    return std::find(ids.begin(), ids.end(), node.value()) != ids.end();
  };
  return has(placement_nodes_) || has(placement_learners_);
}

const v1::NodeInfo* ClusterView::FindNode(NodeId node) const {
  const auto it = nodes_.find(node);
  return it == nodes_.end() ? nullptr : &it->second;
}

bool ClusterView::FillLeader(NodeId leader, v1::Replica* hint) const {
  const v1::NodeInfo* node = FindNode(leader);
  if (node == nullptr) return false;
  hint->set_node_id(leader.value());
  hint->set_address(node->address());
  return true;
}

}  // namespace quorate::server
