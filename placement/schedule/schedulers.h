// The schedulers, in the order of their importance: each a pure function of what is known to what
// should be done. The same answer for the same input: no clock, no random source, no memory.
//
// Each proposes only what the limits leave room for, and at most `kProposalsMax` a round; what is
// wanted and cannot be is told with the reason.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "placement/schedule/cluster_view.h"
#include "placement/schedule/operator.h"
#include "placement/schedule/settings.h"
#include "placement/schedule/under_way.h"

namespace quorate::placement {

struct Situation {
  const ClusterView& view;
  const Settings& settings;
  Instant now;
  const UnderWay& under_way;
  // Where a scheduler goes on among many shards: after this one, and around.
  ShardId after;
};

// What a shard needs and does not get now.
struct Wanted {
  OperatorKind kind = OperatorKind::kRepair;
  ShardId shard;
  std::string why_not;  // a sentence
};

struct Proposals {
  std::vector<Operator> operators;
  std::vector<Wanted> wanted;  // at most kWantedMax
  ShardId reached;             // `after` of the next round
  bool more = false;           // a bound was reached, and the next round may go on at once
};

inline constexpr size_t kProposalsMax = 250;  // of one scheduler in one round
inline constexpr size_t kWantedMax = 100;
inline constexpr size_t kShardsLookedAtMax = 400;  // of one scheduler in one round
// A node is up for so long before rules have it lead what is led elsewhere.
inline constexpr Duration kLeadsAfter = std::chrono::seconds(30);

// Replaces replicas on nodes that are gone, or down for longer than down_after; adds one where
// there are too few, and removes one where there are too many; removes learners that belong to no
// operator, or goes on with them where one is needed (an earlier leader may have begun to add
// them).
Proposals Repair(const Situation& situation);
// Has replicas stand where their rules say, and as far apart as nodes allow, over hosts, zones and
// racks: a move is made only if the shard stands better with it. (No scheduler ever puts two
// replicas of a shard on one node, nor on one host if there are enough.) Hands leaderships to where
// rules rather have them.
Proposals Rules(const Situation& situation);
// Draining nodes lose their leaders first, then their replicas.
Proposals Drain(const Situation& situation);
// Shards that are larger than split_bytes, by what their leaders measured, are divided in the
// middle of their bytes; those that serve more than split_requests, and more than half of what the
// mean node does, in the middle of their requests. Not while a voter that is not lost is behind,
// unless they are much larger. Likewise those that go on into the range of another rule, there.
Proposals Split(const Situation& situation);
// Neighbours under one rule that are small together, and cold, and have been as they are for a
// while, become one,
// as long as there are more than shards_min.
Proposals Merge(const Situation& situation);
// By number, then by bytes, in proportion to the nodes' disks. A move is made only if it makes the
// fuller of both nodes no emptier than the other: the sum of squares falls with each, so moves end.
Proposals BalanceReplicas(const Situation& situation);
// By number, then by requests. Only hands leaderships over; copies nothing.
Proposals BalanceLeaders(const Situation& situation);

// What a person asks for: checked as the schedulers' own, but for limits. INVALID_ARGUMENT or
// FAILED_PRECONDITION with a sentence; `to` 0: the best node is chosen. Also the --dry-run.
Result<Operator> PlanMove(const Situation& situation, ShardId shard, NodeId from, NodeId to);
Result<Operator> PlanTransfer(const Situation& situation, ShardId shard, NodeId to);
// `at`: inside the shard's range, or empty for the middle.
Result<Operator> PlanSplit(const Situation& situation, ShardId shard, std::string at);
// Of two neighbours, in either order.
Result<Operator> PlanMerge(const Situation& situation, ShardId shard, ShardId with);

// How far the drain of a node is.
struct DrainState {
  uint64_t replicas = 0;
  uint64_t leaders = 0;
  uint64_t under_way = 0;      // operators
  std::string standing_still;  // why nothing moves; empty: something does, or it is done
  bool done() const { return replicas == 0 && leaders == 0; }
};
DrainState DrainStateOf(const Situation& situation, NodeId node);

}  // namespace quorate::placement
