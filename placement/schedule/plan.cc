#include <fmt/format.h>

#include <utility>

#include "placement/schedule/board.h"
#include "placement/schedule/safety.h"
#include "placement/schedule/schedulers.h"

namespace quorate::placement {

namespace {

Status Refused(std::string why) { return {Code::kFailedPrecondition, std::move(why)}; }

Result<const ShardView*> FindFree(const Situation& situation, ShardId id) {
  const ShardView* shard = situation.view.Find(id);
  if (shard == nullptr) return NotFound(fmt::format("there is no shard {}", id));
  if (situation.under_way.Has(id)) {
    return Refused(fmt::format("{} has an operator under way", NameOf(id)));
  }
  return shard;
}

}  // namespace

Result<Operator> PlanMove(const Situation& situation, ShardId id, NodeId from, NodeId to) {
  auto found = FindFree(situation, id);
  if (!found.ok()) return found.status();
  const ShardView& shard = **found;
  if (!shard.Voter(from)) {
    return InvalidArgument(fmt::format("{} has no replica on node {}", NameOf(id), from));
  }
  Board board(situation);
  Board::Choice choice;
  if (to) {
    choice.to = to;
    choice.explanation.candidates.push_back({to, 0, "asked for"});
  } else {
    choice = board.ChooseTarget(shard, from);
    if (!choice.to) return Refused(std::move(choice.why_not));
  }
  if (Refusal refusal = CheckChange(situation.view, shard, AddLearner{choice.to})) {
    return Refused(std::move(*refusal));
  }
  if (!board.CanTake(*board.Find(choice.to), shard)) {
    return Refused(fmt::format("node {}, which was to hold a replica of {} ({} MiB), {}", choice.to,
                               NameOf(id), shard.bytes >> 20,
                               board.WhyNot(*board.Find(choice.to), shard)));
  }
  if (board.SharesHost(*board.Find(choice.to), shard, from)) {
    return Refused(
        fmt::format("node {} is on the host of another replica of {}, and there are enough "
                    "hosts",
                    choice.to, NameOf(id)));
  }
  const Standing before = situation.view.StandingOf(shard);
  const Standing after = situation.view.StandingOf(shard, from, choice.to);
  if (after > before) {
    return Refused(
        fmt::format("on node {} instead of {} the replicas of {} would stand worse: {} "
                    "(now: {})",
                    choice.to, from, NameOf(id), ToString(after), ToString(before)));
  }
  // What the last step comes to, if all goes well.
  ShardView swapped = shard;
  swapped.learners.push_back({choice.to, true});
  if (swapped.leader == from) swapped.leader = choice.to;
  if (Refusal refusal = CheckChange(situation.view, swapped, Swap{choice.to, from})) {
    return Refused(std::move(*refusal));
  }
  Operator op = board.Replace(OperatorKind::kMove, shard, from, choice.to);
  op.explanation = std::move(choice.explanation);
  op.explanation.why = "somebody asked for it";
  return op;
}

Result<Operator> PlanTransfer(const Situation& situation, ShardId id, NodeId to) {
  auto found = FindFree(situation, id);
  if (!found.ok()) return found.status();
  const ShardView& shard = **found;
  Board board(situation);
  if (!to) to = board.ChooseHeir(shard, shard.leader);
  if (!to) return Refused(fmt::format("no other voter of {} is up and caught up", NameOf(id)));
  if (Refusal refusal = CheckChange(situation.view, shard, TransferLeader{to})) {
    return Refused(std::move(*refusal));
  }
  // It would be handed back.
  if (!situation.view.Fits(to, shard, kLeads) && situation.view.Fits(shard.leader, shard, kLeads)) {
    return Refused(fmt::format("the rule of {} rather has leaders on {}, and node {} is not",
                               NameOf(id), ToString(situation.view.RuleOf(shard)->leaders), to));
  }
  Operator op = board.Transfer(OperatorKind::kMove, shard, to);
  op.explanation.why = "somebody asked for it";
  return op;
}

}  // namespace quorate::placement
