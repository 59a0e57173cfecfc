// The child of a split between nodes, where its other members are not there to elect its leader.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "shard/shard.h"
#include "tests/server/cluster_fixture.h"

namespace quorate::server {
namespace {

constexpr uint64_t kParent = 2;

const shard::Shard* ReplicaAt(ClusterFixture* cluster, size_t node, uint64_t id) {
  const auto shards = cluster->node(node).shards();
  const auto is = [id](const shard::Shard* shard) { return shard->id().value() == id; };
  const auto found = std::find_if(shards.begin(), shards.end(), is);
  return found == shards.end() ? nullptr : *found;
}

size_t LeaderOf(ClusterFixture* cluster, uint64_t id) {
  for (size_t node = 1; node <= cluster->size(); ++node) {
    if (!cluster->at(node).up()) continue;
    const shard::Shard* shard = ReplicaAt(cluster, node, id);
    if (shard != nullptr && shard->serving()) return node;
  }
  return 0;
}

// Whoever begins at `at`, as placement's leader tells.
v1::ShardRouteInfo RouteAt(ClusterFixture* cluster, const std::string& at) {
  const size_t leader = cluster->PlacementLeader();
  if (leader == 0) return {};
  const v1::StatusResponse status = cluster->node(leader).Status();
  for (const v1::ShardRouteInfo& route : status.map().routes()) {
    if (route.shard().from() == at) return route;
  }
  return {};
}

void BeginSplit(ClusterFixture* cluster, const std::string& at) {
  v1::NodeRequest split;
  split.mutable_placement()->mutable_split_shard()->set_shard_id(kParent);
  split.mutable_placement()->mutable_split_shard()->set_at(at);
  const Result<v1::NodeResponse> begun = cluster->Call(cluster->PlacementLeader(), split);
  ASSERT_TRUE(begun.ok());
  ASSERT_EQ(begun->placement().error().code(), v1::OK) << begun->placement().error().message();
}

std::set<size_t> MembersBut(const v1::ShardDescriptor& shard, size_t but) {
  std::set<size_t> others;
  for (const v1::Replica& replica : shard.replicas()) {
    if (replica.node_id() != but) others.insert(replica.node_id());
  }
  return others;
}

// Without a restart, which would have brought the child back in another way.
TEST(Split, PlacementHearsOfAChildThatNobodyLeads) {
  ClusterFixture cluster(5);
  cluster.StartAndInit(1);
  const size_t leader = LeaderOf(&cluster, kParent);
  ASSERT_NE(leader, 0u);
  const v1::ShardDescriptor before = ReplicaAt(&cluster, leader, kParent)->descriptor();
  BeginSplit(&cluster, "m");
  ASSERT_TRUE(cluster.RunUntil(
      [&] { return ReplicaAt(&cluster, leader, kParent)->descriptor().to() == "m"; }));
  const std::set<size_t> others = MembersBut(before, leader);
  ASSERT_EQ(others.size(), 2u);
  for (const size_t other : others) cluster.at(other).PowerLoss();

  ASSERT_TRUE(cluster.RunUntil([&] { return RouteAt(&cluster, "m").shard().shard_id() > kParent; }))
      << "its members make no replica before the map has it";
  const v1::ShardRouteInfo child = RouteAt(&cluster, "m");
  EXPECT_EQ(child.leader_node_id(), 0u);
  EXPECT_EQ(child.shard().replicas_size(), 3);
  cluster.RunFor(10s);
  EXPECT_EQ(LeaderOf(&cluster, child.shard().shard_id()), 0u);

  for (const size_t other : others) ASSERT_TRUE(cluster.at(other).Start(cluster.addresses()).ok());
  EXPECT_TRUE(cluster.RunUntil([&] { return LeaderOf(&cluster, child.shard().shard_id()) != 0; }));
  EXPECT_TRUE(cluster.Put("z", "1").ok());
}

// It was led, and wrote; but no heartbeat came through before its leader was gone.
TEST(Split, PlacementHearsOfAChildThatWasLedBeforeItsHolderWasStartedAnew) {
  ClusterFixture cluster(5);
  cluster.StartAndInit(1);
  const size_t holder = LeaderOf(&cluster, kParent);
  ASSERT_NE(holder, 0u);
  const v1::ShardDescriptor before = ReplicaAt(&cluster, holder, kParent)->descriptor();
  BeginSplit(&cluster, "m");
  ASSERT_TRUE(cluster.RunUntil(
      [&] { return ReplicaAt(&cluster, holder, kParent)->descriptor().to() == "m"; }));
  const auto held = cluster.network().AddTap(
      [](const std::string&, const std::string&, const v1::NodeRequest& request) {
        return Duration(request.has_heartbeat() ? 3600s : 0s);
      });
  const uint64_t child = kParent + 1;
  ASSERT_TRUE(cluster.RunUntil([&] { return LeaderOf(&cluster, child) != 0; }));
  ASSERT_TRUE(cluster.Put("z", "1").ok());
  cluster.RunFor(15s);  // what was applied is in the store
  const std::set<size_t> others = MembersBut(before, holder);
  ASSERT_EQ(others.size(), 2u);
  for (const size_t other : others) cluster.at(other).PowerLoss();
  cluster.at(holder).PowerLoss();
  ASSERT_TRUE(cluster.at(holder).Start(cluster.addresses()).ok());
  cluster.network().RemoveTap(held);
  EXPECT_TRUE(
      cluster.RunUntil([&] { return RouteAt(&cluster, "m").shard().shard_id() == child; }, 60s))
      << "whoever comes back makes no replica before the map has it";
  for (const size_t other : others) ASSERT_TRUE(cluster.at(other).Start(cluster.addresses()).ok());
  EXPECT_TRUE(cluster.RunUntil([&] { return LeaderOf(&cluster, child) != 0; }));
  EXPECT_EQ(*cluster.Get("z"), "1");
}

}  // namespace
}  // namespace quorate::server
