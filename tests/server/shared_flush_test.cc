#include "server/node/shared_flush.h"

#include <gtest/gtest.h>

#include "tests/support/test_env.h"

namespace quorate::server {
namespace {

class SharedFlushTest : public testing::Test {
 protected:
  static constexpr Duration kTakes = 50ms;

  // Those who ask are told in `answers_` what was durable then.
  void Ask() { scope_.Spawn(AskOnce()); }
  Task<void> AskOnce() {
    const uint64_t asked_at = changes_;
    const Status status = co_await shared_->Flushed();
    ++(status.ok() ? told_ : refused_);
    if (status.ok()) EXPECT_GE(durable_, asked_at);
  }

  TestEnv env_;
  uint64_t changes_ = 1;
  uint64_t durable_ = 0;
  int flushes_ = 0;
  int at_once_ = 0;
  int told_ = 0;
  int refused_ = 0;
  Status next_ = Status::Ok();
  std::unique_ptr<SharedFlush> shared_ = std::make_unique<SharedFlush>(
      env_.executor, env_.executor,
      [this](std::function<void(Status)> done) {
        ++flushes_;
        EXPECT_EQ(++at_once_, 1);
        env_.executor.After(kTakes, [this, at = changes_, done = std::move(done)] {
          --at_once_;
          if (next_.ok()) durable_ = at;
          done(next_);
        });
      },
      [this] { return changes_; });
  TaskScope scope_{env_.executor};
};

TEST_F(SharedFlushTest, AHundredWhoAskWithinASecondShareTwo) {
  for (int i = 0; i < 100; ++i) {
    ++changes_;
    Ask();
    env_.executor.RunFor(9ms);
  }
  env_.executor.RunFor(SharedFlush::kEvery + kTakes);
  EXPECT_EQ(told_, 100);
  EXPECT_EQ(flushes_, 2);
}

TEST_F(SharedFlushTest, WhoAsksWhileOneIsUnderWayIsAnsweredFromTheNext) {
  Ask();
  env_.executor.RunFor(kTakes / 2);
  ++changes_;  // not in it
  Ask();
  env_.executor.RunFor(kTakes);
  EXPECT_EQ(told_, 1);
  env_.executor.RunFor(SharedFlush::kEvery);
  EXPECT_EQ(told_, 2);
  EXPECT_EQ(flushes_, 2);
}

TEST_F(SharedFlushTest, NothingIsFlushedWhereNothingHasChanged) {
  for (int i = 0; i < 10; ++i) {
    Ask();
    env_.executor.RunFor(1min);
    EXPECT_EQ(told_, i + 1);
  }
  EXPECT_EQ(flushes_, 1);
}

TEST_F(SharedFlushTest, AFailureIsToldAndTheNextOneTriesAgain) {
  next_ = Unavailable("the disk is gone");
  Ask();
  env_.executor.RunFor(1min);
  EXPECT_EQ(refused_, 1);
  next_ = Status::Ok();
  Ask();
  env_.executor.RunFor(1min);
  EXPECT_EQ(told_, 1);
  EXPECT_EQ(flushes_, 2);
}

TEST_F(SharedFlushTest, MayGoWhileAFlushIsUnderWay) {
  Ask();
  env_.executor.RunFor(kTakes / 2);
  ++changes_;
  Ask();
  env_.executor.RunFor(Duration(0));
  scope_.Clear();
  shared_.reset();
  env_.executor.RunFor(1min);
  EXPECT_EQ(flushes_, 1);
}

}  // namespace
}  // namespace quorate::server
