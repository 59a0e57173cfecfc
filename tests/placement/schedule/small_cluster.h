// Small clusters for tests of one thing each.
#pragma once

#include <initializer_list>
#include <string>
#include <utility>

#include "placement/schedule/operator_table.h"
#include "placement/schedule/safety.h"

namespace quorate::placement {

inline Instant At(int64_t seconds) { return Instant() + std::chrono::seconds(seconds); }

inline NodeView UpNode(uint64_t id, std::string zone = "") {
  NodeView node;
  node.id = NodeId(id);
  if (!zone.empty()) node.locality["zone"] = std::move(zone);
  node.liveness = Liveness::kUp;
  return node;
}

inline NodeView DownNode(uint64_t id, int64_t since_s, std::string zone = "") {
  NodeView node = UpNode(id, std::move(zone));
  node.liveness = Liveness::kDown;
  node.down_since = At(since_s);
  return node;
}

// Its first voter leads.
inline ShardView MakeShard(uint64_t id, std::initializer_list<uint64_t> voters) {
  ShardView shard;
  shard.id = ShardId(id);
  shard.epoch = {1, 1};
  for (uint64_t voter : voters) shard.voters.push_back({NodeId(voter), true});
  shard.leader = shard.voters.front().node;
  return shard;
}

// A view, and what goes with it.
struct SmallCluster {
  ClusterView view;
  Settings settings;
  Instant now = At(1000);
  UnderWay under_way;

  explicit SmallCluster(uint64_t nodes) {
    for (uint64_t id = 1; id <= nodes; ++id) view.Put(UpNode(id));
  }
  // Ready to be asked.
  Situation Now() {
    view.SetReplicationFactor(settings.replication_factor);
    while (!view.Refresh(1000)) {
    }
    return {view, settings, now, under_way, ShardId()};
  }
};

}  // namespace quorate::placement
