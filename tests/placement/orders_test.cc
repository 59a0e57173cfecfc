// What a shard's leader makes of an order: one that does not fit is refused, and nothing happens.
#include "placement/orders.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <set>

namespace quorate::placement {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kMembersAsOf = 7;

// A group that node 1 leads; who is up, the test says. It takes whatever change it is asked for.
class LedGroup final : public raft::GroupHandle {
 public:
  explicit LedGroup(std::vector<NodeId> voters, std::vector<NodeId> learners = {}) {
    now.voters = std::move(voters);
    now.learners = std::move(learners);
    for (const NodeId id : now.voters) sound.insert(id);
    for (const NodeId id : now.learners) sound.insert(id);
  }

  GroupId id() const override { return GroupId(2); }
  Task<Result<raft::Proposed>> Propose(std::string, std::optional<raft::Term>) override {
    co_return Internal("orders propose nothing");
  }
  void Propose(std::string, std::optional<raft::Term>, ProposeDone) override { ADD_FAILURE(); }
  Task<Status> ReadBarrier() override { co_return Status::Ok(); }
  raft::SoftState soft_state() const override {
    return {raft::Role::kLeader, raft::Term(3), NodeId(1)};
  }
  bool leader_in_doubt() const override { return false; }
  Task<void> WaitForLeader(Instant) override { co_return; }
  bool leader_ready() const override { return true; }
  Instant lease_until() const override { return Instant::max(); }
  raft::LogIndex applied_index() const override { return applied; }
  raft::Configuration configuration() const override { return now; }
  raft::LogIndex configuration_index() const override { return raft::LogIndex(kMembersAsOf); }
  Status ChangeMembers(const std::vector<raft::ReplicaId>& voters,
                       const std::vector<raft::ReplicaId>& learners) override {
    changed = raft::Configuration();
    changed->voters = voters;
    changed->learners = learners;
    return Status::Ok();
  }
  void Campaign() override {}
  Status TransferLeadership(raft::ReplicaId target) override {
    heir = target;
    return Status::Ok();
  }
  std::vector<raft::ProgressView> progress() const override {
    std::vector<raft::ProgressView> peers;
    for (const auto* ids : {&now.voters, &now.learners}) {
      for (const NodeId peer : *ids) {
        if (peer != NodeId(1)) peers.push_back({.id = peer});
      }
    }
    return peers;
  }
  bool CaughtUp(const raft::ProgressView& peer) const override { return sound.contains(peer.id); }
  Status CheckRoom(raft::Growth) const override { return Status::Ok(); }

