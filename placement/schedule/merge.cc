#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "placement/schedule/board.h"
#include "placement/schedule/safety.h"
#include "placement/schedule/schedulers.h"

namespace quorate::placement {

namespace {

constexpr size_t kPassedMax = 10'000;  // shards that are not to be merged, in one round
// What a shard may keep that is absorbed, of bytes that are known about (shard/shard.h).
constexpr uint64_t kAbsorbedMax = 768 << 10;
// What was just divided, or merged, may be about to grow.
constexpr Duration kQuietFor = std::chrono::minutes(5);
constexpr uint64_t kRequestsMax = 50;  // per second, of both

Operator MergeOf(const ShardView& shard, ShardId into) {
  Operator op;
  op.kind = OperatorKind::kMerge;
  op.shard = shard.id;
  op.epoch = shard.epoch;
  op.members = MembersOf(shard);
  op.steps.push_back(MergeShards{into});
  return op;
}

// Else it would be divided there again.
bool UnderOneRule(const ShardView& left, const ShardView& right) {
  return left.rule == right.rule && left.border.empty() && right.border.empty();
}

// Where a disk is nearly full the left one may take no entry: the right one would stay frozen.
bool HaveSpace(const ClusterView& view, const ShardView& shard) {
  const auto low = [&view](const Replica& member) {
    const ClusterView::Node* node = view.Find(member.node);
    return node != nullptr && node->view.low_space;
  };
  return std::none_of(shard.voters.begin(), shard.voters.end(), low) &&
         std::none_of(shard.learners.begin(), shard.learners.end(), low);
}

bool AreSmall(const Situation& situation, const ShardView& left, const ShardView& right) {
  const Settings& settings = situation.settings;
  const uint64_t bytes = left.bytes + right.bytes;
  const Instant quiet = situation.now - kQuietFor;
  return UnderOneRule(left, right) &&
         bytes < std::min(settings.merge_bytes, settings.split_bytes / 4) &&
         right.bytes <= kAbsorbedMax && left.since <= quiet && right.since <= quiet &&
         left.requests_per_second + right.requests_per_second <= kRequestsMax;
}

}  // namespace

Proposals Merge(const Situation& situation) {
  Board board(situation);
  const auto& shards = situation.view.shards();
  ShardId reached = situation.after;
  size_t passed = 0;
  size_t looked = 0;
  size_t left_over = shards.size() - shards.count(kPlacementShard);
  // Those of this round: nobody is absorbed by who is being absorbed.
  std::set<ShardId> taken;
  auto it = shards.upper_bound(situation.after);
  for (size_t i = 0; i < shards.size(); ++i, ++it) {
    if (left_over <= situation.settings.shards_min) break;
    if (board.full() || passed == kPassedMax || looked == kShardsLookedAtMax) break;
    if (it == shards.end()) it = shards.begin();
    const ShardView& right = it->second;
    reached = right.id;
    ++passed;
    const ShardView* left = situation.view.Find(right.left);
    if (right.by_hand || !right.left || left == nullptr || !AreSmall(situation, *left, right))
      continue;
    if (situation.under_way.Avoids(right.id, NodeId(), situation.now)) continue;
    if (taken.contains(left->id) || taken.contains(right.id)) continue;
    ++looked;
    if (!board.Approachable(OperatorKind::kMerge, right)) continue;
    if (!board.Approachable(OperatorKind::kMerge, *left)) continue;
    if (!HaveSpace(situation.view, *left) || !HaveSpace(situation.view, right)) continue;
    Operator op = MergeOf(right, left->id);
    op.explanation.why = fmt::format(
        "it and {} have {} KiB together, and placement.merge_bytes is {} KiB", NameOf(left->id),
        (left->bytes + right.bytes) >> 10, situation.settings.merge_bytes >> 10);
    if (!board.Propose(right, std::move(op))) continue;
    taken.insert({left->id, right.id});
    --left_over;
  }
  return board.Take(reached, false);
}

Result<Operator> PlanMerge(const Situation& situation, ShardId id, ShardId with) {
  const ShardView* right = situation.view.Find(id);
  const ShardView* left = situation.view.Find(with);
  if (right == nullptr) return NotFound(fmt::format("there is no shard {}", id));
  if (left == nullptr) return NotFound(fmt::format("there is no shard {}", with));
  if (left->left == right->id) std::swap(left, right);
  if (right->left != left->id) {
    return Status(Code::kFailedPrecondition,
                  fmt::format("shards {} and {} are no neighbours", id, with));
  }
  if (!UnderOneRule(*left, *right)) {
    return Status(Code::kFailedPrecondition,
                  fmt::format("shards {} and {} are not under one rule", id, with));
  }
  for (const ShardView* shard : {left, right}) {
    if (!situation.under_way.Has(shard->id)) continue;
    return Status(Code::kFailedPrecondition,
                  fmt::format("shard {} has an operator under way", shard->id));
  }
  Operator op = MergeOf(*right, left->id);
  if (Refusal refusal = CheckChange(situation.view, *right, op.steps.front())) {
    return Status(Code::kFailedPrecondition, std::move(*refusal));
  }
  op.explanation.why = "somebody asked for it";
  return op;
}

}  // namespace quorate::placement
