// The node as a whole: serving, refusing, crashing, stopping.
#include "server/node/node.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/server/cluster_fixture.h"

namespace quorate::server {
namespace {

v1::NodeRequest StatusRequestOf() {
  v1::NodeRequest request;
  request.mutable_status();
  return request;
}

// A request handed to the node as another process's batch would be.
v1::NodeResponse Deliver(ClusterFixture* cluster, size_t node, std::string cluster_id, uint64_t to,
                         v1::NodeRequest request) {
  const auto wrap = [](Node* receiver, std::string id, uint64_t receiver_id,
                       v1::NodeRequest message) -> Task<Result<v1::NodeResponse>> {
    co_return co_await receiver->Handle(std::move(id), receiver_id, std::move(message));
  };
  return *cluster->Await(wrap(&cluster->node(node), std::move(cluster_id), to, std::move(request)));
}

TEST(Node, PutsAndGetsOverShards) {
  ClusterFixture cluster(3);
  cluster.StartAndInit(4);
  const std::vector<std::string> keys = {std::string("\x10"), std::string("\x50"),
                                         std::string("\x90"), std::string("\xd0")};
  for (const std::string& key : keys) ASSERT_EQ(cluster.Put(key, "of " + key).ToString(), "OK");
  for (const std::string& key : keys) EXPECT_EQ(*cluster.Get(key), "of " + key);
  EXPECT_EQ(*cluster.Get("absent"), std::nullopt);
}

TEST(Node, EveryAcknowledgedWriteSurvivesTheCrashOfAnyNode) {
  ClusterFixture cluster(3);
  cluster.StartAndInit(3);
  int writes = 0;
  for (size_t victim = 1; victim <= 3; ++victim) {
    ASSERT_TRUE(cluster.Put("before" + std::to_string(victim), "1").ok());
    cluster.at(victim).Crash();
    ASSERT_TRUE(cluster.Put("during" + std::to_string(victim), "1").ok());
    for (size_t v = 1; v <= victim; ++v) {
      EXPECT_EQ(*cluster.Get("before" + std::to_string(v)), "1");
      EXPECT_EQ(*cluster.Get("during" + std::to_string(v)), "1");
      ++writes;
    }
    cluster.StartAll();
    ASSERT_TRUE(cluster.AllReady());
  }
  EXPECT_EQ(writes, 6);
}

TEST(Node, EveryAcknowledgedWriteSurvivesThePowerLossOfAll) {
  ClusterFixture cluster(3);
  cluster.StartAndInit(3);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(cluster.Put("k" + std::to_string(i), "v").ok());
  const std::string id = cluster.node(1).cluster_id();
  for (size_t i = 1; i <= 3; ++i) cluster.at(i).PowerLoss();
  cluster.StartAll();
  ASSERT_TRUE(cluster.AllReady());
  EXPECT_EQ(cluster.node(2).cluster_id(), id);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(*cluster.Get("k" + std::to_string(i)), "v") << i;
}

// The aim for the TSO's failover is 2 s; a commit waits for it and for its shard's new leader.
TEST(Node, TimestampsAreBackSoonAfterTheirLeaderDied) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    ClusterFixture cluster(3, seed);
    cluster.StartAndInit(2);
    ASSERT_TRUE(cluster.Put("k", "v").ok());
    const size_t leader = cluster.PlacementLeader();
    ASSERT_NE(leader, 0u);
    cluster.at(leader).Crash();
    const Instant killed = cluster.world().now();
    ASSERT_TRUE(cluster.Put("k", "w").ok());
    EXPECT_LE(ToMillis(cluster.world().now() - killed), 2500) << "seed " << seed;
    cluster.StartAll();
  }
}

TEST(Node, RefusesRequestsOfOtherClustersAndForOtherNodes) {
  ClusterFixture cluster(3);
  cluster.StartAndInit(1);
  const std::string id = cluster.node(1).cluster_id();
  v1::NodeRequest slot;
  slot.mutable_slot();
  EXPECT_EQ(Deliver(&cluster, 1, std::string(32, '0'), 0, slot).error().code(), v1::WRONG_CLUSTER);
  EXPECT_EQ(Deliver(&cluster, 1, "", 0, slot).error().code(), v1::WRONG_CLUSTER);
  EXPECT_EQ(Deliver(&cluster, 1, id, 2, slot).error().code(), v1::WRONG_NODE);
  EXPECT_EQ(Deliver(&cluster, 1, id, 1, slot).error().code(), v1::OK);
  EXPECT_EQ(Deliver(&cluster, 1, "", 0, StatusRequestOf()).error().code(), v1::OK);
  EXPECT_EQ(Deliver(&cluster, 1, id, 0, v1::NodeRequest()).error().code(), v1::INVALID_ARGUMENT);
  const std::string metrics = cluster.at(1).process()->metrics().Exposition();
  EXPECT_NE(metrics.find("why=\"wrong_cluster\"} 2"), std::string::npos) << metrics;
  EXPECT_NE(metrics.find("why=\"wrong_node\"} 1"), std::string::npos);
}