  raft::Configuration now;
  raft::LogIndex applied{kMembersAsOf};
  std::set<NodeId> sound;  // up, and have caught up
  std::optional<raft::Configuration> changed;
  NodeId heir;
};

std::vector<NodeId> Nodes(std::initializer_list<uint64_t> ids) {
  std::vector<NodeId> nodes;
  for (const uint64_t id : ids) nodes.push_back(NodeId(id));
  return nodes;
}

v1::ShardOrder OrderTo(Step step) {
  return ToProto({.id = OperatorId(1),
                  .shard = ShardId(2),
                  .epoch = {1, kMembersAsOf},
                  .step = std::move(step)});
}

void ExpectRefused(LedGroup& group, const v1::ShardOrder& order, const std::string& why,
                   uint64_t members_as_of = kMembersAsOf) {
  const Status status = CarryOut(group, members_as_of, order);
  EXPECT_EQ(status.code(), Code::kFailedPrecondition) << status.ToString();
  EXPECT_THAT(status.message(), HasSubstr(why));
  EXPECT_FALSE(group.changed) << why;
  EXPECT_FALSE(group.heir) << why;
}

TEST(Orders, EachStepIsTheChangeThatItNames) {
  struct Case {
    Step step;
    std::vector<NodeId> voters, learners;
  };
  for (const Case& each :
       std::initializer_list<Case>{{AddLearner{NodeId(5)}, Nodes({1, 2, 3}), Nodes({4, 5})},
                                   {Promote{NodeId(4)}, Nodes({1, 2, 3, 4}), {}},
                                   {Swap{NodeId(4), NodeId(2)}, Nodes({1, 3, 4}), {}},
                                   {Remove{NodeId(4)}, Nodes({1, 2, 3}), {}},
                                   {Remove{NodeId(3)}, Nodes({1, 2}), Nodes({4})}}) {
    LedGroup group(Nodes({1, 2, 3}), Nodes({4}));
    const Status done = CarryOut(group, kMembersAsOf, OrderTo(each.step));
    ASSERT_TRUE(done.ok()) << ToString(each.step) << ": " << done.ToString();
    ASSERT_TRUE(group.changed) << ToString(each.step);
    EXPECT_EQ(group.changed->voters, each.voters) << ToString(each.step);
    EXPECT_EQ(group.changed->learners, each.learners) << ToString(each.step);
  }
}

TEST(Orders, ATransferNamesTheHeir) {
  LedGroup group(Nodes({1, 2, 3}));
  ASSERT_TRUE(CarryOut(group, kMembersAsOf, OrderTo(TransferLeader{NodeId(3)})).ok());
  EXPECT_EQ(group.heir, NodeId(3));
  EXPECT_FALSE(group.changed);
}

TEST(Orders, WhatWasMadeForOtherMembersIsRefused) {
  LedGroup group(Nodes({1, 2, 3}));
  for (const Step& step :
       {Step(AddLearner{NodeId(4)}), Step(Remove{NodeId(3)}), Step(TransferLeader{NodeId(2)})}) {
    ExpectRefused(group, OrderTo(step), "as of 7", kMembersAsOf + 1);
  }
}

// The order comes again until it is seen to be done, however long the change takes.
TEST(Orders, NothingIsBegunBesideAnotherChangeNorIsItARefusal) {
  LedGroup joint(Nodes({1, 2, 4}));
  joint.now.voters_outgoing = Nodes({1, 2, 3});
  EXPECT_TRUE(CarryOut(joint, kMembersAsOf, OrderTo(AddLearner{NodeId(5)})).ok());
  EXPECT_FALSE(joint.changed);
  LedGroup uncommitted(Nodes({1, 2, 3}), Nodes({4}));
  uncommitted.applied = raft::LogIndex(kMembersAsOf - 1);
  EXPECT_TRUE(CarryOut(uncommitted, kMembersAsOf, OrderTo(AddLearner{NodeId(4)})).ok());
  EXPECT_FALSE(uncommitted.changed);
}

TEST(Orders, ALeaderDoesNotRemoveItself) {
  LedGroup group(Nodes({1, 2, 3}), Nodes({4}));
  ExpectRefused(group, OrderTo(Remove{NodeId(1)}), "hands over first");
  ExpectRefused(group, OrderTo(Swap{NodeId(4), NodeId(1)}), "hands over first");
}

// Placement may have believed an older report.
TEST(Orders, AMajorityIsUpBeforeAndAfter) {
  LedGroup group(Nodes({1, 2, 3}), Nodes({4}));
  group.sound = {NodeId(4)};
  ExpectRefused(group, OrderTo(Swap{NodeId(4), NodeId(3)}), "1 of 3 voters");
  group.sound = {NodeId(2)};
  ExpectRefused(group, OrderTo(Promote{NodeId(4)}), "2 of 4 voters");
  group.sound = {NodeId(3)};
  ExpectRefused(group, OrderTo(Remove{NodeId(3)}), "1 of 2 voters");
  group.sound = {NodeId(2)};
  EXPECT_TRUE(CarryOut(group, kMembersAsOf, OrderTo(Remove{NodeId(3)})).ok());
}

TEST(Orders, AStepThatIsNotKnownIsRefused) {
  LedGroup group(Nodes({1, 2, 3}));
  v1::ShardOrder order;
  order.set_membership_version(kMembersAsOf);
  EXPECT_EQ(CarryOut(group, kMembersAsOf, order).code(), Code::kInvalidArgument);
  EXPECT_FALSE(group.changed);
}

TEST(Orders, AReportTellsRolesAndWhoHasCaughtUp) {
  v1::ShardReport report;
  report.mutable_shard()->set_shard_id(2);
  report.mutable_shard()->set_version(4);
  report.mutable_shard()->set_membership_version(9);
  report.set_leader_node_id(1);
  for (const auto& [node, role] : std::initializer_list<std::pair<uint64_t, v1::ReplicaRole>>{
           {1, v1::VOTER}, {2, v1::VOTER}, {3, v1::OUTGOING}, {4, v1::LEARNER}}) {
    v1::Replica* replica = report.mutable_shard()->add_replicas();
    replica->set_node_id(node);
    replica->set_role(role);
  }
  report.add_caught_up(1);
  report.add_caught_up(4);
  const ShardView view = ViewOf(report);
  EXPECT_EQ(view.epoch, (ShardEpoch{4, 9}));
  EXPECT_EQ(view.leader, NodeId(1));
  EXPECT_TRUE(view.joint);
  ASSERT_EQ(view.voters.size(), 2u);
  EXPECT_TRUE(view.Voter(NodeId(1))->caught_up);
  EXPECT_FALSE(view.Voter(NodeId(2))->caught_up);
  ASSERT_EQ(view.learners.size(), 1u);
  EXPECT_TRUE(view.Learner(NodeId(4))->caught_up);
}

}  // namespace
}  // namespace quorate::placement
