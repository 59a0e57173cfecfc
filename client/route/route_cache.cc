#include "client/route/route_cache.h"

#include <algorithm>
#include <tuple>

#include "base/check.h"
#include "quorate/v1/placement.pb.h"
#include "quorate/v1/txn.pb.h"

namespace quorate::client {
namespace {

// Order of range ends, where the empty one is the greatest.
bool EndLess(const std::string& a, const std::string& b) {
  return !a.empty() && (b.empty() || a < b);
}

Route FromDescriptor(const v1::ShardDescriptor& descriptor) {
  Route route;
  route.shard = ShardId(descriptor.shard_id());
  route.span = {descriptor.from(), descriptor.to()};
  route.version = descriptor.version();
  route.membership_version = descriptor.membership_version();
  for (const auto& replica : descriptor.replicas()) {
    if (replica.role() == v1::LEARNER) continue;  // cannot lead
    route.replicas.push_back({NodeId(replica.node_id()), replica.address()});
  }
  return route;
}

}  // namespace

RouteCache::RouteCache(std::vector<std::string> seeds) : seeds_(std::move(seeds)) {}

const Route* RouteCache::Find(std::string_view key) const {
  auto it = by_start_.upper_bound(key);
  if (it == by_start_.begin()) return nullptr;
  --it;
  return it->second.span.Contains(key) ? &it->second : nullptr;
}

const Route* RouteCache::FindBelow(std::string_view to) const {
  auto it = to.empty() ? by_start_.end() : by_start_.lower_bound(to);
  if (it == by_start_.begin()) return nullptr;
  const Route& route = (--it)->second;
  const bool reaches = route.span.to.empty() || (!to.empty() && route.span.to >= to);
  return reaches ? &route : nullptr;
}

std::optional<std::vector<Route>> RouteCache::Cover(const Span& span) const {
  std::vector<Route> routes;
  if (span.empty()) return routes;
  std::string at = span.from;
  while (true) {
    const Route* route = Find(at);
    if (route == nullptr) return std::nullopt;
    routes.push_back(*route);
    at = route->span.to;
    if (at.empty() || (!span.to.empty() && at >= span.to)) return routes;
  }
}

std::vector<Route> RouteCache::All() const {
  std::vector<Route> routes;
  routes.reserve(by_start_.size());
  for (const auto& [start, route] : by_start_) routes.push_back(route);
  return routes;
}

bool RouteCache::Update(const v1::RoutesResponse& routes) {
  if (!routes.cluster_id().empty()) {
    if (cluster_id_.empty()) cluster_id_ = routes.cluster_id();
    if (cluster_id_ != routes.cluster_id()) return false;
  }
  // The node table is newer than the addresses that descriptors were written with.
  for (const auto& node : routes.nodes()) {
    if (!node.address().empty()) addresses_[NodeId(node.node_id())] = node.address();
  }
  if (routes.placement_nodes_size() > 0) {
    placement_nodes_.clear();
    for (const uint64_t id : routes.placement_nodes()) placement_nodes_.push_back(NodeId(id));
  }
  if (routes.placement_leader() != 0) placement_leader_ = NodeId(routes.placement_leader());
  for (const auto& info : routes.routes()) {
    Update(info.shard());
    // Others' view of a leader may be older than ours: it only fills a gap.
    const ShardId shard(info.shard().shard_id());
    const auto known = shards_.find(shard);
    if (known == shards_.end() || info.leader_node_id() == 0) continue;
    if (!by_start_.at(*known->second.starts.begin()).leader) {
      SetLeader(shard, NodeId(info.leader_node_id()));
    }
  }
  return true;
}

void RouteCache::Update(const v1::ShardDescriptor& descriptor) {
  Route route = FromDescriptor(descriptor);
  if (!route.shard || route.span.empty()) return;
  for (const auto& replica : descriptor.replicas()) {
    LearnAddress(replica.node_id(), replica.address());
  }
  Insert(std::move(route));
}

void RouteCache::Learn(ShardId shard, const v1::Error& error) {
  for (const auto& descriptor : error.descriptors()) Update(descriptor);
  if (error.leader().node_id() != 0) {
    LearnAddress(error.leader().node_id(), error.leader().address());
    SetLeader(shard, NodeId(error.leader().node_id()));
  }
}

void RouteCache::LearnPlacement(const v1::Error& error) {
  if (error.leader().node_id() == 0) return;
  LearnAddress(error.leader().node_id(), error.leader().address());
  placement_leader_ = NodeId(error.leader().node_id());
}

void RouteCache::LearnAddress(uint64_t node_id, const std::string& address) {
  if (node_id != 0 && !address.empty()) addresses_.try_emplace(NodeId(node_id), address);
}

void RouteCache::SetLeader(ShardId shard, NodeId leader) {
  const auto it = shards_.find(shard);
  if (it == shards_.end()) return;
  for (const auto& start : it->second.starts) by_start_.at(start).leader = leader;
}

void RouteCache::Insert(Route route) {
  const auto known = shards_.find(route.shard);
  if (known != shards_.end()) {
    const Shard& old = known->second;
    if (std::tie(route.version, route.membership_version) <=
        std::tie(old.version, old.membership_version)) {
      return;
    }
    // The shard's newest descriptor replaces what was known of it; its leader is kept while it is
    // still one of the replicas.
    const NodeId leader = by_start_.at(*old.starts.begin()).leader;
    if (std::any_of(route.replicas.begin(), route.replicas.end(),
                    [&](const Endpoint& r) { return r.node == leader; })) {
      route.leader = leader;
    }
    const std::set<std::string> starts = old.starts;
    for (const auto& start : starts) Erase(by_start_.find(start));
  }
  for (Span& part : Claim(route)) {
    Route piece = route;
    piece.span = std::move(part);
    Put(std::move(piece));
  }
}

std::vector<Span> RouteCache::Claim(const Route& route) {
  std::vector<Span> parts;
  std::string at = route.span.from;
  bool to_the_end = false;  // `at` has passed every key
  auto it = by_start_.upper_bound(route.span.from);
  if (it != by_start_.begin()) --it;
  while (it != by_start_.end() && !to_the_end &&
         (route.span.to.empty() || it->first < route.span.to)) {
    if (!it->second.span.Overlaps(route.span)) {
      ++it;
      continue;
    }
    if (it->second.version > route.version) {
      if (at < it->first) parts.push_back({at, it->first});
      at = it->second.span.to;
      to_the_end = at.empty();
      ++it;
      continue;
    }
    Route old = it->second;
    Erase(it++);
    if (old.span.from < route.span.from) {
      Route left = old;
      left.span.to = route.span.from;
      Put(std::move(left));
    }
    if (EndLess(route.span.to, old.span.to)) {
      old.span.from = route.span.to;
      Put(std::move(old));
    }
  }
  if (!to_the_end && (route.span.to.empty() || at < route.span.to)) {
    parts.push_back({at, route.span.to});
  }
  return parts;
}

void RouteCache::Erase(Routes::iterator it) {
  const auto shard = shards_.find(it->second.shard);
  CHECK(shard != shards_.end(), "a route of a shard without entry");
  shard->second.starts.erase(it->first);
  if (shard->second.starts.empty()) shards_.erase(shard);
  by_start_.erase(it);
}

void RouteCache::Put(Route route) {
  Shard& shard = shards_[route.shard];
  shard.version = route.version;
  shard.membership_version = route.membership_version;
  shard.starts.insert(route.span.from);
  std::string start = route.span.from;
  const bool added = by_start_.emplace(std::move(start), std::move(route)).second;
  CHECK(added, "routes overlap");
}

std::vector<std::string> RouteCache::MapSources() const {
  std::vector<std::string> sources;
  const auto add = [&sources](const std::string& address) {
    if (!address.empty() && std::find(sources.begin(), sources.end(), address) == sources.end()) {
      sources.push_back(address);
    }
  };
  if (const auto leader = AddressOf(placement_leader_)) add(*leader);
  for (const Endpoint& node : placement()) add(node.address);
  for (const auto& [node, address] : addresses_) add(address);
  for (const auto& seed : seeds_) add(seed);
  return sources;
}

std::vector<Endpoint> RouteCache::placement() const {
  std::vector<Endpoint> nodes;
  for (const NodeId id : placement_nodes_) {
    if (auto address = AddressOf(id)) nodes.push_back({id, std::move(*address)});
  }
  return nodes;
}

std::optional<std::string> RouteCache::AddressOf(NodeId node) const {
  const auto it = addresses_.find(node);
  if (it == addresses_.end()) return std::nullopt;
  return it->second;
}

}  // namespace quorate::client
