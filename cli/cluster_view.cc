#include "cli/cluster_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "cli/admin.h"
#include "quorate/v1/node.pb.h"

namespace quorate::cli {
namespace {

constexpr uint64_t kPlacementGroup = 1;

void AddStatus(const v1::StatusResponse& status, ClusterView* view) {
  const uint64_t node = status.node().node_id();
  for (const auto& replica : status.replicas()) {
    if (replica.role() != "leader" || !replica.serving()) continue;
    if (replica.group_id() == kPlacementGroup) {
      view->placement_leader = node;
    } else {
      ++view->led[node];
      view->leader_of[replica.group_id()] = node;
    }
  }
}

const v1::ShardDescriptor* FindShard(const v1::RoutesResponse& map, uint64_t shard) {
  for (const v1::ShardRouteInfo& route : map.routes()) {
    if (route.shard().shard_id() == shard) return &route.shard();
  }
  return nullptr;
}

}  // namespace

size_t ClusterView::answering() const {
  return static_cast<size_t>(std::count_if(
      nodes.begin(), nodes.end(), [](const auto& node) { return node.second.has_value(); }));
}

size_t ClusterView::served() const {
  return static_cast<size_t>(std::count_if(
      map.routes().begin(), map.routes().end(),
      [this](const auto& route) { return leader_of.contains(route.shard().shard_id()); }));
}

size_t ClusterView::Holds(uint64_t node) const {
  const auto is_there = [node](const auto& ids) {
    return std::find(ids.begin(), ids.end(), node) != ids.end();
  };
  size_t replicas = is_there(map.placement_nodes()) || is_there(map.placement_learners());
  for (const auto& route : map.routes()) replicas += is_there(ReplicaNodes(route.shard()));
  return replicas;
}

std::string_view ClusterView::StateOf(const v1::NodeInfo& node) const {
  const auto& status = nodes.at(node.node_id());
  if (!status) return "silent";
  if (node.draining()) return Holds(node.node_id()) == 0 ? "drained" : "draining";
  return status->accepts_writes() ? "up" : "full";
}

bool ClusterView::healthy() const {
  return answering() == nodes.size() && !nodes.empty() && WhyNoWrites().empty();
}

std::string ClusterView::WhyNoWrites() const {
  const size_t shards = static_cast<size_t>(map.routes_size());
  if (shards == 0) return "there are no shards";
  if (served() < shards) {
    return fmt::format("{} of {} shards have no serving leader", shards - served(), shards);
  }
  if (placement_leader == 0) return "placement has no leader, so nobody issues timestamps";
  return "";
}

int ClusterView::Survives(const std::vector<uint64_t>& replicas) const {
  const auto alive = std::count_if(replicas.begin(), replicas.end(), [this](uint64_t id) {
    const auto node = nodes.find(id);
    return node != nodes.end() && node->second.has_value();
  });
  return static_cast<int>(alive) - static_cast<int>(replicas.size() / 2 + 1);
}

int ClusterView::Survives() const {
  int least =
      Survives(std::vector<uint64_t>(map.placement_nodes().begin(), map.placement_nodes().end()));
  for (const auto& route : map.routes()) {
    least = std::min(least, Survives(ReplicaNodes(route.shard())));
  }
  return least;
}

bool IsMoved(const ClusterView& view, uint64_t shard, uint64_t from, uint64_t to) {
  const v1::ShardDescriptor* known = FindShard(view.map, shard);
  if (known == nullptr) return false;
  const std::vector<uint64_t> nodes = ReplicaNodes(*known);
  const auto is_there = [&](uint64_t node) {
    return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
  };
  return !is_there(from) && (to == 0 || is_there(to));
}

bool IsSplit(const ClusterView& view, uint64_t shard, std::string_view at) {
  const v1::ShardDescriptor* left = FindShard(view.map, shard);
  return left != nullptr && left->to() == at &&
         std::any_of(view.map.routes().begin(), view.map.routes().end(),
                     [at](const auto& route) { return route.shard().from() == at; });
}

bool IsMerged(const ClusterView& view, const v1::RoutesResponse& before, uint64_t shard,
              uint64_t with) {
  const v1::ShardDescriptor* left = FindShard(before, shard);
  const v1::ShardDescriptor* right = FindShard(before, with);
  if (left == nullptr || right == nullptr) return false;
  if (right->from() < left->from()) std::swap(left, right);
  const v1::ShardDescriptor* one = FindShard(view.map, left->shard_id());
  return one != nullptr && one->from() == left->from() && one->to() == right->to() &&
         one->version() > std::max(left->version(), right->version());
}

std::vector<uint64_t> ReplicaNodes(const v1::ShardDescriptor& shard) {
  std::vector<uint64_t> nodes;
  for (const v1::Replica& replica : shard.replicas()) nodes.push_back(replica.node_id());
  return nodes;
}

Result<ClusterView> ViewCluster(Admin& admin, const std::vector<std::string>& addresses,
                                Duration timeout) {
  const Duration each = std::min<Duration>(timeout, 2s);
  v1::NodeRequest ask, request;
  ask.mutable_routes();
  request.mutable_status();
  // One that was removed knows the map as it was then, and says so if asked for its status.
  const auto is_member = [&](const std::string& address) {
    const Status said = admin.Call(address, request, each).status();
    if (said.code() != Code::kWrongNode) return Status::Ok();
    return Status(Code::kWrongNode,
                  fmt::format("{}; ask another node, with --cluster", said.message()));
  };
  ASSIGN_OR_RETURN(v1::NodeResponse routes, admin.CallAny(addresses, ask, timeout, is_member));
  ClusterView view;
  view.map = std::move(*routes.mutable_routes());
  for (const auto& node : view.map.nodes()) {
    auto& status = view.nodes[node.node_id()];
    view.led.try_emplace(node.node_id());
    auto answer = admin.Call(node.address(), request, each);
    if (!answer.ok()) continue;
    const v1::StatusResponse& said = answer->status();
    if (said.node().node_id() != node.node_id() || said.cluster_id() != view.map.cluster_id()) {
      continue;
    }
    status = std::move(*answer->mutable_status());
    AddStatus(*status, &view);
  }
  return view;
}

}  // namespace quorate::cli
