// The scheduler of merges, and what an operator of one does in the table.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/placement/schedule/small_cluster.h"

namespace quorate::placement {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// Shards 7, 8, 9, ... from the left to the right.
struct Row {
  explicit Row(SmallCluster* c, size_t shards) {
    for (uint64_t id = 7; id < 7 + shards; ++id) {
      ShardView shard = MakeShard(id, {1, 2, 3});
      shard.bytes = 100 << 10;
      if (id > 7) shard.left = ShardId(id - 1);
      c->view.Put(shard);
    }
    c->settings.shards_min = 1;
  }
};

std::vector<std::string> MergesOf(const Proposals& proposals) {
  std::vector<std::string> merges;
  for (const Operator& op : proposals.operators) {
    merges.push_back(fmt::format("{} into {}", op.shard, op.into()));
  }
  return merges;
}

TEST(ScheduleMerge, NeighboursThatAreSmallTogetherNoneTwice) {
  SmallCluster c(3);
  const Row row(&c, 5);
  EXPECT_THAT(MergesOf(Merge(c.Now())), ElementsAre("8 into 7", "10 into 9"));
  c.settings.shards_min = 4;
  EXPECT_THAT(MergesOf(Merge(c.Now())), ElementsAre("8 into 7"));
  c.settings.shards_min = 5;
  EXPECT_THAT(MergesOf(Merge(c.Now())), IsEmpty());
}

TEST(ScheduleMerge, WhatAnOperatorDividedOnlyWhenAsked) {
  SmallCluster c(3);
  const Row row(&c, 3);
  ShardView made = *c.view.Find(ShardId(8));
  made.by_hand = true;
  c.view.Put(made);
  EXPECT_THAT(MergesOf(Merge(c.Now())), ElementsAre("9 into 8"));
  EXPECT_TRUE(PlanMerge(c.Now(), ShardId(8), ShardId(7)).ok());
}

TEST(ScheduleMerge, NotWhatIsLargeHotOrWasJustDivided) {
  SmallCluster c(3);
  const Row row(&c, 2);
  const ShardView left = *c.view.Find(ShardId(7));
  const auto with = [&](auto change) {
    ShardView changed = left;
    change(&changed);
    c.view.Put(changed);
    return MergesOf(Merge(c.Now()));
  };
  EXPECT_THAT(with([](ShardView* s) { s->bytes = 1 << 20; }), IsEmpty());
  EXPECT_THAT(with([](ShardView* s) { s->requests_per_second = 1000; }), IsEmpty());
  EXPECT_THAT(with([&](ShardView* s) { s->since = c.now - 60s; }), IsEmpty());
  EXPECT_THAT(with([](ShardView* s) { s->joint = true; }), IsEmpty());
  EXPECT_THAT(with([](ShardView* s) { s->leader = {}; }), IsEmpty());
  EXPECT_THAT(with([](ShardView*) {}), ElementsAre("8 into 7"));
  c.settings.split_bytes = 800 << 10;
  EXPECT_THAT(MergesOf(Merge(c.Now())), IsEmpty()) << "or it would soon be divided again";
}

TEST(ScheduleMerge, IsDoneOnceTheShardIsGoneAndKeepsItsNeighbourBusy) {
  SmallCluster c(3);
  const Row row(&c, 3);
  OperatorTable table;
  auto planned = PlanMerge(c.Now(), ShardId(7), ShardId(8));
  ASSERT_TRUE(planned.ok()) << planned.status().message();
  EXPECT_EQ(planned->shard, ShardId(8)) << "the left one stays";
  ASSERT_TRUE(table.Admit(c.view, c.settings, *planned, c.now).ok());
  for (const uint64_t shard : {7, 8}) {
    EXPECT_TRUE(table.effects().Has(ShardId(shard))) << shard;
  }
  EXPECT_FALSE(table.effects().Has(ShardId(9)));
  EXPECT_FALSE(
      PlanMerge({c.view, c.settings, c.now, table.effects(), ShardId()}, ShardId(8), ShardId(9))
          .ok());
  const auto order = table.Next(c.view, c.settings, ShardId(8), c.now);
  ASSERT_TRUE(order.has_value());
  EXPECT_EQ(order->step, Step(MergeShards{ShardId(7)}));
  c.view.Remove(ShardId(8));
  table.Sweep(c.view, c.settings, c.now);
  EXPECT_EQ(table.Ended(OperatorKind::kMerge, Outcome::kDone), 1u);
  EXPECT_FALSE(table.effects().Has(ShardId(7)));
}

TEST(ScheduleMerge, NotWhereADiskIsNearlyFull) {
  SmallCluster c(4);
  const Row row(&c, 4);
  ShardView last = *c.view.Find(ShardId(10));
  last.voters[2].node = NodeId(4);
  c.view.Put(last);
  NodeView full = UpNode(4);
  full.low_space = true;
  c.view.Put(full);
  EXPECT_THAT(MergesOf(Merge(c.Now())), ElementsAre("8 into 7"));
  full = UpNode(3);
  full.low_space = true;
  c.view.Put(full);
  EXPECT_THAT(MergesOf(Merge(c.Now())), IsEmpty());
  c.view.Put(UpNode(3));
  c.view.Put(UpNode(4));
  EXPECT_THAT(MergesOf(Merge(c.Now())), ElementsAre("8 into 7", "10 into 9"));
}

// Each attempt may freeze the shard for seconds.
TEST(ScheduleMerge, OneRefusalEndsItAndThePairIsLeftAloneForAWhile) {
  SmallCluster c(3);
  const Row row(&c, 2);
  OperatorTable table;
  const auto merges = [&] {
    return Merge({c.Now().view, c.settings, c.now, table.effects(), ShardId()});
  };
  ASSERT_THAT(MergesOf(merges()), ElementsAre("8 into 7"));
  const auto id = table.Admit(c.view, c.settings, merges().operators[0], c.now);
  ASSERT_TRUE(id.ok());
  ASSERT_TRUE(table.Next(c.view, c.settings, ShardId(8), c.now).has_value());
  table.OrderRefused(*id, "it was not absorbed", c.now);
  EXPECT_FALSE(table.Next(c.view, c.settings, ShardId(8), c.now).has_value());
  ASSERT_EQ(table.ended().size(), 1u);
  EXPECT_THAT(table.ended()[0].reason, HasSubstr("it was not absorbed"));
  c.now += 599s;
  table.Sweep(c.view, c.settings, c.now);
  EXPECT_THAT(MergesOf(merges()), IsEmpty());
  c.now += 2s;
  table.Sweep(c.view, c.settings, c.now);
  EXPECT_THAT(MergesOf(merges()), ElementsAre("8 into 7"));
}

TEST(ScheduleMerge, AThawEndsItAlthoughNobodySaidThatItWasRefused) {
  SmallCluster c(3);
  const Row row(&c, 2);
  OperatorTable table;
  ASSERT_TRUE(
      table.Admit(c.view, c.settings, *PlanMerge(c.Now(), ShardId(8), ShardId(7)), c.now).ok());
  ASSERT_TRUE(table.Next(c.view, c.settings, ShardId(8), c.now).has_value());
  ShardView thawed = *c.view.Find(ShardId(8));
  ++thawed.epoch.version;
  c.view.Put(thawed);
  EXPECT_FALSE(table.Next(c.view, c.settings, ShardId(8), c.now).has_value());
  EXPECT_EQ(table.Ended(OperatorKind::kMerge, Outcome::kEnded), 1u);
}

TEST(ScheduleMerge, OnlyNeighbours) {
  SmallCluster c(3);
  const Row row(&c, 3);
  EXPECT_FALSE(PlanMerge(c.Now(), ShardId(7), ShardId(9)).ok());
  EXPECT_EQ(PlanMerge(c.Now(), ShardId(7), ShardId(70)).status().code(), Code::kNotFound);
}

}  // namespace
}  // namespace quorate::placement
