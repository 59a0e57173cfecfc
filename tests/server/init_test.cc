// Init: once, from any node, over crashes at any moment.
#include <gtest/gtest.h>

#include "tests/server/cluster_fixture.h"

namespace quorate::server {
namespace {

Task<Status> InitTask(client::Channel* channel, std::string address) {
  v1::NodeRequest request;
  request.mutable_init()->set_shards(2);
  Result<v1::NodeResponse> response = co_await channel->Call(address, std::move(request), 20s);
  if (!response.ok()) co_return response.status();
  co_return Status(static_cast<Code>(response->init().error().code()),
                   response->init().error().message());
}

// All nodes belong to one cluster, under different ids, and it takes writes.
void ExpectOneCluster(ClusterFixture* cluster) {
  ASSERT_TRUE(cluster->AllReady());
  std::set<NodeId> ids;
  for (size_t i = 1; i <= cluster->size(); ++i) {
    EXPECT_EQ(cluster->node(i).cluster_id(), cluster->node(1).cluster_id());
    ids.insert(cluster->node(i).id());
  }
  EXPECT_EQ(ids.size(), cluster->size());
  const Status put = cluster->Put("key", "value");
  EXPECT_TRUE(put.ok()) << put.ToString();
  EXPECT_EQ(*cluster->Get("key"), "value");
}

TEST(Init, MakesAClusterOfTheNodesThatFoundEachOther) {
  ClusterFixture cluster(3);
  cluster.StartAll();
  cluster.RunFor(2s);
  EXPECT_FALSE(cluster.node(1).ready());
  const v1::InitResponse response = cluster.Init(2, 4);
  ASSERT_EQ(response.error().code(), v1::OK) << response.error().message();
  EXPECT_EQ(response.cluster_id().size(), 32u);
  ExpectOneCluster(&cluster);
  EXPECT_EQ(cluster.node(1).shards().size(), 4u);
}

TEST(Init, ANodeThatOthersJoinKnowsThem) {
  ClusterFixture cluster(3);
  ASSERT_TRUE(cluster.at(1).Start({}).ok());
  ASSERT_TRUE(cluster.at(2).Start({cluster.at(1).address()}).ok());
  ASSERT_TRUE(cluster.at(3).Start({cluster.at(1).address()}).ok());
  cluster.RunFor(3s);
  EXPECT_EQ(cluster.Init(1, 2).error().code(), v1::OK);
  ExpectOneCluster(&cluster);
}

TEST(Init, ASingleNodeIsACluster) {
  ClusterFixture cluster(1);
  cluster.StartAndInit(3);
  ExpectOneCluster(&cluster);
}

// Whoever counts on three replicas must not find out at the first failure that there is one.
TEST(Init, FewerNodesThanReplicasAreRefusedUnlessAskedFor) {
  ClusterFixture cluster(3);
  ASSERT_TRUE(cluster.at(1).Start({}).ok());
  v1::NodeRequest request;
  request.mutable_init()->set_shards(2);
  const v1::InitResponse early = cluster.Call(1, request)->init();
  EXPECT_EQ(early.error().code(), v1::FAILED_PRECONDITION);
  EXPECT_NE(early.error().message().find("--replicas 1"), std::string::npos)
      << early.error().message();
  EXPECT_EQ(cluster.node(1).cluster_id(), "");

  request.mutable_init()->set_replication_factor(1);
  const v1::InitResponse alone = cluster.Call(1, request)->init();
  ASSERT_EQ(alone.error().code(), v1::OK) << alone.error().message();
  EXPECT_EQ(alone.nodes(), 1u);
  EXPECT_EQ(alone.replication_factor(), 1u);
}

TEST(Init, WaitsForAsManyNodesAsThereAreToBeReplicas) {
  ClusterFixture cluster(3);
  ASSERT_TRUE(cluster.at(1).Start({}).ok());
  Status status;
  bool done = false;
  const auto run = [](Task<Status> init, Status* out, bool* finished) -> Task<void> {
    *out = co_await std::move(init);
    *finished = true;
  };
  cluster.client().scope().Spawn(
      run(InitTask(&cluster.client().channel(), cluster.at(1).address()), &status, &done));
  cluster.RunFor(4s);
  EXPECT_FALSE(done) << status.message();
  ASSERT_TRUE(cluster.at(2).Start({cluster.at(1).address()}).ok());
  ASSERT_TRUE(cluster.at(3).Start({cluster.at(1).address()}).ok());
  ASSERT_TRUE(cluster.RunUntil([&] { return done; }));
  EXPECT_TRUE(status.ok()) << status.message();
  ExpectOneCluster(&cluster);
  for (const shard::Shard* shard : cluster.node(1).shards()) {
    EXPECT_EQ(shard->descriptor().replicas_size(), 3);
  }
}

TEST(Init, ASecondOneIsRefused) {
  ClusterFixture cluster(3);
  cluster.StartAndInit(2);
  const std::string id = cluster.node(1).cluster_id();
  for (size_t i = 1; i <= 3; ++i) {
    const v1::InitResponse again = cluster.Init(i, 9);
    EXPECT_EQ(again.error().code(), v1::ALREADY_EXISTS);
    EXPECT_EQ(again.cluster_id(), id);
  }
  EXPECT_EQ(cluster.node(1).shards().size(), 2u);
}

TEST(Init, AMemberThatIsDownIsNamedAndNothingHappens) {
  ClusterFixture cluster(3);
  ASSERT_TRUE(cluster.at(1).Start(cluster.addresses()).ok());
  ASSERT_TRUE(cluster.at(2).Start(cluster.addresses()).ok());
  const v1::InitResponse response = cluster.Init(1, 2);
  EXPECT_EQ(response.error().code(), v1::FAILED_PRECONDITION);
  EXPECT_NE(response.error().message().find(cluster.at(3).address()), std::string::npos);
  EXPECT_EQ(cluster.node(1).cluster_id(), "");
  cluster.StartAll();
  EXPECT_EQ(cluster.Init(1, 2).error().code(), v1::OK);
  ExpectOneCluster(&cluster);
}

TEST(Init, BadRequestsAreRefusedBeforeAnythingHappens) {
  ClusterFixture cluster(3);
  cluster.StartAll();
  v1::NodeRequest request;
  request.mutable_init()->add_split_keys("z");
  request.mutable_init()->add_split_keys("a");
  EXPECT_EQ(cluster.Call(1, request)->init().error().code(), v1::INVALID_ARGUMENT);
  EXPECT_EQ(cluster.node(1).cluster_id(), "");
}

TEST(Init, TwoAtOnceMakeOneCluster) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    ClusterFixture cluster(3, seed);
    cluster.StartAll();
    cluster.RunFor(2s);
    auto tasks = std::vector<Task<Status>>();
    tasks.push_back(InitTask(&cluster.client().channel(), cluster.at(2).address()));
    tasks.push_back(InitTask(&cluster.client().channel(), cluster.at(3).address()));
    bool done = false;
    const auto run = [](Executor* executor, std::vector<Task<Status>> both,
                        bool* finished) -> Task<void> {
      (void)co_await WhenAll(*executor, std::move(both));
      *finished = true;
    };
    cluster.client().scope().Spawn(run(&cluster.client().process(), std::move(tasks), &done));
    ASSERT_TRUE(cluster.RunUntil([&] { return done; })) << seed;
    ExpectOneCluster(&cluster);
  }
}

