#include "placement/schedule/under_way.h"

#include <fmt/format.h>

#include <algorithm>

namespace quorate::placement {

namespace {

// Whom the leadership goes to as a part of the operator; 0: it stays.
NodeId Heir(const Operator& op) {
  for (const Step& step : op.steps) {
    if (const auto* transfer = std::get_if<TransferLeader>(&step)) return transfer->to;
  }
  return {};
}

void AddTo(UnderWay::Node* node, const UnderWay::Node& part, int sign) {
  node->operators += sign * part.operators;
  node->receiving += sign * part.receiving;
  node->sending += sign * part.sending;
  node->load.replicas += sign * part.load.replicas;
  node->load.leaders += sign * part.load.leaders;
  node->load.bytes += sign * part.load.bytes;
  node->load.requests += sign * part.load.requests;
}

}  // namespace

UnderWay::Parts UnderWay::PartsOf(const ClusterView& view, const ShardView& shard,
                                  const Operator& op) {
  Parts parts;
  const auto part = [&parts](NodeId id) -> Node& {
    for (auto& [node, known] : parts) {
      if (node == id) return known;
    }
    parts.emplace_back(id, Node{});
    parts.back().second.operators = 1;
    return parts.back().second;
  };
  const auto bytes = static_cast<int64_t>(shard.bytes);
  if (op.copies()) {
    const Replica* learner = shard.Learner(op.to);
    const bool member = learner != nullptr || shard.Voter(op.to) != nullptr;
    Node& to = part(op.to);
    if (!member) {
      to.load.replicas += 1;
      to.load.bytes += bytes;
    }
    if (!member || (learner != nullptr && !learner->caught_up)) {
      to.receiving = 1;
      if (shard.leader) part(shard.leader).sending = 1;
    }
  }
  const ClusterView::Node* from = view.Find(op.from);
  const NodeId heir = Heir(op);
  const bool leaves = !heir || op.steps.size() > 1;
  if (op.from && leaves && shard.Has(op.from)) {
    // A node that is down has no part in anything.
    const bool up = from != nullptr && from->view.liveness == Liveness::kUp;
    Node& leaving = part(op.from);
    if (!up) leaving.operators = 0;
    leaving.load.replicas -= 1;
    leaving.load.bytes -= bytes;
  }
  if (heir && shard.leader && shard.leader != heir && (!leaves || shard.leader == op.from)) {
    const auto requests = static_cast<int64_t>(shard.requests_per_second);
    Node& leader = part(shard.leader);
    leader.load.leaders -= 1;
    leader.load.requests -= requests;
    Node& next = part(heir);
    next.load.leaders += 1;
    next.load.requests += requests;
  }
  return parts;
}

void UnderWay::Add(const Parts& parts, int sign) {
  for (const auto& [id, part] : parts) {
    Node& node = nodes_[id];
    AddTo(&node, part, sign);
    const bool idle = node.operators == 0 && node.receiving == 0 && node.sending == 0;
    if (idle && node.load.replicas == 0 && node.load.bytes == 0 && node.load.leaders == 0 &&
        node.load.requests == 0) {
      nodes_.erase(id);
    }
  }
}

void UnderWay::Put(const ClusterView& view, const ShardView& shard, const Operator& op) {
  Remove(shard.id);
  Parts parts = PartsOf(view, shard, op);
  Add(parts, +1);
  operators_[shard.id] = std::move(parts);
  if (const ShardId into = op.into()) {
    into_[into] = shard.id;
    merged_[shard.id] = into;
  }
}

void UnderWay::Remove(ShardId shard) {
  const auto it = operators_.find(shard);
  if (it == operators_.end()) return;
  Add(it->second, -1);
  operators_.erase(it);
  if (const auto merged = merged_.find(shard); merged != merged_.end()) {
    into_.erase(merged->second);
    merged_.erase(merged);
  }
}

UnderWay::Node UnderWay::Of(NodeId node) const {
  const auto it = nodes_.find(node);
  return it == nodes_.end() ? Node{} : it->second;
}

void UnderWay::Avoid(ShardId shard, NodeId node, Instant until) {
  if (avoided_.size() >= kAvoidedMax) {
    avoided_.erase(std::min_element(avoided_.begin(), avoided_.end(),
                                    [](auto& a, auto& b) { return a.second < b.second; }));
  }
  avoided_[{shard, node}] = until;
}

bool UnderWay::Avoids(ShardId shard, NodeId node, Instant now) const {
  const auto it = avoided_.find({shard, node});
  return it != avoided_.end() && now < it->second;
}

void UnderWay::ForgetAvoided(Instant now) {
  for (auto it = avoided_.begin(); it != avoided_.end();) {
    it = it->second <= now ? avoided_.erase(it) : std::next(it);
  }
}

std::optional<std::string> UnderWay::OverLimit(const ClusterView& view, const Settings& settings,
                                               const ShardView& shard, const Operator& op) const {
  if (operators_.size() >= settings.operators) {
    return fmt::format("{} operators are under way, which is the limit (placement.operators)",
                       operators_.size());
  }
  for (const auto& [id, part] : PartsOf(view, shard, op)) {
    const Node now = Of(id);
    const auto over = [&](int32_t more, int32_t there, uint32_t limit) {
      return more > 0 && there + more > static_cast<int32_t>(limit);
    };
    if (over(part.operators, now.operators, settings.operators_per_node)) {
      return fmt::format("node {} has a part in {} operators (placement.operators_per_node)", id,
                         now.operators);
    }
    if (over(part.receiving, now.receiving, settings.snapshots_per_node)) {
      return fmt::format("node {} receives {} replicas (placement.snapshots_per_node)", id,
                         now.receiving);
    }
    if (over(part.sending, now.sending, settings.snapshots_per_node)) {
      return fmt::format("node {} sends {} replicas (placement.snapshots_per_node)", id,
                         now.sending);
    }
  }
  return std::nullopt;
}

}  // namespace quorate::placement
