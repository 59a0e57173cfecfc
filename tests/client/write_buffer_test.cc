#include "client/write_buffer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/random.h"

namespace quorate::client {
namespace {

TEST(WriteBuffer, CountsKeysAndBytesOnce) {
  WriteBuffer buffer;
  EXPECT_EQ(buffer.BytesWith("key", "12345"), 8u);
  buffer.Set("key", "12345");
  EXPECT_EQ(buffer.bytes(), 8u);
  EXPECT_EQ(buffer.BytesWith("key", "1"), 4u);
  EXPECT_EQ(buffer.BytesWith("k2", "1"), 11u);
  buffer.Set("key", "1");
  EXPECT_EQ(buffer.bytes(), 4u);
  buffer.Set("key", std::nullopt);
  EXPECT_EQ(buffer.bytes(), 3u);
  EXPECT_EQ(buffer.keys(), 1u);
}

TEST(WriteBuffer, TellsADeletionFromAnAbsentWrite) {
  WriteBuffer buffer;
  buffer.Set("gone", std::nullopt);
  ASSERT_NE(buffer.Find("gone"), nullptr);
  EXPECT_FALSE(buffer.Find("gone")->has_value());
  EXPECT_EQ(buffer.Find("other"), nullptr);
  EXPECT_EQ(buffer.DeletionsIn({"a", ""}), 1u);
  EXPECT_EQ(buffer.DeletionsIn({"h", ""}), 0u);
}

TEST(WriteBuffer, OverlayAgreesWithApplyingTheWritesToAMap) {
  Random random(11);
  const auto key = [&] { return std::string(1, static_cast<char>('a' + random.Below(20))); };
  for (int run = 0; run < 2000; ++run) {
    std::map<std::string, std::string> stored;
    WriteBuffer buffer;
    for (uint64_t i = random.Below(12); i > 0; --i) stored[key()] = "stored";
    auto expected = stored;
    for (uint64_t i = random.Below(12); i > 0; --i) {
      const std::string k = key();
      if (random.Chance(0.4)) {
        buffer.Set(k, std::nullopt);
        expected.erase(k);
      } else {
        buffer.Set(k, "written");
        expected[k] = "written";
      }
    }
    const Span span{key(), random.Chance(0.3) ? "" : key()};
    if (span.empty()) continue;
    const bool reverse = random.Chance(0.5);
    std::vector<Row> rows;
    for (const auto& [k, v] : stored) {
      if (span.Contains(k)) rows.push_back({k, v});
    }
    std::vector<Row> want;
    for (const auto& [k, v] : expected) {
      if (span.Contains(k)) want.push_back({k, v});
    }
    if (reverse) {
      std::reverse(rows.begin(), rows.end());
      std::reverse(want.begin(), want.end());
    }
    ASSERT_EQ(buffer.Overlay(rows, span, reverse), want) << "run " << run;
  }
}

TEST(ReadSet, CountsASpanOnce) {
  ReadSet reads;
  reads.Add(Span::OfKey("key"));
  reads.Add(Span::OfKey("key"));
  reads.Add({"a", "bb"});
  reads.Add({"aa", "b"});
  reads.Add(Span::OfKey("ab"));
  EXPECT_EQ(reads.size(), (ReadSet::Size{.bytes = 10, .spans = 2, .ranges = 1}));
}

TEST(ReadSet, PagesAreOneRangeInEitherDirection) {
  ReadSet reads;
  for (char c = 'b'; c < 'f'; ++c) reads.Add({std::string(1, c), std::string(1, c + 1)});
  for (char c = 'y'; c > 'r'; --c) reads.Add({std::string(1, c), std::string(1, c + 1)});
  EXPECT_THAT(reads.spans(), testing::ElementsAre(Span{"b", "f"}, Span{"s", "z"}));
  // The end of all keys does not touch their beginning.
  reads.Add({"z", ""});
  reads.Add({"", "a"});
  EXPECT_THAT(reads.spans(), testing::ElementsAre(Span{"", "a"}, Span{"b", "f"}, Span{"s", ""}));
  reads.Add({"a", "s"});
  EXPECT_THAT(reads.spans(), testing::ElementsAre(Span::All()));
  EXPECT_EQ(reads.size(), (ReadSet::Size{.bytes = 0, .spans = 1, .ranges = 1}));
}

TEST(ReadSet, KeysThatTouchStayKeys) {
  ReadSet reads;
  std::string key = "k";
  for (int i = 0; i < 5; ++i) {
    reads.Add(Span::OfKey(key));
    key.push_back('\0');
  }
  EXPECT_EQ(reads.size().spans, 5u);
  EXPECT_EQ(reads.size().ranges, 0u);
}

// What is read, key by key, over keys of one letter and those right behind them.
TEST(ReadSet, CoversExactlyWhatWasAddedAndCountsWhatItHolds) {
  Random random(4);
  for (int run = 0; run < 500; ++run) {
    ReadSet reads;
    std::set<std::string> read;
    std::vector<std::string> universe;
    for (char c = 'a'; c < 'k'; ++c) {
      universe.emplace_back(1, c);
      universe.push_back(std::string(1, c) + '\0');
      universe.push_back(std::string(1, c) + "m");
    }
    const auto key = [&] { return universe[random.Below(universe.size())]; };
    for (uint64_t i = random.Below(20); i > 0; --i) {
      Span span = random.Chance(0.5)
                      ? Span::OfKey(key())
                      : Span{random.Chance(0.1) ? "" : key(), random.Chance(0.1) ? "" : key()};
      if (span.empty()) continue;
      const ReadSet::Size with = reads.SizeWith(span);
      reads.Add(span);
      ASSERT_EQ(reads.size(), with);
      ASSERT_TRUE(reads.Has(span));
      for (const std::string& k : universe) {
        if (span.Contains(k)) read.insert(k);
      }
    }
    ReadSet::Size counted;
    const std::vector<Span> spans = reads.spans();
    for (size_t i = 0; i < spans.size(); ++i) {
      counted.bytes += spans[i].from.size() + spans[i].to.size();
      ++counted.spans;
      counted.ranges += spans[i].single() ? 0 : 1;
      if (i > 0) ASSERT_TRUE(!spans[i - 1].to.empty() && spans[i - 1].to <= spans[i].from);
    }
    ASSERT_EQ(reads.size(), counted);
    for (const std::string& k : universe) {
      ASSERT_EQ(reads.Has(Span::OfKey(k)), read.contains(k)) << "run " << run << " key " << k;
    }
  }
}

TEST(TxnHandle, SurvivesItsText) {
  Random random(1);
  const TxnHandle handle{TxnId::Make(random), Timestamp::FromParts(99, 1), std::string("a\0b", 3)};
  const auto parsed = TxnHandle::Parse(handle.ToString());
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->txn_id, handle.txn_id);
  EXPECT_EQ(parsed->start_ts, handle.start_ts);
  EXPECT_EQ(parsed->anchor_key, handle.anchor_key);
}

TEST(TxnHandle, RefusesOtherText) {
  const std::string id(32, 'a');
  for (const std::string& text :
       {std::string(), id, id + ":5", id + ":5:61", id + ":x:61:0", id + ":5x:61:0", id + "::61:0",
        id + ":5:6:0", id + ":5::0", id + "0:5:61:0", std::string(":5:61:0"), id + ":5:61:0:0"}) {
    EXPECT_EQ(TxnHandle::Parse(text).status().code(), Code::kInvalidArgument) << text;
  }
}

TEST(TxnHandle, RefusesATextWithAnyOneCharacterChangedOrLost) {
  Random random(2);
  const std::string text =
      TxnHandle{TxnId::Make(random), Timestamp::FromParts(99, 1), "key"}.ToString();
  for (size_t i = 0; i < text.size(); ++i) {
    std::string changed = text;
    changed[i] = changed[i] == '7' ? '8' : '7';
    EXPECT_FALSE(TxnHandle::Parse(changed).ok()) << changed;
    EXPECT_FALSE(TxnHandle::Parse(text.substr(0, i)).ok()) << "cut to " << i;
    EXPECT_FALSE(TxnHandle::Parse(text.substr(i + 1)).ok()) << "from " << i;
  }
}

}  // namespace
}  // namespace quorate::client
