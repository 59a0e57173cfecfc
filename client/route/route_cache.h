// RouteCache: ranges to shards to leaders, as last heard. Repaired from errors: the descriptor with
// the higher version wins, whoever brings it (PL27). Wrong entries cost a redirect, never
// correctness.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/strong_type.h"
#include "txn/key_span.h"

namespace quorate::v1 {
class ShardDescriptor;
class RoutesResponse;
class Error;
}  // namespace quorate::v1

namespace quorate::client {

struct Endpoint {
  NodeId node;
  std::string address;
};

struct Route {
  ShardId shard;
  Span span;
  uint64_t version = 0;
  uint64_t membership_version = 0;
  std::vector<Endpoint> replicas;
  NodeId leader;  // 0: unknown
};

class RouteCache {
 public:
  // `seeds`: addresses to ask first, from --cluster or from the node's configuration.
  explicit RouteCache(std::vector<std::string> seeds);

  // The shard that owns `key`; nullptr if not known. Valid until the next non-const call.
  const Route* Find(std::string_view key) const;
  // All routes that overlap [from, to), in order; nullopt if any part is not known.
  std::optional<std::vector<Route>> Cover(const Span& span) const;
  std::vector<Route> All() const;

  void Update(const v1::RoutesResponse& routes);
  void Update(const v1::ShardDescriptor& descriptor);
  // NOT_LEADER and STALE_EPOCH bring hints.
  void Learn(ShardId shard, const v1::Error& error);
  void SetLeader(ShardId shard, NodeId leader);
  void ForgetLeader(ShardId shard);

  // Addresses where the map can be asked for, best first: placement leader, placement nodes, known
  // nodes, seeds. Never empty if seeds was not.
  std::vector<std::string> MapSources() const;
  std::vector<Endpoint> placement() const;
  NodeId placement_leader() const { return placement_leader_; }
  void SetPlacementLeader(NodeId leader) { placement_leader_ = leader; }
  std::optional<std::string> AddressOf(NodeId node) const;
  const std::string& cluster_id() const { return cluster_id_; }

 private:
  void Insert(Route route);

  std::vector<std::string> seeds_;
  std::string cluster_id_;
  std::map<std::string, Route, std::less<>> by_start_;  // disjoint spans
  std::map<NodeId, std::string> addresses_;
  std::vector<NodeId> placement_nodes_;
  NodeId placement_leader_;
};

}  // namespace quorate::client
