// Merges between nodes: what an operator asks for, and what strangers say.
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "quorate/v1/shard.pb.h"
#include "shard/shard.h"
#include "tests/server/cluster_fixture.h"

namespace quorate::server {
namespace {

// By their first keys; every node has replicas of all of them.
std::vector<v1::ShardDescriptor> Shards(ClusterFixture* cluster) {
  std::map<std::string, v1::ShardDescriptor> shards;
  for (const shard::Shard* shard : cluster->node(1).shards()) {
    if (shard->HasState()) shards[shard->span().from] = shard->descriptor();
  }
  std::vector<v1::ShardDescriptor> ordered;
  for (auto& [from, shard] : shards) ordered.push_back(std::move(shard));
  return ordered;
}

// The answer of whoever leads the shard; each node is asked.
v1::MergeResponse AskLeft(ClusterFixture* cluster, uint64_t left, v1::MergeRequest ask) {
  v1::NodeRequest request;
  ask.mutable_route()->set_shard_id(left);
  *request.mutable_merge() = std::move(ask);
  v1::MergeResponse last;
  for (size_t node = 1; node <= cluster->size(); ++node) {
    const Result<v1::NodeResponse> answer = cluster->Call(node, request);
    EXPECT_TRUE(answer.ok());
    if (!answer.ok()) continue;
    EXPECT_FALSE(answer->merge().absorbed());
    if (answer->error().code() != v1::OK) *last.mutable_error() = answer->error();
    if (answer->has_merge() && answer->merge().error().code() != v1::NOT_LEADER) {
      last = answer->merge();
    }
  }
  return last;
}

TEST(Merge, TwoShardsBecomeOne) {
  ClusterFixture cluster(3);
  cluster.StartAndInit(2);
  ASSERT_TRUE(cluster.Put("\x10", "left").ok());
  ASSERT_TRUE(cluster.Put("\xd0", "right").ok());
  const auto before = Shards(&cluster);
  ASSERT_EQ(before.size(), 2u);
  v1::NodeRequest merge;
  v1::MergeShards* ask = merge.mutable_placement()->mutable_merge_shards();
  ask->set_shard_id(before[1].shard_id());
  ask->set_with_shard_id(before[0].shard_id());
  // Placement hears of all shards first.
  v1::ErrorCode asked = v1::NOT_LEADER;
  for (int i = 0; i < 100 && asked != v1::OK; ++i, cluster.RunFor(100ms)) {
    const Result<v1::NodeResponse> answer = cluster.Call(cluster.PlacementLeader(), merge);
    ASSERT_TRUE(answer.ok());
    asked = answer->placement().error().code();
  }
  ASSERT_EQ(asked, v1::OK);
  ASSERT_TRUE(cluster.RunUntil([&] { return Shards(&cluster).size() == 1; }));
  EXPECT_EQ(*cluster.Get("\x10"), "left");
  EXPECT_EQ(*cluster.Get("\xd0"), "right");
  EXPECT_TRUE(cluster.Put("\xd0", "one").ok());
}

// No message alone has a shard absorb another, or keeps one from being absorbed.
TEST(Merge, WhoeverLeadsTheLeftOneAsksTheClusterNotTheMessage) {
  ClusterFixture cluster(3);
  cluster.StartAndInit(2);
  ASSERT_TRUE(cluster.Put("\xd0", "right").ok());
  const auto before = Shards(&cluster);
  ASSERT_EQ(before.size(), 2u);
  const uint64_t left = before[0].shard_id();
  for (uint64_t asked_by = 0; asked_by <= 4; ++asked_by) {
    v1::MergeRequest absorb;
    absorb.set_asked_by(asked_by);
    v1::FrozenShard* frozen = absorb.mutable_absorb();
    *frozen->mutable_state()->mutable_shard() = before[1];
    frozen->mutable_state()->set_frozen_into(left);
    frozen->set_crc32c(Crc32c(""));
    EXPECT_EQ(AskLeft(&cluster, left, absorb).error().code(), v1::FAILED_PRECONDITION) << asked_by;
    v1::MergeRequest abandon;
    abandon.set_asked_by(asked_by);
    abandon.mutable_abandon()->set_shard_id(before[1].shard_id());
    abandon.mutable_abandon()->set_version(before[1].version() + 1000);
    abandon.mutable_abandon()->set_from(before[1].from());
    EXPECT_EQ(AskLeft(&cluster, left, abandon).error().code(), v1::FAILED_PRECONDITION) << asked_by;
    abandon.mutable_abandon()->set_version(~0ull);
    EXPECT_EQ(AskLeft(&cluster, left, abandon).error().code(), v1::INVALID_ARGUMENT) << asked_by;
  }
  cluster.RunFor(2s);
  EXPECT_EQ(Shards(&cluster).size(), 2u);
  EXPECT_EQ(*cluster.Get("\xd0"), "right");
  EXPECT_TRUE(cluster.Put("\xd0", "again").ok());
}

// Anybody may ask a node whether a range is free there.
TEST(Merge, WhetherARangeIsFreeMayBeAskedAHundredTimesForTwoFlushes) {
  ClusterFixture cluster(3);
  cluster.StartAndInit(2);
  const auto shards = Shards(&cluster);
  ASSERT_EQ(shards.size(), 2u);
  const auto flushes = [&cluster] {
    const std::string metrics = cluster.at(1).process()->metrics().Exposition();
    const std::string name = "\nquorate_overlay_flushes_total ";
    const size_t at = metrics.find(name);
    EXPECT_NE(at, std::string::npos);
    return at == std::string::npos ? 0 : std::stoull(metrics.substr(at + name.size()));
  };
  v1::NodeRequest ask;
  v1::FreeSpan* span = ask.mutable_merge()->mutable_free();
  span->set_shard_id(shards[1].shard_id());
  span->set_into_shard_id(shards[0].shard_id());
  span->mutable_span()->set_from(shards[1].from());
  span->mutable_span()->set_to(shards[1].to());
  const auto asked = [&cluster, &ask] {
    const Result<v1::NodeResponse> answer = cluster.Call(1, ask);
    EXPECT_TRUE(answer.ok());
    return answer.ok() ? answer->merge().error().code() : v1::INTERNAL;
  };
  const uint64_t before = flushes();
  const Instant began = cluster.world().now();
  for (int i = 0; i < 100; ++i) EXPECT_EQ(asked(), v1::OK);
  const auto seconds = static_cast<uint64_t>((cluster.world().now() - began) / 1s);
  // One by itself every two seconds.
  EXPECT_LE(flushes(), before + 2 + (seconds + 1) / 2);
  span->set_into_shard_id(999);
  EXPECT_EQ(asked(), v1::FAILED_PRECONDITION) << "no such shard has a member here";
}

// What the map says of a shard that is led is no reason to delete it, whoever told the map.
TEST(Merge, NoHeartbeatAloneTakesAwayAShardThatIsLed) {
  ClusterFixture cluster(3);
  cluster.StartAndInit(2);
  ASSERT_TRUE(cluster.Put("\xd0", "right").ok());
  const auto before = Shards(&cluster);
  ASSERT_EQ(before.size(), 2u);
  v1::NodeRequest routes;
  routes.mutable_routes();
  const Result<v1::NodeResponse> known = cluster.Call(1, routes);
  ASSERT_TRUE(known.ok());
  ASSERT_EQ(known->routes().nodes_size(), 3);
  v1::NodeRequest forged;
  v1::HeartbeatRequest* heartbeat = forged.mutable_heartbeat();
  *heartbeat->mutable_node() = known->routes().nodes(0);
  v1::ShardReport* report = heartbeat->add_led_shards();
  report->set_term(1'000);
  *report->mutable_shard() = before[0];
  report->mutable_shard()->set_to(before[1].to());
  report->mutable_shard()->set_version(before[1].version() + 1'000);
  const Result<v1::NodeResponse> answer = cluster.Call(cluster.PlacementLeader(), forged);
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->heartbeat().error().code(), v1::OK) << answer->heartbeat().error().message();
  cluster.RunFor(30s);
  for (size_t node = 1; node <= 3; ++node) {
    size_t with_state = 0;
    for (const shard::Shard* shard : cluster.node(node).shards()) with_state += shard->HasState();
    EXPECT_EQ(with_state, 2u) << "node " << node;
  }
}

}  // namespace
}  // namespace quorate::server
