// SpanIndex against a list of spans.
#include "shard/span_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/random.h"

namespace quorate::shard {
namespace {

struct Entry {
  Span span;
  uint64_t id;
};

TEST(SpanIndex, FindsWhatMeetsAKeyAsOftenAsAListDoes) {
  Random random(3);
  const auto key = [&] { return std::string(1, static_cast<char>('a' + random.Below(12))); };
  SpanIndex<const uint64_t> index(Random(5));
  std::vector<Entry> list;
  std::vector<uint64_t> values(6);
  for (size_t i = 0; i < values.size(); ++i) values[i] = i;
  size_t found_in_all = 0;
  for (int step = 0; step < 20'000; ++step) {
    if (list.size() < 30 && random.Chance(0.5)) {
      const Span span{key(), random.Chance(0.1) ? "" : key()};
      if (span.empty()) continue;
      const uint64_t id = random.Below(values.size());
      index.Insert(span, id, &values[id]);
      list.push_back({span, id});
    } else if (!list.empty() && random.Chance(0.5)) {
      const size_t i = random.Below(list.size());
      index.Erase(list[i].span, list[i].id);
      list.erase(list.begin() + static_cast<std::ptrdiff_t>(i));
    }
    ASSERT_EQ(index.size(), list.size());

    std::vector<std::string> keys;
    for (uint64_t i = random.Below(4); i > 0; --i) keys.push_back(key());
    std::sort(keys.begin(), keys.end());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    std::vector<uint64_t> expected, found;
    for (const Entry& entry : list) {
      if (std::any_of(keys.begin(), keys.end(),
                      [&](const std::string& k) { return entry.span.Contains(k); })) {
        expected.push_back(entry.id);
      }
    }
    index.Visit(keys, [&](uint64_t id) { found.push_back(id); });
    found_in_all += found.size();
    std::sort(expected.begin(), expected.end());
    std::sort(found.begin(), found.end());
    ASSERT_EQ(found, expected) << "step " << step;
    // In any order each is found, if more than once.
    std::reverse(keys.begin(), keys.end());
    found.clear();
    index.Visit(keys, [&](uint64_t id) { found.push_back(id); });
    std::sort(found.begin(), found.end());
    ASSERT_TRUE(std::includes(found.begin(), found.end(), expected.begin(), expected.end()));
  }
  EXPECT_GT(found_in_all, 10'000u);
}

TEST(SpanIndex, LooksAtFewOfMany) {
  SpanIndex<const uint64_t> index(Random(5));
  const uint64_t value = 0;
  const auto key = [](size_t n) { return fmt::format("{:06}", n); };
  // In order, which is the worst for a tree that is not balanced.
  for (size_t i = 0; i < 100'000; ++i) index.Insert({key(10 * i), key(10 * i + 5)}, i, &value);
  size_t found = 0;
  const auto count = [&](uint64_t) { ++found; };
  EXPECT_LT(index.Visit(std::vector<std::string>{key(500'003)}, count), 100u);
  EXPECT_EQ(found, 1u);
  EXPECT_LT(index.Visit(std::vector<std::string>{key(500'007)}, count), 100u);
  EXPECT_EQ(found, 1u);
}

// Keys ascend where the draws of a generator that is no secret descend.
TEST(SpanIndex, NobodyChoosesItsShape) {
  constexpr size_t kSpans = 3000;
  Random known(1);
  std::vector<std::pair<uint64_t, size_t>> draws(kSpans);
  for (size_t i = 0; i < kSpans; ++i) draws[i] = {known.Next(), i};
  std::sort(draws.rbegin(), draws.rend());
  std::vector<size_t> place(kSpans);
  for (size_t i = 0; i < kSpans; ++i) place[draws[i].second] = i;
  SpanIndex<const uint64_t> index(Random(5));
  const uint64_t value = 0;
  const auto key = [](size_t n) { return fmt::format("{:06}", n); };
  for (size_t i = 0; i < kSpans; ++i) {
    index.Insert({key(10 * place[i]), key(10 * place[i] + 5)}, i, &value);
  }
  size_t found = 0;
  EXPECT_LT(index.Visit(std::vector<std::string>{key(10 * (kSpans - 1) + 3)},
                        [&](uint64_t) { ++found; }),
            100u);
  EXPECT_EQ(found, 1u);
}

}  // namespace
}  // namespace quorate::shard
