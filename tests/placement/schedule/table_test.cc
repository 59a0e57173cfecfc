// Schedulers on small clusters, and the table of operators.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/placement/schedule/small_cluster.h"

namespace quorate::placement {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

std::vector<std::string> StepsOf(const Operator& op) {
  std::vector<std::string> steps;
  for (const Step& step : op.steps) steps.push_back(ToString(step));
  return steps;
}

// ---- repair -------------------------------------------------------------------------------------
TEST(ScheduleRepair, ReplacesALostReplicaAndSaysWhyAndWhom) {
  SmallCluster c(5);
  c.view.Put(MakeShard(7, {1, 2, 3}));
  c.view.Put(MakeShard(8, {1, 2, 4}));
  c.view.Put(DownNode(3, 939));
  Proposals proposals = Repair(c.Now());
  ASSERT_EQ(proposals.operators.size(), 1u);
  const Operator& op = proposals.operators[0];
  EXPECT_EQ(op.kind, OperatorKind::kRepair);
  EXPECT_EQ(op.to, NodeId(5));  // bears less than node 4
  EXPECT_THAT(StepsOf(op), ElementsAre("add a learner on node 5", "hand the leadership to node 2",
                                       "swap node 5 in for node 3"));
  EXPECT_THAT(op.explanation.why,
              HasSubstr("node 3, which has a replica of shard 7, has been down for 61 s"));
  ASSERT_EQ(op.explanation.candidates.size(), 2u);
  EXPECT_EQ(op.explanation.candidates[0].verdict, "chosen");
  EXPECT_EQ(op.explanation.candidates[1].node, NodeId(4));
  EXPECT_EQ(op.explanation.vetoes.at("holds a replica of the shard"), 3u);
}

TEST(ScheduleRepair, WaitsAsLongAsANodeMayComeBack) {
  SmallCluster c(4);
  c.view.Put(MakeShard(7, {1, 2, 3}));
  c.view.Put(DownNode(3, 941));
  EXPECT_THAT(Repair(c.Now()).operators, IsEmpty());
  c.now += 1s;
  EXPECT_EQ(Repair(c.Now()).operators.size(), 1u);
}

TEST(ScheduleRepair, TakesNothingFromTheLastThreeNodesAndSaysSo) {
  SmallCluster c(3);
  c.view.Put(MakeShard(7, {1, 2, 3}));
  c.view.Put(DownNode(3, 0));
  const Proposals proposals = Repair(c.Now());
  EXPECT_THAT(proposals.operators, IsEmpty());
  ASSERT_EQ(proposals.wanted.size(), 1u);
  EXPECT_THAT(proposals.wanted[0].why_not,
              HasSubstr("none of 3 nodes can take a replica of shard 7"));
}

TEST(ScheduleRepair, LeavesAShardWithoutAQuorumAloneAndSaysSo) {
  SmallCluster c(5);
  c.view.Put(MakeShard(7, {1, 2, 3}));
  c.view.Put(DownNode(3, 0));
  c.view.Put(DownNode(2, 0));
  const Proposals proposals = Repair(c.Now());
  EXPECT_THAT(proposals.operators, IsEmpty());
  ASSERT_EQ(proposals.wanted.size(), 1u);
  EXPECT_THAT(proposals.wanted[0].why_not, HasSubstr("shard 7 has no quorum"));
}

TEST(ScheduleRepair, GoesOnWithALearnerThatIsThereAndRemovesOneThatNobodyNeeds) {
  SmallCluster c(6);
  ShardView shard = MakeShard(7, {1, 2, 3});
  shard.learners.push_back({NodeId(6), false});
  c.view.Put(shard);
  for (uint64_t id = 10; id < 20; ++id) c.view.Put(MakeShard(id, {6, 1, 2}));
  Proposals proposals = Repair(c.Now());
  ASSERT_EQ(proposals.operators.size(), 1u);
  EXPECT_THAT(StepsOf(proposals.operators[0]), ElementsAre("remove the replica on node 6"));
  c.view.Put(DownNode(3, 0));
  proposals = Repair(c.Now());
  ASSERT_EQ(proposals.operators.size(), 1u);
  EXPECT_EQ(proposals.operators[0].to, NodeId(6));  // though it bears most
  EXPECT_EQ(proposals.operators[0].from, NodeId(3));
}

// As after a failover of placement in the middle of a repair: dropped, it would be copied again
// once the node counts as lost, and at each failover anew.
TEST(ScheduleRepair, KeepsALearnerWhileAVoterMayBeLost) {
  SmallCluster c(5);
  ShardView shard = MakeShard(7, {1, 2, 3});
  shard.learners.push_back({NodeId(4), false});
  c.view.Put(shard);
  NodeView unheard = UpNode(3);
  unheard.liveness = Liveness::kNone;
  c.view.Put(unheard);
  EXPECT_THAT(Repair(c.Now()).operators, IsEmpty());
  c.view.Put(DownNode(3, 999));
  EXPECT_THAT(Repair(c.Now()).operators, IsEmpty());
  c.view.Put(DownNode(3, 900));
  const Proposals proposals = Repair(c.Now());
  ASSERT_EQ(proposals.operators.size(), 1u);
  EXPECT_EQ(proposals.operators[0].to, NodeId(4));
}

TEST(ScheduleRepair, AddsWhereTooFewAndRemovesWhereTooMany) {
  SmallCluster c(5);
  c.view.Put(MakeShard(7, {1, 2}));
  c.view.Put(MakeShard(8, {1, 2, 3, 4}));
  Proposals proposals = Repair(c.Now());
  ASSERT_EQ(proposals.operators.size(), 2u);
  EXPECT_THAT(StepsOf(proposals.operators[0]),
              ElementsAre("add a learner on node 5", "let node 5 vote"));
  EXPECT_EQ(proposals.operators[1].to, NodeId());
  EXPECT_NE(proposals.operators[1].from, NodeId(1));  // leads
  c.view.Put(DownNode(4, 999));
  proposals = Repair(c.Now());
  ASSERT_EQ(proposals.operators.size(), 1u);
  EXPECT_THAT(proposals.wanted[0].why_not, HasSubstr("none is removed while"));
}

TEST(ScheduleRepair, AFactorOfItsOwnCounts) {
  SmallCluster c(5);
  ShardView shard = MakeShard(7, {1, 2, 3});
  shard.replication_factor = 5;
  c.view.Put(shard);
  c.view.Put(MakeShard(8, {1, 2, 3}));
  const Proposals proposals = Repair(c.Now());
  ASSERT_EQ(proposals.operators.size(), 1u);
  EXPECT_EQ(proposals.operators[0].shard, ShardId(7));
}

// ---- rules --------------------------------------------------------------------------------------
TEST(ScheduleRules, SpreadsOverZonesAsFarAsNodesAllow) {
  SmallCluster c(0);
  uint64_t id = 0;
  for (const char* zone : {"a", "a", "b", "b"}) c.view.Put(UpNode(++id, zone));
  c.view.Put(MakeShard(7, {1, 2, 3}));
  EXPECT_THAT(Rules(c.Now()).operators, IsEmpty());  // two zones: it stands as it can
  c.view.Put(UpNode(5, "c"));
  Proposals proposals = Rules(c.Now());
  ASSERT_EQ(proposals.operators.size(), 1u);
  EXPECT_EQ(proposals.operators[0].to, NodeId(5));
  EXPECT_EQ(proposals.operators[0].from, NodeId(2));  // does not lead
  NodeView full = UpNode(5, "c");
  full.low_space = true;
  c.view.Put(full);
  EXPECT_THAT(Rules(c.Now()).operators, IsEmpty());
}

// ---- drain --------------------------------------------------------------------------------------
TEST(ScheduleRules, TwoReplicasOnOneHostOnlyWhileThereAreTooFew) {
  SmallCluster c(0);
  const auto node = [](uint64_t id, std::string host) {
    NodeView view = UpNode(id);
    view.locality["host"] = std::move(host);
    return view;
  };
  for (uint64_t id = 1; id <= 3; ++id) c.view.Put(node(id, "machine"));
  c.view.Put(MakeShard(7, {1, 2, 3}));
  EXPECT_THAT(Rules(c.Now()).operators, IsEmpty())
      << "all nodes on one machine: it is as it can be";
  c.view.Put(node(4, "other"));
  ASSERT_EQ(Rules(c.Now()).operators.size(), 1u);
  EXPECT_EQ(Rules(c.Now()).operators[0].to, NodeId(4));
  c.view.Remove(NodeId(4));
  c.view.Put(node(4, "machine"));
  EXPECT_THAT(Rules(c.Now()).operators, IsEmpty());
  NodeView down = DownNode(3, 0);
  down.locality["host"] = "machine";
  c.view.Put(down);
  const Proposals repaired = Repair(c.Now());
  ASSERT_EQ(repaired.operators.size(), 1u) << "a host that it shares is better than none";
  EXPECT_EQ(repaired.operators[0].to, NodeId(4));
}

TEST(ScheduleDrain, LeadersFirstThenReplicas) {
  SmallCluster c(4);
  c.view.Put(MakeShard(7, {1, 2, 3}));
  c.view.Put(MakeShard(8, {2, 1, 3}));
  NodeView node = UpNode(1);
  node.draining = true;
  c.view.Put(node);
  Proposals proposals = Drain(c.Now());
  ASSERT_EQ(proposals.operators.size(), 1u);
  EXPECT_THAT(StepsOf(proposals.operators[0]), ElementsAre("hand the leadership to node 3"));
  c.view.Put(MakeShard(7, {3, 2, 1}));
  proposals = Drain(c.Now());
  ASSERT_EQ(proposals.operators.size(), 2u);
  for (const Operator& op : proposals.operators) {
    EXPECT_EQ(op.from, NodeId(1));
    EXPECT_EQ(op.to, NodeId(4));
  }
  DrainState state = DrainStateOf(c.Now(), NodeId(1));
  EXPECT_EQ(state.replicas, 2u);
  EXPECT_EQ(state.standing_still, "");
  c.view.Put(DownNode(4, 0));
  state = DrainStateOf(c.Now(), NodeId(1));
  EXPECT_FALSE(state.done());
  EXPECT_THAT(state.standing_still, HasSubstr("without node 1 there are 2 nodes"));
  c.settings.paused = 1 << static_cast<int>(Scheduler::kDrain);
  EXPECT_THAT(DrainStateOf(c.Now(), NodeId(1)).standing_still, HasSubstr("paused"));
}

TEST(ScheduleDrain, NothingIsSaidOfWhoIsUpBeforeAllWereHeardOf) {
  SmallCluster c(3);
  c.view.Put(MakeShard(7, {1, 2, 3}));
  NodeView node = UpNode(1);
  node.draining = true;
  c.view.Put(node);
  for (const uint64_t id : {2, 3}) {
    node = UpNode(id);
    node.liveness = Liveness::kNone;
    c.view.Put(node);
  }
  EXPECT_EQ(DrainStateOf(c.Now(), NodeId(1)).standing_still, "");
  c.view.Put(UpNode(2));
  c.view.Put(DownNode(3, 0));
  EXPECT_THAT(DrainStateOf(c.Now(), NodeId(1)).standing_still, HasSubstr("without node 1"));
}

TEST(ScheduleDrain, AnOnlyReplicaMovesBesideAVoterThatTakesOver) {
  SmallCluster c(2);
  c.settings.replication_factor = 1;
  c.view.Put(MakeShard(7, {1}));
  NodeView node = UpNode(1);
  node.draining = true;
  c.view.Put(node);
  const Proposals proposals = Drain(c.Now());
  ASSERT_EQ(proposals.operators.size(), 1u);
  EXPECT_THAT(StepsOf(proposals.operators[0]),
              ElementsAre("add a learner on node 2", "let node 2 vote",
                          "hand the leadership to node 2", "remove the replica on node 1"));
}

// ---- balance ------------------------------------------------------------------------------------
TEST(ScheduleBalance, FillsANewNodeAndThenStops) {
  SmallCluster c(4);
  c.settings.snapshots_per_node = 64;
  for (uint64_t id = 1; id <= 12; ++id)
    c.view.Put(MakeShard(id, {1 + id % 3, 1 + (id + 1) % 3, 1 + (id + 2) % 3}));
  const Proposals proposals = BalanceReplicas(c.Now());
  EXPECT_EQ(proposals.operators.size(), 9u);  // 36 replicas on 4 nodes
  for (const Operator& op : proposals.operators) {
    EXPECT_EQ(op.to, NodeId(4));
    EXPECT_NE(op.shard, kPlacementShard) << "what is under way would be forgotten";
    c.under_way.Put(c.view, *c.view.Find(op.shard), op);
  }
  EXPECT_THAT(BalanceReplicas(c.Now()).operators, IsEmpty());
}

TEST(ScheduleBalance, ADiskOfTwiceTheSizeHoldsTwiceAsMuch) {
  SmallCluster c(0);
  c.settings.replication_factor = 1;
  c.settings.snapshots_per_node = 64;
  for (uint64_t id : {1, 2}) {
    NodeView node = UpNode(id);
    node.total_bytes = node.free_bytes = uint64_t{1} << (id == 1 ? 41 : 40);
    c.view.Put(node);
  }
  for (uint64_t id = 1; id <= 30; ++id) c.view.Put(MakeShard(id, {1}));
  EXPECT_EQ(BalanceReplicas(c.Now()).operators.size(), 10u);
}

TEST(ScheduleBalance, BytesAreEvenedWhereNumbersAre) {
  SmallCluster c(2);
  c.settings.replication_factor = 1;
  for (uint64_t id = 1; id <= 40; ++id) {
    ShardView shard = MakeShard(id, {id > 20 ? uint64_t{2} : uint64_t{1}});
    shard.bytes = (id > 20 ? 1 : 100) << 20;
    c.view.Put(shard);
  }
  const Proposals proposals = BalanceReplicas(c.Now());
  ASSERT_EQ(proposals.operators.size(), 1u);  // one more would leave the numbers uneven
  EXPECT_EQ(proposals.operators[0].from, NodeId(1));
}

TEST(ScheduleBalance, LeadersSpreadAgainAfterOneNodeLedAll) {
  SmallCluster c(5);
  for (uint64_t id = 1; id <= 12; ++id)
    c.view.Put(MakeShard(id, {1, 2 + id % 4, 2 + (id + 1) % 4}));
  for (int round = 0; round < 2; ++round) {
    for (const Operator& op : BalanceLeaders(c.Now()).operators) {
      ShardView shard = *c.view.Find(op.shard);
      shard.leader = op.to;
      c.view.Put(shard);
    }
  }
  for (const auto& [id, node] : c.view.nodes()) {
    EXPECT_GE(node.load.leaders, 2) << id.value();
    EXPECT_LE(node.load.leaders, 3) << id.value();
  }
  EXPECT_THAT(BalanceLeaders(c.Now()).operators, IsEmpty());
}

TEST(ScheduleBalance, ALeadershipThatIsDearStays) {
  SmallCluster c(3);
  for (uint64_t id = 1; id <= 3; ++id) {
    ShardView shard = MakeShard(id, {1, 2, 3});
    shard.leader_stays = id != 2;
    c.view.Put(shard);
  }
  const Proposals proposals = BalanceLeaders(c.Now());
  ASSERT_EQ(proposals.operators.size(), 1u);
  EXPECT_EQ(proposals.operators[0].shard, ShardId(2));
}

// It gives what it leads away by itself.
TEST(ScheduleBalance, WhoIsShortOfSpaceIsGivenNoLeadership) {
  SmallCluster c(3);
  for (uint64_t id = 1; id <= 6; ++id) {
    ShardView shard = MakeShard(id, {1, 2, 3});
    shard.leader = NodeId(1 + id % 2);
    c.view.Put(shard);
  }
  NodeView low = UpNode(3);
  low.low_space = true;
  c.view.Put(low);
  EXPECT_THAT(BalanceLeaders(c.Now()).operators, IsEmpty());
  EXPECT_EQ(PlanTransfer(c.Now(), ShardId(1), NodeId())->to, NodeId(1));
  NodeView drained = UpNode(2);
  drained.draining = true;
  c.view.Put(drained);
  for (const Operator& op : Drain(c.Now()).operators) EXPECT_EQ(op.to, NodeId(1));
  c.view.Put(UpNode(3));
  EXPECT_FALSE(BalanceLeaders(c.Now()).operators.empty());
}

TEST(ScheduleBalance, HandsOverByWayOfOthersIfNoShardIsShared) {
  SmallCluster c(4);
  c.settings.replication_factor = 2;
  // 1 leads three, shared with 2 only; 2 leads two, shared with 3 only; 3 leads none.
  for (uint64_t id : {1, 2, 3}) c.view.Put(MakeShard(id, {1, 2}));
  for (uint64_t id : {4, 5}) c.view.Put(MakeShard(id, {2, 3}));
  for (uint64_t id : {6, 7}) c.view.Put(MakeShard(id, {4, 1}));
  const Proposals proposals = BalanceLeaders(c.Now());
  std::vector<std::pair<NodeId, NodeId>> moves;
  for (const Operator& op : proposals.operators) moves.emplace_back(op.from, op.to);
  EXPECT_THAT(moves, testing::UnorderedElementsAre(std::pair(NodeId(1), NodeId(2)),
                                                   std::pair(NodeId(2), NodeId(3))));
}

TEST(ScheduleBalance, HotShardsAreLedByDifferentNodesAndASingleHotOneStays) {
  SmallCluster c(3);
  for (uint64_t id = 1; id <= 6; ++id) {
    ShardView shard = MakeShard(id, {1 + (id - 1) / 2, 1 + (id + 1) / 2 % 3, 1 + (id + 3) / 2 % 3});
    shard.requests_per_second = id <= 2 ? 5000 : 100;  // both on node 1
    c.view.Put(shard);
  }
  EXPECT_FALSE(BalanceLeaders(c.Now()).operators.empty());
  for (int round = 0; round < 4; ++round) {
    for (const Operator& op : BalanceLeaders(c.Now()).operators) {
      ShardView shard = *c.view.Find(op.shard);
      shard.leader = op.to;
      c.view.Put(shard);
    }
  }
  EXPECT_LE(c.view.Find(NodeId(1))->load.requests, 5200);
  EXPECT_THAT(BalanceLeaders(c.Now()).operators, IsEmpty());
}

// ---- what a person asks for ---------------------------------------------------------------------
TEST(SchedulePlan, AMoveIsProvenOrRefusedWithTheReason) {
  SmallCluster c(0);
  uint64_t id = 0;
  for (const char* zone : {"a", "b", "c", "a"}) c.view.Put(UpNode(++id, zone));
  c.view.Put(MakeShard(7, {1, 2, 3}));
  auto op = PlanMove(c.Now(), ShardId(7), NodeId(1), NodeId(4));
  ASSERT_TRUE(op.ok()) << op.status().ToString();
  EXPECT_THAT(StepsOf(*op), ElementsAre("add a learner on node 4", "hand the leadership to node 2",
                                        "swap node 4 in for node 1"));
  EXPECT_EQ(PlanMove(c.Now(), ShardId(7), NodeId(1), NodeId())->to, NodeId(4));
  const auto refused = [&](uint64_t shard, uint64_t from, uint64_t to) {
    return PlanMove(c.Now(), ShardId(shard), NodeId(from), NodeId(to)).status().message();
  };
  EXPECT_THAT(refused(7, 2, 4), HasSubstr("would stand worse"));
  EXPECT_THAT(refused(7, 1, 2), HasSubstr("has a replica on node 2 already"));
  EXPECT_THAT(refused(7, 4, 1), HasSubstr("no replica on node 4"));
  EXPECT_THAT(refused(9, 1, 2), HasSubstr("there is no shard 9"));
  EXPECT_TRUE(PlanTransfer(c.Now(), ShardId(7), NodeId(3)).ok());
  EXPECT_THAT(PlanTransfer(c.Now(), ShardId(7), NodeId(4)).status().message(),
              HasSubstr("no voter"));
  c.view.Put(DownNode(2, 0, "b"));
  EXPECT_EQ(refused(7, 1, 4), "");
  c.view.Put(DownNode(3, 0, "c"));
  EXPECT_THAT(refused(7, 1, 4), HasSubstr("no quorum"));
}

// ---- the table ----------------------------------------------------------------------------------
class ScheduleTable : public testing::Test {
 protected:
  ScheduleTable() : c_(5) {
    table_.Clear(1);
    shard_ = MakeShard(7, {1, 2, 3});
    c_.view.Put(shard_);
  }
  OperatorId AdmitMove(uint64_t from, uint64_t to) {
    auto op = PlanMove(c_.Now(), ShardId(7), NodeId(from), NodeId(to));
    EXPECT_TRUE(op.ok()) << op.status().ToString();
    auto id = table_.Admit(c_.view, c_.settings, *op, c_.now);
    EXPECT_TRUE(id.ok()) << id.status().ToString();
    return *id;
  }
  // What is ordered for the shard as it is.
  std::string Next() {
    c_.view.Put(shard_);
    const auto order = table_.Next(c_.view, c_.settings, ShardId(7), c_.now);
    if (order) {
      EXPECT_EQ(order->epoch, shard_.epoch);
    }
    return order ? ToString(order->step) : "";
  }
  void Changed() { ++shard_.epoch.membership_version; }
  void Pass(Duration time) {
    c_.now += time;
    table_.Sweep(c_.view, c_.settings, c_.now);
  }
  const EndedOperator& Last() { return table_.ended().back(); }

