#include "placement/orders.h"

#include <fmt/format.h>

#include <algorithm>

namespace quorate::placement {

namespace {

template <class... Each>
struct Overloaded : Each... {
  using Each::operator()...;
};
template <class... Each>
Overloaded(Each...) -> Overloaded<Each...>;

using Nodes = std::vector<NodeId>;

bool Has(const Nodes& nodes, NodeId node) {
  return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
}
void Add(Nodes* nodes, NodeId node) {
  if (!Has(*nodes, node)) nodes->push_back(node);
}
void Take(Nodes* nodes, NodeId node) { std::erase(*nodes, node); }

}  // namespace

v1::ShardOrder ToProto(const Order& order, ShardId child) {
  v1::ShardOrder out;
  out.set_operator_id(order.id.value());
  out.set_shard_id(order.shard.value());
  out.set_version(order.epoch.version);
  out.set_membership_version(order.epoch.membership_version);
  std::visit(Overloaded{
                 [&](const AddLearner& step) { out.set_add_learner(step.node.value()); },
                 [&](const Promote& step) { out.set_promote(step.node.value()); },
                 [&](const Swap& step) {
                   out.mutable_swap()->set_add(step.add.value());
                   out.mutable_swap()->set_remove(step.remove.value());
                 },
                 [&](const Remove& step) { out.set_remove(step.node.value()); },
                 [&](const TransferLeader& step) { out.set_transfer_leader(step.to.value()); },
                 [&](const SplitShard& step) {
                   out.mutable_split()->set_at(step.at);
                   out.mutable_split()->set_child_shard_id(child.value());
                   out.mutable_split()->set_by_hand(step.by_hand);
                 },
                 [&](const MergeShards& step) {
                   out.mutable_merge()->set_into_shard_id(step.into.value());
                 },
             },
             order.step);
  return out;
}

ShardView ViewOf(const v1::ShardReport& report) {
  const v1::ShardDescriptor& shard = report.shard();
  ShardView view;
  view.id = ShardId(shard.shard_id());
  view.epoch = {shard.version(), shard.membership_version()};
  view.leader = NodeId(report.leader_node_id());
  view.bytes = report.bytes();
  view.requests_per_second = report.requests_per_second();
  view.load_middle = report.load_middle();
  view.by_hand = shard.by_hand();
  view.busiest_key_percent = report.busiest_key_percent();
  for (const v1::Replica& replica : shard.replicas()) {
    const auto& up = report.caught_up();
    const Replica out{NodeId(replica.node_id()),
                      std::find(up.begin(), up.end(), replica.node_id()) != up.end()};
    switch (replica.role()) {
      case v1::VOTER:
        view.voters.push_back(out);
        break;
      case v1::LEARNER:
        view.learners.push_back(out);
        break;
      default:
        break;
    }
    view.joint |= replica.role() == v1::OUTGOING;
  }
  return view;
}

Status CarryOut(raft::GroupHandle& group, uint64_t membership_version,
                const v1::ShardOrder& order) {
  if (membership_version != order.membership_version()) {
    return Status(Code::kFailedPrecondition,
                  fmt::format("made for the members as of {}, which are those as of {} by now",
                              order.membership_version(), membership_version));
  }
  const raft::Configuration now = group.configuration();
  // An order comes again until it is seen to be done: a change that is on its way is no refusal.
  if (now.joint() || group.configuration_index() > group.applied_index()) return Status::Ok();
  Nodes voters = now.voters;
  Nodes learners = now.learners;
  switch (order.step_case()) {
    case v1::ShardOrder::kAddLearner:
      if (!Has(voters, NodeId(order.add_learner()))) Add(&learners, NodeId(order.add_learner()));
      break;
    case v1::ShardOrder::kPromote:
      Take(&learners, NodeId(order.promote()));
      Add(&voters, NodeId(order.promote()));
      break;
    case v1::ShardOrder::kSwap:
      Take(&learners, NodeId(order.swap().add()));
      Add(&voters, NodeId(order.swap().add()));
      Take(&voters, NodeId(order.swap().remove()));
      break;
    case v1::ShardOrder::kRemove:
      Take(&learners, NodeId(order.remove()));
      Take(&voters, NodeId(order.remove()));
      break;
    case v1::ShardOrder::kTransferLeader:
      return group.TransferLeadership(NodeId(order.transfer_leader()));
    case v1::ShardOrder::kSplit:
    case v1::ShardOrder::kMerge:
    case v1::ShardOrder::STEP_NOT_SET:
      return InvalidArgument("a step that this version does not know");
  }
  const NodeId self = group.soft_state().leader;
  if (Has(now.voters, self) && !Has(voters, self)) {
    return Status(Code::kFailedPrecondition,
                  "a leader does not remove itself: it hands over first");
  }
  // Placement has proved it with what was reported; this is what is known now.
  Nodes sound = {self};
  for (const raft::ProgressView& peer : group.progress()) {
    if (group.CaughtUp(peer)) sound.push_back(peer.id);
  }
  for (const Nodes* set : {&now.voters, &std::as_const(voters)}) {
    const auto up =
        std::count_if(set->begin(), set->end(), [&](NodeId node) { return Has(sound, node); });
    if (2 * static_cast<size_t>(up) > set->size()) continue;
    return Status(
        Code::kFailedPrecondition,
        fmt::format("{} of {} voters are up and have caught up: no majority", up, set->size()));
  }
  return group.ChangeMembers(voters, learners);
}

}  // namespace quorate::placement
