// The service over a group whose leadership the test decides (fake_group.h). Over real Raft:
// tests/server.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/limits.h"
#include "placement/service.h"
#include "tests/placement/fake_group.h"
#include "txn/judge.h"

namespace quorate::placement {
namespace {

using ::testing::ElementsAre;

constexpr v1::ErrorCode kNotLeader = v1::NOT_LEADER;

TEST(Placement, TheLeaderIssuesSlotsAndOthersNameIt) {
  FakeCluster cluster(3);
  EXPECT_EQ(cluster.Slot(1).error().code(), kNotLeader);
  cluster.Elect(2);
  const v1::SlotResponse slot = cluster.Slot(2);
  EXPECT_EQ(slot.error().code(), v1::OK);
  EXPECT_GE(Timestamp(slot.slot()).physical_ms(), static_cast<uint64_t>(kWallBase));
  const v1::SlotResponse refused = cluster.Slot(1);
  EXPECT_EQ(refused.error().code(), kNotLeader);
  EXPECT_EQ(refused.error().leader().node_id(), 2u);
  EXPECT_EQ(refused.error().leader().address(), "n2:7400");
}

TEST(Placement, ASlotCostsNoLogEntryWhileTheCeilingLasts) {
  FakeCluster cluster(3);
  cluster.Elect(1);
  cluster.Slot(1);
  const size_t before = cluster.log_size();
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(cluster.Slot(1).error().code(), v1::OK);
  EXPECT_EQ(cluster.log_size(), before);
}

TEST(Placement, TheCeilingIsRenewedAheadOfNeed) {
  FakeCluster cluster(3);
  cluster.Elect(1);
  cluster.Slot(1);
  for (int i = 0; i < 20; ++i) {
    cluster.executor().RunFor(500ms);
    const Instant before = cluster.executor().Now();
    ASSERT_EQ(cluster.Slot(1).error().code(), v1::OK);
    ASSERT_EQ(cluster.executor().Now(), before) << "nobody waits for the log";
  }
}

TEST(Placement, WithoutAQuorumASlotEndsByItsDeadline) {
  FakeCluster cluster(3);
  cluster.Elect(1);
  cluster.Slot(1);
  cluster.SetQuorum(false);
  cluster.executor().RunFor(4s);  // past the ceiling
  const v1::SlotResponse late = cluster.Slot(1, 1s);
  EXPECT_EQ(late.error().code(), v1::DEADLINE_EXCEEDED);
  EXPECT_EQ(late.slot(), 0u);
  cluster.SetQuorum(true);
  EXPECT_EQ(cluster.Slot(1).error().code(), v1::OK);
}

TEST(Placement, WithoutALeaseASlotIsConfirmedByAQuorum) {
  FakeCluster cluster(3);
  cluster.Elect(1);
  cluster.Slot(1);
  cluster.SetLease(1, cluster.executor().Now());
  EXPECT_EQ(cluster.Slot(1).error().code(), v1::OK);
  cluster.SetQuorum(false);
  EXPECT_EQ(cluster.Slot(1, 1s).error().code(), v1::DEADLINE_EXCEEDED);
}

// PL2: a leader that slept through the election of its successor.
TEST(Placement, ADeposedLeaderThatDoesNotKnowItHandsOutNothing) {
  FakeCluster cluster(3);
  cluster.Elect(1);
  const uint64_t first = cluster.Slot(1).slot();
  cluster.SetLease(1, cluster.executor().Now());
  cluster.Elect(2, /*deaf=*/1);
  const uint64_t second = cluster.Slot(2).slot();
  EXPECT_GT(second, first);
  ASSERT_TRUE(cluster.at(1).leading()) << "it still believes to lead";
  const v1::SlotResponse stale = cluster.Slot(1);
  EXPECT_EQ(stale.error().code(), kNotLeader);
  EXPECT_EQ(stale.slot(), 0u);
}

TEST(Placement, SlotsStrictlyIncreaseOverRandomElections) {  // T2
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    FakeCluster cluster(3, seed);
    Random random(seed);
    for (int node = 1; node <= 3; ++node) cluster.SetWallOffset(node, random.Between(-2000, 2000));
    uint64_t last = 0;
    int leader = 0;
    for (int i = 0; i < 200; ++i) {
      if (leader == 0 || random.Chance(0.1)) {
        const int old = leader;
        leader = 1 + static_cast<int>(random.Below(3));
        const bool deaf = old != 0 && old != leader && random.Chance(0.5);
        if (deaf) cluster.SetLease(old, cluster.executor().Now());
        cluster.Elect(leader, deaf ? old : 0);
      }
      if (random.Chance(0.1)) cluster.SetWallOffset(leader, random.Between(-2000, 2000));
      cluster.executor().RunFor(Duration(random.Below(400'000'000)));
      const v1::SlotResponse slot = cluster.Slot(leader);
      ASSERT_EQ(slot.error().code(), v1::OK) << slot.error().message();
      ASSERT_GT(slot.slot(), last) << "seed " << seed << ", step " << i;
      last = slot.slot();
    }
  }
}

TEST(Placement, ANewLeadersWildClockIsNotAdopted) {
  FakeCluster cluster(3);
  cluster.Elect(1);
  cluster.Slot(1);
  cluster.SetWallOffset(2, 3'600'000);
  cluster.Elect(2);
  const Timestamp slot(cluster.Slot(2).slot());
  EXPECT_LT(slot.physical_ms(), static_cast<uint64_t>(kWallBase + 60'000));
}

TEST(Placement, AfterALongStopTheClockIsAdoptedOnceAnotherNodeConfirmsIt) {
  FakeCluster cluster(3);
  cluster.Elect(1);
  cluster.Slot(1);
  for (int node = 1; node <= 3; ++node) cluster.SetWallOffset(node, 3'600'000);
  cluster.Elect(2);
  EXPECT_LT(Timestamp(cluster.Slot(2).slot()).physical_ms(),
            static_cast<uint64_t>(kWallBase + 60'000));
  v1::HeartbeatRequest heartbeat;
  *heartbeat.mutable_node() = MakeNode(3);
  heartbeat.set_wall_ms(static_cast<uint64_t>(kWallBase + 3'600'000));
  EXPECT_EQ(cluster.Beat(2, heartbeat).error().code(), v1::OK);
  EXPECT_GE(Timestamp(cluster.Slot(2).slot()).physical_ms(),
            static_cast<uint64_t>(kWallBase + 3'600'000));
}

TEST(Placement, AfterALongStopTheOnlyVoterDoesNotWaitForNodesThatAreGone) {
  FakeCluster cluster(1);
  cluster.Elect(1);
  cluster.Slot(1);
  v1::NodeInfo gone = MakeNode(0);
  gone.set_address("gone:7400");
  gone.set_storage_id(std::string(32, 'f'));
  ASSERT_EQ(cluster.Register(1, gone).error().code(), v1::OK);
  cluster.SetWallOffset(1, 3'600'000);
  cluster.Elect(1);
  v1::HeartbeatRequest own;
  *own.mutable_node() = MakeNode(1);
  own.set_wall_ms(static_cast<uint64_t>(kWallBase + 3'600'000));
  const auto slot_ms = [&cluster] { return Timestamp(cluster.Slot(1).slot()).physical_ms(); };
  cluster.Beat(1, own);
  EXPECT_LT(slot_ms(), static_cast<uint64_t>(kWallBase + 60'000)) << "others may still be heard of";
  cluster.executor().RunFor(6s);
  cluster.Beat(1, own);
  EXPECT_GE(slot_ms(), static_cast<uint64_t>(kWallBase + 3'600'000));
}

TEST(Placement, RegistersANodeOnce) {
  FakeCluster cluster(3);
  cluster.Elect(1);
  v1::NodeInfo node = MakeNode(0);
  node.set_address("n4:7400");
  node.set_storage_id(std::string(32, 'f'));
  const v1::RegisterNodeResponse first = cluster.Register(1, node);
  EXPECT_EQ(first.error().code(), v1::OK);
  EXPECT_EQ(first.node_id(), 4u);
  EXPECT_EQ(first.cluster_id(), std::string(32, 'c'));
  EXPECT_EQ(cluster.Register(1, node).node_id(), 4u);
  EXPECT_EQ(cluster.Register(2, node).error().code(), kNotLeader);
  cluster.Elect(3);
  EXPECT_EQ(cluster.Register(3, node).node_id(), 4u);
  node.set_address("no port");
  EXPECT_EQ(cluster.Register(3, node).error().code(), v1::INVALID_ARGUMENT);
}

// Whoever registers decides what every node keeps and what is in every answer about the cluster.
TEST(Placement, ThereAreAsManyNodesAsTheMapCanName) {
  FakeCluster cluster(3);
  cluster.Elect(1);
  v1::NodeInfo node = MakeNode(0);
  node.set_address(std::string(200, 'h') + ":65535");
  node.set_http_address(node.address());
  node.set_version(std::string(kTextBytesMax, 'v'));
  for (int i = 0; i < 4; ++i) {
    (*node.mutable_locality())["label" + std::to_string(i)] = std::string(100, 'x');
  }
  v1::RegisterNodeResponse last;
  for (size_t i = 3; i < limits::kNodesMax; ++i) {
    node.set_storage_id(fmt::format("{:032x}", 1000 + i));
    last = cluster.Register(1, node);
    ASSERT_EQ(last.error().code(), v1::OK) << last.error().message();
  }
  node.set_storage_id(std::string(32, 'e'));
  const v1::RegisterNodeResponse refused = cluster.Register(1, node);
  EXPECT_EQ(refused.error().code(), v1::FAILED_PRECONDITION);
  EXPECT_EQ(refused.error().message(), "the cluster has 1000 nodes, as many as it can");
  node.set_storage_id(fmt::format("{:032x}", 1003));
  EXPECT_EQ(cluster.Register(1, node).error().code(), v1::OK) << "a known one is not refused";
  v1::HeartbeatRequest heartbeat;
  *heartbeat.mutable_node() = MakeNode(2);
  const v1::RoutesResponse map = cluster.Beat(1, heartbeat).map();
  EXPECT_EQ(map.nodes_size(), static_cast<int>(limits::kNodesMax));
  EXPECT_LT(map.ByteSizeLong(), limits::kAnswerBytesMax / 2);
}

TEST(Placement, HeartbeatsBringTheMapUpToDate) {
  FakeCluster cluster(3);
  cluster.Elect(1);
  v1::HeartbeatRequest heartbeat;
  *heartbeat.mutable_node() = MakeNode(2);
  heartbeat.mutable_node()->set_address("moved:7400");
  v1::ShardReport* report = heartbeat.add_led_shards();
  report->set_term(5);
  report->mutable_shard()->set_shard_id(3);
  report->mutable_shard()->set_from("m");
  report->mutable_shard()->set_version(1);
  report->mutable_shard()->set_membership_version(2);
  for (const uint64_t node : {1, 2, 3}) {
    report->mutable_shard()->add_replicas()->set_node_id(node);
  }
  EXPECT_EQ(cluster.Beat(2, heartbeat).error().code(), kNotLeader);
  cluster.Beat(1, heartbeat);
  cluster.executor().RunFor(100ms);
  const v1::RoutesResponse map = cluster.Beat(1, heartbeat).map();
  ASSERT_EQ(map.routes_size(), 2);
  EXPECT_EQ(map.routes(1).shard().membership_version(), 2u);
  EXPECT_EQ(map.routes(1).leader_node_id(), 2u);
  ASSERT_EQ(map.nodes_size(), 3);
  EXPECT_EQ(map.nodes(1).address(), "moved:7400");
  EXPECT_EQ(map.placement_leader(), 1u);
}

// Replicas are destroyed by what the map says.
TEST(Placement, MembersThatCannotBeAreNotLetIntoTheMap) {
  FakeCluster cluster(3);
  cluster.Elect(1);
  const auto report = [&cluster](const std::vector<uint64_t>& voters, v1::ReplicaRole role) {
    v1::HeartbeatRequest heartbeat;
    *heartbeat.mutable_node() = MakeNode(2);
    for (const bool begun : {false, true}) {
      v1::ShardDescriptor* shard =
          begun ? heartbeat.add_begun_shards() : heartbeat.add_led_shards()->mutable_shard();
      shard->set_shard_id(3);
      shard->set_from("m");
      shard->set_version(1);
      shard->set_membership_version(1'000'000);
      for (const uint64_t node : voters) {
        shard->add_replicas()->set_node_id(node);
        shard->mutable_replicas()->rbegin()->set_role(role);
      }
    }
    EXPECT_EQ(cluster.Beat(1, heartbeat).error().code(), v1::OK);
    cluster.executor().RunFor(200ms);
    v1::HeartbeatRequest asks;
    *asks.mutable_node() = MakeNode(2);
    return cluster.Beat(1, asks).map().routes(1).shard().membership_version();
  };
  const uint64_t before = report({}, v1::VOTER);
  EXPECT_LT(before, 1'000'000u) << "no members";
  EXPECT_EQ(report({1, 2, 3}, v1::LEARNER), before) << "no voter";
  EXPECT_EQ(report({2, 2, 3}, v1::VOTER), before) << "one twice";
  EXPECT_EQ(report({1, 2, 99}, v1::VOTER), before) << "a node that never was";
  EXPECT_EQ(report({1, 3}, v1::VOTER), before) << "not whoever says so";
  EXPECT_EQ(report({1, 2}, v1::VOTER), 1'000'000u);
}

// The state of a placement group that was recovered from its one survivor is of the past: a member
// was registered behind it. Its shard has a leader, who is to be told to replace it.
TEST(Placement, AShardWithAMemberThatIsNotKnownHasALeaderAndKeepsItsMembersInTheMap) {
  FakeCluster cluster(3);
  cluster.Elect(1);
  v1::HeartbeatRequest heartbeat;
  *heartbeat.mutable_node() = MakeNode(2);
  heartbeat.set_number(7);
  v1::ShardReport* report = heartbeat.add_led_shards();
  report->set_term(5);
  v1::ShardDescriptor* shard = report->mutable_shard();
  shard->set_shard_id(3);
  shard->set_from("m");
  shard->set_version(1);
  shard->set_membership_version(9);
  for (const uint64_t node : {1, 2, 4}) shard->add_replicas()->set_node_id(node);
  const v1::HeartbeatResponse first = cluster.Beat(1, heartbeat);
  EXPECT_EQ(first.map().routes(1).leader_node_id(), 2u);
  EXPECT_THAT(first.tell_again(), ElementsAre(3)) << "it may be known soon";
  cluster.executor().RunFor(200ms);
  v1::NodeInfo newcomer = MakeNode(4);
  newcomer.set_node_id(0);
  ASSERT_EQ(cluster.Register(1, newcomer).node_id(), 4u);
  const auto again = [&] {
    heartbeat.set_base(heartbeat.number());
    heartbeat.set_base_term(first.map_position().term());
    heartbeat.set_number(heartbeat.number() + 1);
    const v1::HeartbeatResponse response = cluster.Beat(1, heartbeat);
    cluster.executor().RunFor(200ms);
    EXPECT_FALSE(response.report_all());
    return response.map().routes(1).shard().membership_version();
  };
  EXPECT_LT(again(), 9u) << "not before";
  EXPECT_EQ(again(), 9u);
}

// Who is not believed would else take it for told.
TEST(Placement, AReportThatIsNotUsedIsToBeToldAgain) {
  FakeCluster cluster(3);
  cluster.Elect(1);
  v1::HeartbeatRequest heartbeat;
  *heartbeat.mutable_node() = MakeNode(2);
  for (const uint64_t shard : {2, 3}) {
    v1::ShardDescriptor* told = heartbeat.add_led_shards()->mutable_shard();
    told->set_shard_id(shard);
    if (shard == 2) told->set_to("m");
    if (shard == 3) told->set_from("m");
    told->set_version(1);
    told->set_membership_version(1);
    for (const uint64_t node : {1, 2, 3}) told->add_replicas()->set_node_id(node);
  }
  heartbeat.mutable_led_shards(1)->mutable_shard()->mutable_replicas(1)->set_node_id(0);
  EXPECT_THAT(cluster.Beat(1, heartbeat).tell_again(), ElementsAre(3));
}

// What a node is labelled with is a map, whose entries come in any order.
TEST(Placement, NodesAreToldOnceHoweverManyLabelsTheyHave) {
  FakeCluster cluster(3);
  cluster.Elect(1);
  v1::NodeInfo node = MakeNode(0);
  for (uint64_t i = 0; i < 8; ++i) {
    node.set_storage_id(fmt::format("{:032x}", 1000 + i));
    for (const char* label : {"host", "rack", "zone"}) {
      (*node.mutable_locality())[label] = fmt::format("{}{}", label, i);
    }
    ASSERT_EQ(cluster.Register(1, node).error().code(), v1::OK);
  }
  v1::HeartbeatRequest heartbeat;
  *heartbeat.mutable_node() = MakeNode(2);
  v1::HeartbeatResponse response = cluster.Beat(1, heartbeat);
  EXPECT_EQ(response.map().nodes_size(), 11);
  for (int i = 0; i < 50; ++i) {
    *heartbeat.mutable_known_map() = response.map_position();
    response = cluster.Beat(1, heartbeat);
    ASSERT_EQ(response.map().nodes_size(), 0) << "heartbeat " << i;
  }
}

v1::HeartbeatRequest BeatOf(uint64_t id, const std::string& address, v1::Incarnation incarnation,
                            v1::Incarnation descends_from = {}) {
  v1::HeartbeatRequest beat;
  *beat.mutable_node() = MakeSeed(3).nodes(static_cast<int>(id) - 1);
  beat.mutable_node()->set_address(address);
  beat.mutable_node()->set_feature_level(kFeatureLevel);
  *beat.mutable_node()->mutable_incarnation() = incarnation;
  *beat.mutable_node()->mutable_descends_from() = descends_from;
  return beat;
}

v1::Incarnation Start(uint64_t number, uint64_t nonce) {
  v1::Incarnation incarnation;
  incarnation.set_number(number);
  incarnation.set_nonce(nonce);
  return incarnation;
}

// Every node says that its version has all features.
void RaiseVersion(FakeCluster* cluster) {
  for (uint64_t id = 1; id <= 3; ++id) {
    const std::string address = MakeSeed(3).nodes(static_cast<int>(id) - 1).address();
    cluster->at(1).Heartbeat(BeatOf(id, address, Start(1, 11)));
    cluster->executor().RunFor(100ms);
    cluster->at(1).Heartbeat(BeatOf(id, address, Start(1, 11)));
    cluster->executor().RunFor(100ms);
  }
  ASSERT_EQ(cluster->at(1).Map().cluster_version(), kFeatureLevel);
}

TEST(Placement, AStartThatDoesNotDescendFromTheNewestIsToldWhichThatIs) {
  FakeCluster cluster(3);
  cluster.Elect(1);
  RaiseVersion(&cluster);
  const std::string home = MakeSeed(3).nodes(1).address();
  const auto beat = [&](const v1::HeartbeatRequest& request) {
    const v1::HeartbeatResponse response = cluster.at(1).Heartbeat(request);
    cluster.executor().RunFor(100ms);
    return response;
  };
  EXPECT_EQ(beat(BeatOf(2, home, Start(1, 11))).error().code(), v1::OK);
  EXPECT_EQ(beat(BeatOf(2, home, Start(2, 22), Start(1, 11))).error().code(), v1::OK);
  cluster.executor().RunFor(1s);
  const v1::HeartbeatResponse refused = beat(BeatOf(2, home, Start(2, 33), Start(1, 11)));
  EXPECT_EQ(refused.error().code(), v1::WRONG_NODE);
  EXPECT_EQ(refused.remembered().incarnation().nonce(), 22u);
  EXPECT_EQ(refused.remembered().address(), home);
  EXPECT_GE(refused.remembered().heard_ms(), 1000u);
  EXPECT_EQ(refused.map().nodes_size(), 0);
  // It still is whom it was.
  EXPECT_EQ(beat(BeatOf(2, home, Start(2, 22))).error().code(), v1::OK);
}

TEST(Placement, ANodeMovesWhenItIsSilentWhereItWas) {
  FakeCluster cluster(3);
  cluster.Elect(1);
  RaiseVersion(&cluster);
  const auto moved = BeatOf(2, "elsewhere:1", Start(2, 22), Start(1, 11));
  cluster.at(1).Heartbeat(BeatOf(2, MakeSeed(3).nodes(1).address(), Start(1, 11)));
  cluster.executor().RunFor(1s);
  EXPECT_EQ(cluster.at(1).Heartbeat(moved).error().code(), v1::WRONG_NODE);
  cluster.executor().RunFor(Heartbeats::kSilentAfter);
  EXPECT_EQ(cluster.at(1).Heartbeat(moved).error().code(), v1::OK);
}

TEST(Placement, TheClusterVersionRisesOnceAllMembersHaveIt) {
  FakeCluster cluster(3);
  cluster.Elect(1);
  EXPECT_EQ(cluster.at(1).Map().cluster_version(), 0u);
  RaiseVersion(&cluster);
  v1::HeartbeatRequest old = BeatOf(2, MakeSeed(3).nodes(1).address(), Start(1, 11));
  old.mutable_node()->set_feature_level(0);
  old.mutable_node()->set_version("0.1");
  const v1::HeartbeatResponse refused = cluster.at(1).Heartbeat(old);
  EXPECT_EQ(refused.error().code(), v1::FAILED_PRECONDITION);
  EXPECT_NE(refused.error().message().find("start it with a newer version"), std::string::npos);
}

TEST(Placement, NoTableIsLoggedBeforeAllMembersKnowTables) {
  FakeCluster cluster(3);
  cluster.Elect(1);
  const uint64_t before = static_cast<uint64_t>(Feature::kTables) - 1;
  for (uint64_t id = 1; id <= 3; ++id) {
    auto beat = BeatOf(id, MakeSeed(3).nodes(static_cast<int>(id) - 1).address(), Start(1, 11));
    beat.mutable_node()->set_feature_level(static_cast<uint32_t>(before));
    for (int i = 0; i < 2; ++i) {
      cluster.at(1).Heartbeat(beat);
      cluster.executor().RunFor(100ms);
    }
  }
  ASSERT_EQ(cluster.at(1).Map().cluster_version(), before);
  v1::PlacementRequest ask;
  v1::TableDescriptor* table = ask.mutable_change_tables()->mutable_change()->add_tables();
  table->set_table_id(1);
  table->set_name("accounts");
  table->set_version(1);
  table->set_state(v1::TABLE_PUBLIC);
  v1::Column* column = table->add_primary_key()->mutable_column();
  column->set_path("id");
  column->add_steps()->set_number(1);
  column->set_type(v1::COLUMN_UINT64);
  const size_t logged = cluster.log_size();
  const v1::PlacementResponse refused = cluster.Ask(1, ask);
  EXPECT_EQ(refused.error().code(), v1::FAILED_PRECONDITION);
  EXPECT_THAT(refused.error().message(), ::testing::HasSubstr("not every node's version knows"));
  EXPECT_EQ(cluster.log_size(), logged);
  RaiseVersion(&cluster);
  const v1::PlacementResponse made = cluster.Ask(1, ask);
  EXPECT_EQ(made.error().code(), v1::OK) << made.error().message();
  v1::PlacementRequest get;
  get.mutable_get_catalog();
  EXPECT_EQ(cluster.Ask(1, get).catalog().tables_size(), 1);
}

TEST(Placement, AHeartbeatFromAnotherDiskIsRefused) {
  FakeCluster cluster(3);
  cluster.Elect(1);
  v1::HeartbeatRequest heartbeat;
  *heartbeat.mutable_node() = MakeNode(2);
  heartbeat.mutable_node()->set_storage_id(std::string(32, 'e'));
  EXPECT_EQ(cluster.Beat(1, heartbeat).error().code(), v1::WRONG_NODE);
}

}  // namespace
}  // namespace quorate::placement
