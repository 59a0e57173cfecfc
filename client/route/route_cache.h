// RouteCache: ranges to shards to leaders, as last heard. Repaired from errors: the descriptor with
// the higher version wins, whoever brings it (PL27). Wrong entries cost a redirect, never
// correctness.
//
// What is known of a key is the descriptor with the highest version among those that were heard to
// cover it; of one shard, only its newest descriptor counts.
#pragma once

#include <map>
#include <optional>
#include <set>
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
  Span span;  // the part of the shard's range that no newer descriptor covers
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
  // The shard that owns the keys just below `to` (empty: the end of the key space).
  const Route* FindBelow(std::string_view to) const;
  // All routes that overlap [from, to), in order; nullopt if any part is not known.
  std::optional<std::vector<Route>> Cover(const Span& span) const;
  std::vector<Route> All() const;
  bool empty() const { return by_start_.empty(); }

  // False, and nothing changed, if the map is another cluster's.
  bool Update(const v1::RoutesResponse& routes);
  void Update(const v1::ShardDescriptor& descriptor);
  // NOT_LEADER and STALE_EPOCH bring hints.
  void Learn(ShardId shard, const v1::Error& error);
  void SetLeader(ShardId shard, NodeId leader);
  void ForgetLeader(ShardId shard) { SetLeader(shard, NodeId()); }

  // Addresses where the map can be asked for, best first: placement leader, placement nodes, known
  // nodes, seeds. Never empty if seeds was not.
  std::vector<std::string> MapSources() const;
  std::vector<Endpoint> placement() const;
  NodeId placement_leader() const { return placement_leader_; }
  void SetPlacementLeader(NodeId leader) { placement_leader_ = leader; }
  // A NOT_LEADER of the placement group.
  void LearnPlacement(const v1::Error& error);
  std::optional<std::string> AddressOf(NodeId node) const;
  const std::string& cluster_id() const { return cluster_id_; }

 private:
  // What is kept per shard that has a route.
  struct Shard {
    uint64_t version = 0;
    uint64_t membership_version = 0;
    std::set<std::string> starts;  // its keys in by_start_
  };
  using Routes = std::map<std::string, Route, std::less<>>;

  void Insert(Route route);
  void Erase(Routes::iterator it);
  void Put(Route route);
  // Makes room for `route` and returns the parts of its span where nothing newer is known.
  std::vector<Span> Claim(const Route& route);
  void LearnAddress(uint64_t node_id, const std::string& address);

  std::vector<std::string> seeds_;
  std::string cluster_id_;
  Routes by_start_;  // disjoint spans
  std::map<ShardId, Shard> shards_;
  std::map<NodeId, std::string> addresses_;
  std::vector<NodeId> placement_nodes_;
  NodeId placement_leader_;
};

}  // namespace quorate::client