TEST(Node, WithoutAClusterItSaysWhatToDo) {
  ClusterFixture cluster(1);
  cluster.StartAll();
  v1::NodeRequest request;
  request.mutable_routes();
  const v1::NodeResponse response = Deliver(&cluster, 1, "", 0, request);
  EXPECT_EQ(response.error().code(), v1::UNINITIALIZED);
  EXPECT_NE(response.error().message().find("init"), std::string::npos);
  v1::NodeRequest hello;
  hello.mutable_hello();
  EXPECT_EQ(Deliver(&cluster, 1, "", 0, hello).hello().address(), cluster.at(1).address());
}

// Nobody who is silent has taken it in again.
TEST(Node, ARemovedNodeKnowsItThoughPlacementIsSilent) {
  ClusterFixture cluster(4);
  cluster.StartAndInit(1);
  const v1::StatusResponse status = cluster.node(4).Status();
  ASSERT_EQ(status.replicas_size(), 0) << "nothing has to be moved first";
  v1::NodeRequest remove;
  remove.mutable_placement()->mutable_remove_node()->set_node_id(4);
  // It hears of all nodes and shards first.
  v1::Error refused;
  for (int i = 0; i < 300; ++i, cluster.RunFor(100ms)) {
    const size_t leader = cluster.PlacementLeader();
    if (leader == 0) continue;
    const Result<v1::NodeResponse> answer = cluster.Call(leader, remove);
    ASSERT_TRUE(answer.ok());
    refused = answer->placement().error();
    if (refused.code() == v1::OK) break;
  }
  ASSERT_EQ(refused.code(), v1::OK) << refused.message();
  ASSERT_TRUE(cluster.RunUntil([&] { return !cluster.node(4).excluded().empty(); }));
  const auto cut = cluster.network().AddRule({.from = cluster.at(4).address(), .block = true});
  cluster.RunFor(10s);
  EXPECT_NE(cluster.node(4).excluded(), "");
  EXPECT_FALSE(cluster.node(4).ready());
  cluster.network().RemoveRule(cut);
  v1::NodeRequest commit;
  commit.mutable_commit();
  const std::string id = cluster.node(1).cluster_id();
  EXPECT_EQ(Deliver(&cluster, 4, id, 0, commit).error().code(), v1::NOT_LEADER);
  v1::NodeRequest how;
  how.mutable_status();
  const v1::StatusResponse told = Deliver(&cluster, 4, id, 0, how).status();
  EXPECT_EQ(told.error().code(), v1::WRONG_NODE);
  EXPECT_EQ(told.error().message(), cluster.node(4).excluded());
  EXPECT_EQ(Deliver(&cluster, 1, id, 0, how).status().error().code(), v1::OK);
  EXPECT_EQ(Deliver(&cluster, 4, std::string(32, '0'), 0, commit).error().code(), v1::WRONG_CLUSTER)
      << "whose node it was is told before";
}

// It is not taken for moved at once, and goes on with what it leads meanwhile.
TEST(Node, ANodeAtANewAddressIsNotExcluded) {
  ClusterFixture cluster(3);
  cluster.StartAndInit(1);
  cluster.RunFor(3s);
  cluster.at(2).Crash();
  const auto moved = cluster.Machine(7);
  moved->Restore(cluster.at(2).TakeImage());
  ASSERT_TRUE(moved->Start(cluster.addresses()).ok());
  cluster.RunFor(1s);
  EXPECT_FALSE(moved->node()->ready());
  const auto excluded = [&] { return !moved->node()->excluded().empty(); };
  EXPECT_TRUE(cluster.RunUntil([&] { return moved->node()->ready() || excluded(); }));
  EXPECT_FALSE(excluded()) << moved->node()->excluded();
}

