// Board: the nodes as one scheduler sees them in one round: what they bear, what operators under
// way will change, and what it has proposed itself. Where all schedulers choose nodes and make
// operators. Private to this folder.
#pragma once

#include <absl/container/btree_set.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "placement/schedule/cluster_view.h"
#include "placement/schedule/operator.h"
#include "placement/schedule/schedulers.h"

namespace quorate::placement {

class Board {
 public:
  struct Place {
    NodeId id;
    const ClusterView::Node* node = nullptr;
    UnderWay::Node under_way;
    double weight = 1;  // its disk against the mean; 1 unless all are known

    double replicas() const { return (node->load.replicas + under_way.load.replicas) / weight; }
    double bytes() const { return (node->load.bytes + under_way.load.bytes) / weight; }
    double leaders() const { return node->load.leaders + under_way.load.leaders; }
    double requests() const { return node->load.requests + under_way.load.requests; }
    // Up and to stay: the mean is taken over these.
    bool stays() const { return node->view.liveness == Liveness::kUp && !node->view.draining; }
    // One that is short of space gives what it leads away by itself.
    bool leads() const { return stays() && !node->view.low_space; }
  };
  // Of those that stay, per weight; leaders and requests of those that lead.
  struct Mean {
    double replicas = 0;
    double bytes = 0;
    double leaders = 0;
    double requests = 0;
    size_t nodes = 0;
  };
  struct Choice {
    NodeId to;  // 0: none
    Explanation explanation;
    std::string why_not;
  };

  explicit Board(const Situation& situation);

  const Situation& situation() const { return situation_; }
  const ClusterView& view() const { return situation_.view; }
  const Settings& settings() const { return situation_.settings; }
  const UnderWay& under_way() const { return under_way_; }
  const std::vector<Place>& places() const { return places_; }
  const Place* Find(NodeId node) const;
  const Mean& mean() const { return mean_; }
  // 1: the mean. By number and bytes alike.
  double LoadOf(const Place& place) const;

  // Whether what a shard needs can be looked at now: no operator of its own, no change under way, a
  // leader, a quorum. `kind` is told in what is wanted if there is no quorum.
  bool Approachable(OperatorKind kind, const ShardView& shard);

  // The least crowded that `shard` can be with a replica more on some node, and without the one on
  // `leaving` (0: none). Those about to leave anyway are not counted.
  std::optional<Standing> LeastStandingWith(const ShardView& shard, NodeId leaving);
  // The node for it: of those that leave the shard the least crowded, one where a learner is
  // already, else the one that bears least.
  Choice ChooseTarget(const ShardView& shard, NodeId leaving);
  // Whether nothing speaks against a replica there but limits and other replicas' places.
  bool CanTake(const Place& place, const ShardView& shard) const {
    return HardVeto(place, shard) == Veto::kNone;
  }
  // What does, as the end of a sentence that begins with the node; empty: nothing.
  std::string_view WhyNot(const Place& place, const ShardView& shard) const {
    return VetoName(HardVeto(place, shard));
  }
  // Whether a replica there would be on the host of another one (but for that on `leaving`),
  // although there are enough hosts.
  bool SharesHost(const Place& place, const ShardView& shard, NodeId leaving) const;
  // Whether it has a part in as much as it may.
  bool Busy(const Place& place) const;
  // Who leads next: of voters that are up and caught up, those first where the shard's rule rather
  // has leaders, the one that leads least; 0: nobody.
  NodeId ChooseHeir(const ShardView& shard, NodeId leaving) const;

  // ---- operators
  // ---------------------------------------------------------------------------------
  Operator Replace(OperatorKind kind, const ShardView& shard, NodeId from, NodeId to) const;
  Operator Add(OperatorKind kind, const ShardView& shard, NodeId to) const;
  Operator Drop(OperatorKind kind, const ShardView& shard, NodeId from) const;
  Operator Transfer(OperatorKind kind, const ShardView& shard, NodeId to) const;

  // Chooses a node and proposes the replacement (`from` 0: the addition), or tells why not.
  bool ProposeReplica(OperatorKind kind, const ShardView& shard, NodeId from, std::string why);
  // Unless a limit or the safety of the shard speaks against it, which is told.
  bool Propose(const ShardView& shard, Operator op);
  void Want(OperatorKind kind, ShardId shard, std::string why_not);
  // Nothing more can be proposed in this round.
  bool full() const;

  // `cut_short`: a bound of this round was reached before all was looked at.
  Proposals Take(ShardId reached, bool cut_short);

 private:
  enum class Veto : uint8_t {
    kNone,
    kHoldsOne,
    kOutside,
    kNotUp,
    kDraining,
    kLowSpace,
    kNoRoom,
    kFailed,
    kSharesHost,
    kCloser,
    kBusy
  };
  static constexpr size_t kVetoes = 11;
  static std::string_view VetoName(Veto veto);

  Veto HardVeto(const Place& place, const ShardView& shard) const;
  // Fills `vetoes_` and `standing_` for the places.
  std::optional<Standing> Judge(const ShardView& shard, NodeId leaving);
  Explanation Explain(const std::vector<const Place*>& best) const;

  Situation situation_;
  UnderWay under_way_;
  std::vector<Place> places_;  // by id
  Mean mean_;
  Proposals proposals_;
  std::vector<Veto> vetoes_;
  std::vector<Standing> standing_;
};

// Hands `look` the shards of `first`, at most kShardsLookedAtMax, which so have the first choice of
// what limits leave, then other unsettled ones, from situation.after on and around, until it has
// seen kShardsLookedAtMax of these or the board is full. What `look` passes over at once counts for
// little.
enum class Looked : uint8_t { kPassed, kLooked };
Proposals WalkUnsettled(const Situation& situation,
                        const std::function<Looked(Board*, const ShardView&)>& look,
                        const absl::btree_set<ShardId>& first = {});

}  // namespace quorate::placement
