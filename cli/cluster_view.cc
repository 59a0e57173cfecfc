#include "cli/cluster_view.h"

#include <algorithm>

#include "cli/admin.h"
#include "proto/node.pb.h"

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

}  // namespace

size_t ClusterView::answering() const {
  return static_cast<size_t>(std::count_if(
      nodes.begin(), nodes.end(), [](const auto& node) { return node.second.has_value(); }));
}

bool ClusterView::healthy() const {
  return answering() == nodes.size() && !nodes.empty() && placement_leader != 0 &&
         leader_of.size() == static_cast<size_t>(map.routes_size());
}

Result<ClusterView> ViewCluster(Admin& admin, const std::vector<std::string>& addresses,
                                Duration timeout) {
  v1::NodeRequest request;
  request.mutable_routes();
  ASSIGN_OR_RETURN(v1::NodeResponse routes, admin.CallAny(addresses, request, timeout));
  ClusterView view;
  view.map = std::move(*routes.mutable_routes());
  request.mutable_status();
  const Duration each = std::min<Duration>(timeout, 2s);
  for (const auto& node : view.map.nodes()) {
    auto& status = view.nodes[node.node_id()];
    view.led.try_emplace(node.node_id());
    auto answer = admin.Call(node.address(), request, each);
    if (!answer.ok()) continue;
    status = std::move(*answer->mutable_status());
    AddStatus(*status, &view);
  }
  return view;
}

}  // namespace quorate::cli
