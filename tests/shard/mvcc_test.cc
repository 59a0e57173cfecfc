// Versions against a naive map of (key, timestamp).
#include "shard/mvcc.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/random.h"
#include "shard/keys.h"
#include "tests/shard/map_reader.h"

namespace quorate::shard {
namespace {

// Keys that are prefixes of each other and hold bytes that look like suffixes.
const std::vector<std::string> kKeys = {"a",
                                        std::string("a\0", 2),
                                        std::string("a\0\0\0\0\0\0\0\0", 9),
                                        "aa",
                                        "b",
                                        "b\xff",
                                        "c",
                                        "\xff",
                                        "\xff\xff"};

class MvccTest : public ::testing::Test {
 protected:
  using Stored = std::pair<bool, std::string>;  // deletion, value

  void Write(const std::string& key, uint64_t ts, bool deletion) {
    const std::string value = fmt::format("{}@{}", ToHex(key), ts);
    storage::WriteBatch batch;
    PutVersion(key, Timestamp(ts), deletion, value, &batch);
    store_.Apply(std::move(batch));
    naive_[key][ts] = {deletion, deletion ? "" : value};
  }
  const Stored* NaiveAt(const std::string& key, uint64_t at) const {
    const auto versions = naive_.find(key);
    if (versions == naive_.end()) return nullptr;
    auto it = versions->second.upper_bound(at);
    return it == versions->second.begin() ? nullptr : &std::prev(it)->second;
  }
  std::optional<std::string> Visible(const std::string& key, uint64_t at) const {
    const auto version = VersionAt(store_, key, Timestamp(at));
    if (!version || version->deletion) return std::nullopt;
    return version->value;
  }

