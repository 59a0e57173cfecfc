// Merges between nodes: what an operator asks for, and what strangers say.
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "base/probe.h"
#include "quorate/v1/shard.pb.h"
#include "server/node/bootstrap_plan.h"
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

// Until placement begins it: it hears of all shards first, and of what each change did.
void AskPlacement(ClusterFixture* cluster, v1::PlacementRequest ask) {
  v1::NodeRequest request;
  *request.mutable_placement() = std::move(ask);
  std::string why;
  for (int i = 0; i < 300; ++i, cluster->RunFor(100ms)) {
    const size_t leader = cluster->PlacementLeader();
    if (leader == 0) continue;
    const Result<v1::NodeResponse> answer = cluster->Call(leader, request);
    ASSERT_TRUE(answer.ok());
    if (answer->placement().error().code() == v1::OK) return;
    why = answer->placement().error().message();
  }
  FAIL() << why;
}

void Merge(ClusterFixture* cluster, uint64_t shard, uint64_t with) {
  v1::PlacementRequest ask;
  ask.mutable_merge_shards()->set_shard_id(shard);
  ask.mutable_merge_shards()->set_with_shard_id(with);
  AskPlacement(cluster, std::move(ask));
}

// A node's replica; nullptr: it has none.
const shard::Shard* ReplicaAt(ClusterFixture* cluster, size_t node, uint64_t id) {
  for (const shard::Shard* shard : cluster->node(node).shards()) {
    if (shard->id().value() == id) return shard;
  }
  return nullptr;
}

bool ServedAt(ClusterFixture* cluster, size_t node, uint64_t id) {
  const shard::Shard* replica = ReplicaAt(cluster, node, id);
  return replica != nullptr && replica->serving();
}

void Lead(ClusterFixture* cluster, uint64_t shard, size_t node) {
  if (ServedAt(cluster, node, shard)) return;
  v1::PlacementRequest ask;
  ask.mutable_transfer_leadership()->set_shard_id(shard);
  ask.mutable_transfer_leadership()->set_to_node_id(node);
  AskPlacement(cluster, std::move(ask));
  ASSERT_TRUE(cluster->RunUntil([&] { return ServedAt(cluster, node, shard); }));
}

// The new shard's id.
uint64_t Split(ClusterFixture* cluster, uint64_t shard, const std::string& at) {
  v1::PlacementRequest ask;
  ask.mutable_split_shard()->set_shard_id(shard);
  ask.mutable_split_shard()->set_at(at);
  AskPlacement(cluster, std::move(ask));
  uint64_t child = 0;
  EXPECT_TRUE(cluster->RunUntil([&] {
    for (const v1::ShardDescriptor& one : Shards(cluster)) {
      if (one.from() == at) child = one.shard_id();
    }
    return child != 0;
  }));
  return child;
}

