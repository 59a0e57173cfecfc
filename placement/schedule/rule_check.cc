#include "placement/schedule/rule_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/status_macros.h"
#include "placement/schedule/safety.h"

namespace quorate::placement {

namespace {

Status Refused(std::string why) { return {Code::kFailedPrecondition, std::move(why)}; }

std::string Where(const Rule& rule) {
  return rule.require.empty() ? std::string() : " and on " + ToString(rule.require);
}

// A slip of the hand would else be a rule that nobody ever keeps.
Status CheckKnown(const ClusterView& view, const Rule& rule, const Labels& labels,
                  std::string_view what) {
  const bool known = std::any_of(view.nodes().begin(), view.nodes().end(), [&](const auto& each) {
    const Locality& locality = each.second.view.locality;
    return Fits(rule.require, locality) && Fits(labels, locality);
  });
  if (known) return Status::Ok();
  return Refused(fmt::format("{} {}: no node that may hold a replica has these labels", what,
                             ToString(labels)));
}

struct Places {
  std::set<NodeId> nodes;    // that could be given a replica
  std::set<uint32_t> hosts;  // of those that are to stay, as ClusterView::HostsSuffice has them
  uint64_t room = 0;
  bool room_known = true;
};

Places PlacesFor(const ClusterView& view, const Rule& rule) {
  Places places;
  for (const auto& [id, node] : view.nodes()) {
    if (node.view.draining || !Fits(rule.require, node.view.locality)) continue;
    places.hosts.insert(node.domains.host);
    if (!node.usable()) continue;
    places.nodes.insert(id);
    places.room += node.view.free_bytes;
    places.room_known &= node.view.total_bytes != 0;
  }
  return places;
}

// Whether a replica on that node stays there.
bool Holds(const ClusterView& view, const Settings& settings, Instant now, const Rule& rule,
           NodeId id) {
  const ClusterView::Node* node = view.Find(id);
  return node != nullptr && !node->view.draining && Fits(rule.require, node->view.locality) &&
         !Lost(view, id, settings.down_after, now);
}

// Whether `rule` asks for as many replicas of the shard as now, on the same nodes.
bool KeepsPlaces(const ClusterView& view, const ShardView& shard, const Rule& rule,
                 uint32_t wanted) {
  const Rule* now = view.RuleOf(shard);
  return view.ReplicationFactorOf(shard) == wanted &&
         rule.require == (now == nullptr ? Labels() : now->require);
}

}  // namespace

Result<std::vector<std::string>> ProveRule(const ClusterView& view, const Settings& settings,
                                           Instant now, const Rule& rule,
                                           const std::vector<ShardId>& shards) {
  const uint32_t wanted = rule.replicas != 0 ? rule.replicas : settings.replication_factor;
  RETURN_IF_ERROR(CheckKnown(view, rule, rule.require, "require"));
  RETURN_IF_ERROR(CheckKnown(view, rule, rule.prefer, "prefer"));
  RETURN_IF_ERROR(CheckKnown(view, rule, rule.leaders, "leaders"));
  const Places places = PlacesFor(view, rule);
  uint64_t copies = 0, bytes = 0, removals = 0;
  for (const ShardId id : shards) {
    const ShardView* shard = view.Find(id);
    if (shard == nullptr) continue;
    if (!FailuresSurvived(view, *shard)) {
      return Refused(
          fmt::format("{} has no quorum, so that its members cannot be changed", NameOf(id)));
    }
    size_t there = 0, nodes = places.nodes.size();
    for (const Replica& voter : shard->voters) {
      if (!Holds(view, settings, now, rule, voter.node)) continue;
      ++there;
      nodes += places.nodes.contains(voter.node) ? 0 : 1;
    }
    // What the settings say was not judged by how many nodes there are, and is not in the way; nor
    // is what is so already.
    if (nodes < wanted && !rule.says_nothing() && !KeepsPlaces(view, *shard, rule, wanted)) {
      return Refused(
          fmt::format("{} replicas need {} nodes that are up, not drained, with room{}: there {} "
                      "{} for {}",
                      wanted, wanted, Where(rule), nodes == 1 ? "is" : "are", nodes, NameOf(id)));
    }
    const uint64_t missing = wanted > there ? wanted - there : 0;
    copies += missing;
    bytes += missing * shard->bytes;
    removals +=
        shard->voters.size() + missing > wanted ? shard->voters.size() + missing - wanted : 0;
  }
  if (places.room_known && bytes > places.room) {
    return Refused(fmt::format("{} MiB would be copied, and the {} nodes have room for {} MiB",
                               bytes >> 20, places.nodes.size(), places.room >> 20));
  }
  std::vector<std::string> lines = {
      fmt::format("{}: {}", RangeOf(rule),
                  rule.says_nothing() ? "under no rule any more" : ToString(rule)),
      fmt::format("{} shards: {} replicas to copy ({} MiB), {} to remove", shards.size(), copies,
                  bytes >> 20, removals)};
  if (places.hosts.size() < wanted) {
    lines.push_back(
        fmt::format("its nodes are on {} hosts: some replicas share one", places.hosts.size()));
  }
  return lines;
}

std::vector<std::string> Breaches(const ClusterView& view, const Settings& settings, Instant now,
                                  const ShardView& shard) {
  std::vector<std::string> found;
  const uint32_t wanted = view.ReplicationFactorOf(shard);
  const Rule* rule = view.RuleOf(shard);
  size_t kept = 0;
  for (const Replica& voter : shard.voters) {
    if (Lost(view, voter.node, settings.down_after, now)) continue;
    ++kept;
    if (view.Fits(voter.node, shard, kRequired)) continue;
    found.push_back(fmt::format("node {}, which holds a replica, is not on {}", voter.node,
                                ToString(rule->require)));
  }
  if (kept != wanted) {
    found.push_back(
        fmt::format("{} not lost, {} {} wanted",
                    kept == 1 ? "1 replica that is" : fmt::format("{} replicas that are", kept),
                    wanted, wanted == 1 ? "is" : "are"));
  }
  if (const Standing standing = view.StandingOf(shard);
      standing.host > 0 && kept <= wanted && view.HostsSuffice(shard)) {
    found.push_back("two replicas share a host, although there are enough hosts");
  }
  if (view.LedElsewhere(shard)) {
    found.push_back(
        fmt::format("node {} leads it, which is not on {}", shard.leader, ToString(rule->leaders)));
  }
  if (!shard.border.empty()) {
    found.push_back("another rule begins inside it: it is to be divided there");
  }
  return found;
}

}  // namespace quorate::placement
