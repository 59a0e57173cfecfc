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

// No node can take what is where the rule lets no replica be: why, for one of those replicas.
void WantInside(Board* board, const ShardView& shard) {
  const auto outside = std::find_if(
      shard.voters.begin(), shard.voters.end(),
      [&](const Replica& voter) { return !board->view().Fits(voter.node, shard, kRequired); });
  if (outside == shard.voters.end()) return;
  board->Want(OperatorKind::kRules, shard.id, board->ChooseTarget(shard, outside->node).why_not);
}

Looked Spread(Board* board, const ShardView& shard) {
  const Standing now = board->view().StandingOf(shard);
  if (now.outside == 0 && now <= board->view().LeastStanding(shard)) return Looked::kPassed;
  if (!board->Approachable(OperatorKind::kRules, shard) || !Whole(*board, shard)) {
    return Looked::kPassed;
  }
  NodeId leaving;
  std::tuple<Standing, bool, double> best(now, false, 0);
  for (const Replica& voter : shard.voters) {
    const auto least = board->LeastStandingWith(shard, voter.node);
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
        fmt::format("{} stands worse than nodes allow ({}; possible: {})", NameOf(shard.id),
                    ToString(now), ToString(std::get<0>(best))));
  } else if (now.outside > 0) {
    WantInside(board, shard);
  }
  return Looked::kLooked;
}

// Only to who has been up for a while: else the leadership goes to and fro with a node that does.
Looked PreferLeader(Board* board, const ShardView& shard) {
  if (!board->view().LedElsewhere(shard) || shard.leader_stays) return Looked::kPassed;
  if (!board->Approachable(OperatorKind::kRules, shard)) return Looked::kPassed;
  const Board::Place* best = nullptr;
  for (const Replica& voter : shard.voters) {
    const Board::Place* place = board->Find(voter.node);
    if (place == nullptr || !voter.caught_up || !place->leads()) continue;
    if (!board->view().Fits(voter.node, shard, kLeads)) continue;
    if (board->situation().now - place->node->view.up_since < kLeadsAfter) continue;
    if (best == nullptr || place->leaders() < best->leaders()) best = place;
  }
  if (best == nullptr) return Looked::kLooked;
  Operator op = board->Transfer(OperatorKind::kRules, shard, best->id);
  op.explanation.why =
      fmt::format("the rule of {} rather has leaders on {}, and node {} is not", NameOf(shard.id),
                  ToString(board->view().RuleOf(shard)->leaders), shard.leader);
  board->Propose(shard, std::move(op));
  return Looked::kLooked;
}

Looked Look(Board* board, const ShardView& shard) {
  const Looked spread = Spread(board, shard);
  if (board->under_way().Has(shard.id)) return spread;
  const Looked preferred = PreferLeader(board, shard);
  return preferred == Looked::kLooked ? preferred : spread;
}

}  // namespace

Proposals Rules(const Situation& situation) { return WalkUnsettled(situation, Look); }

}  // namespace quorate::placement
