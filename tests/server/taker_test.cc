#include "server/wire/taker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/support/test_env.h"

namespace quorate::server {
namespace {

constexpr size_t kBytesMax = 1000;

// Reads whose answers have 400 bytes each, and wait until the test takes them.
class TakerTest : public testing::Test {
 protected:
  void Read(int owner, Duration patience = 60min) {
    scope.Spawn(Run(this, owner, env.executor.Now() + patience));
  }
  static Task<void> Run(TakerTest* test, int owner, Instant deadline) {
    const auto read = co_await test->taker.Wait(test->owners + owner, deadline);
    if (read == nullptr) {
      ++test->in_vain;
      co_return;
    }
    test->most_going = std::max(test->most_going, ++test->going);
    co_await Sleep(test->env.executor, 1ms);
    --test->going;
    test->taker.Queued(400);
    test->unread += 400;
    test->most_unread = std::max(test->most_unread, test->unread);
    test->done.push_back(owner);
  }
  void TakeAll() { taker.Left(std::exchange(unread, 0)); }

  TestEnv env;
  Taker taker{env.env, kBytesMax};
  const char owners[3] = {};
  size_t unread = 0;
  size_t most_unread = 0;
  int going = 0;
  int most_going = 0;
  int in_vain = 0;
  std::vector<int> done;
  TaskScope scope{env.executor};  // last: its frames use the rest
};

TEST_F(TakerTest, WhoTakesItsAnswersIsNotHeldBack) {
  for (int i = 0; i < 100; ++i) Read(0);
  env.executor.RunFor(0ms);
  EXPECT_EQ(going, 100);
}

TEST_F(TakerTest, NothingIsReadForWhoDoesNotTakeUntilItDoes) {
  for (int i = 0; i < 3; ++i) Read(0);
  env.executor.RunFor(1s);
  ASSERT_FALSE(taker.takes());
  for (int i = 0; i < 1000; ++i) Read(1);
  env.executor.RunFor(1s);
  EXPECT_EQ(done.size(), 3u);
  EXPECT_EQ(taker.waiting(), 1000u);
  most_going = 0;
  TakeAll();
  env.executor.RunFor(1s);
  EXPECT_FALSE(taker.takes());
  EXPECT_LE(most_going, 16) << "what was woken at once reads more than is taken";
  while (taker.waiting() > 0) {
    const size_t before = done.size();
    TakeAll();
    env.executor.RunFor(1s);
    ASSERT_GT(done.size(), before);
  }
  EXPECT_EQ(done.size(), 1003u);
  EXPECT_LE(most_unread, kBytesMax + 16 * 400);
}

TEST_F(TakerTest, WaitingEndsAtTheDeadline) {
  for (int i = 0; i < 3; ++i) Read(0);
  env.executor.RunFor(1s);
  Read(1, 5s);
  Read(1, 50s);
  env.executor.RunFor(10s);
  EXPECT_EQ(in_vain, 1);
  EXPECT_EQ(taker.waiting(), 1u);
  TakeAll();
  env.executor.RunFor(1s);
  EXPECT_EQ(done, (std::vector<int>{0, 0, 0, 1}));
}

TEST_F(TakerTest, WhoGivesUpLetsTheOthersGo) {
  for (int i = 0; i < 3; ++i) Read(0);
  env.executor.RunFor(1s);
  for (int i = 0; i < 20; ++i) Read(1);
  Read(2);
  env.executor.RunFor(1s);
  taker.GiveUp(owners + 1);
  TakeAll();
  env.executor.RunFor(1s);
  EXPECT_EQ(in_vain, 20);
  EXPECT_EQ(done, (std::vector<int>{0, 0, 0, 2}));
}

TEST_F(TakerTest, AReadThatIsDestroyedHoldsNobodyBack) {
  for (int i = 0; i < 3; ++i) Read(0);
  env.executor.RunFor(1s);
  {
    TaskScope own(env.executor);
    for (int i = 0; i < 20; ++i) own.Spawn(Run(this, 1, env.executor.Now() + 60min));
    TakeAll();
  }
  EXPECT_EQ(taker.waiting(), 0u);
  for (int i = 0; i < 100; ++i) Read(2);
  env.executor.RunFor(0ms);
  EXPECT_EQ(going, 100);
}

}  // namespace
}  // namespace quorate::server