// Whoever starts the nodes of a cluster and asks for it at once must not lose to a slow start.
TEST(Init, WaitsForAMemberThatStartsAMomentLater) {
  ClusterFixture cluster(3);
  ASSERT_TRUE(cluster.at(1).Start(cluster.addresses()).ok());
  ASSERT_TRUE(cluster.at(2).Start(cluster.addresses()).ok());
  Status status;
  bool done = false;
  const auto run = [](Task<Status> init, Status* out, bool* finished) -> Task<void> {
    *out = co_await std::move(init);
    *finished = true;
  };
  cluster.client().scope().Spawn(
      run(InitTask(&cluster.client().channel(), cluster.at(1).address()), &status, &done));
  cluster.RunFor(1s);
  EXPECT_FALSE(done) << status.message();
  ASSERT_TRUE(cluster.at(3).Start(cluster.addresses()).ok());
  ASSERT_TRUE(cluster.RunUntil([&] { return done; }));
  EXPECT_TRUE(status.ok()) << status.message();
  ExpectOneCluster(&cluster);
}

// A node dies at some moment of an init and comes back; whoever asks again gets a cluster.
TEST(Init, SurvivesACrashAtAnyMoment) {
  for (const bool power_loss : {false, true}) {
    for (int moment = 0; moment < 60; ++moment) {
      const size_t victim = 1 + static_cast<size_t>(moment % 3);
      ClusterFixture cluster(3, 100 + static_cast<uint64_t>(moment));
      cluster.StartAll();
      cluster.RunFor(2s);
      Status first;
      const auto keep = [](Task<Status> task, Status* out) -> Task<void> {
        *out = co_await std::move(task);
      };
      cluster.client().scope().Spawn(
          keep(InitTask(&cluster.client().channel(), cluster.at(2).address()), &first));
      cluster.RunFor(Duration(std::chrono::microseconds(300)) * moment);
      power_loss ? cluster.at(victim).PowerLoss() : cluster.at(victim).Crash();
      cluster.RunFor(1s);
      cluster.StartAll();
      v1::InitResponse response;
      for (int attempt = 0; attempt < 10; ++attempt) {
        response = cluster.Init(1 + static_cast<size_t>(attempt % 3), 2, 20s);
        const v1::ErrorCode code = response.error().code();
        if (code == v1::OK || code == v1::ALREADY_EXISTS) break;
        cluster.RunFor(1s);
      }
      const v1::ErrorCode code = response.error().code();
      ASSERT_TRUE(code == v1::OK || code == v1::ALREADY_EXISTS)
          << "moment " << moment << ": " << response.error().message();
      ExpectOneCluster(&cluster);
    }
  }
}

TEST(Init, ANodeThatJoinsLaterGetsAnIdAndServesAsGateway) {
  ClusterFixture cluster(4);
  for (size_t i = 1; i <= 3; ++i) {
    std::vector<std::string> others = cluster.addresses();
    others.pop_back();
    ASSERT_TRUE(cluster.at(i).Start(others).ok());
  }
  ASSERT_EQ(cluster.Init(1, 3).error().code(), v1::OK);
  ASSERT_TRUE(cluster.at(4).Start({cluster.at(2).address()}).ok());
  ASSERT_TRUE(cluster.AllReady());
  EXPECT_EQ(cluster.node(4).id(), NodeId(4));
  EXPECT_TRUE(cluster.node(4).shards().empty());
  client::Database& gateway = cluster.node(4).database();
  EXPECT_TRUE(cluster.Put("a", "1").ok());
  EXPECT_EQ(*cluster.Await(gateway.GetAsync("a", 10s)), "1");
  // Over a restart it is the same node.
  cluster.at(4).Crash();
  ASSERT_TRUE(cluster.at(4).Start({cluster.at(2).address()}).ok());
  ASSERT_TRUE(cluster.AllReady());
  EXPECT_EQ(cluster.node(4).id(), NodeId(4));
}

}  // namespace
}  // namespace quorate::server
