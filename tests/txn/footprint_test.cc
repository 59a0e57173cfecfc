#include "txn/footprint.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace quorate {
namespace {

const std::vector<Span> kShards = {{"", "g"}, {"g", "p"}, {"p", ""}};

TEST(Footprint, ClipsRangesAndNamesEachPartByItsFirstKey) {
  const auto parts = DivideByShard({"h", "z"}, {{"b", "k"}, Span::OfKey("q")}, kShards);
  ASSERT_TRUE(parts.has_value());
  ASSERT_EQ(parts->size(), 3u);
  EXPECT_EQ((*parts)[0].marker_key, "b");
  EXPECT_EQ((*parts)[0].guards, (std::vector<Span>{{"b", "g"}}));
  EXPECT_TRUE((*parts)[0].writes.empty());
  EXPECT_EQ((*parts)[1].marker_key, "g");
  EXPECT_EQ((*parts)[1].guards, (std::vector<Span>{{"g", "k"}}));
  EXPECT_EQ((*parts)[1].writes, (std::vector<size_t>{0}));
  EXPECT_EQ((*parts)[2].marker_key, "q");
  EXPECT_EQ((*parts)[2].writes, (std::vector<size_t>{1}));
}

// The counterexample digest_ignored: two groupings of one Commit, made under two shard maps, share
// a marker key and must differ in the digest.
TEST(Footprint, TwoGroupingsOfOneCommitDifferInTheDigest) {
  const auto before = DivideByShard({"x", "y"}, {}, {{"", ""}});
  const auto after = DivideByShard({"x", "y"}, {}, {{"", "y"}, {"y", ""}});
  ASSERT_EQ(before->size(), 1u);
  ASSERT_EQ(after->size(), 2u);
  EXPECT_EQ((*before)[0].marker_key, (*after)[0].marker_key);
  EXPECT_NE((*before)[0].digest, (*after)[0].digest);
}

TEST(Footprint, DigestIgnoresTheOrderAndRepetitionOfReads) {
  const auto a = DivideByShard({"b"}, {{"c", "e"}, {"d", "f"}, Span::OfKey("a")}, kShards);
  const auto b = DivideByShard({"b"}, {Span::OfKey("a"), {"c", "f"}, {"c", "e"}}, kShards);
  EXPECT_EQ((*a)[0].digest, (*b)[0].digest);
  const auto c = DivideByShard({"b"}, {Span::OfKey("a")}, kShards);
  EXPECT_NE((*a)[0].digest, (*c)[0].digest);
}

TEST(Footprint, DigestSeparatesItsFields) {
  EXPECT_NE(DigestOf("a", {"a", "bc"}, {}), DigestOf("a", {"a", "b", "c"}, {}));
  EXPECT_NE(DigestOf("a", {"a"}, {}), DigestOf("a", {}, {Span::OfKey("a")}));
}

TEST(Footprint, RefusesWhatNoShardOwns) {
  const std::vector<Span> gap = {{"", "g"}, {"p", ""}};
  EXPECT_FALSE(DivideByShard({"h"}, {}, gap).has_value());
  EXPECT_FALSE(DivideByShard({}, {{"a", "z"}}, gap).has_value());
  EXPECT_FALSE(DivideByShard({}, {{"a", ""}}, {{"", "g"}}).has_value());
  EXPECT_TRUE(DivideByShard({"a"}, {{"q", ""}}, gap).has_value());
}

// Every key written or read lies in exactly one part, and it is the part of its owner.
TEST(Footprint, EveryKeyIsInThePartOfItsOwner) {
  Random random(3);
  auto key = [&] { return std::string(1, static_cast<char>('a' + random.Below(26))); };
  for (int round = 0; round < 500; ++round) {
    std::vector<std::string> keys;
    for (uint64_t i = random.Below(6); i > 0; --i) keys.push_back(key());
    std::sort(keys.begin(), keys.end());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    const std::vector<std::string_view> writes(keys.begin(), keys.end());
    std::vector<Span> reads;
    for (uint64_t i = random.Below(4); i > 0; --i) {
      Span span{key(), key()};
      if (!span.empty()) reads.push_back(span);
    }
    const auto parts = DivideByShard(writes, reads, kShards);
    ASSERT_TRUE(parts.has_value());
    for (char c = 'a'; c <= 'z'; ++c) {
      const std::string k(1, c);
      size_t owner = 0;
      while (!kShards[owner].Contains(k)) ++owner;
      bool read = false;
      for (const Span& span : reads) read |= span.Contains(k);
      int guards = 0;
      for (const FootprintPart& part : *parts) {
        for (const Span& guard : part.guards) {
          if (!guard.Contains(k)) continue;
          ++guards;
          EXPECT_EQ(part.shard, owner);
        }
        for (size_t w : part.writes) {
          EXPECT_TRUE(kShards[part.shard].Contains(writes[w]));
          EXPECT_LE(part.marker_key, writes[w]);
        }
      }
      EXPECT_EQ(guards, read ? 1 : 0) << k;
    }
  }
}

}  // namespace
}  // namespace quorate
