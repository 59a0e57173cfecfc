#include <fmt/format.h>

#include "placement/schedule/board.h"
#include "placement/schedule/safety.h"
#include "placement/schedule/schedulers.h"

namespace quorate::placement {

namespace {

constexpr size_t kPassedMax = 10'000;  // shards that are small enough, in one round

Operator SplitOf(const ShardView& shard, std::string at) {
  Operator op;
  op.kind = OperatorKind::kSplit;
  op.shard = shard.id;
  op.epoch = shard.epoch;
  op.members = MembersOf(shard);
  op.steps.push_back(SplitShard{std::move(at)});
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
    if (shard.bytes < situation.settings.split_bytes) continue;
    if (situation.under_way.Avoids(shard.id, NodeId(), situation.now)) continue;
    ++looked;
    if (!board.Approachable(OperatorKind::kSplit, shard)) continue;
    Operator op = SplitOf(shard, {});
    op.explanation.why = fmt::format("it has {} MiB, and placement.split_bytes is {} MiB",
                                     shard.bytes >> 20, situation.settings.split_bytes >> 20);
    board.Propose(shard, std::move(op));
  }
  return board.Take(reached, false);
}

Result<Operator> PlanSplit(const Situation& situation, ShardId id, std::string at) {
  const ShardView* shard = situation.view.Find(id);
  if (shard == nullptr) return NotFound(fmt::format("there is no shard {}", id));
  if (situation.under_way.Has(id)) {
    return Status(Code::kFailedPrecondition, fmt::format("shard {} has an operator under way", id));
  }
  Operator op = SplitOf(*shard, std::move(at));
  if (Refusal refusal = CheckChange(situation.view, *shard, op.steps.front())) {
    return Status(Code::kFailedPrecondition, std::move(*refusal));
  }
  op.explanation.why = "somebody asked for it";
  return op;
}

}  // namespace quorate::placement
