#include "base/random.h"

#include <gtest/gtest.h>

namespace quorate {
namespace {

TEST(Random, SameSeedSameStream) {
  Random a(9), b(9), c(10);
  EXPECT_EQ(a.Next(), b.Next());
  EXPECT_NE(a.Next(), c.Next());
}

TEST(Random, ForkIsIndependentOfLaterDraws) {
  Random a(9);
  Random x = a.Fork("disk");
  Random y = a.Fork("net");
  EXPECT_NE(x.Next(), y.Next());
  EXPECT_EQ(Random(9).Fork("disk").Next(), Random(9).Fork("disk").Next());
}

TEST(Random, BelowStaysBelowAndReachesAll) {
  Random random(1);
  bool seen[5] = {};
  for (int i = 0; i < 1000; ++i) seen[random.Below(5)] = true;
  for (const bool s : seen) EXPECT_TRUE(s);
  for (int i = 0; i < 1000; ++i) {
    const int64_t v = random.Between(-3, 3);
    EXPECT_TRUE(v >= -3 && v <= 3);
  }
}

}  // namespace
}  // namespace quorate
