#include <fmt/format.h>

#include <algorithm>

#include "base/mutant.h"
#include "placement/schedule/board.h"
#include "placement/schedule/safety.h"
#include "placement/schedule/schedulers.h"

namespace quorate::placement {

namespace {

constexpr size_t kPassedOverMax = 16 * kShardsLookedAtMax;

// Calls `look` for the shards of `set` after `after`, and around, until it says no more.
template <class Look>
void Walk(const Board& board, const absl::btree_set<ShardId>& set, ShardId after,
          const Look& look) {
  auto it = set.upper_bound(after);
  for (size_t left = std::min(set.size(), kPassedOverMax); left > 0; --left, ++it) {
    if (it == set.end()) it = set.begin();
    if (!look(*board.view().Find(*it))) return;
  }
}

// True if it leads something that another voter could lead, whether or not that is under way.
bool MoveLeaders(Board* board, NodeId id, const ClusterView::Node& node, size_t* looks) {
  bool leads = false;
  Walk(*board, node.led, board->situation().after, [&](const ShardView& shard) {
    if (*looks == 0 || board->full()) return false;
    if (board->under_way().Has(shard.id)) {
      leads = true;
      return true;
    }
    if (!board->Approachable(OperatorKind::kDrain, shard)) return true;
    const NodeId heir = board->ChooseHeir(shard, id);
    if (!heir || board->view().Find(heir)->view.draining) return true;
    leads = true;
    --*looks;
    Operator op = board->Transfer(OperatorKind::kDrain, shard, heir);
    op.explanation.why =
        fmt::format("node {}, which leads {}, is being drained", id, NameOf(shard.id));
    board->Propose(shard, std::move(op));
    return true;
  });
  return leads;
}

void MoveReplicas(Board* board, NodeId id, const ClusterView::Node& node, size_t* looks) {
  Walk(*board, node.shards, board->situation().after, [&](const ShardView& shard) {
    if (*looks == 0 || board->full()) return false;
    if (!shard.Voter(id) || !board->Approachable(OperatorKind::kDrain, shard)) return true;
    --*looks;
    std::string why = fmt::format("node {} is being drained", id);
    if (shard.voters.size() > board->view().ReplicationFactorOf(shard)) {
      Operator op = board->Drop(OperatorKind::kDrain, shard, id);
      op.explanation.why = std::move(why);
      board->Propose(shard, std::move(op));
    } else {
      board->ProposeReplica(OperatorKind::kDrain, shard, id, std::move(why));
    }
    return true;
  });
}

}  // namespace

Proposals Drain(const Situation& situation) {
  const auto& nodes = situation.view.nodes();
  const auto drained = [](const auto& entry) { return entry.second.view.draining; };
  if (std::none_of(nodes.begin(), nodes.end(), drained)) return {};
  Board board(situation);
  size_t looks = kShardsLookedAtMax;
  for (const auto& [id, node] : nodes) {
    if (!node.view.draining || board.full() || looks == 0) continue;
    const bool leads = MoveLeaders(&board, id, node, &looks);
    if (!leads || MUTANT("schedule-drain-replicas-first")) MoveReplicas(&board, id, node, &looks);
  }
  Proposals proposals = board.Take(situation.after, looks == 0);
  if (!proposals.operators.empty())
    proposals.reached = proposals.operators.back().shard;
  else if (!proposals.wanted.empty())
    proposals.reached = proposals.wanted.back().shard;
  return proposals;
}

DrainState DrainStateOf(const Situation& situation, NodeId id) {
  DrainState state;
  const ClusterView::Node* node = situation.view.Find(id);
  if (node == nullptr) return state;
  state.replicas = node->shards.size();
  state.leaders = node->led.size();
  for (ShardId shard : node->shards) state.under_way += situation.under_way.Has(shard);
  if (state.done() || state.under_way > 0) return state;
  // Who is up, and what has room, is not known in the first seconds of a placement leader's term.
  if (!situation.view.AllHeardOf()) return state;
  if (!node->view.draining) {
    state.standing_still = fmt::format("node {} is not being drained", id);
  } else if (situation.settings.Paused(Scheduler::kDrain)) {
    state.standing_still = "draining is paused (placement.pause)";
  } else if (Refusal refusal = CheckDrain(situation.view, id)) {
    state.standing_still = std::move(*refusal);
  } else {
    for (const Wanted& wanted : Drain(situation).wanted) {
      if (!node->shards.contains(wanted.shard)) continue;
      state.standing_still = wanted.why_not;
      break;
    }
  }
  return state;
}

}  // namespace quorate::placement
