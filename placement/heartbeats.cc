#include "placement/heartbeats.h"

#include <algorithm>
#include <cstdlib>

#include "base/limits.h"

namespace quorate::placement {

void Heartbeats::Reset(Instant now) {
  since_ = now;
  heard_.clear();
  leaders_.clear();
}

bool Heartbeats::Continues(const v1::HeartbeatRequest& heartbeat, uint64_t term) const {
  if (heartbeat.base() == 0) return true;
  const auto heard = heard_.find(NodeId(heartbeat.node().node_id()));
  if (heard == heard_.end() || heartbeat.base_term() != term) return false;
  const Heard& last = heard->second;
  return heartbeat.base() == last.number ||
         (heartbeat.number() == last.number && heartbeat.base() == last.base);
}

std::vector<std::string> Heartbeats::Record(const v1::HeartbeatRequest& heartbeat,
                                            const ShardMap& map, uint64_t term, Instant now) {
  const NodeId node(heartbeat.node().node_id());
  const bool used = Continues(heartbeat, term);
  Heard& heard = heard_[node];
  heard.at = now;
  heard.wall_ms = static_cast<int64_t>(heartbeat.wall_ms());
  std::vector<std::string> changed;
  // A late copy of an earlier one must not become what the next one goes on from.
  if (!used) return changed;
  heard.number = heartbeat.number();
  heard.base = heartbeat.base();
  for (const v1::ShardReport& report : heartbeat.led_shards()) {
    const v1::ShardDescriptor* known = map.Find(report.shard().from());
    if (known == nullptr || known->shard_id() != report.shard().shard_id()) continue;
    Leader& leader = leaders_[ShardId(report.shard().shard_id())];
    if (report.term() < leader.term) continue;
    if (leader.node != node) changed.push_back(known->from());
    leader = {report.term(), node};
  }
  return changed;
}

Instant Heartbeats::LastHeard(NodeId node) const {
  const auto it = heard_.find(node);
  return it == heard_.end() ? since_ : std::max(since_, it->second.at);
}

v1::NodeState Heartbeats::StateOf(NodeId node, Instant now) const {
  if (now - LastHeard(node) > kDownAfter) return v1::NODE_DOWN;
  return heard_.contains(node) ? v1::NODE_UP : v1::NODE_STATE_NONE;
}

NodeId Heartbeats::LeaderOf(ShardId shard) const {
  const auto it = leaders_.find(shard);
  return it == leaders_.end() ? NodeId() : it->second.node;
}

bool Heartbeats::Alone(NodeId self, Instant now) const {
  return now - since_ > kDownAfter && std::all_of(heard_.begin(), heard_.end(), [self](auto& each) {
           return each.first == self;
         });
}

bool Heartbeats::ConfirmsWall(NodeId self, int64_t wall_ms, Instant now) const {
  const int64_t bound = ToMillis(limits::kTsoJumpMax);
  return std::any_of(heard_.begin(), heard_.end(), [&](const auto& entry) {
    const auto& [node, heard] = entry;
    if (node == self || heard.wall_ms == 0) return false;
    return std::llabs(heard.wall_ms + ToMillis(now - heard.at) - wall_ms) <= bound;
  });
}

}  // namespace quorate::placement
