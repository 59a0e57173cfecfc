// Heartbeats: what the placement leader has heard from the nodes. A volatile view: it begins empty
// with each term, and not having heard of a node yet does not make it down (PL23).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/strong_type.h"
#include "placement/shard_map.h"
#include "quorate/v1/placement.pb.h"

namespace quorate::placement {

class Heartbeats {
 public:
  // Without a word for this long, a node is shown as down.
  static constexpr Duration kDownAfter = 5s;
  // After this long, a process may be taken for ended by who knows of its successor: a few of what
  // is sent every second are missing.
  static constexpr Duration kSilentAfter = 3s;

  void Reset(Instant now);
  // Of shards that are not in `map` (yet) nothing is kept: whoever reports them decides their
  // number. Returns where the pieces begin that have another leader now. Of one that does not
  // continue, only that the node is alive is recorded.
  std::vector<std::string> Record(const v1::HeartbeatRequest& heartbeat, const ShardMap& map,
                                  uint64_t term, Instant now);
  // Whether what the heartbeat says of shards is to be used: it tells of all, goes on from the one
  // that was used last, or is that one again (who waits too long for an answer asks once more; what
  // a heartbeat says is absolute, so nothing is counted twice).
  bool Continues(const v1::HeartbeatRequest& heartbeat, uint64_t term) const;

  // NODE_STATE_NONE: it has not been heard of in this term, which is too young to judge.
  v1::NodeState StateOf(NodeId node, Instant now) const;
  // Not before the term began.
  Instant LastHeard(NodeId node) const;
  // 0: nobody reported to lead it. The report of the highest term counts.
  NodeId LeaderOf(ShardId shard) const;
  // Whether no other node has been heard of, in a term that is old enough to have heard of one.
  bool Alone(NodeId self, Instant now) const;
  // Whether another node's wall clock agrees with ours, within kTsoJumpMax.
  bool ConfirmsWall(NodeId self, int64_t wall_ms, Instant now) const;

 private:
  struct Heard {
    Instant at;
    int64_t wall_ms = 0;
    // Of the newest that was used.
    uint64_t number = 0;
    uint64_t base = 0;
  };
  struct Leader {
    uint64_t term = 0;
    NodeId node;
  };
  Instant since_;
  std::map<NodeId, Heard> heard_;
  std::map<ShardId, Leader> leaders_;
};

}  // namespace quorate::placement
