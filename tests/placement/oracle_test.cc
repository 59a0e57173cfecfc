// The oracle as a pure machine. The lease check around it: placement_test.cc.
#include "placement/oracle.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/random.h"

namespace quorate::placement {
namespace {

constexpr int64_t kWall = 1'700'000'000'000;
constexpr Instant kBoot{};

// A leader that may issue: began above nothing and has logged its first ceiling.
Oracle Started(int64_t now_ms) {
  Oracle oracle;
  oracle.BeginTerm(Timestamp());
  oracle.RaiseCeiling(*oracle.WantCeiling(now_ms, kBoot));
  return oracle;
}

TEST(Oracle, IssuesNothingBeforeItsFirstCeilingIsLogged) {
  Oracle oracle;
  EXPECT_FALSE(oracle.Next(kWall, kBoot).has_value());
  oracle.BeginTerm(Timestamp::FromParts(kWall, 0));
  EXPECT_FALSE(oracle.Next(kWall, kBoot).has_value());
  const auto want = oracle.WantCeiling(kWall, kBoot);
  ASSERT_TRUE(want.has_value());
  EXPECT_EQ(want->physical_ms(), kWall + 3000);
  oracle.RaiseCeiling(*want);
  const auto slot = oracle.Next(kWall, kBoot);
  ASSERT_TRUE(slot.has_value());
  EXPECT_GT(*slot, Timestamp::FromParts(kWall, 0)) << "the old ceiling itself is not issued";
}

TEST(Oracle, FollowsTheWallClockWithSlotsThatStrictlyIncrease) {
  Oracle oracle = Started(kWall);
  const auto a = oracle.Next(kWall, kBoot);
  const auto b = oracle.Next(kWall, kBoot);
  const auto c = oracle.Next(kWall + 7, kBoot);
  EXPECT_EQ(*a, Timestamp::FromParts(kWall, 0));
  EXPECT_EQ(*b, Timestamp::FromParts(kWall, 1));
  EXPECT_EQ(*c, Timestamp::FromParts(kWall + 7, 0));
}

TEST(Oracle, CountsOnWhenTheWallClockGoesBack) {
  Oracle oracle = Started(kWall);
  const auto a = oracle.Next(kWall, kBoot);
  const auto b = oracle.Next(kWall - 3'600'000, kBoot);
  EXPECT_EQ(*b, a->NextSlot());
}

// Whoever waits for a timestamp a little above all slots would otherwise wait for as long as the
// clock was set back by.
TEST(Oracle, GoesOnSlowlyWhileTheWallClockIsBehindAndFollowsItAgainAfterwards) {
  Oracle oracle = Started(kWall);
  int64_t wall = kWall - 60'000;
  Instant boot = kBoot;
  uint64_t last_ms = oracle.Next(kWall, boot)->physical_ms();
  const uint64_t begin_ms = last_ms;
  for (int ms = 0; ms < 40'000; ms += 10) {
    if (const auto want = oracle.WantCeiling(wall, boot)) oracle.RaiseCeiling(*want);
    const auto slot = oracle.Next(wall, boot);
    ASSERT_TRUE(slot.has_value()) << "after " << ms;
    last_ms = slot->physical_ms();
    wall += 10;
    boot += 10ms;
  }
  EXPECT_NEAR(static_cast<double>(last_ms - begin_ms), 10'000, 10);
  for (int ms = 0; ms < 60'000; ms += 10) {
    if (const auto want = oracle.WantCeiling(wall, boot)) oracle.RaiseCeiling(*want);
    const auto slot = oracle.Next(wall, boot);
    ASSERT_TRUE(slot.has_value());
    last_ms = slot->physical_ms();
    wall += 10;
    boot += 10ms;
  }
  EXPECT_EQ(last_ms, static_cast<uint64_t>(wall - 10));
}

TEST(Oracle, StaysBelowTheCeilingAndAsksForMoreInTime) {
  Oracle oracle = Started(kWall);
  EXPECT_FALSE(oracle.WantCeiling(kWall + 1000, kBoot).has_value());
  EXPECT_TRUE(oracle.WantCeiling(kWall + 1600, kBoot).has_value());
  EXPECT_TRUE(oracle.Next(kWall + 2999, kBoot).has_value());
  EXPECT_FALSE(oracle.Next(kWall + 3000, kBoot).has_value());
}

TEST(Oracle, ACeilingNeverGoesDown) {
  Oracle oracle = Started(kWall);
  const Timestamp ceiling = oracle.ceiling();
  oracle.RaiseCeiling(Timestamp::FromParts(kWall - 1, 0));
  EXPECT_EQ(oracle.ceiling(), ceiling);
}

// DX11: many failovers in a short time must not drive the slots ahead of the horizon.
TEST(Oracle, AHundredFailoversInAMinuteStayNearTheWallClock) {
  Timestamp logged;
  int64_t now = kWall;
  for (int i = 0; i < 100; ++i) {
    Oracle oracle;
    oracle.BeginTerm(logged);
    const Instant boot = kBoot + i * 600ms;
    logged = *oracle.WantCeiling(now, boot);
    oracle.RaiseCeiling(logged);
    ASSERT_TRUE(oracle.Next(now, boot).has_value());
    now += 600;
  }
  EXPECT_LT(static_cast<int64_t>(logged.physical_ms()) - now, 5000);
}

// Random leaders over one logged ceiling: each issues, stalls, loses its entry in the log, comes
// back. T2 against the one rule that a slot handed out was taken by the leader of the newest term.
TEST(Oracle, SlotsStrictlyIncreaseOverRandomFailovers) {
  Random random(7);
  struct Leader {
    Oracle oracle;
    int64_t offset = 0;
    std::optional<Timestamp> in_flight;  // proposed, not yet applied
  };
  std::vector<Leader> nodes(3);
  for (Leader& node : nodes) node.offset = random.Between(-90'000, 90'000);
  Timestamp logged;
  Timestamp last;
  int64_t now = kWall;
  Instant boot = kBoot;
  size_t leader = 0;
  int issued = 0;
  nodes[0].oracle.BeginTerm(logged);
  for (int step = 0; step < 200'000; ++step) {
    const auto passed = static_cast<int64_t>(random.Below(3));
    now += passed;
    boot += passed * 1ms;
    Leader& node = nodes[leader];
    const int64_t wall = now + node.offset;
    if (node.in_flight && random.Chance(0.3)) {
      logged = std::max(logged, *node.in_flight);
      node.oracle.RaiseCeiling(logged);
      node.in_flight.reset();
    } else if (!node.in_flight) {
      node.in_flight = node.oracle.WantCeiling(wall, boot);
    }
    if (const auto slot = node.oracle.Next(wall, boot)) {
      ASSERT_GT(*slot, last) << "T2 at step " << step;
      ASSERT_LT(*slot, logged) << "above what is logged";
      last = *slot;
      ++issued;
    }
    if (random.Chance(0.002)) {
      node.oracle.EndTerm();
      // An entry that was on its way may still be committed by the successor.
      if (node.in_flight && random.Chance(0.5)) logged = std::max(logged, *node.in_flight);
      node.in_flight.reset();
      leader = random.Below(nodes.size());
      if (random.Chance(0.3)) nodes[leader].oracle = Oracle();  // restarted
      nodes[leader].oracle.BeginTerm(logged);
    }
    if (random.Chance(0.001)) node.offset = random.Between(-90'000, 90'000);
  }
  EXPECT_GT(issued, 50'000);
}

// The rule behind T2, broken: a successor that starts at its clock instead of the logged ceiling.
TEST(Oracle, WithoutTheLoggedCeilingAFailoverWouldRepeatSlots) {
  Oracle old_leader = Started(kWall + 500);  // its clock is ahead
  const Timestamp issued = *old_leader.Next(kWall + 500, kBoot);
  Oracle wrong = Started(kWall);
  EXPECT_LT(*wrong.Next(kWall, kBoot), issued);
  Oracle right;
  right.BeginTerm(old_leader.ceiling());
  right.RaiseCeiling(*right.WantCeiling(kWall, kBoot));
  EXPECT_GT(*right.Next(kWall, kBoot), issued);
}

Instant At(Duration d) { return Instant(d); }

TEST(WallGuard, FollowsAWallClockThatGoesWithTheBootClock) {
  WallGuard guard;
  EXPECT_EQ(guard.Read(kWall, At(0s)), kWall);
  EXPECT_EQ(guard.Read(kWall + 5000, At(5s)), kWall + 5000);
  EXPECT_EQ(guard.Read(kWall + 65'000, At(6s)), kWall + 65'000) << "within the bound";
  EXPECT_EQ(guard.refused(), 0u);
}

TEST(WallGuard, RefusesAJumpAheadAndGoesOnByTheBootClock) {
  WallGuard guard;
  guard.Read(kWall, At(0s));
  EXPECT_EQ(guard.Read(kWall + 3'600'000, At(1s)), kWall + 1000);
  EXPECT_EQ(guard.Read(kWall + 3'601'000, At(2s)), kWall + 2000);
  EXPECT_EQ(guard.refused(), 2u);
  EXPECT_EQ(guard.Read(kWall + 3000, At(3s)), kWall + 3000) << "the clock was put right";
}

TEST(WallGuard, GoingBackAndComingHomeIsNoJump) {
  WallGuard guard;
  guard.Read(kWall, At(0s));
  EXPECT_EQ(guard.Read(kWall - 600'000, At(1s)), kWall - 600'000);
  EXPECT_EQ(guard.Read(kWall + 2000, At(2s)), kWall + 2000);
  EXPECT_EQ(guard.refused(), 0u);
}

TEST(WallGuard, AdoptsAJumpThatOthersConfirm) {
  WallGuard guard;
  guard.Read(kWall, At(0s));
  guard.Adopt(kWall + 3'600'000, At(1s));
  EXPECT_EQ(guard.Read(kWall + 3'601'000, At(2s)), kWall + 3'601'000);
}

}  // namespace
}  // namespace quorate::placement
