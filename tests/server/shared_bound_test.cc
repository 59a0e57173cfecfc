#include "server/node/shared_bound.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace quorate::server {
namespace {

TEST(SharedBoundTest, OneClientGetsHalfAndLeavesTheOtherHalf) {
  SharedBound bound(100);
  EXPECT_TRUE(bound.Take("a", 50));
  EXPECT_FALSE(bound.Take("a", 1));
  EXPECT_TRUE(bound.Take("b", 25));
  EXPECT_FALSE(bound.Take("b", 1));
  bound.Give("a", 50);
  EXPECT_TRUE(bound.Take("b", 10));
  EXPECT_EQ(bound.used(), 35u);
  EXPECT_FALSE(bound.Take("c", SIZE_MAX));
}

TEST(SharedBoundTest, ManyWhoTakeAllTheyGetLeaveSomethingForTheNext) {
  SharedBound bound(100'000);
  for (int round = 0; round < 200; ++round) {
    for (int client = 0; client < 40; ++client) bound.Take(std::to_string(client), 100);
  }
  EXPECT_TRUE(bound.Take("honest", 1000));
  EXPECT_LE(bound.used(), bound.total());
}

TEST(SharedBoundTest, HoldingsGiveBackWhatTheyTook) {
  const auto bound = std::make_shared<SharedBound>(1000);
  Random random(1);
  {
    std::vector<std::unique_ptr<Holding>> holdings;
    for (int step = 0; step < 2000; ++step) {
      if (holdings.empty() || random.Chance(0.3)) {
        holdings.push_back(
            std::make_unique<Holding>(bound, std::string(1, static_cast<char>('a' + step % 5))));
      }
      Holding& holding = *holdings[random.Below(holdings.size())];
      if (random.Chance(0.5)) {
        holding.Grow(random.Below(100));
      } else {
        holding.Shrink(random.Below(holding.amount() + 1));
      }
      size_t sum = 0;
      for (const auto& each : holdings) sum += each->amount();
      ASSERT_EQ(bound->used(), sum);
      ASSERT_LE(sum, bound->total());
    }
  }
  EXPECT_EQ(bound->used(), 0u);
}

}  // namespace
}  // namespace quorate::server
