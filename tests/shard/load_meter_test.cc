// How busy a shard is, and where it would be divided.
#include "shard/load_meter.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace quorate::shard {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class LoadMeterTest : public ::testing::Test {
 protected:
  // `rate` requests in each of so many seconds, for the key that `key` names.
  template <class Key>
  void Serve(int for_seconds, int rate, const Key& key) {
    for (int i = 0; i < for_seconds * rate; ++i) {
      meter_.Count(now_, key(i));
      now_ += std::chrono::duration_cast<Duration>(seconds(1)) / rate;
    }
  }
  static std::string Uniform(int i) { return fmt::format("key{:03}", i * 37 % 1000); }

  Instant now_{seconds(100)};
  LoadMeter meter_{now_, Random(7)};
};

TEST_F(LoadMeterTest, SaysNothingBeforeItKnows) {
  EXPECT_EQ(meter_.PerSecond(now_), 0u);
  EXPECT_EQ(meter_.Look().middle, std::nullopt);
  Serve(5, 100, Uniform);
  EXPECT_EQ(meter_.PerSecond(now_), 0u) << "it is too young";
  LoadMeter few(now_, Random(7));
  for (int i = 0; i < 20; ++i) few.Count(now_, Uniform(i));
  EXPECT_EQ(few.Look().middle, std::nullopt);
  EXPECT_EQ(few.Look().busiest_percent, 0u);
}

TEST_F(LoadMeterTest, AveragesOverAMinuteAndForgets) {
  Serve(20, 1000, Uniform);
  EXPECT_NEAR(static_cast<double>(meter_.PerSecond(now_)), 1000, 20);
  Serve(20, 4000, Uniform);
  const uint64_t rising = meter_.PerSecond(now_);
  EXPECT_GT(rising, 1500u);
  EXPECT_LT(rising, 3500u) << "a burst is no load";
  now_ += seconds(300);
  EXPECT_LT(meter_.PerSecond(now_), 10u) << "nobody asks any more";
}

TEST_F(LoadMeterTest, TheMiddleHasHalfOfTheRequestsOnEitherSide) {
  Serve(20, 5000, Uniform);
  const LoadMeter::Spread spread = meter_.Look();
  ASSERT_TRUE(spread.middle.has_value());
  EXPECT_GT(*spread.middle, "key400");
  EXPECT_LT(*spread.middle, "key600");
  EXPECT_LE(spread.busiest_percent, 3u);
}

TEST_F(LoadMeterTest, ItFollowsTheLoadToOtherKeys) {
  Serve(30, 5000, Uniform);
  Serve(30, 5000, [](int i) { return fmt::format("new{:03}", i % 100); });
  EXPECT_GE(meter_.Look().middle.value_or(""), "new");
}

TEST_F(LoadMeterTest, OneKeyThatHasMostIsToldAndNotSplitFrom) {
  Serve(20, 5000, [](int i) { return i % 10 < 9 ? std::string("hot") : Uniform(i); });
  const LoadMeter::Spread spread = meter_.Look();
  EXPECT_GT(spread.busiest_percent, 80u);
  EXPECT_EQ(spread.middle, std::nullopt) << "one side would have nearly nothing";
}

// Two busy keys: between them, whichever has more.
TEST_F(LoadMeterTest, TwoBusyKeysArePartedBetweenThem) {
  for (const int part : {3, 5, 7}) {
    meter_.Reset(now_);
    Serve(20, 5000, [&](int i) { return i % 10 < part ? "a" : "b"; });
    EXPECT_EQ(meter_.Look().middle, "b") << part;
  }
}

TEST_F(LoadMeterTest, AllRequestsForOneKeyHaveNoMiddle) {
  Serve(20, 500, [](int) { return "only"; });
  EXPECT_EQ(meter_.Look().middle, std::nullopt);
  EXPECT_EQ(meter_.Look().busiest_percent, 100u);
}

}  // namespace
}  // namespace quorate::shard
