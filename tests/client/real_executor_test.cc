// The real executor, in real threads: order, wake-ups, timers, stopping. Times are only compared
// with each other.
#include "base/real_executor.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "base/real_clock.h"
#include "client/blocking.h"

namespace quorate {
namespace {

TEST(RealExecutor, RunsPostsOfOneThreadInOrder) {
  RealExecutor executor;
  std::vector<int> seen;
  for (int i = 0; i < 5000; ++i) {
    executor.Post([&seen, &executor, i] {
      seen.push_back(i);
      if (i == 4999) executor.Post([&executor] { executor.Stop(); });
    });
  }
  executor.Run();
  ASSERT_EQ(seen.size(), 5000u);
  EXPECT_TRUE(std::is_sorted(seen.begin(), seen.end()));
}

TEST(RealExecutor, APostNeverRunsInsideTheCallThatPostsIt) {
  RealExecutor executor;
  bool inside = false;
  bool ran_inside = false;
  executor.Post([&] {
    inside = true;
    executor.Post([&] {
      ran_inside = inside;
      executor.Stop();
    });
    inside = false;
  });
  executor.Run();
  EXPECT_FALSE(ran_inside);
}

TEST(RealExecutor, TimersDoNotWaitForAllThatIsPosted) {
  RealExecutor executor;
  int ran = 0;
  int ran_before_timer = -1;
  for (int i = 0; i < 100; ++i) {
    executor.Post([&] {
      const Instant end = RealClock::BootNow() + 1ms;
      while (RealClock::BootNow() < end) {
      }
      if (++ran == 1) executor.After(Duration(0), [&] { ran_before_timer = ran; });
      if (ran == 100) executor.Stop();
    });
  }
  executor.Run();
  EXPECT_GE(ran_before_timer, 1);
  EXPECT_LT(ran_before_timer, 10);
}

TEST(RealExecutor, TakesPostsFromManyThreads) {
  RealExecutor executor;
  executor.Start();
  constexpr int kThreads = 4;
  constexpr int kPosts = 2000;
  int count = 0;  // executor's thread
  std::array<RealExecutor, kThreads> posters;
  std::array<client::Parcel<bool>, kThreads> done;
  for (int t = 0; t < kThreads; ++t) {
    posters[t].Post([&, t] {
      for (int i = 0; i < kPosts; ++i) executor.Post([&count] { ++count; });
      done[t].Put(true);
    });
    posters[t].Start();
  }
  for (int t = 0; t < kThreads; ++t) {
    done[t].Take();
    posters[t].Stop();
    posters[t].Join();
  }
  client::Parcel<int> last;
  executor.Post([&] { last.Put(count); });
  EXPECT_EQ(last.Take(), kThreads * kPosts);
  executor.Stop();
  executor.Join();
}

TEST(RealExecutor, TimersRunInTheOrderOfTheirTimesAndCancelledOnesDoNot) {
  RealExecutor executor;
  std::vector<int> seen;
  std::vector<TimerId> ids;
  executor.After(30ms, [&] {
    seen.push_back(30);
    executor.Stop();
  });
  const TimerId cancelled = executor.After(10ms, [&] { seen.push_back(-1); });
  executor.After(20ms, [&] { seen.push_back(20); });
  executor.After(1ms, [&] {
    seen.push_back(1);
    executor.Cancel(cancelled);
    executor.Cancel(cancelled);
    executor.Cancel(0);
    executor.After(0ms, [&] { seen.push_back(2); });
  });
  const Instant begin = RealClock::BootNow();
  executor.Run();
  EXPECT_EQ(seen, (std::vector<int>{1, 2, 20, 30}));
  EXPECT_GE(RealClock::BootNow() - begin, 30ms);
}

TEST(RealExecutor, AnIdIsNotMistakenForTheOneThatUsedItsPlace) {
  RealExecutor executor;
  bool ran = false;
  const TimerId old = executor.After(1s, [] {});
  executor.Cancel(old);
  executor.After(1ms, [&] {
    ran = true;
    executor.Stop();
  });
  executor.Cancel(old);
  executor.Run();
  EXPECT_TRUE(ran);
}

TEST(RealExecutor, ManyCancelledTimersDoNotPileUpOrMisfire) {
  RealExecutor executor;
  int ran = 0;
  for (int i = 0; i < 20000; ++i) {
    const TimerId id = executor.After(std::chrono::seconds(10 + i % 7), [] { FAIL(); });
    if (i % 1000 == 0) executor.After(std::chrono::milliseconds(1 + i / 1000), [&] { ++ran; });
    executor.Cancel(id);
  }
  executor.After(60ms, [&] { executor.Stop(); });
  executor.Run();
  EXPECT_EQ(ran, 20);
}

TEST(RealExecutor, DestroysWhatDidNotRun) {
  const auto token = std::make_shared<int>(1);
  {
    RealExecutor executor;
    executor.Post([token] { FAIL(); });
    executor.After(1s, [token] { FAIL(); });
    executor.Stop();
  }
  EXPECT_EQ(token.use_count(), 1);
}

Task<int> AnswerAfter(Executor* executor, Duration delay) {
  co_await Sleep(*executor, delay);
  co_return 42;
}

TEST(Block, WaitsForATaskOnAnotherThread) {
  RealExecutor executor;
  TaskScope scope(executor);
  executor.Start();
  EXPECT_EQ(client::Block(scope, AnswerAfter(&executor, 2ms)), 42);
  executor.Stop();
  executor.Join();
}

}  // namespace
}  // namespace quorate
