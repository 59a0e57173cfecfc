#include "base/coding.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace quorate {
namespace {

TEST(Coding, VarintRoundTripsAtEveryWidth) {
  for (int bit = 0; bit < 64; ++bit) {
    for (const uint64_t v : {(1ull << bit) - 1, 1ull << bit, (1ull << bit) + 1}) {
      std::string out;
      PutVarint(&out, v);
      std::string_view in = out;
      uint64_t back = 0;
      ASSERT_TRUE(GetVarint(&in, &back));
      EXPECT_EQ(back, v);
      EXPECT_TRUE(in.empty());
      std::string_view cut = std::string_view(out).substr(0, out.size() - 1);
      EXPECT_FALSE(GetVarint(&cut, &back));
    }
  }
}

TEST(Coding, VarintBeyond64BitsIsRefused) {
  std::string_view in("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10);
  uint64_t v = 0;
  EXPECT_FALSE(GetVarint(&in, &v));
}

TEST(Coding, LengthBeyondTheInputIsRefused) {
  std::string out;
  PutVarint(&out, 1ull << 40);
  out += "abc";
  std::string_view in = out;
  std::string_view bytes;
  EXPECT_FALSE(GetLengthPrefixed(&in, &bytes));
}

std::string RandomBytes(Random& random) {
  std::string s(random.Below(6), '\0');
  for (char& c : s) c = static_cast<char>(random.Chance(0.4) ? 0 : random.Below(256));
  return s;
}

TEST(Coding, OrderedEncodingsKeepOrder) {
  Random random(1);
  for (int i = 0; i < 20'000; ++i) {
    const std::string a = RandomBytes(random), b = RandomBytes(random);
    const uint64_t m = random.Next() >> random.Below(64), n = random.Next() >> random.Below(64);
    std::string x, y;
    PutOrderedBytes(&x, a);
    PutOrderedBytes(&y, b);
    const auto order = a <=> b;
    PutOrdered64(&x, m);
    PutOrdered64(&y, n);
    EXPECT_TRUE((x <=> y) == (order != 0 ? order : m <=> n));
    std::string_view in = x;
    std::string back;
    uint64_t number = 0;
    ASSERT_TRUE(GetOrderedBytes(&in, &back) && GetOrdered64(&in, &number));
    EXPECT_EQ(back, a);
    EXPECT_EQ(number, m);
  }
}

TEST(Coding, DescendingReversesOrder) {
  std::string small, large;
  PutOrderedDescending64(&small, 1);
  PutOrderedDescending64(&large, 2);
  EXPECT_LT(large, small);
  std::string_view in = large;
  uint64_t v = 0;
  ASSERT_TRUE(GetOrderedDescending64(&in, &v));
  EXPECT_EQ(v, 2u);
}

}  // namespace
}  // namespace quorate