TEST(Node, TooManyKeysInOneRequestAreRefused) {
  ClusterFixture cluster(1);
  cluster.StartAndInit(1);
  v1::NodeRequest request;
  for (size_t i = 0; i <= limits::kTxnKeysMax; ++i) request.mutable_read()->add_keys("k");
  const v1::NodeResponse response = Deliver(&cluster, 1, cluster.node(1).cluster_id(), 0, request);
  EXPECT_EQ(response.error().code(), v1::INVALID_ARGUMENT);
}

TEST(Node, AShardThatIsElsewhereIsHinted) {
  ClusterFixture cluster(5);
  cluster.StartAndInit(5);  // three replicas each
  v1::NodeRequest request;
  request.mutable_read()->add_keys("\x10");
  request.mutable_read()->mutable_route()->set_shard_id(2);  // on nodes 1, 2, 3
  request.mutable_read()->mutable_route()->set_version(1);
  cluster.RunFor(3s);
  const v1::NodeResponse response = Deliver(&cluster, 5, cluster.node(5).cluster_id(), 0, request);
  EXPECT_EQ(response.read().error().code(), v1::NOT_LEADER);
  EXPECT_NE(response.read().error().leader().address(), "");
  ASSERT_EQ(response.read().error().descriptors_size(), 1);
  EXPECT_EQ(response.read().error().descriptors(0).shard_id(), 2u);
}

TEST(Node, StatusShowsReplicasAndTheMap) {
  ClusterFixture cluster(3);
  cluster.StartAndInit(2);
  ASSERT_TRUE(cluster.Put("k", "v").ok());
  cluster.RunFor(3s);
  std::set<uint64_t> led;
  for (size_t i = 1; i <= 3; ++i) {
    const v1::StatusResponse status = cluster.node(i).Status();
    EXPECT_EQ(status.replicas_size(), 3);
    EXPECT_TRUE(status.accepts_writes());
    EXPECT_EQ(status.map().routes_size(), 2);
    EXPECT_EQ(status.map().nodes_size(), 3);
    for (const v1::ReplicaStatus& replica : status.replicas()) {
      if (replica.serving()) EXPECT_TRUE(led.insert(replica.group_id()).second) << "two leaders";
    }
  }
  EXPECT_EQ(led, (std::set<uint64_t>{1, 2, 3}));
}

TEST(Node, BelowTheLowSpaceWatermarkReadsAndDeletionsGoOn) {
  ClusterFixture cluster(3);
  cluster.StartAndInit(2);
  ASSERT_TRUE(cluster.Put("k", "v").ok());
  const uint64_t capacity = sim::DiskOptions().capacity_bytes;
  for (size_t i = 1; i <= 3; ++i) cluster.at(i).disk().faults().taken_bytes = capacity - (50 << 20);
  cluster.RunFor(3s);
  EXPECT_FALSE(cluster.node(1).Status().accepts_writes());
  EXPECT_EQ(cluster.Put("k", "w").code(), Code::kNoSpace);
  EXPECT_EQ(*cluster.Get("k"), "v");
  const auto remove = [](client::Database* database) -> Task<Status> {
    const client::CommitResult result = co_await database->DeleteAsync("k", 10s);
    co_return result.status;
  };
  EXPECT_TRUE(cluster.Await(remove(&cluster.database())).ok());
  EXPECT_EQ(*cluster.Get("k"), std::nullopt);
  for (size_t i = 1; i <= 3; ++i) cluster.at(i).disk().faults().taken_bytes = 0;
  cluster.RunFor(3s);
  EXPECT_TRUE(cluster.Put("k", "w").ok());
}

// Takes all that is left of a node's disk.
void FillDisk(ClusterFixture* cluster, size_t node) {
  sim::SimDisk& disk = cluster->at(node).disk();
  disk.faults().taken_bytes = sim::DiskOptions().capacity_bytes - disk.used();
}

