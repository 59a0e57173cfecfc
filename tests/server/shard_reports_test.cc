// What the placement leader makes of the heartbeats is what the node leads, whatever is lost.
#include "server/node/shard_reports.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "placement/heartbeats.h"

namespace quorate::server {
namespace {

// A node's shards, by id: how many requests each serves; absent: it is not led here.
using Led = std::map<ShardId, uint64_t>;

class Pair {
 public:
  v1::HeartbeatRequest Make() {
    v1::HeartbeatRequest heartbeat;
    heartbeat.mutable_node()->set_node_id(1);
    reports_.Fill(
        std::exchange(active_, {}), kShards, [this](ShardId id) { return Look(id); },
        [](ShardId after) {
          return after.value() < kShards ? ShardId(after.value() + 1) : ShardId();
        },
        &heartbeat);
    return heartbeat;
  }
  v1::HeartbeatResponse Hear(const v1::HeartbeatRequest& heartbeat) {
    v1::HeartbeatResponse response;
    response.mutable_map_position()->set_term(term_);
    response.set_report_all(!heartbeats_.Continues(heartbeat, term_));
    heartbeats_.Record(heartbeat, placement::ShardMap(), term_, Instant());
    if (response.report_all()) return response;
    if (heartbeat.base() == 0) known.clear();
    for (const uint64_t left : heartbeat.left_shards()) known.erase(ShardId(left));
    for (const v1::ShardReport& report : heartbeat.led_shards()) {
      const ShardId id(report.shard().shard_id());
      if (unknown_to_map.contains(id)) {
        response.add_tell_again(id.value());
      } else {
        known[id] = report.requests_per_second();
      }
    }
    return response;
  }
  void Exchange() { reports_.Answered(Hear(Make())); }
  void AnotherLeader() {
    ++term_;
    heartbeats_.Reset(Instant());
    known.clear();
  }
  void Set(ShardId id, std::optional<uint64_t> requests) {
    active_.insert(GroupId(id.value()));
    if (requests) {
      led[id] = *requests;
    } else {
      led.erase(id);
    }
  }

  static constexpr uint64_t kShards = 200;
  Led led;
  Led known;  // by the placement leader
  std::set<ShardId> unknown_to_map;
  ShardReports reports_{7'777};

 private:
  std::optional<v1::ShardReport> Look(ShardId id) const {
    const auto it = led.find(id);
    if (it == led.end()) return std::nullopt;
    v1::ShardReport report;
    report.mutable_shard()->set_shard_id(id.value());
    report.set_requests_per_second(it->second);
    return report;
  }

  placement::Heartbeats heartbeats_;
  uint64_t term_ = 1;
  std::set<GroupId> active_;
};

TEST(ShardReports, AfterAllWereToldOnlyChangesAre) {
  Pair pair;
  for (uint64_t id = 1; id <= Pair::kShards; ++id) pair.Set(ShardId(id), 0);
  pair.Exchange();
  EXPECT_EQ(pair.known, pair.led);
  EXPECT_EQ(pair.Make().led_shards_size(), 0);
  pair.reports_.Lost();
  pair.Set(ShardId(7), std::nullopt);
  pair.Set(ShardId(8), 5);
  const v1::HeartbeatRequest heartbeat = pair.Make();
  EXPECT_EQ(heartbeat.led_shards_size(), 1);
  EXPECT_EQ(heartbeat.left_shards_size(), 1);
}

TEST(ShardReports, ALoadThatEndsByItselfIsLookedAtUntilItHas) {
  Pair pair;
  pair.Set(ShardId(1), 9);
  pair.Exchange();
  pair.led[ShardId(1)] = 0;  // nothing was done in it
  pair.Exchange();
  EXPECT_EQ(pair.known[ShardId(1)], 0u);
}

TEST(ShardReports, WhatTheMapDidNotKnowYetIsToldAgain) {
  Pair pair;
  pair.Exchange();
  pair.unknown_to_map.insert(ShardId(3));
  pair.Set(ShardId(3), 0);
  pair.Exchange();
  EXPECT_TRUE(pair.known.empty());
  pair.unknown_to_map.clear();
  pair.Exchange();
  EXPECT_EQ(pair.known, pair.led);
}

TEST(ShardReports, WhateverIsLostTheLeaderLearnsWhatIsLed) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    Random random(seed);
    Pair pair;
    std::vector<v1::HeartbeatRequest> sent;
    for (int i = 0; i < 60; ++i) {
      for (uint64_t n = random.Below(6); n > 0; --n) {
        const ShardId id(1 + random.Below(20));
        pair.Set(id, random.Chance(0.3) ? std::nullopt : std::optional(random.Below(3)));
      }
      if (random.Chance(0.1)) pair.AnotherLeader();
      if (random.Chance(0.1)) {
        pair.unknown_to_map = {ShardId(1 + random.Below(20))};
      } else {
        pair.unknown_to_map.clear();
      }
      const v1::HeartbeatRequest heartbeat = pair.Make();
      sent.push_back(heartbeat);
      if (random.Chance(0.2)) {
        pair.reports_.Lost();
      } else {
        if (random.Chance(0.2)) pair.Hear(heartbeat);  // its answer took too long
        const v1::HeartbeatResponse response = pair.Hear(heartbeat);
        if (random.Chance(0.2)) pair.Hear(sent[random.Below(sent.size())]);  // it took longer
        if (random.Chance(0.2)) {
          pair.reports_.Lost();
        } else {
          pair.reports_.Answered(response);
        }
      }
    }
    pair.unknown_to_map.clear();
    for (int i = 0; i < 4; ++i) pair.Exchange();
    ASSERT_EQ(pair.known, pair.led) << "seed " << seed;
  }
}

}  // namespace
}  // namespace quorate::server
