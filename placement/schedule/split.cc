#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/bytes.h"
#include "base/mutant.h"
#include "placement/schedule/board.h"
#include "placement/schedule/safety.h"
#include "placement/schedule/schedulers.h"

namespace quorate::placement {

namespace {

constexpr size_t kPassedMax = 10'000;  // shards that are small enough, in one round
// Beyond so many times split_bytes a shard is divided whoever is behind: it only gets harder to
// catch up with.
constexpr uint64_t kWaitsBelow = 4;

Operator SplitOf(const ShardView& shard, std::string at, bool by_hand = false) {
  Operator op;
  op.kind = OperatorKind::kSplit;
  op.shard = shard.id;
  op.epoch = shard.epoch;
  op.members = MembersOf(shard);
  op.steps.push_back(SplitShard{std::move(at), by_hand});
  return op;
}

// A voter that is behind gets the child's state only after its parent's, and votes for no leader of
// the child before. Until then the child bears one failure fewer than its parent would, so the
// split can wait for it; but not for one that is lost.
const Replica* Awaited(const Board& board, const ShardView& shard) {
  const Situation& situation = board.situation();
  if (shard.bytes / kWaitsBelow >= situation.settings.split_bytes) return nullptr;
  const auto it = std::find_if(shard.voters.begin(), shard.voters.end(), [&](const Replica& voter) {
    const ClusterView::Node* node = board.view().Find(voter.node);
    const bool there = node != nullptr && node->view.liveness == Liveness::kUp;
    return !(there && voter.caught_up) &&
           !Lost(board.view(), voter.node, situation.settings.down_after, situation.now);
  });
  return it == shard.voters.end() ? nullptr : &*it;
}

// Many requests, and so many of what one node should serve that leaderships alone cannot even them
// out. A split halves both, so this ends.
bool TooBusy(const Board& board, const ShardView& shard) {
  const auto requests = static_cast<double>(shard.requests_per_second);
  return shard.requests_per_second >= board.settings().split_requests &&
         requests > board.mean().requests / 2;
}

bool CrossesRules(const ShardView& shard) {
  return !shard.border.empty() && !MUTANT("schedule-rule-borders-ignored");
}

std::optional<Operator> SplitFor(Board* board, const ShardView& shard) {
  const Settings& settings = board->settings();
  if (CrossesRules(shard)) {
    Operator op = SplitOf(shard, shard.border);
    op.explanation.why =
        fmt::format("a rule begins or ends at '{}', inside it", Printable(shard.border));
    return op;
  }
  if (shard.bytes >= settings.split_bytes) {
    Operator op = SplitOf(shard, {});
    op.explanation.why = fmt::format("it has {} MiB, and placement.split_bytes is {} MiB",
                                     shard.bytes >> 20, settings.split_bytes >> 20);
    return op;
  }
  if (shard.load_middle.empty()) {
    board->Want(
        OperatorKind::kSplit, shard.id,
        fmt::format("{} serves {} requests/s, {}% of them for one key: dividing it would "
                    "not help",
                    NameOf(shard.id), shard.requests_per_second, shard.busiest_key_percent));
    return std::nullopt;
  }
  Operator op = SplitOf(shard, shard.load_middle);
  op.explanation.why = fmt::format(
      "it serves {} requests/s, and placement.split_requests is {}; of all shards a "
      "node leads {:.0f}",
      shard.requests_per_second, settings.split_requests, board->mean().requests);
  return op;
}

}  // namespace

Proposals Split(const Situation& situation) {
  Board board(situation);
  const auto& shards = situation.view.shards();
  ShardId reached = situation.after;
  size_t passed = 0;
  size_t looked = 0;
  auto it = shards.upper_bound(situation.after);
  for (size_t i = 0; i < shards.size(); ++i, ++it) {
    if (board.full() || passed == kPassedMax || looked == kShardsLookedAtMax) {
      return board.Take(reached, false);  // the rest can wait for the next round
    }
    if (it == shards.end()) it = shards.begin();
    const ShardView& shard = it->second;
    reached = shard.id;
    ++passed;
    if (shard.bytes < situation.settings.split_bytes && !TooBusy(board, shard) &&
        !CrossesRules(shard)) {
      continue;
    }
    if (situation.under_way.Avoids(shard.id, NodeId(), situation.now)) continue;
    ++looked;
    if (!board.Approachable(OperatorKind::kSplit, shard)) continue;
    if (const Replica* behind = Awaited(board, shard)) {
      board.Want(OperatorKind::kSplit, shard.id,
                 fmt::format("{} is divided once its replica on node {} has caught up",
                             NameOf(shard.id), behind->node));
      continue;
    }
    if (auto op = SplitFor(&board, shard)) board.Propose(shard, *std::move(op));
  }
  return board.Take(reached, false);
}

Result<Operator> PlanSplit(const Situation& situation, ShardId id, std::string at) {
  const ShardView* shard = situation.view.Find(id);
  if (shard == nullptr) return NotFound(fmt::format("there is no shard {}", id));
  if (situation.under_way.Has(id)) {
    return Status(Code::kFailedPrecondition, fmt::format("shard {} has an operator under way", id));
  }
  Operator op = SplitOf(*shard, std::move(at), true);
  if (Refusal refusal = CheckChange(situation.view, *shard, op.steps.front())) {
    return Status(Code::kFailedPrecondition, std::move(*refusal));
  }
  op.explanation.why = "somebody asked for it";
  return op;
}

}  // namespace quorate::placement
