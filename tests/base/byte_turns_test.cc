#include "base/byte_turns.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <memory>
#include <vector>

#include "base/random.h"
#include "tests/support/test_env.h"

namespace quorate {
namespace {

constexpr size_t kMib = 1 << 20;
constexpr Duration kPatience = 2s;

// Each fetch takes a while, and brings what its client's do.
class ByteTurnsTest : public testing::Test {
 protected:
  struct Fetched {
    std::string client;
    size_t bytes;
    Instant at;
  };

  void Fetch(const std::string& client, size_t brings, Duration takes = 10ms) {
    scope.Spawn(Run(this, client, brings, takes));
  }
  static Task<void> Run(ByteTurnsTest* test, std::string client, size_t brings, Duration takes) {
    const auto turn = co_await test->turns.Take(client, 2 * kMib, kPatience);
    test->most_held = std::max(test->most_held, test->turns.held_bytes());
    ++test->running;
    co_await Sleep(test->env.executor, takes);
    --test->running;
    turn->Brought(brings);
    test->done.push_back({client, brings, test->env.executor.Now()});
  }
  static Task<void> TakeExactly(ByteTurns* turns, std::string client, size_t bytes,
                                std::vector<std::unique_ptr<ByteTurns::Turn>>* held) {
    held->push_back(co_await turns->TakeExactly(std::move(client), bytes, 60s));
  }
  size_t DoneBy(const std::string& client) const {
    return static_cast<size_t>(std::count_if(
        done.begin(), done.end(), [&](const Fetched& each) { return each.client == client; }));
  }

  // Keeps asking for what is small for so long.
  void AskForLittle(const std::string& client, Duration until) {
    for (Duration at = 0ms; at < until; at += 20ms) {
      env.executor.After(at, [this, client] { small.Saw(client, env.env.Now()); });
    }
  }

