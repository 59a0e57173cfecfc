// Operator: one intention for one shard, carried out in steps by the shard's leader. It is bound to
// the members that it was made for: each step is a goal that is compared with the actual members,
// and whatever else happened to them ends the operator. Nothing is ever forced, so a lost or
// doubled order does no harm.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/strong_type.h"
#include "placement/schedule/cluster_view.h"

namespace quorate::placement {

using OperatorId = StrongInt<struct OperatorIdTag>;

// ---- steps: each is done once the shard reports what it asks for --------------------------------
// `node` is a learner or voter.
struct AddLearner {
  NodeId node;
  friend bool operator==(const AddLearner&, const AddLearner&) = default;
};
// The learner `node`, which has caught up, is a voter.
struct Promote {
  NodeId node;
  friend bool operator==(const Promote&, const Promote&) = default;
};
// By one joint change `add`, a learner that has caught up, is a voter and `remove` is none. The
// leader is another node than `remove`.
struct Swap {
  NodeId add;
  NodeId remove;
  friend bool operator==(const Swap&, const Swap&) = default;
};
// `node` is no member. Voter or learner; never the leader.
struct Remove {
  NodeId node;
  friend bool operator==(const Remove&, const Remove&) = default;
};
// `to` leads; as a part of a move: anyone but the leaving replica leads.
struct TransferLeader {
  NodeId to;
  friend bool operator==(const TransferLeader&, const TransferLeader&) = default;
};
// The shard is two: its version is higher.
struct SplitShard {
  std::string at;        // first key of the new shard; empty: where the leader finds the middle
  bool by_hand = false;  // somebody asked for it
  friend bool operator==(const SplitShard&, const SplitShard&) = default;
};
// The shard is gone: its left neighbour has absorbed it.
struct MergeShards {
  ShardId into;
  friend bool operator==(const MergeShards&, const MergeShards&) = default;
};
using Step =
    std::variant<AddLearner, Promote, Swap, Remove, TransferLeader, SplitShard, MergeShards>;

// "add a learner on node 4", "swap node 4 in for node 1".
std::string ToString(const Step& step);

// ---- operators ----------------------------------------------------------------------------------
enum class OperatorKind : uint8_t {
  kRepair,  // a replica is lost, or too few are there
  kRules,   // too many, or they stand too close together
  kDrain,   // off a node that is to hold nothing
  kMove,    // a person asked
  kSplit,   // too large, or a person asked
  kMerge,   // small, as its neighbour is, or a person asked
  kBalanceReplicas,
  kBalanceLeaders,
};
std::string_view KindName(OperatorKind kind);  // "repair", "balance-leaders"

// Why it was made, and why so. Bounded: the best candidates, and how many others were vetoed.
struct Explanation {
  struct Candidate {
    NodeId node;
    double load = 0;      // 1: the mean of the nodes
    std::string verdict;  // "chosen", or what spoke against it
  };
  static constexpr size_t kCandidatesMax = 5;

  std::string why;  // a sentence
  std::vector<Candidate> candidates;
  std::map<std::string, uint32_t> vetoes;  // rule -> nodes that it ruled out
};

// Who votes and who learns, without how far they are; sorted.
struct Members {
  std::vector<NodeId> voters;
  std::vector<NodeId> learners;
  friend bool operator==(const Members&, const Members&) = default;
};
Members MembersOf(const ShardView& shard);

struct Operator {
  OperatorId id;  // given by OperatorTable
  OperatorKind kind = OperatorKind::kMove;
  ShardId shard;
  ShardEpoch epoch;  // it was made at
  Members members;   // it was made for
  NodeId from;       // that loses a replica or the leadership; 0: none
  NodeId to;         // that gains one; 0: none
  std::vector<Step> steps;
  Explanation explanation;

  // Whether data are copied for it.
  bool copies() const;
  // Who is to absorb the shard; 0: nobody.
  ShardId into() const;
};

// As KindName; a handover that a person asked for is "transfer-leader", as the command is.
std::string_view KindName(const Operator& op);
// "operator 12 (drain): move a replica of shard 7 from node 1 to node 4"; without an id, of one
// that was only planned, "drain: move ...".
std::string ToString(const Operator& op);

// ---- members, step by step ----------------------------------------------------------------------
// The members once the step is done; those given where it changes none or does not fit.
Members After(const Step& step, Members members);
// Whether the shard is as the step asks for. `op` tells what a transfer is for.
bool Done(const Operator& op, const Step& step, const ShardView& shard);

}  // namespace quorate::placement
