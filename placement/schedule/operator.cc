#include "placement/schedule/operator.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"

namespace quorate::placement {

namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

void Insert(std::vector<NodeId>* nodes, NodeId node) {
  const auto it = std::lower_bound(nodes->begin(), nodes->end(), node);
  if (it == nodes->end() || *it != node) nodes->insert(it, node);
}

void Erase(std::vector<NodeId>* nodes, NodeId node) { std::erase(*nodes, node); }

bool Contains(const std::vector<NodeId>& nodes, NodeId node) {
  return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
}

}  // namespace

std::string ToString(const Step& step) {
  return std::visit(
      Overloaded{
          [](const AddLearner& s) { return fmt::format("add a learner on node {}", s.node); },
          [](const Promote& s) { return fmt::format("let node {} vote", s.node); },
          [](const Swap& s) { return fmt::format("swap node {} in for node {}", s.add, s.remove); },
          [](const Remove& s) { return fmt::format("remove the replica on node {}", s.node); },
          [](const TransferLeader& s) {
            return fmt::format("hand the leadership to node {}", s.to);
          },
          [](const SplitShard& s) {
            return s.at.empty() ? std::string("split it in the middle")
                                : fmt::format("split it at '{}'", Printable(s.at));
          },
          [](const MergeShards& s) { return fmt::format("merge it into {}", NameOf(s.into)); },
      },
      step);
}

std::string_view KindName(OperatorKind kind) {
  switch (kind) {
    case OperatorKind::kRepair:
      return "repair";
    case OperatorKind::kRules:
      return "rules";
    case OperatorKind::kDrain:
      return "drain";
    case OperatorKind::kMove:
      return "move";
    case OperatorKind::kSplit:
      return "split";
    case OperatorKind::kMerge:
      return "merge";
    case OperatorKind::kBalanceReplicas:
      return "balance-replicas";
    case OperatorKind::kBalanceLeaders:
      return "balance-leaders";
  }
  return "unknown";
}

std::string_view KindName(const Operator& op) {
  const bool hands_over = op.kind == OperatorKind::kMove && op.to && !op.copies();
  return hands_over ? "transfer-leader" : KindName(op.kind);
}

bool Operator::copies() const {
  return std::any_of(steps.begin(), steps.end(),
                     [](const Step& s) { return std::holds_alternative<AddLearner>(s); });
}

ShardId Operator::into() const {
  for (const Step& step : steps) {
    if (const auto* merge = std::get_if<MergeShards>(&step)) return merge->into;
  }
  return {};
}

std::string ToString(const Operator& op) {
  std::string what;
  if (op.kind == OperatorKind::kSplit) {
    what = fmt::format("split {}", NameOf(op.shard));
  } else if (op.into()) {
    what = fmt::format("merge {} into {}", NameOf(op.shard), NameOf(op.into()));
  } else if (op.copies() && op.from) {
    what = fmt::format("move a replica of {} from node {} to node {}", NameOf(op.shard), op.from,
                       op.to);
  } else if (op.copies()) {
    what = fmt::format("add a replica of {} on node {}", NameOf(op.shard), op.to);
  } else if (op.to) {
    what = fmt::format("hand the leadership of {} from node {} to node {}", NameOf(op.shard),
                       op.from, op.to);
  } else {
    what = fmt::format("remove the replica of {} on node {}", NameOf(op.shard), op.from);
  }
  if (!op.id) return fmt::format("{}: {}", KindName(op), what);
  return fmt::format("operator {} ({}): {}", op.id, KindName(op), what);
}

Members MembersOf(const ShardView& shard) {
  Members members;
  for (const Replica& voter : shard.voters) Insert(&members.voters, voter.node);
  for (const Replica& learner : shard.learners) Insert(&members.learners, learner.node);
  return members;
}

Members After(const Step& step, Members members) {
  std::visit(Overloaded{
                 [&](const AddLearner& s) {
                   if (!Contains(members.voters, s.node)) Insert(&members.learners, s.node);
                 },
                 [&](const Promote& s) {
                   if (!Contains(members.learners, s.node)) return;
                   Erase(&members.learners, s.node);
                   Insert(&members.voters, s.node);
                 },
                 [&](const Swap& s) {
                   if (!Contains(members.learners, s.add)) return;
                   if (!Contains(members.voters, s.remove)) return;
                   Erase(&members.learners, s.add);
                   Erase(&members.voters, s.remove);
                   Insert(&members.voters, s.add);
                 },
                 [&](const Remove& s) {
                   Erase(&members.learners, s.node);
                   Erase(&members.voters, s.node);
                 },
                 [](const TransferLeader&) {},
                 [](const SplitShard&) {},
                 [](const MergeShards&) {},
             },
             step);
  return members;
}

bool Done(const Operator& op, const Step& step, const ShardView& shard) {
  return std::visit(Overloaded{
                        [&](const AddLearner& s) { return shard.Has(s.node); },
                        [&](const Promote& s) { return shard.Voter(s.node) != nullptr; },
                        [&](const Swap& s) { return shard.Voter(s.add) && !shard.Voter(s.remove); },
                        [&](const Remove& s) { return !shard.Has(s.node); },
                        [&](const TransferLeader& s) {
                          if (op.steps.size() == 1) return shard.leader == s.to;
                          return shard.leader && shard.leader != op.from;
                        },
                        [&](const SplitShard&) { return shard.epoch.version > op.epoch.version; },
                        [](const MergeShards&) { return false; },
                    },
                    step);
}

}  // namespace quorate::placement
