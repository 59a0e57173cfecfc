#include <fmt/format.h>

#include <algorithm>

#include "base/mutant.h"
#include "placement/schedule/board.h"
#include "placement/schedule/safety.h"
#include "placement/schedule/schedulers.h"

namespace quorate::placement {

namespace {

bool IsLost(const Board& board, NodeId node) {
  return Lost(board.view(), node, board.settings().down_after, board.situation().now);
}

// Whether a learner could still become what the shard needs.
bool Usable(const Board& board, const ShardView& shard, NodeId learner) {
  const ClusterView::Node* node = board.view().Find(learner);
  if (node == nullptr || node->view.draining || node->view.low_space) return false;
  if (!board.view().Fits(learner, shard, kRequired)) return false;
  // One whose node is down for a moment is waited for.
  if (node->view.liveness == Liveness::kDown) return !IsLost(board, learner);
  return !board.under_way().Avoids(shard.id, learner, board.situation().now);
}

// Of too many voters the one that is missed least: being drained, crowding the others, not leading,
// on a node that bears much. 0: none may be removed.
NodeId ChooseSuperfluous(const Board& board, const ShardView& shard) {
  NodeId best;
  std::tuple<bool, Standing, bool, double> best_rank;
  for (const Replica& voter : shard.voters) {
    const Board::Place* place = board.Find(voter.node);
    if (place == nullptr) return voter.node;
    if (shard.leader == voter.node && !board.ChooseHeir(shard, voter.node)) continue;
    const std::tuple rank(!place->node->view.draining, board.view().StandingOf(shard, voter.node),
                          shard.leader == voter.node, -board.LoadOf(*place));
    if (best && rank >= best_rank) continue;
    best = voter.node;
    best_rank = rank;
  }
  return best;
}

void Drop(Board* board, const ShardView& shard, NodeId from, std::string why) {
  Operator op = board->Drop(OperatorKind::kRepair, shard, from);
  op.explanation.why = std::move(why);
  board->Propose(shard, std::move(op));
}

void RemoveSuperfluous(Board* board, const ShardView& shard, uint32_t wanted) {
  if (LiveVoters(board->view(), shard) < shard.voters.size()) {
    board->Want(OperatorKind::kRepair, shard.id,
                fmt::format("{} has {} replicas, {} are wanted: none is removed while one of them "
                            "is not up or not caught up",
                            NameOf(shard.id), shard.voters.size(), wanted));
    return;
  }
  if (const NodeId from = ChooseSuperfluous(*board, shard)) {
    Drop(board, shard, from,
         fmt::format("{} has {} replicas, {} are wanted", NameOf(shard.id), shard.voters.size(),
                     wanted));
  }
}

std::string WhyLost(const Board& board, const ShardView& shard, NodeId lost) {
  const ClusterView::Node* node = board.view().Find(lost);
  if (node == nullptr) {
    return fmt::format("node {}, which has a replica of {}, is gone from the cluster", lost,
                       NameOf(shard.id));
  }
  const auto down = board.situation().now - node->view.down_since;
  return fmt::format("node {}, which has a replica of {}, has been down for {} s", lost,
                     NameOf(shard.id), ToMillis(down) / 1000);
}

bool NeedsNoReplica(const Board& board, const ShardView& shard) {
  const uint32_t wanted = board.view().ReplicationFactorOf(shard);
  // One that is not up may be about to count as lost.
  const auto stays = [&](const Replica& voter) {
    const Board::Place* place = board.Find(voter.node);
    return place != nullptr && place->stays();
  };
  return shard.voters.size() == wanted &&
         std::all_of(shard.voters.begin(), shard.voters.end(), stays) &&
         board.view().StandingOf(shard) <= board.view().LeastStanding(shard);
}

Looked Look(Board* board, const ShardView& shard) {
  if (!board->Approachable(OperatorKind::kRepair, shard)) return Looked::kPassed;
  for (const Replica& learner : shard.learners) {
    if (Usable(*board, shard, learner.node)) continue;
    Drop(board, shard, learner.node,
         fmt::format("the learner of {} on node {} can become nothing", NameOf(shard.id),
                     learner.node));
    return Looked::kLooked;
  }
  const uint32_t wanted = board->view().ReplicationFactorOf(shard);
  for (const Replica& voter : shard.voters) {
    if (!IsLost(*board, voter.node)) continue;
    std::string why = WhyLost(*board, shard, voter.node);
    if (shard.voters.size() > wanted) {
      Drop(board, shard, voter.node, std::move(why));
    } else {
      board->ProposeReplica(OperatorKind::kRepair, shard, voter.node, std::move(why));
    }
    return Looked::kLooked;
  }
  if (shard.voters.size() < wanted) {
    board->ProposeReplica(OperatorKind::kRepair, shard, NodeId(),
                          fmt::format("{} has {} replicas, {} are wanted", NameOf(shard.id),
                                      shard.voters.size(), wanted));
    return Looked::kLooked;
  }
  if (shard.voters.size() > wanted) {
    RemoveSuperfluous(board, shard, wanted);
    return Looked::kLooked;
  }
  if (!shard.learners.empty() && NeedsNoReplica(*board, shard) &&
      !MUTANT("schedule-orphans-stay")) {
    Drop(board, shard, shard.learners.front().node,
         fmt::format("the learner of {} on node {} belongs to no operator", NameOf(shard.id),
                     shard.learners.front().node));
    return Looked::kLooked;
  }
  return Looked::kPassed;
}

// Shards that have lost a voter: of each node that is lost so many as one walk sees.
absl::btree_set<ShardId> LostReplicas(const Situation& situation) {
  absl::btree_set<ShardId> shards;
  const auto add = [&](NodeId id, const ClusterView::Node& node) {
    if (!Lost(situation.view, id, situation.settings.down_after, situation.now)) return;
    auto it = node.shards.upper_bound(situation.after);
    for (size_t left = std::min(node.shards.size(), kShardsLookedAtMax); left > 0; --left, ++it) {
      if (it == node.shards.end()) it = node.shards.begin();
      if (situation.view.Find(*it)->Voter(id) != nullptr) shards.insert(*it);
    }
  };
  for (const auto& [id, node] : situation.view.nodes()) add(id, node);
  for (const auto& [id, node] : situation.view.strangers()) add(id, node);
  return shards;
}

}  // namespace

Proposals Repair(const Situation& situation) {
  return WalkUnsettled(situation, Look, LostReplicas(situation));
}

}  // namespace quorate::placement