  Random random_{5};
  testing::MapReader store_;
  std::map<std::string, std::map<uint64_t, Stored>> naive_;
};

TEST_F(MvccTest, ReadsAsANaiveMapDoes) {
  for (int i = 0; i < 400; ++i) {
    Write(kKeys[random_.Below(kKeys.size())], 1 + random_.Below(100), random_.Chance(0.3));
  }
  for (int i = 0; i < 2000; ++i) {
    const std::string& key = kKeys[random_.Below(kKeys.size())];
    const uint64_t at = random_.Below(110);
    const auto version = VersionAt(store_, key, Timestamp(at));
    const Stored* naive = NaiveAt(key, at);
    ASSERT_EQ(version.has_value(), naive != nullptr);
    if (naive != nullptr) {
      EXPECT_EQ(version->deletion, naive->first);
      EXPECT_EQ(version->value, naive->second);
    }
    const auto versions = naive_.find(key);
    const uint64_t newest = versions == naive_.end() ? 0 : versions->second.rbegin()->first;
    EXPECT_EQ(NewestVersion(store_, key), Timestamp(newest));
  }
}

TEST_F(MvccTest, ScansInPiecesAsInOne) {
  for (int i = 0; i < 600; ++i) {
    Write(kKeys[random_.Below(kKeys.size())], 1 + random_.Below(300), random_.Chance(0.3));
  }
  for (int i = 0; i < 500; ++i) {
    Span span{random_.Chance(0.2) ? "" : kKeys[random_.Below(kKeys.size())],
              random_.Chance(0.4) ? "" : kKeys[random_.Below(kKeys.size())]};
    if (span.empty()) continue;
    const uint64_t at = random_.Below(310);
    const size_t piece = 1 + random_.Below(40);
    std::vector<std::string> got;
    std::optional<std::string> resume = span.from;
    while (resume) {
      resume =
          ScanVersions(store_, {*resume, span.to}, Timestamp(at), piece,
                       [&](std::string_view key, Timestamp, bool deletion, std::string_view v) {
                         got.push_back(fmt::format("{}{}{}", ToHex(key), deletion, v));
                         return true;
                       });
    }
    std::vector<std::string> expected;
    for (const auto& [key, versions] : naive_) {
      const Stored* naive = span.Contains(key) ? NaiveAt(key, at) : nullptr;
      if (naive != nullptr) {
        expected.push_back(fmt::format("{}{}{}", ToHex(key), naive->first, naive->second));
      }
    }
    ASSERT_EQ(got, expected);

    // And backwards.
    std::reverse(expected.begin(), expected.end());
    got.clear();
    resume = span.to;
    while (resume) {
      resume =
          ScanVersionsBack(store_, {span.from, *resume}, Timestamp(at), 1 + random_.Below(5),
                           [&](std::string_view key, Timestamp, bool deletion, std::string_view v) {
                             got.push_back(fmt::format("{}{}{}", ToHex(key), deletion, v));
                             return true;
                           });
    }
    ASSERT_EQ(got, expected);
  }
}

// G1: nothing that a read at or above the horizon can return is dropped; and what none can is.
TEST_F(MvccTest, CollectsWhatNoReadAboveTheHorizonCanReturn) {
  for (int round = 0; round < 200; ++round) {
    const std::string& key = kKeys[random_.Below(kKeys.size())];
    for (int i = 0; i < 6; ++i) {
      Write(key, 1 + random_.Below(50) + 10 * static_cast<uint64_t>(round), random_.Chance(0.4));
    }
    const uint64_t horizon = 10 * static_cast<uint64_t>(round) + random_.Below(60);
    std::map<uint64_t, std::optional<std::string>> before;
    for (uint64_t at = horizon; at < horizon + 60; ++at) before[at] = Visible(key, at);
    for (;;) {
      const size_t max = 1 + random_.Below(4);
      storage::WriteBatch batch;
      const auto newest = VersionAt(store_, key, Timestamp(horizon));
      if (!newest) break;
      const size_t deleted =
          CollectVersions(store_, key, newest->commit_ts, Timestamp(horizon), max, &batch);
      ASSERT_EQ(batch.ops.size(), deleted);
      store_.Apply(std::move(batch));
      for (const auto& [at, value] : before) ASSERT_EQ(Visible(key, at), value);
      if (deleted < max) break;
    }
    size_t at_or_below = 0;
    const auto [from, to] = StoreSpanOfKey(Tag::kVersions, key);
    ASSERT_TRUE(store_
                    .Scan(from, to,
                          [&](std::string_view k, std::string_view v) {
                            if (VersionTimestamp(k) <= Timestamp(horizon)) {
                              ++at_or_below;
                              EXPECT_EQ(v[0], 0) << "a deletion at the horizon hides nothing";
                            }
                            return true;
                          })
                    .ok());
    EXPECT_LE(at_or_below, 1u);
  }
}

// What a scan visits, for counting.
class CountingReader final : public storage::KvReader {
 public:
  explicit CountingReader(const storage::KvReader& store) : store_(store) {}
  Result<std::optional<std::string>> Get(std::string_view key) const override {
    return store_.Get(key);
  }
  Status Scan(std::string_view from, std::string_view to,
              storage::ScanVisitor visit) const override {
    return store_.Scan(from, to, [&](std::string_view key, std::string_view value) {
      ++visited;
      return visit(key, value);
    });
  }
  Status ScanBack(std::string_view from, std::string_view to,
                  storage::ScanVisitor visit) const override {
    return store_.ScanBack(from, to, [&](std::string_view key, std::string_view value) {
      ++visited;
      return visit(key, value);
    });
  }
  mutable size_t visited = 0;

 private:
  const storage::KvReader& store_;
};

TEST_F(MvccTest, TheLastRowsAreFoundWithoutTheFirstOnes) {
  for (int i = 0; i < 500; ++i) {
    for (uint64_t ts = 1; ts <= 3; ++ts) Write(fmt::format("k{:03}", i), ts, false);
  }
  const CountingReader counted(store_);
  std::vector<std::string> got;
  const auto take = [&](std::string_view key, Timestamp, bool, std::string_view) {
    got.emplace_back(key);
    return got.size() < 2;
  };
  ScanVersionsBack(counted, {"k", ""}, Timestamp(9), 100, take);
  EXPECT_EQ(got, (std::vector<std::string>{"k499", "k498"}));
  EXPECT_LE(counted.visited, 4u);
}

TEST_F(MvccTest, AKeyThatIsWrittenOftenIsCollectedInOnePass) {
  constexpr uint64_t kVersions = 1'000;
  for (uint64_t ts = 1; ts <= kVersions; ++ts) Write("hot", ts, false);
  const CountingReader reader(store_);
  storage::WriteBatch batch;
  size_t deleted = 0;
  for (uint64_t ts = 1; ts <= kVersions; ++ts) {
    deleted +=
        CollectVersions(reader, "hot", Timestamp(ts), Timestamp(kVersions + 1), SIZE_MAX, &batch);
  }
  EXPECT_EQ(deleted, kVersions - 1);
  EXPECT_EQ(batch.ops.size(), deleted) << "each once";
  EXPECT_LE(reader.visited, 3 * kVersions);
}

}  // namespace
}  // namespace quorate::shard
