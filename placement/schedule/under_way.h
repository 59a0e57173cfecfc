// UnderWay: what operators that are under way will still change, so that schedulers neither ask
// twice nor pile everything on the node that is the emptiest at the moment. A value: a scheduler
// copies it and adds what it proposes.
#pragma once

#include <absl/container/btree_map.h>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "placement/schedule/cluster_view.h"
#include "placement/schedule/operator.h"
#include "placement/schedule/settings.h"

namespace quorate::placement {

class UnderWay {
 public:
  struct Node {
    int32_t operators = 0;
    int32_t receiving = 0;  // snapshots
    int32_t sending = 0;
    NodeLoad load;  // to be added to what is there
  };

  // Adds or replaces the operator of op.shard, whose view is given: what is done of it no longer
  // counts.
  void Put(const ClusterView& view, const ShardView& shard, const Operator& op);
  void Remove(ShardId shard);

  // One of its own, or one of a neighbour that it is to absorb.
  bool Has(ShardId shard) const { return operators_.contains(shard) || into_.contains(shard); }
  size_t size() const { return operators_.size(); }
  Node Of(NodeId node) const;

  // A replica of `shard` failed on `node` lately: it is tried elsewhere. Node 0: it could not be
  // split.
  void Avoid(ShardId shard, NodeId node, Instant until);
  bool Avoids(ShardId shard, NodeId node, Instant now) const;
  void ForgetAvoided(Instant now);

  // The bound that one more operator would break ("operators: 2048 are under way"); nothing: it may
  // begin.
  std::optional<std::string> OverLimit(const ClusterView& view, const Settings& settings,
                                       const ShardView& shard, const Operator& op) const;

 private:
  static constexpr size_t kAvoidedMax = 10'000;  // beyond, the one that ends first is forgotten

  // What one operator adds to whom: at most the leader, `from` and `to`.
  using Parts = absl::InlinedVector<std::pair<NodeId, Node>, 3>;
  static Parts PartsOf(const ClusterView& view, const ShardView& shard, const Operator& op);
  void Add(const Parts& parts, int sign);

  absl::btree_map<ShardId, Parts> operators_;
  absl::btree_map<ShardId, ShardId> into_;    // who is to absorb, and whom
  absl::btree_map<ShardId, ShardId> merged_;  // the other way round
  absl::btree_map<NodeId, Node> nodes_;
  absl::btree_map<std::pair<ShardId, NodeId>, Instant> avoided_;
};

}  // namespace quorate::placement
