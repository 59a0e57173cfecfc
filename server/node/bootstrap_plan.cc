#include "server/node/bootstrap_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/status_macros.h"
#include "placement/frontend.h"
#include "placement/shard_map.h"
#include "txn/errors.h"
#include "txn/judge.h"

namespace quorate::server {

namespace {

constexpr size_t kPlacementVotersMax = 5;

size_t PlacementVoters(size_t nodes) {
  const size_t voters = std::min(nodes, kPlacementVotersMax);
  return voters % 2 == 1 ? voters : voters - 1;
}

std::string Tolerance(size_t replicas) {
  const size_t failures = (replicas - 1) / 2;
  if (failures == 0) return "no fault tolerance";
  return fmt::format("the loss of {} node{} at most", failures, failures == 1 ? "" : "s");
}

Result<uint32_t> ReplicationFactor(const v1::InitRequest& request, size_t nodes) {
  const uint32_t wanted = WantedReplicas(request);
  if (wanted <= nodes) return wanted;
  const size_t possible = nodes % 2 == 1 ? nodes : nodes - 1;
  return Status(
      Code::kFailedPrecondition,
      fmt::format("nothing was done: {} replicas of each shard need as many nodes, and {} {} here; "
                  "start the others with --join, or name them in --cluster, and run init again; or "
                  "accept {} with --replicas {}",
                  wanted, nodes, nodes == 1 ? "is" : "are", Tolerance(possible), possible));
}

}  // namespace

uint32_t WantedReplicas(const v1::InitRequest& request) {
  return request.replication_factor() != 0 ? request.replication_factor()
                                           : kReplicationFactorDefault;
}

Result<std::vector<std::string>> SplitKeys(const v1::InitRequest& request) {
  std::vector<std::string> keys(request.split_keys().begin(), request.split_keys().end());
  if (keys.empty()) {
    const uint32_t shards = std::max<uint32_t>(request.shards(), 1);
    if (shards > limits::kInitialShardsMax) {
      return InvalidArgument(fmt::format("{} shards asked; a cluster begins with at most {}",
                                         shards, limits::kInitialShardsMax));
    }
    for (uint32_t i = 1; i < shards; ++i) {
      const uint32_t point = (uint32_t{i} << 16) / shards;
      std::string key(1, static_cast<char>(point >> 8));
      if ((point & 0xff) != 0) key.push_back(static_cast<char>(point & 0xff));
      keys.push_back(std::move(key));
    }
    return keys;
  }
  if (keys.size() >= limits::kInitialShardsMax) {
    return InvalidArgument(
        fmt::format("{} split keys given; a cluster begins with at most {} shards", keys.size(),
                    limits::kInitialShardsMax));
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    RETURN_IF_ERROR(CheckKey(keys[i], "split key"));
    if (i > 0 && keys[i] <= keys[i - 1]) {
      return InvalidArgument(fmt::format("split key '{}' is not above '{}': give them ascending",
                                         Printable(keys[i]), Printable(keys[i - 1])));
    }
  }
  return keys;
}

Result<v1::BootstrapRequest> PlanBootstrap(const std::string& cluster_id,
                                           std::vector<v1::NodeInfo> members,
                                           const v1::InitRequest& request) {
  std::vector<std::string> firsts;
  ASSIGN_OR_RETURN(firsts, SplitKeys(request));
  firsts.insert(firsts.begin(), std::string());
  uint32_t factor = 0;
  ASSIGN_OR_RETURN(factor, ReplicationFactor(request, members.size()));
  std::sort(members.begin(), members.end(),
            [](const auto& a, const auto& b) { return a.address() < b.address(); });

  v1::BootstrapRequest plan;
  plan.set_cluster_id(cluster_id);
  for (size_t i = 0; i < members.size(); ++i) {
    members[i].set_node_id(i + 1);
    *plan.add_nodes() = members[i];
    if (i < PlacementVoters(members.size())) plan.add_placement_nodes(i + 1);
  }
  for (size_t i = 0; i < firsts.size(); ++i) {
    v1::ShardDescriptor* shard = plan.add_shards();
    shard->set_shard_id(kFirstShardId + i);
    shard->set_from(firsts[i]);
    if (i + 1 < firsts.size()) shard->set_to(firsts[i + 1]);
    shard->set_version(1);
    shard->set_by_hand(true);
    shard->set_membership_version(1);
    for (uint32_t r = 0; r < factor; ++r) {
      const v1::NodeInfo& node = members[(i + r) % members.size()];
      v1::Replica* replica = shard->add_replicas();
      replica->set_node_id(node.node_id());
      replica->set_address(node.address());
    }
  }
  RETURN_IF_ERROR(CheckBootstrap(plan));
  return plan;
}

Status CheckBootstrap(const v1::BootstrapRequest& bootstrap) {
  if (bootstrap.cluster_id().size() != 32) return InvalidArgument("a cluster id has 32 hex digits");
  std::set<uint64_t> ids;
  std::set<std::string> disks;
  for (const v1::NodeInfo& node : bootstrap.nodes()) {
    RETURN_IF_ERROR(CheckNode(node));
    if (node.node_id() == 0 || !ids.insert(node.node_id()).second) {
      return InvalidArgument(fmt::format("node id {} is zero or given twice", node.node_id()));
    }
    if (!disks.insert(node.storage_id()).second) {
      return InvalidArgument(
          fmt::format("two members share the data directory of '{}'", node.address()));
    }
  }
  const auto member = [&ids](uint64_t id) { return ids.contains(id); };
  if (bootstrap.placement_nodes().empty() ||
      !std::all_of(bootstrap.placement_nodes().begin(), bootstrap.placement_nodes().end(),
                   member)) {
    return InvalidArgument("the placement group needs members");
  }
  placement::ShardMap map;
  std::set<uint64_t> shards;
  for (const v1::ShardDescriptor& shard : bootstrap.shards()) {
    RETURN_IF_ERROR(placement::Frontend::Validate(shard));
    std::set<uint64_t> replicas;
    for (const v1::Replica& replica : shard.replicas()) {
      if (!member(replica.node_id()) || !replicas.insert(replica.node_id()).second) {
        return InvalidArgument(
            fmt::format("shard {} has a replica on node {}, which is unknown or "
                        "has one already",
                        shard.shard_id(), replica.node_id()));
      }
    }
    if (replicas.empty() || !shards.insert(shard.shard_id()).second) {
      return InvalidArgument(
          fmt::format("shard {} has no replica or is given twice", shard.shard_id()));
    }
    map.Put(shard);
  }
  if (map.pieces().size() != shards.size()) return InvalidArgument("the shards overlap");
  if (const std::string error = map.TilingError(); !error.empty()) return InvalidArgument(error);
  return Status::Ok();
}

}  // namespace quorate::server
