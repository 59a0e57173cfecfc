// ClusterView: the cluster as its own nodes report it at one moment.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "proto/admin.pb.h"

namespace quorate::cli {

class Admin;

struct ClusterView {
  v1::RoutesResponse map;
  // By node id; nullopt: the node does not answer.
  std::map<uint64_t, std::optional<v1::StatusResponse>> nodes;
  // Groups that each node leads and serves (an own LeaderStart applied), placement not counted.
  std::map<uint64_t, int> led;
  // Serving leader by shard id.
  std::map<uint64_t, uint64_t> leader_of;
  uint64_t placement_leader = 0;

  size_t answering() const;
  // Every node answers and every shard has a serving leader.
  bool healthy() const;
};

// The map from the first of `addresses` that has one, and a status from each node in it.
Result<ClusterView> ViewCluster(Admin& admin, const std::vector<std::string>& addresses,
                                Duration timeout);

}  // namespace quorate::cli