TEST(Node, AFullDiskOnOneNodeStopsNobody) {
  for (const bool on_leader : {false, true}) {
    ClusterFixture cluster(3);
    cluster.StartAndInit(2);
    ASSERT_TRUE(cluster.Put("k", "v").ok());
    cluster.RunFor(2s);
    size_t full = 0;
    for (size_t i = 1; i <= 3; ++i) {
      bool leads = false;
      const v1::StatusResponse status = cluster.node(i).Status();
      for (const auto& replica : status.replicas()) leads |= replica.serving();
      if (leads == on_leader) full = i;
    }
    if (full == 0) continue;  // each of them leads
    FillDisk(&cluster, full);
    cluster.RunFor(3s);
    EXPECT_FALSE(cluster.node(full).Status().accepts_writes());
    EXPECT_EQ(cluster.node(full).Status().disk_reserve_bytes(), 0u);
    for (int i = 0; i < 30; ++i) {
      EXPECT_TRUE(cluster.Put("k", std::string(20'000, static_cast<char>('a' + i % 26))).ok());
      EXPECT_TRUE(cluster.Get("k").ok());
    }
    const v1::StatusResponse handed_over = cluster.node(full).Status();
    for (const auto& replica : handed_over.replicas()) {
      EXPECT_NE(replica.role(), "leader") << "it has handed them over";
    }
    cluster.at(full).disk().faults().taken_bytes = 0;
    cluster.RunFor(5s);
    EXPECT_TRUE(cluster.node(full).Status().accepts_writes());
    EXPECT_NE(cluster.node(full).Status().disk_reserve_bytes(), 0u);
    EXPECT_TRUE(cluster.Put("k", "w").ok());
  }
}

TEST(Node, FullDisksEverywhereKeepReadsAndNameANode) {
  ClusterFixture cluster(3);
  cluster.StartAndInit(2);
  ASSERT_TRUE(cluster.Put("k", "v").ok());
  cluster.RunFor(2s);
  for (size_t i = 1; i <= 3; ++i) FillDisk(&cluster, i);
  cluster.RunFor(3s);
  const Status refused = cluster.Put("k", "w");
  EXPECT_EQ(refused.code(), Code::kNoSpace);
  EXPECT_NE(refused.message().find("disk of node"), std::string::npos) << refused.message();
  EXPECT_EQ(*cluster.Get("k"), "v");
  int refusing = 0;
  for (size_t i = 1; i <= 3; ++i) {
    const v1::StatusResponse status = cluster.node(i).Status();
    for (const auto& replica : status.replicas()) {
      refusing += replica.writes_refused().empty() ? 0 : 1;
    }
  }
  EXPECT_EQ(refusing, 2) << "both shards";
  for (size_t i = 1; i <= 3; ++i) cluster.at(i).disk().faults().taken_bytes = 0;
  cluster.RunFor(5s);
  EXPECT_TRUE(cluster.Put("k", "w").ok());
}

TEST(Node, StartsOnAFullDisk) {
  ClusterFixture cluster(3);
  cluster.StartAndInit(2);
  ASSERT_TRUE(cluster.Put("k", "v").ok());
  cluster.RunFor(12s);
  cluster.at(1).Crash();
  FillDisk(&cluster, 1);
  ASSERT_TRUE(cluster.at(1).Start({}).ok());
  cluster.RunFor(3s);
  ASSERT_TRUE(cluster.at(1).up());
  EXPECT_FALSE(cluster.node(1).Status().accepts_writes());
  EXPECT_EQ(*cluster.Get("k"), "v");
  cluster.at(1).disk().faults().taken_bytes = 0;
  cluster.RunFor(5s);
  EXPECT_TRUE(cluster.node(1).Status().accepts_writes());
}

TEST(Node, ACleanStopHandsLeadershipsOver) {
  ClusterFixture cluster(3);
  cluster.StartAndInit(4);
  ASSERT_TRUE(cluster.Put("k", "v").ok());
  const size_t leader = cluster.PlacementLeader();
  const auto stop = [](Node* node) -> Task<Status> {
    co_await node->Stop(5s);
    co_return Status::Ok();
  };
  const Instant asked = cluster.world().now();
  EXPECT_TRUE(cluster.Await(stop(&cluster.node(leader))).ok());
  EXPECT_LT(ToMillis(cluster.world().now() - asked), 3000);
  EXPECT_TRUE(cluster.node(leader).stopping());
  for (const shard::Shard* shard : cluster.node(leader).shards()) {
    EXPECT_FALSE(shard->serving()) << "shard " << shard->id().value();
  }
  cluster.at(leader).Crash();
  const Instant stopped = cluster.world().now();
  EXPECT_TRUE(cluster.Put("k", "w").ok());
  EXPECT_LT(ToMillis(cluster.world().now() - stopped), 700) << "nobody waits for an election";
  cluster.StartAll();
  ASSERT_TRUE(cluster.AllReady());
  EXPECT_EQ(*cluster.Get("k"), "w");
}

}  // namespace
}  // namespace quorate::server
