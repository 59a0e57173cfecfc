#include "txn/key_span.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace quorate {
namespace {

TEST(Span, OfKeyHoldsThatKeyOnly) {
  const Span span = Span::OfKey("ab");
  EXPECT_TRUE(span.single());
  EXPECT_TRUE(span.Contains("ab"));
  EXPECT_FALSE(span.Contains(std::string_view("ab\0", 3)));
  EXPECT_FALSE(span.Contains("aa"));
  EXPECT_FALSE((Span{"ab", "ac"}).single());
  EXPECT_FALSE(Span::All().single());
}

// Against sets of one-letter keys; "" is the end of the key space.
TEST(Span, AgreesWithSetsOfKeys) {
  Random random(7);
  const std::string letters = "abcdef";
  auto draw = [&] {
    Span span;
    span.from = random.Chance(0.2) ? "" : std::string(1, letters[random.Below(6)]);
    span.to = random.Chance(0.2) ? "" : std::string(1, letters[random.Below(6)]);
    return span;
  };
  for (int i = 0; i < 3000; ++i) {
    const Span a = draw(), b = draw();
    if (a.empty() || b.empty()) continue;
    const Span clip = a.Clip(b);
    bool any = false;
    bool all = true;
    for (const char* key : {"A", "a", "aa", "b", "c", "cc", "d", "e", "f", "ff", "z"}) {
      const bool both = a.Contains(std::string_view(key)) && b.Contains(std::string_view(key));
      EXPECT_EQ(clip.Contains(std::string_view(key)), both) << key;
      any |= both;
      all &= !b.Contains(std::string_view(key)) || a.Contains(std::string_view(key));
    }
    if (any) EXPECT_TRUE(a.Overlaps(b));
    EXPECT_EQ(a.Overlaps(b), !clip.empty());
    if (a.Contains(b)) EXPECT_TRUE(all);
    const Span join = a.Join(b);
    EXPECT_TRUE(join.Contains(a) && join.Contains(b));
    EXPECT_TRUE(join.from == a.from || join.from == b.from);
    EXPECT_TRUE(join.to == a.to || join.to == b.to);
  }
}

}  // namespace
}  // namespace quorate
