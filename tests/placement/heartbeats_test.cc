#include "placement/heartbeats.h"

#include <gtest/gtest.h>

namespace quorate::placement {
namespace {

constexpr int64_t kWall = 1'700'000'000'000;
Instant At(Duration d) { return Instant(d); }

v1::HeartbeatRequest From(uint64_t node, int64_t wall_ms = kWall) {
  v1::HeartbeatRequest heartbeat;
  heartbeat.mutable_node()->set_node_id(node);
  heartbeat.set_wall_ms(static_cast<uint64_t>(wall_ms));
  return heartbeat;
}

TEST(Heartbeats, ANodeNotHeardOfSinceTheElectionIsNotDownAtOnce) {  // PL23
  Heartbeats heartbeats;
  heartbeats.Reset(At(100s));
  EXPECT_EQ(heartbeats.StateOf(NodeId(1), At(104s)), v1::NODE_STATE_NONE) << "nor known to be up";
  EXPECT_EQ(heartbeats.StateOf(NodeId(1), At(106s)), v1::NODE_DOWN);
  heartbeats.Record(From(1), ShardMap(), 3, At(106s));
  EXPECT_EQ(heartbeats.StateOf(NodeId(1), At(107s)), v1::NODE_UP);
  heartbeats.Reset(At(200s));
  EXPECT_EQ(heartbeats.StateOf(NodeId(1), At(201s)), v1::NODE_STATE_NONE);
}

TEST(Heartbeats, TheReportOfTheHighestTermNamesTheLeader) {
  Heartbeats heartbeats;
  v1::ShardDescriptor all;
  all.set_shard_id(5);
  ShardMap map;
  map.Load(all);
  const auto report = [&](uint64_t node, uint64_t term, uint64_t shard = 5) {
    v1::HeartbeatRequest heartbeat = From(node);
    v1::ShardReport* led = heartbeat.add_led_shards();
    led->mutable_shard()->set_shard_id(shard);
    led->set_term(term);
    heartbeats.Record(heartbeat, map, 3, At(1s));
  };
  EXPECT_FALSE(heartbeats.LeaderOf(ShardId(5)));
  report(1, 4);
  report(2, 6);
  report(1, 4);  // late
  EXPECT_EQ(heartbeats.LeaderOf(ShardId(5)), NodeId(2));
  report(1, 7, 6);
  EXPECT_FALSE(heartbeats.LeaderOf(ShardId(6))) << "kept of a shard that nobody knows";
}

TEST(Heartbeats, ChangesAreUsedOnlyUponWhatWasUsedLast) {
  Heartbeats heartbeats;
  const auto beat = [](uint64_t number, uint64_t base, uint64_t term) {
    v1::HeartbeatRequest heartbeat = From(1);
    heartbeat.set_number(number);
    heartbeat.set_base(base);
    heartbeat.set_base_term(term);
    return heartbeat;
  };
  EXPECT_FALSE(heartbeats.Continues(beat(8, 7, 3), 3)) << "nothing was heard in this term";
  EXPECT_TRUE(heartbeats.Continues(beat(8, 0, 0), 3)) << "tells of all";
  heartbeats.Record(beat(8, 0, 0), ShardMap(), 3, At(1s));
  EXPECT_TRUE(heartbeats.Continues(beat(9, 8, 3), 3));
  EXPECT_FALSE(heartbeats.Continues(beat(9, 8, 2), 3)) << "upon what another leader was told";
  heartbeats.Record(beat(9, 8, 3), ShardMap(), 3, At(2s));
  EXPECT_TRUE(heartbeats.Continues(beat(9, 8, 3), 3)) << "again: its answer took long";
  EXPECT_FALSE(heartbeats.Continues(beat(10, 8, 3), 3)) << "the answer of 9 was lost";
  heartbeats.Record(beat(10, 9, 3), ShardMap(), 3, At(2s));
  heartbeats.Record(beat(9, 8, 3), ShardMap(), 3, At(2s));
  EXPECT_TRUE(heartbeats.Continues(beat(11, 10, 3), 3)) << "a late copy has changed nothing";
  EXPECT_FALSE(heartbeats.Continues(beat(11, 9, 3), 3));
  heartbeats.Reset(At(3s));
  EXPECT_FALSE(heartbeats.Continues(beat(10, 9, 3), 4));
}

TEST(Heartbeats, OnlyAnotherNodesClockConfirmsTheWallClock) {
  Heartbeats heartbeats;
  heartbeats.Reset(At(0s));
  heartbeats.Record(From(1, kWall), ShardMap(), 3, At(1s));
  EXPECT_FALSE(heartbeats.ConfirmsWall(NodeId(1), kWall, At(1s)));
  heartbeats.Record(From(2, kWall - 3'600'000), ShardMap(), 3, At(1s));
  EXPECT_FALSE(heartbeats.ConfirmsWall(NodeId(1), kWall, At(1s)));
  heartbeats.Record(From(2, kWall + 20'000), ShardMap(), 3, At(1s));
  EXPECT_TRUE(heartbeats.ConfirmsWall(NodeId(1), kWall + 10'000, At(11s)));
}

}  // namespace
}  // namespace quorate::placement
