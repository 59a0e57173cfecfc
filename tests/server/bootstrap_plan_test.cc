#include "server/node/bootstrap_plan.h"

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/limits.h"

namespace quorate::server {
namespace {

std::vector<v1::NodeInfo> Members(int count) {
  std::vector<v1::NodeInfo> members;
  for (int i = count; i >= 1; --i) {  // not in the order of addresses
    v1::NodeInfo node;
    node.set_address("n" + std::to_string(i) + ":7400");
    node.set_storage_id(std::string(31, '0') + static_cast<char>('0' + i));
    members.push_back(node);
  }
  return members;
}
const std::string kCluster(32, 'c');

std::vector<std::string> Even(uint32_t shards) {
  v1::InitRequest request;
  request.set_shards(shards);
  std::vector<std::string> hex;
  const auto keys = SplitKeys(request);
  for (const std::string& key : *keys) hex.push_back(ToHex(key));
  return hex;
}

TEST(SplitKeys, SpreadTheLeadingBytesEvenly) {
  EXPECT_TRUE(Even(0).empty());
  EXPECT_TRUE(Even(1).empty());
  EXPECT_EQ(Even(2), (std::vector<std::string>{"80"}));
  EXPECT_EQ(Even(4), (std::vector<std::string>{"40", "80", "c0"}));
  EXPECT_EQ(Even(3), (std::vector<std::string>{"5555", "aaaa"}));
  EXPECT_EQ(Even(4096).size(), 4095u);
}

TEST(SplitKeys, RefuseWhatCannotBeMeant) {
  v1::InitRequest request;
  request.set_shards(limits::kInitialShardsMax + 1);
  EXPECT_EQ(SplitKeys(request).status().code(), Code::kInvalidArgument);
  request.Clear();
  request.add_split_keys("b");
  request.add_split_keys("a");
  EXPECT_NE(SplitKeys(request).status().message().find("ascending"), std::string::npos);
  request.set_split_keys(1, "b");
  EXPECT_EQ(SplitKeys(request).status().code(), Code::kInvalidArgument);
  request.set_split_keys(1, std::string(limits::kKeyBytesMax + 1, 'x'));
  EXPECT_EQ(SplitKeys(request).status().code(), Code::kInvalidArgument);
  request.set_split_keys(1, "c");
  EXPECT_EQ(SplitKeys(request)->size(), 2u);
}

TEST(PlanBootstrap, DealsOutIdsVotersAndReplicas) {
  v1::InitRequest request;
  request.set_shards(4);
  const v1::BootstrapRequest plan = *PlanBootstrap(kCluster, Members(5), request);
  ASSERT_EQ(plan.nodes_size(), 5);
  EXPECT_EQ(plan.nodes(0).address(), "n1:7400");
  EXPECT_EQ(plan.nodes(0).node_id(), 1u);
  EXPECT_EQ(plan.placement_nodes_size(), 5);
  ASSERT_EQ(plan.shards_size(), 4);
  EXPECT_EQ(plan.shards(0).shard_id(), kFirstShardId);
  EXPECT_EQ(plan.shards(3).replicas_size(), 3);
  EXPECT_EQ(plan.shards(3).replicas(2).node_id(), 1u);
  EXPECT_TRUE(CheckBootstrap(plan).ok());
}

TEST(PlanBootstrap, ThePlacementGroupHasAnOddNumberOfVoters) {
  for (const auto& [nodes, voters] : {std::pair(1, 1), {2, 1}, {3, 3}, {4, 3}, {5, 5}, {7, 5}}) {
    v1::InitRequest request;
    request.set_replication_factor(nodes < 3 ? 1 : 3);
    const auto plan = PlanBootstrap(kCluster, Members(nodes), request);
    EXPECT_EQ(plan->placement_nodes_size(), voters) << nodes;
    EXPECT_EQ(plan->shards(0).replicas_size(), nodes < 3 ? 1 : 3) << nodes;
  }
}

TEST(PlanBootstrap, ThreeReplicasUnlessAskedForOtherwise) {
  const Status status = PlanBootstrap(kCluster, Members(2), v1::InitRequest()).status();
  EXPECT_EQ(status.code(), Code::kFailedPrecondition);
  EXPECT_NE(status.message().find("no fault tolerance with --replicas 1"), std::string::npos)
      << status.message();
  v1::InitRequest five;
  five.set_replication_factor(5);
  const std::string of_four = PlanBootstrap(kCluster, Members(4), five).status().message();
  EXPECT_NE(of_four.find("the loss of 1 node at most with --replicas 3"), std::string::npos)
      << of_four;
  EXPECT_EQ(PlanBootstrap(kCluster, Members(4), v1::InitRequest())->shards(0).replicas_size(), 3);
}

TEST(PlanBootstrap, RefusesMoreReplicasThanNodes) {
  v1::InitRequest request;
  request.set_replication_factor(3);
  EXPECT_EQ(PlanBootstrap(kCluster, Members(2), request).status().code(),
            Code::kFailedPrecondition);
  request.set_replication_factor(1);
  EXPECT_EQ(PlanBootstrap(kCluster, Members(2), request)->shards(0).replicas_size(), 1);
}

TEST(CheckBootstrap, RefusesWhatNoPlanContains) {
  v1::InitRequest request;
  request.set_shards(3);
  const v1::BootstrapRequest good = *PlanBootstrap(kCluster, Members(3), request);
  const auto refused = [&](auto change) {
    v1::BootstrapRequest bad = good;
    change(&bad);
    return CheckBootstrap(bad).code() == Code::kInvalidArgument;
  };
  using Message = v1::BootstrapRequest;
  EXPECT_TRUE(refused([](Message* m) { m->set_cluster_id("short"); }));
  EXPECT_TRUE(refused([](Message* m) { m->mutable_nodes(1)->set_node_id(1); }));
  EXPECT_TRUE(refused([](Message* m) { m->mutable_nodes(1)->set_address("nowhere"); }));
  EXPECT_TRUE(refused(
      [](Message* m) { *m->mutable_nodes(1)->mutable_storage_id() = m->nodes(0).storage_id(); }));
  EXPECT_TRUE(refused([](Message* m) { m->set_placement_nodes(0, 9); }));
  EXPECT_TRUE(refused([](Message* m) { m->mutable_shards(1)->set_from("x"); }));
  EXPECT_TRUE(refused([](Message* m) { m->mutable_shards()->RemoveLast(); }));
  EXPECT_TRUE(refused([](Message* m) { m->mutable_shards(1)->set_shard_id(2); }));
  EXPECT_TRUE(refused([](Message* m) { m->mutable_shards(1)->set_shard_id(1); }));
  EXPECT_TRUE(refused([](Message* m) { m->mutable_shards(1)->clear_replicas(); }));
}

}  // namespace
}  // namespace quorate::server