  TestEnv env;
  SmallAskers small;
  ByteTurns turns{env.env, 4 * kMib, &small};
  int running = 0;
  size_t most_held = 0;
  std::vector<Fetched> done;
  TaskScope scope{env.executor};  // last: its frames use the rest
};

TEST_F(ByteTurnsTest, NoMoreIsFetchedAtOnceThanTheBound) {
  for (int i = 0; i < 100; ++i) Fetch("a", kMib);
  env.executor.RunFor(5ms);
  EXPECT_EQ(running, 4);
  EXPECT_EQ(turns.waiting(), 96u);
  env.executor.RunFor(1s);
  EXPECT_EQ(done.size(), 100u);
  EXPECT_LE(most_held, 4 * kMib);
  EXPECT_EQ(turns.held_bytes(), 0u);
}

TEST_F(ByteTurnsTest, WhoHadLittleIsNotBehindWhoAsksForEverything) {
  for (int i = 0; i < 1000; ++i) Fetch("greedy", kMib);
  env.executor.RunFor(100ms);
  Fetch("honest", kMib);
  env.executor.RunFor(25ms);
  EXPECT_EQ(DoneBy("honest"), 1u);
  EXPECT_LT(done.size(), 100u);
}

TEST_F(ByteTurnsTest, WhoAlwaysAsksGetsAsMuchAsAnother) {
  for (int i = 0; i < 500; ++i) Fetch("a", kMib);
  for (int i = 0; i < 500; ++i) Fetch(i % 2 == 0 ? "b" : "c", kMib);
  env.executor.RunFor(1s);
  const double all = static_cast<double>(done.size());
  for (const char* client : {"a", "b", "c"}) {
    EXPECT_NEAR(static_cast<double>(DoneBy(client)) / all, 1.0 / 3, 0.05) << client;
  }
}

TEST_F(ByteTurnsTest, WhatBringsLittleNeedsNoTurn) {
  for (int i = 0; i < 8; ++i) {
    Fetch("honest", 100);
    env.executor.RunFor(20ms);
  }
  for (int i = 0; i < 1000; ++i) Fetch("greedy", kMib);
  for (int i = 0; i < 1000; ++i) Fetch("honest", 100);
  env.executor.RunFor(11ms);
  EXPECT_EQ(DoneBy("honest"), 1008u);
  // Until it brings more.
  Fetch("honest", kMib);
  env.executor.RunFor(11ms);
  for (int i = 0; i < 20; ++i) Fetch("honest", kMib);
  env.executor.RunFor(1ms);
  EXPECT_LE(running, 4);
}

TEST_F(ByteTurnsTest, WhatTakesLongIsInNobodysWay) {
  for (int i = 0; i < 4; ++i) Fetch("waits for a lock", kMib, 60s);
  Fetch("honest", kMib);
  env.executor.RunFor(200ms);
  EXPECT_EQ(DoneBy("honest"), 0u);
  env.executor.RunFor(kPatience);
  EXPECT_EQ(DoneBy("honest"), 1u);
  env.executor.RunFor(60s);
  EXPECT_EQ(done.size(), 5u);
  EXPECT_EQ(turns.held_bytes(), 0u);
}

TEST_F(ByteTurnsTest, WhatIsLargeLeavesRoomWhileOthersAskForLittle) {
  for (int i = 0; i < 1000; ++i) Fetch("greedy", kMib);
  AskForLittle("honest", 1s);
  env.executor.RunFor(1s);
  // Four at a time take 10 ms, and leave four times as long.
  EXPECT_NEAR(static_cast<double>(done.size()), 80, 8);
  // Of late nobody else did.
  env.executor.RunFor(300ms);
  const size_t before = done.size();
  env.executor.RunFor(1s);
  EXPECT_NEAR(static_cast<double>(done.size() - before), 400, 8);
}

TEST_F(ByteTurnsTest, WhoeverIsAloneLeavesRoomToNobody) {
  for (int i = 0; i < 1000; ++i) Fetch("greedy", kMib);
  AskForLittle("greedy", 1s);
  env.executor.RunFor(1s);
  EXPECT_NEAR(static_cast<double>(done.size()), 400, 8);
}

TEST_F(ByteTurnsTest, WhoWaitsForALockMakesNobodyWaitLonger) {
  AskForLittle("honest", 3s);
  for (int i = 0; i < 4; ++i) Fetch("waits for a lock " + std::to_string(i), kMib, 60s);
  env.executor.RunFor(kPatience);
  Fetch("new", kMib);
  env.executor.RunFor(15ms);
  EXPECT_EQ(DoneBy("new"), 1u);
}

TEST_F(ByteTurnsTest, RoomIsLeftForWhatWasBroughtOnly) {
  AskForLittle("honest", 2s);
  for (int i = 0; i < 100; ++i) Fetch("new " + std::to_string(i), 100);
  env.executor.RunFor(300ms);
  EXPECT_EQ(done.size(), 100u);
}

TEST_F(ByteTurnsTest, WhatIsLargerThanTheBoundGoesAlone) {
  std::vector<std::unique_ptr<ByteTurns::Turn>> held;
  for (const size_t bytes : {kMib, 9 * kMib, kMib, size_t{100}}) {
    scope.Spawn(TakeExactly(&turns, "c" + std::to_string(bytes), bytes, &held));
  }
  env.executor.RunFor(1ms);
  ASSERT_EQ(held.size(), 2u) << "the first, and what is small";
  held.front().reset();
  env.executor.RunFor(1ms);
  ASSERT_EQ(held.size(), 3u);
  EXPECT_EQ(held.back()->bytes(), 9 * kMib);
  held.back().reset();
  env.executor.RunFor(1ms);
  EXPECT_EQ(held.size(), 4u);
}

// What a client waited for in vain it has not had.
TEST_F(ByteTurnsTest, WhoeverGivesUpIsServedNoLaterForIt) {
  std::vector<std::unique_ptr<ByteTurns::Turn>> held;
  scope.Spawn(TakeExactly(&turns, "slow", 4 * kMib, &held));
  env.executor.RunFor(1ms);
  ASSERT_EQ(held.size(), 1u);
  for (int i = 0; i < 20; ++i) {
    TaskScope impatient(env.executor);
    impatient.Spawn(Run(this, "impatient", kMib, 10ms));
    env.executor.RunFor(10ms);
  }
  for (int i = 0; i < 3; ++i) scope.Spawn(TakeExactly(&turns, "slow", 4 * kMib, &held));
  Fetch("impatient", kMib);
  env.executor.RunFor(1ms);
  held.clear();
  env.executor.RunFor(50ms);
  EXPECT_EQ(DoneBy("impatient"), 1u);
}

TEST_F(ByteTurnsTest, WhoeverGivesUpLeavesNothingBehind) {
  Random random(1);
  std::list<std::unique_ptr<TaskScope>> scopes;
  for (int step = 0; step < 3000; ++step) {
    if (scopes.empty() || random.Chance(0.6)) {
      const std::string client(1, static_cast<char>('a' + random.Below(5)));
      scopes.push_back(std::make_unique<TaskScope>(env.executor));
      scopes.back()->Spawn(Run(this, client, random.Below(2 * kMib), 5ms));
    } else {
      auto it = scopes.begin();
      std::advance(it, random.Below(scopes.size()));
      scopes.erase(it);
    }
    env.executor.RunFor(random.Below(3) * 1ms);
    ASSERT_LE(most_held, 4 * kMib);
  }
  scopes.clear();
  EXPECT_EQ(turns.waiting(), 0u);
  EXPECT_EQ(turns.held_bytes(), 0u);
}

}  // namespace
}  // namespace quorate