  SmallCluster c_;
  OperatorTable table_;
  ShardView shard_;
};

TEST_F(ScheduleTable, LeadsThroughTheStepsOfAMove) {
  const OperatorId id = AdmitMove(1, 4);
  EXPECT_EQ(id, OperatorId(1'000'001));
  EXPECT_EQ(Next(), "add a learner on node 4");
  EXPECT_EQ(Next(), "add a learner on node 4");  // lost, perhaps
  shard_.learners.push_back({NodeId(4), false});
  Changed();
  EXPECT_EQ(Next(), "");
  EXPECT_THAT(table_.under_way().at(ShardId(7)).waits_for, HasSubstr("node 4 to catch up"));
  shard_.learners[0].caught_up = true;
  EXPECT_EQ(Next(), "hand the leadership to node 2");
  shard_.leader = NodeId(3);  // whoever it went to
  EXPECT_EQ(Next(), "swap node 4 in for node 1");
  shard_.leader = NodeId(1);  // it came back
  EXPECT_EQ(Next(), "hand the leadership to node 2");
  shard_.leader = NodeId(2);
  shard_.joint = true;
  shard_.voters = MakeShard(7, {2, 3, 4}).voters;
  shard_.learners.clear();
  Changed();
  EXPECT_EQ(Next(), "");
  EXPECT_TRUE(table_.under_way().contains(ShardId(7)));
  shard_.joint = false;
  Changed();
  EXPECT_EQ(Next(), "");
  EXPECT_THAT(table_.under_way(), IsEmpty());
  EXPECT_EQ(Last().outcome, Outcome::kDone);
  EXPECT_EQ(table_.Ended(OperatorKind::kMove, Outcome::kDone), 1u);
}

TEST_F(ScheduleTable, AnHeirThatFailsIsReplacedByAnother) {
  AdmitMove(1, 4);
  shard_.learners.push_back({NodeId(4), true});
  Changed();
  EXPECT_EQ(Next(), "hand the leadership to node 2");
  c_.view.Put(DownNode(2, 999));
  EXPECT_EQ(Next(), "hand the leadership to node 3");
}

TEST_F(ScheduleTable, EndsIfSomebodyElseChangedTheMembers) {
  AdmitMove(3, 4);
  shard_.voters = MakeShard(7, {1, 2, 5}).voters;
  Changed();
  EXPECT_EQ(Next(), "");
  EXPECT_THAT(Last().reason, HasSubstr("changed by somebody else"));
}

TEST_F(ScheduleTable, AdmitsOneOperatorForAShardAndWithinLimits) {
  const auto op = PlanMove(c_.Now(), ShardId(7), NodeId(3), NodeId(4));
  ASSERT_TRUE(table_.Admit(c_.view, c_.settings, *op, c_.now).ok());
  EXPECT_EQ(table_.Admit(c_.view, c_.settings, *op, c_.now).status().code(), Code::kAlreadyExists);
  c_.view.Put(MakeShard(8, {1, 2, 3}));
  auto other = PlanMove(c_.Now(), ShardId(8), NodeId(3), NodeId(4));
  ASSERT_TRUE(other.ok());
  c_.settings.snapshots_per_node = 1;
  EXPECT_THAT(table_.Admit(c_.view, c_.settings, *other, c_.now).status().message(),
              HasSubstr("node 4 receives 1 replicas"));
  c_.settings.snapshots_per_node = 2;
  c_.settings.operators = 1;
  EXPECT_EQ(table_.Admit(c_.view, c_.settings, *other, c_.now).status().code(), Code::kOverloaded);
  c_.settings.operators = 2;
  ShardView moved = MakeShard(8, {1, 2, 3});
  moved.epoch.membership_version = 2;
  c_.view.Put(moved);
  EXPECT_EQ(table_.Admit(c_.view, c_.settings, *other, c_.now).status().code(),
            Code::kFailedPrecondition);
}

TEST_F(ScheduleTable, ALearnerThatNeverCatchesUpIsRemovedAndAnotherNodeChosen) {
  c_.view.Put(DownNode(3, 0));
  const OperatorId id = [&] {
    auto op = Repair(c_.Now()).operators.at(0);
    EXPECT_EQ(op.to, NodeId(4));
    return *table_.Admit(c_.view, c_.settings, op, c_.now);
  }();
  EXPECT_NE(id, OperatorId());
  EXPECT_EQ(Next(), "add a learner on node 4");
  shard_.learners.push_back({NodeId(4), false});
  Changed();
  EXPECT_EQ(Next(), "");
  Pass(c_.settings.learner_timeout - 1s);
  EXPECT_EQ(table_.under_way().size(), 1u);
  Pass(1s);
  EXPECT_THAT(Last().reason, HasSubstr("waited for: the replica on node 4 to catch up"));
  RunRound(&c_.view, c_.settings, c_.now, &table_);
  EXPECT_EQ(Next(), "remove the replica on node 4");
  shard_.learners.clear();
  Changed();
  EXPECT_EQ(Next(), "");
  RunRound(&c_.view, c_.settings, c_.now, &table_);
  EXPECT_EQ(Next(), "add a learner on node 5");
}

TEST_F(ScheduleTable, EndsWhatIsNeededNoMore) {
  c_.view.Put(DownNode(3, 0));
  ASSERT_TRUE(table_.Admit(c_.view, c_.settings, Repair(c_.Now()).operators.at(0), c_.now).ok());
  c_.view.Put(UpNode(3));
  Pass(1s);
  EXPECT_EQ(Last().reason, "node 3 is back");
  AdmitMove(3, 4);
  c_.view.Put(DownNode(4, 0));
  Pass(1s);
  EXPECT_THAT(Last().reason, HasSubstr("node 4, which was to hold a replica, is down"));
  ASSERT_TRUE(
      table_.Admit(c_.view, c_.settings, *PlanTransfer(c_.Now(), ShardId(7), NodeId(2)), c_.now)
          .ok());
  c_.view.Put(DownNode(2, 0));
  Pass(1s);
  EXPECT_THAT(Last().reason, HasSubstr("node 2, which was to lead, is down"));
  EXPECT_THAT(table_.under_way(), IsEmpty());
}

TEST_F(ScheduleTable, AnOrderThatIsRefusedAgainAndAgainEndsTheOperator) {
  const OperatorId id = AdmitMove(3, 4);
  for (size_t i = 0; i < OperatorTable::kRefusalsMax; ++i) {
    EXPECT_EQ(Next(), "add a learner on node 4");
    EXPECT_EQ(table_.under_way().size(), 1u);
    table_.OrderRefused(OperatorId(1), "of an earlier leader", c_.now);
    table_.OrderRefused(id, "no room", c_.now);
  }
  EXPECT_THAT(table_.under_way(), IsEmpty());
  EXPECT_THAT(Last().reason, HasSubstr("refused to add a learner on node 4: no room"));
}

TEST_F(ScheduleTable, ExplainsAShardAndAnOperator) {
  const OperatorId id = AdmitMove(3, 4);
  shard_.learners.push_back({NodeId(4), false});
  Changed();
  Next();
  Pass(5s);
  const auto lines = table_.Explain(c_.view, c_.settings, ShardId(7), c_.now);
  ASSERT_TRUE(lines.ok());
  EXPECT_THAT(*lines, Contains("shard 7 has 3 of 3 replicas: node 1 (leads), node 2, node 3"));
  EXPECT_THAT(*lines, Contains("it survives 1 further failure"));
  EXPECT_THAT(*lines, Contains("waits for: the replica on node 4 to catch up"));
  EXPECT_THAT(*lines, Contains("step 1 of 3: add a learner on node 4 (done)"));
  EXPECT_THAT(*lines, Contains("why: somebody asked for it"));
  EXPECT_TRUE(table_.Cancel(id, "called off", c_.now).ok());
  EXPECT_EQ(table_.Cancel(id, "called off", c_.now).code(), Code::kNotFound);
  EXPECT_THAT(table_.Explain(id, c_.now)->back(), HasSubstr("called off"));
  EXPECT_THAT(*lines, Contains(HasSubstr("no zone or rack is given; 3 replicas on 3 hosts")));
  const Status unknown = table_.Explain(OperatorId(id.value() + 5), c_.now).status();
  EXPECT_EQ(unknown.code(), Code::kNotFound);
  EXPECT_THAT(unknown.message(), HasSubstr("neither under way nor among"));
  const Status earlier = table_.Explain(OperatorId(id.value() + 3'000'000), c_.now).status();
  EXPECT_EQ(earlier.code(), Code::kNotFound);
  EXPECT_THAT(earlier.message(), HasSubstr("another placement leader"));
}

TEST_F(ScheduleTable, NamesAnOperatorAsItsCommandDoesAndOneThatIsOnlyPlannedWithoutAnId) {
  Operator op;
  op.shard = ShardId(7);
  op.from = NodeId(1);
  op.to = NodeId(2);
  op.steps = {TransferLeader{NodeId(2)}};
  EXPECT_EQ(ToString(op), "transfer-leader: hand the leadership of shard 7 from node 1 to node 2");
  op.id = OperatorId(12);
  EXPECT_THAT(ToString(op), StartsWith("operator 12 (transfer-leader): "));
  op.kind = OperatorKind::kDrain;
  EXPECT_THAT(ToString(op), StartsWith("operator 12 (drain): "));
}

TEST_F(ScheduleTable, RemembersABoundedNumberOfEndedOperators) {
  for (size_t i = 0; i < OperatorTable::kEndedMax + 10; ++i) {
    ASSERT_TRUE(table_.Cancel(AdmitMove(3, 4), "no", c_.now).ok());
  }
  EXPECT_EQ(table_.ended().size(), OperatorTable::kEndedMax);
  EXPECT_EQ(table_.Ended(OperatorKind::kMove, Outcome::kEnded), OperatorTable::kEndedMax + 10);
}

TEST(ScheduleRound, APausedSchedulerBeginsNothing) {
  SmallCluster c(5);
  c.view.Put(MakeShard(7, {1, 2, 3}));
  c.view.Put(DownNode(3, 0));
  OperatorTable table;
  ASSERT_TRUE(c.settings.Set("placement.pause=repair").ok());
  EXPECT_EQ(RunRound(&c.view, c.settings, c.now, &table).admitted[0], 0u);
  ASSERT_TRUE(c.settings.Set("placement.pause=none").ok());
  EXPECT_EQ(RunRound(&c.view, c.settings, c.now, &table).admitted[0], 1u);
}

TEST(ScheduleRound, NothingIsBalancedWhileANodeWasNotHeardOf) {
  SmallCluster c(3);
  for (uint64_t id = 1; id <= 6; ++id) c.view.Put(MakeShard(id, {1, 2, 3}));
  NodeView unheard = UpNode(2);
  unheard.liveness = Liveness::kNone;
  c.view.Put(unheard);
  OperatorTable table;
  RunRound(&c.view, c.settings, c.now, &table);
  EXPECT_THAT(table.under_way(), IsEmpty());
  c.view.Put(UpNode(2));
  RunRound(&c.view, c.settings, c.now, &table);
  EXPECT_FALSE(table.under_way().empty());
}

TEST(ScheduleRound, TheOrderOfReportsDoesNotMatter) {
  std::vector<ShardView> shards;
  for (uint64_t id = 1; id <= 60; ++id) {
    shards.push_back(MakeShard(id, {1 + id % 4, 1 + (id + 1) % 4, 1 + (id + 2) % 4}));
    shards.back().bytes = id << 20;
  }
  std::vector<std::string> first;
  for (int order = 0; order < 2; ++order) {
    SmallCluster c(6);
    c.view.Put(DownNode(4, 0));
    for (const ShardView& shard : shards) c.view.Put(shard);
    OperatorTable table;
    RunRound(&c.view, c.settings, c.now, &table);
    std::vector<std::string> made;
    for (const auto& [id, status] : table.under_way()) made.push_back(ToString(status.op));
    EXPECT_FALSE(made.empty());
    if (order == 0) first = made;
    EXPECT_EQ(made, first);
    std::reverse(shards.begin(), shards.end());
  }
}

}  // namespace
}  // namespace quorate::placement
