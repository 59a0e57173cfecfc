// Settings, places, the view and safety. What random runs show of them is not repeated here.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/placement/schedule/random_run.h"
#include "tests/placement/schedule/small_cluster.h"

namespace quorate::placement {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// ---- settings -----------------------------------------------------------------------------------
TEST(ScheduleSettings, AreSetAndToldAsTextThatCanBeSetAgain) {
  const std::pair<std::string, std::string> all[] = {
      {"placement.balance_tolerance", "7%"}, {"placement.down_after", "90s"},
      {"placement.learner_timeout", "2h"},   {"placement.merge_bytes", "2MiB"},
      {"placement.operators", "17"},         {"placement.shards_min", "7"},
      {"placement.operators_per_node", "3"}, {"placement.pause", "drain,balance-leaders"},
      {"placement.replication_factor", "5"}, {"placement.snapshots_per_node", "2"},
      {"placement.split_bytes", "1GiB"},     {"placement.split_requests", "9"},
      {"placement.step_timeout", "5min"},
  };
  Settings settings;
  ASSERT_EQ(Describe(settings).size(), std::size(all));
  for (const auto& [name, value] : all) {
    ASSERT_TRUE(settings.Set(name + "=" + value).ok()) << name;
    EXPECT_EQ(*settings.Get(name), value);
  }
  Settings again;
  for (const SettingInfo& info : Describe(settings)) {
    EXPECT_NE(info.value, info.default_value) << info.name;
    ASSERT_TRUE(again.Set(info.name, info.value).ok()) << info.name;
  }
  EXPECT_EQ(again, settings);
  EXPECT_TRUE(settings.Paused(Scheduler::kDrain));
  EXPECT_FALSE(settings.Paused(Scheduler::kRepair));
  EXPECT_EQ(settings.down_after, 90s);
  ASSERT_TRUE(settings.Set("placement.pause", "none").ok());
  EXPECT_EQ(settings.paused, 0u);
}

TEST(ScheduleSettings, DefaultsAreWithinTheirRanges) {
  Settings settings;
  for (const SettingInfo& info : Describe(settings)) {
    EXPECT_TRUE(settings.Set(info.name, info.default_value).ok()) << info.name;
  }
  EXPECT_EQ(settings, Settings());
}

TEST(ScheduleSettings, RefuseWhatIsOutOfRangeAndChangeNothing) {
  Settings settings;
  for (const char* bad :
       {"placement.replication_factor=0", "placement.replication_factor=8",
        "placement.down_after=1s", "placement.down_after=60", "placement.down_after=",
        "placement.down_after=-5s", "placement.down_after=99999999999999999999s",
        "placement.down_after=18446744073709551615h", "placement.split_bytes=1",
        "placement.split_bytes=1KiB", "placement.pause=", "placement.pause=drain,",
        "placement.pause=drian", "placement.balance_tolerance=5", "placement.operators=1e3",
        "placement.nothing=1", "placement.operators", "=", ""}) {
    const Status status = settings.Set(bad);
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << bad;
    EXPECT_EQ(settings, Settings()) << bad;
  }
  EXPECT_THAT(settings.Set("placement.down_after=1s").message(),
              HasSubstr("placement.down_after: '1s' is not in its range: 5s to 24h"));
  EXPECT_THAT(settings.Set("placement.down_after=60").message(),
              HasSubstr("placement.down_after: '60' has no unit: write 60s"));
  EXPECT_THAT(settings.Set("placement.balance_tolerance=5").message(), HasSubstr("write 5%"));
  EXPECT_THAT(settings.Get("placement.nothing").status().message(),
              HasSubstr("placement.down_after"));
}

// ---- places -------------------------------------------------------------------------------------
TEST(ScheduleLocality, RacksLieInZonesAndHostsInRacks) {
  DomainNames names;
  const Domains a = names.Of(NodeId(1), {{"zone", "a"}, {"rack", "1"}, {"host", "h"}});
  const Domains same = names.Of(NodeId(2), {{"zone", "a"}, {"rack", "1"}, {"host", "h"}});
  const Domains other_zone = names.Of(NodeId(3), {{"zone", "b"}, {"rack", "1"}, {"host", "h"}});
  const Domains bare = names.Of(NodeId(4), {});
  const Domains bare_too = names.Of(NodeId(5), {});
  EXPECT_EQ(a, same);
  EXPECT_NE(a.rack, other_zone.rack);
  EXPECT_NE(a.host, other_zone.host);
  EXPECT_EQ(bare.zone, bare_too.zone);
  EXPECT_NE(bare.host, bare_too.host);
  EXPECT_EQ(Added(&a, &a + 1, same), (Standing{0, 0, 1, 1, 1}));
  EXPECT_EQ(Added(&a, &a + 1, other_zone), Standing());
}

ShardView Wanting(uint32_t replicas) {
  ShardView shard;
  shard.replication_factor = replicas;
  return shard;
}

TEST(ScheduleView, KnowsTheLeastStandingThatNodesAllow) {
  ClusterView view;
  uint64_t id = 0;
  for (const char* zone : {"a", "a", "a", "b", "b", "c"}) view.Put(UpNode(++id, zone));
  view.Refresh(10);
  EXPECT_EQ(view.LeastStanding(Wanting(3)), Standing());
  EXPECT_EQ(view.LeastStanding(Wanting(5)).zone, 2u);  // 2+2+1, since zone c has but one node
  EXPECT_EQ(view.LeastStanding(Wanting(6)).zone, 4u);  // 3+2+1
  NodeView low = UpNode(6, "c");
  low.low_space = true;
  view.Put(low);
  view.Refresh(10);
  EXPECT_EQ(view.LeastStanding(Wanting(3)).zone, 1u);
}

// ---- the view -----------------------------------------------------------------------------------
TEST(ScheduleView, AReportReplacesWhatWasKnownAndAnOlderOneIsIgnored) {
  SmallCluster c(4);
  ShardView shard = MakeShard(7, {1, 2, 3});
  shard.bytes = 10;
  shard.requests_per_second = 5;
  EXPECT_TRUE(c.view.Put(shard));
  ShardView newer = shard;
  newer.epoch.membership_version = 2;
  newer.voters[0].node = NodeId(4);
  newer.leader = NodeId(2);
  newer.bytes = 20;
  EXPECT_TRUE(c.view.Put(newer));
  EXPECT_FALSE(c.view.Put(shard));
  EXPECT_EQ(c.view.Find(NodeId(1))->load.replicas, 0);
  EXPECT_EQ(c.view.Find(NodeId(1))->load.leaders, 0);
  EXPECT_EQ(c.view.Find(NodeId(4))->load.bytes, 20);
  EXPECT_EQ(c.view.Find(NodeId(2))->load.requests, 5);
  EXPECT_THAT(c.view.Find(NodeId(2))->led, ElementsAre(ShardId(7)));
  EXPECT_THAT(c.view.Find(NodeId(4))->shards, ElementsAre(ShardId(7)));
  c.view.Remove(ShardId(7));
  for (const auto& [id, node] : c.view.nodes()) {
    EXPECT_EQ(node.load.bytes, 0);
    EXPECT_TRUE(node.shards.empty() && node.led.empty());
  }
}

TEST(ScheduleView, ShardsMayComeBeforeTheirNodesAndStayWhenTheseGo) {
  ClusterView view;
  view.Put(MakeShard(7, {1, 2, 3}));
  EXPECT_TRUE(view.unsettled().contains(ShardId(7)));
  for (uint64_t id : {1, 2, 3}) view.Put(UpNode(id));
  view.Refresh(10);
  EXPECT_TRUE(view.unsettled().empty());
  EXPECT_EQ(view.Find(NodeId(3))->load.replicas, 1);
  view.Remove(NodeId(3));
  EXPECT_TRUE(view.unsettled().contains(ShardId(7)));
  view.Put(UpNode(3));
  EXPECT_EQ(view.Find(NodeId(3))->load.replicas, 1);
  EXPECT_TRUE(view.unsettled().empty());
}

TEST(ScheduleView, JudgesAgainInStepsWhatAnotherFactorOrZoneChanged) {
  SmallCluster c(4);
  for (uint64_t id = 1; id <= 100; ++id) c.view.Put(MakeShard(id, {1, 2, 3}));
  c.Now();
  EXPECT_TRUE(c.view.unsettled().empty());
  c.view.SetReplicationFactor(4);
  EXPECT_FALSE(c.view.Refresh(60));
  EXPECT_EQ(c.view.unsettled().size(), 60u);
  EXPECT_TRUE(c.view.Refresh(60));
  EXPECT_EQ(c.view.unsettled().size(), 100u);
  c.view.SetReplicationFactor(3);
  while (!c.view.Refresh(7)) {
  }
  EXPECT_TRUE(c.view.unsettled().empty());
  c.view.Put(UpNode(4, "another"));
  c.view.Refresh(1000);
  EXPECT_EQ(c.view.unsettled().size(), 100u);
}

// ---- safety -------------------------------------------------------------------------------------
std::string Check(SmallCluster& c, const ShardView& shard, const Step& step) {
  return CheckChange(c.view, shard, step).value_or("");
}

TEST(ScheduleSafety, NothingChangesWithoutAQuorumOrALeaderOrDuringAChange) {
  SmallCluster c(5);
  ShardView shard = MakeShard(7, {1, 2, 3});
  const Step step = AddLearner{NodeId(4)};
  EXPECT_EQ(Check(c, shard, step), "");
  shard.joint = true;
  EXPECT_THAT(Check(c, shard, step), HasSubstr("a change of the members of shard 7 is under way"));
  shard.joint = false;
  shard.leader = NodeId();
  EXPECT_THAT(Check(c, shard, step), HasSubstr("nobody is known to lead shard 7"));
  shard.leader = NodeId(1);
  c.view.Put(DownNode(2, 0));
  EXPECT_EQ(Check(c, shard, step), "");
  shard.voters[2].caught_up = false;
  EXPECT_THAT(
      Check(c, shard, step),
      HasSubstr("has no quorum: of 3 voters, 1 is up and caught up (not: node 2, 3); 2 are"));
  // Nor if nodes were not heard of.
  shard.voters[2].caught_up = true;
  NodeView unknown = UpNode(3);
  unknown.liveness = Liveness::kNone;
  c.view.Put(unknown);
  EXPECT_THAT(Check(c, shard, step), HasSubstr("has no quorum"));
}

TEST(ScheduleSafety, ALearnerComesOnlyWhereItCanStand) {
  SmallCluster c(4);
  const ShardView shard = MakeShard(7, {1, 2, 3});
  EXPECT_THAT(Check(c, shard, AddLearner{NodeId(3)}), HasSubstr("has a replica on node 3 already"));
  EXPECT_THAT(Check(c, shard, AddLearner{NodeId(9)}), HasSubstr("node 9 does not belong"));
  NodeView node = UpNode(4);
  node.draining = true;
  c.view.Put(node);
  EXPECT_THAT(Check(c, shard, AddLearner{NodeId(4)}), HasSubstr("node 4 is being drained"));
  node.draining = false;
  node.low_space = true;
  c.view.Put(node);
  EXPECT_THAT(Check(c, shard, AddLearner{NodeId(4)}), HasSubstr("disk of node 4 is nearly full"));
  c.view.Put(DownNode(4, 0));
  EXPECT_THAT(Check(c, shard, AddLearner{NodeId(4)}), HasSubstr("node 4 is down"));
}

TEST(ScheduleSafety, NobodyVotesBeforeItHasCaughtUp) {
  SmallCluster c(4);
  ShardView shard = MakeShard(7, {1, 2, 3});
  EXPECT_THAT(Check(c, shard, Promote{NodeId(4)}), HasSubstr("has no learner on node 4"));
  shard.learners.push_back({NodeId(4), false});
  for (const Step& step : {Step(Promote{NodeId(4)}), Step(Swap{NodeId(4), NodeId(3)})}) {
    EXPECT_THAT(Check(c, shard, step), HasSubstr("on node 4 is still catching up"));
  }
  shard.learners[0].caught_up = true;
  EXPECT_EQ(Check(c, shard, Promote{NodeId(4)}), "");
  EXPECT_EQ(Check(c, shard, Swap{NodeId(4), NodeId(3)}), "");
  EXPECT_THAT(Check(c, shard, Swap{NodeId(4), NodeId(1)}), HasSubstr("node 1 leads shard 7"));
  EXPECT_THAT(Check(c, shard, Swap{NodeId(4), NodeId(5)}), HasSubstr("no voter on node 5"));
  // A dead one may be swapped out; a live one not for it.
  c.view.Put(DownNode(3, 0));
  EXPECT_EQ(Check(c, shard, Swap{NodeId(4), NodeId(3)}), "");
  EXPECT_EQ(Check(c, shard, Swap{NodeId(4), NodeId(2)}), "");
  c.view.Put(DownNode(4, 0));
  EXPECT_THAT(Check(c, shard, Swap{NodeId(4), NodeId(3)}), HasSubstr("node 4 is down"));
}

TEST(ScheduleSafety, ARemovalLeavesAQuorum) {
  SmallCluster c(4);
  ShardView shard = MakeShard(7, {1, 2, 3});
  c.view.Put(DownNode(3, 0));
  EXPECT_THAT(Check(c, shard, Remove{NodeId(2)}), HasSubstr("would have no quorum"));
  EXPECT_EQ(Check(c, shard, Remove{NodeId(3)}), "");
  EXPECT_THAT(Check(c, shard, Remove{NodeId(1)}), HasSubstr("node 1 leads"));
  EXPECT_THAT(Check(c, shard, Remove{NodeId(4)}), HasSubstr("no replica on node 4"));
  ShardView alone = MakeShard(8, {1});
  alone.leader = NodeId(2);
  EXPECT_THAT(Check(c, alone, Remove{NodeId(1)}), HasSubstr("the last replica of shard 8"));
  EXPECT_EQ(model::CheckRemovals(), "");
}

TEST(ScheduleSafety, ADrainThatCannotEndIsRefusedWithTheReason) {
  SmallCluster c(3);
  c.view.Put(MakeShard(7, {1, 2, 3}));
  EXPECT_THAT(*CheckDrain(c.view, NodeId(3)),
              HasSubstr("shard 7 has 3 replicas, and without node 3 there are 2 nodes"));
  c.view.Put(UpNode(4));
  EXPECT_FALSE(CheckDrain(c.view, NodeId(3)));
  // Who lags catches up; it is waited for then.
  ShardView lagging = MakeShard(7, {1, 2, 3});
  lagging.voters[1].caught_up = lagging.voters[2].caught_up = false;
  c.view.Put(lagging);
  EXPECT_FALSE(CheckDrain(c.view, NodeId(3)));
  c.view.Put(DownNode(2, 0));
  EXPECT_FALSE(CheckDrain(c.view, NodeId(3)));
  c.view.Put(DownNode(4, 0));
  EXPECT_TRUE(CheckDrain(c.view, NodeId(3)));
  EXPECT_TRUE(CheckDrain(c.view, NodeId(9)));
  // Too little room.
  SmallCluster small(2);
  ShardView big = MakeShard(8, {1});
  big.bytes = 100 << 20;
  big.replication_factor = 1;
  small.view.Put(big);
  for (uint64_t id : {1, 2}) {
    NodeView node = UpNode(id);
    node.total_bytes = 200 << 20;
    node.free_bytes = 50 << 20;
    small.view.Put(node);
  }
  EXPECT_THAT(*CheckDrain(small.view, NodeId(1)),
              HasSubstr("holds 100 MiB, and the 1 other nodes"));
}

TEST(ScheduleSafety, ANodeLeavesWhenItHoldsNothingOrIsLostWithoutHarm) {
  SmallCluster c(4);
  c.view.Put(MakeShard(7, {1, 2, 3}));
  EXPECT_FALSE(CheckRemoveNode(c.view, NodeId(4), false));
  EXPECT_THAT(*CheckRemoveNode(c.view, NodeId(3), false),
              HasSubstr("`quorate node drain 3 --wait` first"));
  EXPECT_THAT(*CheckRemoveNode(c.view, NodeId(3), true), HasSubstr("node 3 is up"));
  c.view.Put(DownNode(3, 0));
  EXPECT_FALSE(CheckRemoveNode(c.view, NodeId(3), true));
  c.view.Put(DownNode(2, 0));
  EXPECT_THAT(*CheckRemoveNode(c.view, NodeId(3), true), HasSubstr("has no quorum"));
}

TEST(ScheduleSafety, UnknownIsNotLost) {
  SmallCluster c(1);
  c.view.Put(DownNode(2, 900));
  NodeView unknown = UpNode(3);
  unknown.liveness = Liveness::kNone;
  c.view.Put(unknown);
  EXPECT_FALSE(Lost(c.view, NodeId(1), 60s, At(2000)));
  EXPECT_FALSE(Lost(c.view, NodeId(2), 60s, At(959)));
  EXPECT_TRUE(Lost(c.view, NodeId(2), 60s, At(960)));
  EXPECT_FALSE(Lost(c.view, NodeId(3), 60s, At(99'999)));
  EXPECT_TRUE(Lost(c.view, NodeId(4), 60s, At(0)));
}

}  // namespace
}  // namespace quorate::placement