TEST(Merge, TwoShardsBecomeOne) {
  ClusterFixture cluster(3);
  cluster.StartAndInit(2);
  ASSERT_TRUE(cluster.Put("\x10", "left").ok());
  ASSERT_TRUE(cluster.Put("\xd0", "right").ok());
  const auto before = Shards(&cluster);
  ASSERT_EQ(before.size(), 2u);
  Merge(&cluster, before[1].shard_id(), before[0].shard_id());
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

// Left 1, 2, 3, led by 1; right 2, 3, 4, led by 4, which is told nothing any more. One member of
// the left one is behind, so that the right one keeps a majority.
TEST(Merge, AFrozenShardIsNotThawedBeforeItsLeaderIsToldThatItWasAbandoned) {
  ClusterFixture cluster(4);
  cluster.StartAndInit(2);
  ASSERT_TRUE(cluster.Put("\xd0", "right").ok());
  const uint64_t left = kFirstShardId, right = kFirstShardId + 1;
  ASSERT_EQ(ReplicaAt(&cluster, 1, right), nullptr);
  ASSERT_EQ(ReplicaAt(&cluster, 4, left), nullptr);
  Lead(&cluster, left, 1);
  Lead(&cluster, right, 4);
  const auto rule = [&cluster](sim::LinkRule rule) {
    return cluster.network().AddRule(std::move(rule));
  };
  const std::string first = cluster.at(1).address(), last = cluster.at(4).address();
  std::vector<sim::SimNetwork::RuleId> cuts = {
      rule({.from = first, .to = cluster.at(3).address(), .block_peers = true})};
  // Who asks what was frozen hears it, and answers in vain.
  bool confirmed = false;
  const auto tap = cluster.network().AddTap(
      [&](const std::string& from, const std::string& to, const v1::NodeRequest& request) {
        confirmed |= from == first && to == last && request.merge().has_confirm();
        return Duration(0);
      });
  Merge(&cluster, right, left);
  ASSERT_TRUE(cluster.RunUntil([&] { return confirmed; }));
  cluster.network().RemoveTap(tap);
  cluster.RunFor(3ms);
  ASSERT_FALSE(ReplicaAt(&cluster, 1, left)->HasAbsorbed(ShardId(right)));
  // A question to placement may be under way.
  ASSERT_NE(cluster.PlacementLeader(), 3u);
  for (const size_t node : {1, 2}) {
    cuts.push_back(rule({.from = cluster.at(node).address(), .to = last, .block = true}));
  }
  cuts.push_back(rule({.from = last, .refuse_calls = true}));
  ASSERT_TRUE(cluster.RunUntil([&] {
    const shard::Shard* replica = ReplicaAt(&cluster, 1, left);
    return replica != nullptr && replica->HasAbsorbed(ShardId(right));
  }));
  EXPECT_FALSE(cluster.RunUntil([&] {
    const shard::Shard* replica = ReplicaAt(&cluster, 4, right);
    return replica != nullptr && !replica->frozen_into();
  }));
  for (const sim::SimNetwork::RuleId cut : cuts) cluster.network().RemoveRule(cut);
  ASSERT_TRUE(cluster.RunUntil([&] { return ReplicaAt(&cluster, 4, right) == nullptr; }, 60s));
  EXPECT_EQ(*cluster.Get("\xd0"), "right");
}

// It is not asked at all: a node that is too busy says so, and nothing of merges.
TEST(Merge, ARefusalToLookAtTheQuestionIsNoAnswerToIt) {
  ClusterFixture cluster(3);
  cluster.StartAndInit(2);
  ASSERT_TRUE(cluster.Put("\xd0", "right").ok());
  const uint64_t left = kFirstShardId, right = kFirstShardId + 1;
  Lead(&cluster, left, 1);
  Lead(&cluster, right, 2);
  const std::string asks = cluster.at(2).address();
  std::optional<sim::SimNetwork::RuleId> busy;
  const auto tap = cluster.network().AddTap(
      [&](const std::string& from, const std::string& to, const v1::NodeRequest& request) {
        if (!busy && from == asks && request.merge().has_absorb()) {
          busy = cluster.network().AddRule({.from = asks, .refuse_request = 1});
        }
        return Duration(0);
      });
  Merge(&cluster, right, left);
  ASSERT_TRUE(cluster.RunUntil([&] { return busy.has_value(); }));
  cluster.network().RemoveTap(tap);
  EXPECT_FALSE(cluster.RunUntil([&] { return !ReplicaAt(&cluster, 2, right)->frozen_into(); }));
  cluster.network().RemoveRule(*busy);
  ASSERT_TRUE(cluster.RunUntil([&] {
    const shard::Shard* replica = ReplicaAt(&cluster, 2, right);
    return replica == nullptr || !replica->frozen_into();
  }));
  EXPECT_EQ(*cluster.Get("\xd0"), "right");
}

// Node 3 hears nothing of the left one, which absorbs the right one and is divided there again. The
// child's replica comes to node 3 before the left one's has absorbed anything.
TEST(Merge, WhatCameAfterIsNotWaitedFor) {
  ClusterFixture cluster(3);
  cluster.StartAndInit(2);
  ASSERT_TRUE(cluster.Put("\xd0", "right").ok());
  const uint64_t left = kFirstShardId, right = kFirstShardId + 1;
  Lead(&cluster, left, 1);
  Lead(&cluster, right, 2);
  const sim::SimNetwork::RuleId cut = cluster.network().AddRule(
      {.from = cluster.at(1).address(), .to = cluster.at(3).address(), .block_peers = true});
  Merge(&cluster, right, left);
  ASSERT_TRUE(cluster.RunUntil([&] { return Shards(&cluster).size() == 1; }));
  const uint64_t child = Split(&cluster, left, "\xa0");
  ASSERT_NE(child, 0u);
  Lead(&cluster, child, 2);
  const auto has_child = [&] {
    const shard::Shard* replica = ReplicaAt(&cluster, 3, child);
    return replica != nullptr && replica->HasState();
  };
  ASSERT_TRUE(cluster.RunUntil(has_child, 120s));
  EXPECT_EQ(ReplicaAt(&cluster, 3, left)->span().to, "\x80") << "it is behind";
  cluster.network().RemoveRule(cut);
  EXPECT_TRUE(
      cluster.RunUntil([&] { return ReplicaAt(&cluster, 3, left)->span().to == "\xa0"; }, 120s));
  EXPECT_TRUE(has_child());
}

// Node 3 was away while the right one was divided and absorbed: its replica of that has keys of
// others, and versions that were collected elsewhere.
TEST(Merge, WhatAnOlderReplicaStillHasIsDeletedFirst) {
  ClusterFixture cluster(3);
  cluster.StartAndInit(2);
  const uint64_t left = kFirstShardId, right = kFirstShardId + 1;
  Lead(&cluster, left, 1);
  Lead(&cluster, right, 2);
  ASSERT_TRUE(cluster.Put("\x90", "old").ok());
  ASSERT_TRUE(cluster.Put("\xd0", "right").ok());
  cluster.RunFor(10s);
  cluster.at(3).Crash();
  ASSERT_TRUE(cluster.Put("\x90", "new").ok());
  cluster.RunFor(150s);
  ASSERT_NE(Split(&cluster, right, "\xa0"), 0u);
  Merge(&cluster, right, left);
  ASSERT_TRUE(cluster.RunUntil([&] { return Shards(&cluster).size() == 2; }));
  cluster.StartAll();
  const auto digest = [&](size_t node) {
    const shard::Shard* replica = ReplicaAt(&cluster, node, left);
    return replica == nullptr || replica->span().to != "\xa0" ? 0 : replica->StateDigest();
  };
  EXPECT_TRUE(cluster.RunUntil(
      [&] { return digest(3) != 0 && digest(3) == digest(1) && digest(3) == digest(2); }, 120s));
  EXPECT_EQ(ReplicaAt(&cluster, 3, right), nullptr);
  EXPECT_GT(Probe::Report()["server: an absorbed shard's replica is deleted first"], 0u);
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
