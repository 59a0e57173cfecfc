#include <fmt/format.h>

#include <algorithm>

#include "placement/schedule/board.h"
#include "placement/schedule/safety.h"
#include "placement/schedule/schedulers.h"

namespace quorate::placement {

namespace {

// Whether nothing more important is to do for the shard.
bool Whole(const Board& board, const ShardView& shard) {
  if (shard.voters.size() != board.view().ReplicationFactorOf(shard)) return false;
  return std::all_of(shard.voters.begin(), shard.voters.end(), [&](const Replica& voter) {
    const Board::Place* place = board.Find(voter.node);
    return voter.caught_up && place != nullptr && place->stays();
  });
}

Looked Look(Board* board, const ShardView& shard) {
  const Crowding now = board->view().CrowdingOf(shard);
  if (now <= board->view().LeastCrowding(board->view().ReplicationFactorOf(shard))) {
    return Looked::kPassed;
  }
  if (!board->Approachable(OperatorKind::kRules, shard) || !Whole(*board, shard)) {
    return Looked::kPassed;
  }
  NodeId leaving;
  std::tuple<Crowding, bool, double> best(now, false, 0);
  for (const Replica& voter : shard.voters) {
    const auto least = board->LeastCrowdingWith(shard, voter.node);
    if (!least || *least >= now) continue;
    const std::tuple rank(*least, shard.leader == voter.node,
                          -board->LoadOf(*board->Find(voter.node)));
    if (leaving && rank >= best) continue;
    leaving = voter.node;
    best = rank;
  }
  if (leaving) {
    board->ProposeReplica(
        OperatorKind::kRules, shard, leaving,
        fmt::format("{} stands closer than nodes allow ({}; possible: {})", NameOf(shard.id),
                    ToString(now), ToString(std::get<0>(best))));
  }
  return Looked::kLooked;
}

}  // namespace

Proposals Rules(const Situation& situation) { return WalkUnsettled(situation, Look); }

}  // namespace quorate::placement
