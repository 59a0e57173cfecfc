#include "placement/schedule/cluster_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "base/mutant.h"

namespace quorate::placement {

namespace {

constexpr Standing kWorstStanding{UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};

bool SameMembers(const ShardView& a, const ShardView& b) {
  const auto same = [](const Replica& x, const Replica& y) { return x.node == y.node; };
  return std::equal(a.voters.begin(), a.voters.end(), b.voters.begin(), b.voters.end(), same) &&
         std::equal(a.learners.begin(), a.learners.end(), b.learners.begin(), b.learners.end(),
                    same);
}

}  // namespace

std::string NameOf(ShardId shard) {
  return shard == kPlacementShard ? std::string("the placement group")
                                  : fmt::format("shard {}", shard);
}

const Replica* ShardView::Voter(NodeId node) const {
  for (const Replica& voter : voters) {
    if (voter.node == node) return &voter;
  }
  return nullptr;
}

const Replica* ShardView::Learner(NodeId node) const {
  for (const Replica& learner : learners) {
    if (learner.node == node) return &learner;
  }
  return nullptr;
}

// ---- nodes --------------------------------------------------------------------------------------
void ClusterView::NameDomains(Node* node) {
  // Names of labels that nobody bears any more are dropped now and then.
  if (names_.size() > 6 * (nodes_.size() + 16)) {
    names_.Clear();
    for (auto& [id, other] : nodes_) other.domains = names_.Of(id, other.view.locality);
  }
  node->domains = names_.Of(node->view.id, node->view.locality);
}

void ClusterView::Put(NodeView view) {
  const NodeId id = view.id;
  const auto stranger = strangers_.extract(id);
  const bool is_new = !nodes_.contains(id);
  Node& node = nodes_[id];
  if (stranger) node = std::move(stranger.mapped());
  const bool was_usable = node.usable();
  const bool moved = is_new || node.view.locality != view.locality;
  const bool judge = moved || node.view.draining != view.draining ||
                     (node.view.liveness == Liveness::kDown) != (view.liveness == Liveness::kDown);
  const bool was_to_stay = !node.view.draining;
  node.view = std::move(view);
  if (moved) NameDomains(&node);
  if (moved) NameFits(&node);
  if (moved || was_usable != node.usable() || was_to_stay == node.view.draining) {
    places_changed_ = true;
  }
  if (judge) JudgeShardsOf(node);
}

void ClusterView::Remove(NodeId id) {
  auto node = nodes_.extract(id);
  if (!node) return;
  places_changed_ = true;
  if (node.mapped().shards.empty() && node.mapped().led.empty()) return;
  Node& stranger = strangers_[id] = std::move(node.mapped());
  JudgeShardsOf(stranger);
}

const ClusterView::Node* ClusterView::Find(NodeId id) const {
  const auto it = nodes_.find(id);
  return it == nodes_.end() ? nullptr : &it->second;
}

ClusterView::Node& ClusterView::AnyNode(NodeId id) {
  const auto it = nodes_.find(id);
  return it != nodes_.end() ? it->second : strangers_[id];
}

// ---- shards -------------------------------------------------------------------------------------
void ClusterView::Count(const ShardView& shard, int sign) {
  const auto bytes = static_cast<int64_t>(shard.bytes) * sign;
  const auto member = [&](NodeId id) {
    NodeLoad& load = AnyNode(id).load;
    load.replicas += sign;
    load.bytes += bytes;
  };
  for (const Replica& voter : shard.voters) member(voter.node);
  for (const Replica& learner : shard.learners) member(learner.node);
  if (!shard.leader) return;
  NodeLoad& load = AnyNode(shard.leader).load;
  load.leaders += sign;
  load.requests += static_cast<int64_t>(shard.requests_per_second) * sign;
}

void ClusterView::Index(const ShardView& shard, bool present) {
  const auto change = [&](absl::btree_set<ShardId>* set) {
    if (present) {
      set->insert(shard.id);
    } else {
      set->erase(shard.id);
    }
  };
  const auto change_at = [&](NodeId id, bool leads) {
    Node& node = AnyNode(id);
    change(leads ? &node.led : &node.shards);
    if (!present && node.shards.empty() && node.led.empty()) strangers_.erase(id);
  };
  for (const Replica& voter : shard.voters) change_at(voter.node, false);
  for (const Replica& learner : shard.learners) change_at(learner.node, false);
  if (shard.leader) change_at(shard.leader, true);
}

bool ClusterView::Put(ShardView shard) {
  std::sort(shard.voters.begin(), shard.voters.end());
  std::sort(shard.learners.begin(), shard.learners.end());
  const auto it = shards_.find(shard.id);
  if (it == shards_.end()) {
    Index(shard, true);
    Count(shard, +1);
    Judge(shard);
    shards_.emplace(shard.id, std::move(shard));
    return true;
  }
  ShardView& known = it->second;
  if (shard.epoch < known.epoch) return false;
  const bool reindex = !SameMembers(known, shard) || known.leader != shard.leader;
  Count(known, -1);
  if (reindex) Index(known, false);
  known = std::move(shard);
  if (reindex) Index(known, true);
  Count(known, +1);
  Judge(known);
  return true;
}

void ClusterView::Remove(ShardId id) {
  const auto it = shards_.find(id);
  if (it == shards_.end()) return;
  Count(it->second, -1);
  Index(it->second, false);
  unsettled_.erase(id);
  shards_.erase(it);
}

const ShardView* ClusterView::Find(ShardId id) const {
  const auto it = shards_.find(id);
  return it == shards_.end() ? nullptr : &it->second;
}

void ClusterView::SetReplicationFactor(uint32_t replication_factor) {
  if (replication_factor == replication_factor_) return;
  replication_factor_ = replication_factor;
  to_judge_ = shards_.size();
}

void ClusterView::SetRules(std::vector<Rule> rules) {
  if (rules == rules_) return;
  rules_ = std::move(rules);
  for (auto& [id, node] : nodes_) NameFits(&node);
  bests_.assign(rules_.size() + 1, Best());
  places_changed_ = true;
  to_judge_ = shards_.size();
}

// Without a rule every node fits.
void ClusterView::NameFits(Node* node) const {
  node->fits.assign(rules_.size() + 1, kRequired | kPreferred | kLeads);
  for (size_t i = 0; i < rules_.size(); ++i) {
    const Rule& rule = rules_[i];
    const Locality& locality = node->view.locality;
    uint8_t fits = 0;
    if (placement::Fits(rule.require, locality)) fits |= kRequired;
    if (placement::Fits(rule.prefer, locality)) fits |= kPreferred;
    if (placement::Fits(rule.leaders, locality)) fits |= kLeads;
    node->fits[i + 1] = fits;
  }
}

const Rule* ClusterView::RuleOf(const ShardView& shard) const {
  const uint32_t number = RuleNumber(shard);
  return number == 0 ? nullptr : &rules_[number - 1];
}

bool ClusterView::Fits(NodeId id, const ShardView& shard, Fit what) const {
  const Node* node = Find(id);
  return node != nullptr && node->Fits(RuleNumber(shard), what);
}

bool ClusterView::LedElsewhere(const ShardView& shard) const {
  const Rule* rule = RuleOf(shard);
  if (rule == nullptr || rule->leaders.empty() || !shard.leader) return false;
  if (Fits(shard.leader, shard, kLeads)) return false;
  return std::any_of(shard.voters.begin(), shard.voters.end(), [&](const Replica& voter) {
    const Node* node = Find(voter.node);
    return node != nullptr && node->view.liveness != Liveness::kDown && !node->view.draining &&
           node->Fits(RuleNumber(shard), kLeads);
  });
}

bool ClusterView::AllHeardOf() const {
  return std::none_of(nodes_.begin(), nodes_.end(), [](const auto& each) {
    return each.second.view.liveness == Liveness::kNone;
  });
}

uint32_t ClusterView::ReplicationFactorOf(const ShardView& shard) const {
  const Rule* rule = RuleOf(shard);
  uint32_t wanted = replication_factor_;
  if (rule != nullptr && rule->replicas != 0 && !MUTANT("schedule-rule-factor-ignored")) {
    wanted = rule->replicas;
  }
  if (shard.replication_factor != 0) wanted = shard.replication_factor;
  return std::min<uint32_t>(wanted, limits::kReplicationFactorMax);
}

// ---- judgement ----------------------------------------------------------------------------------
Standing ClusterView::OfOne(const Node& node, uint32_t rule) const {
  Standing standing;
  standing.outside = !node.Fits(rule, kRequired);
  standing.unpreferred = !node.Fits(rule, kPreferred);
  return standing;
}

bool ClusterView::Settled(const ShardView& shard) const {
  const uint32_t wanted = ReplicationFactorOf(shard);
  if (shard.joint || !shard.learners.empty() || shard.voters.size() != wanted) return false;
  if (LedElsewhere(shard)) return false;
  std::array<Domains, limits::kReplicationFactorMax> places;
  Standing standing;
  size_t count = 0;
  for (const Replica& voter : shard.voters) {
    const Node* node = Find(voter.node);
    if (node == nullptr || node->view.draining) return false;
    if (node->view.liveness == Liveness::kDown) return false;
    standing = standing + OfOne(*node, RuleNumber(shard)) +
               Added(places.data(), places.data() + count, node->domains);
    places[count++] = node->domains;
  }
  // What nodes do not allow now is no less wanted, and is told.
  return standing.outside == 0 && standing <= LeastStanding(shard);
}

void ClusterView::Judge(const ShardView& shard) {
  if (Settled(shard)) {
    unsettled_.erase(shard.id);
  } else {
    unsettled_.insert(shard.id);
  }
}

void ClusterView::JudgeShardsOf(const Node& node) {
  for (ShardId id : node.shards) {
    if (const ShardView* shard = Find(id)) Judge(*shard);
  }
}

bool ClusterView::Refresh(size_t shards_max) {
  if (places_changed_) {
    places_changed_ = false;
    for (uint32_t rule = 0; rule <= rules_.size(); ++rule) {
      const Best best = ComputeBest(rule);
      if (best == bests_[rule]) continue;
      bests_[rule] = best;
      to_judge_ = shards_.size();
    }
  }
  if (to_judge_ == 0) return true;
  auto it = shards_.upper_bound(judged_);
  for (; shards_max > 0 && to_judge_ > 0 && !shards_.empty(); --shards_max, --to_judge_, ++it) {
    if (it == shards_.end()) it = shards_.begin();
    Judge(it->second);
    judged_ = it->first;
  }
  if (shards_.empty()) to_judge_ = 0;
  return to_judge_ == 0;
}

// One after the other where it crowds the others least: what is best for n+1 begins with what is
// best for n, since racks lie within zones and hosts within racks, and those nodes that a rule
// likes better are taken first in any case.
ClusterView::Best ClusterView::ComputeBest(uint32_t rule) const {
  Best best_of;
  std::set<uint32_t> hosts;
  for (const auto& [id, node] : nodes_) {
    if (!node.view.draining && node.Fits(rule, kRequired)) hosts.insert(node.domains.host);
  }
  best_of.hosts = static_cast<uint32_t>(hosts.size());
  best_of.standing.fill(kWorstStanding);
  best_of.standing[0] = Standing();
  std::vector<Domains> places;
  std::vector<NodeId> taken;
  Standing total;
  while (places.size() < limits::kReplicationFactorMax) {
    const Node* best = nullptr;
    Standing best_added;
    for (const auto& [id, node] : nodes_) {
      if (!node.usable() || std::find(taken.begin(), taken.end(), id) != taken.end()) continue;
      const Standing added =
          OfOne(node, rule) + Added(places.data(), places.data() + places.size(), node.domains);
      if (best != nullptr && added >= best_added) continue;
      best = &node;
      best_added = added;
    }
    if (best == nullptr) break;
    total = total + best_added;
    places.push_back(best->domains);
    taken.push_back(best->view.id);
    best_of.standing[places.size()] = total;
  }
  return best_of;
}

Standing ClusterView::StandingOf(const ShardView& shard, NodeId without, NodeId with) const {
  absl::InlinedVector<Domains, limits::kReplicationFactorMax> places;
  Standing standing;
  const auto add = [&](NodeId id) {
    const Node* node = Find(id);
    if (node == nullptr) return;
    standing = standing + OfOne(*node, RuleNumber(shard)) +
               Added(places.data(), places.data() + places.size(), node->domains);
    places.push_back(node->domains);
  };
  for (const Replica& voter : shard.voters) {
    if (voter.node != without) add(voter.node);
  }
  if (with) add(with);
  return standing;
}

}  // namespace quorate::placement
