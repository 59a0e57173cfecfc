#include "txn/timestamp.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace quorate {
namespace {

TEST(Timestamp, SubCountNeverCarriesIntoTheNextSlot) {
  Timestamp ts = Timestamp::FromParts(1000, Timestamp::kLogicalMax);
  for (uint64_t i = 0; i < Timestamp::kSubMax; ++i) {
    const auto next = ts.NextSub();
    ASSERT_TRUE(next.has_value());
    ASSERT_GT(*next, ts);
    ASSERT_LT(*next, ts.NextSlot());
    ts = *next;
  }
  EXPECT_EQ(ts.sub(), Timestamp::kSubMax);
  EXPECT_EQ(ts.NextSub(), std::nullopt);
  EXPECT_EQ(ts.NextSlot(), Timestamp::FromParts(1001, 0));
}

TEST(Timestamp, OrderIsThatOfItsParts) {
  Random random(1);
  for (int i = 0; i < 1000; ++i) {
    auto draw = [&] { return std::tuple(random.Below(4), random.Below(3), random.Below(3)); };
    const auto a = draw(), b = draw();
    auto make = [](auto t) {
      return Timestamp::FromParts(std::get<0>(t), std::get<1>(t), std::get<2>(t));
    };
    EXPECT_EQ(a < b, make(a) < make(b));
  }
}

TEST(Timestamp, EarlierByMillisStopsAtZero) {
  EXPECT_EQ(Timestamp::FromParts(60'005, 7, 3).MinusMillis(60'000), Timestamp::FromParts(5, 0));
  EXPECT_EQ(Timestamp::FromParts(60'000, 7, 3).MinusMillis(60'000), Timestamp());
  EXPECT_EQ(Timestamp::FromParts(5, 0).MinusMillis(60'000), Timestamp());
}

}  // namespace
}  // namespace quorate
