#include "storage/overlay.h"

#include <gtest/gtest.h>

#include <map>

#include "base/random.h"

namespace quorate::storage {
namespace {

using Model = std::map<std::string, std::optional<std::string>, KeyLess>;
using Ops = std::vector<std::pair<std::string, std::optional<std::string>>>;

// Few bodies, some the beginning of others, with suffixes that would sort differently as one
// string.
std::string RandomKey(Random& random) {
  std::string body(1 + random.Below(3), 'a');
  body.back() = static_cast<char>(random.Below(4));
  const std::string suffix(random.Below(3), static_cast<char>(random.Below(3)));
  return MakeKey(body, suffix);
}

Ops Read(const Overlay& overlay, std::string_view from, std::string_view to) {
  Ops ops;
  for (Overlay::Cursor at(overlay, from, to); at.valid(); at.Next()) {
    ops.emplace_back(at.op().key, at.op().value);
  }
  return ops;
}

Ops Read(const Model& model, std::string_view from, std::string_view to) {
  Ops ops;
  for (const auto& [key, value] : model) {
    if (!from.empty() && CompareKeys(key, from) < 0) continue;
    if (!to.empty() && CompareKeys(key, to) >= 0) continue;
    ops.emplace_back(key, value);
  }
  return ops;
}

TEST(OverlayTest, IsAnOrderedMap) {
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    Random random(seed);
    Overlay overlay;
    Model model;
    for (int step = 0; step < 120; ++step) {
      const std::string key = RandomKey(random);
      std::optional<std::string> value;
      if (random.Chance(0.7)) value = std::to_string(step);
      if (random.Chance(0.3)) {
        overlay.Erase(key);
        model.erase(key);
      } else {
        overlay.Put(key, value);
        model[key] = value;
      }
      if (random.Chance(0.05)) overlay = Overlay(overlay);
      const std::string probe = RandomKey(random);
      const auto* found = overlay.Find(probe);
      ASSERT_EQ(found != nullptr, model.contains(probe));
      if (found != nullptr) ASSERT_EQ(*found, model[probe]);
      if (random.Chance(0.2)) overlay.Index(random.Below(3));
      const std::string from = random.Chance(0.1) ? "" : RandomKey(random);
      const std::string to = random.Chance(0.1) ? "" : RandomKey(random);
      ASSERT_EQ(Read(overlay, from, to), Read(model, from, to)) << "seed " << seed;
    }
    ASSERT_EQ(overlay.size(), model.size());
    size_t visited = 0;
    overlay.ForEach([&](const Overlay::Op& op) { visited += model.contains(op.key) ? 1 : 0; });
    ASSERT_EQ(visited, model.size());
    const Ops all = Read(model, {}, {});
    const auto ordered = overlay.Ordered();
    ASSERT_EQ(ordered.size(), all.size());
    for (size_t i = 0; i < all.size(); ++i) ASSERT_EQ(ordered[i]->key, all[i].first);
  }
}

TEST(OverlayTest, TheOrderIsMadeInSteps) {
  Overlay overlay;
  EXPECT_TRUE(overlay.Index(0));
  for (int i = 0; i < 10; ++i) overlay.Put(MakeKey(std::to_string(i)), "v");
  EXPECT_FALSE(overlay.Index(4));
  EXPECT_FALSE(overlay.Index(4));
  EXPECT_TRUE(overlay.Index(2));
  overlay.Put(MakeKey("1"), "w");
  EXPECT_TRUE(overlay.Index(0)) << "a body that is there has its place";
  overlay.Put(MakeKey("x"), "v");
  EXPECT_FALSE(overlay.Index(0));
  EXPECT_EQ(Read(overlay, {}, {}).size(), 11u) << "a scan does what is left";
  EXPECT_TRUE(overlay.Index(0));
}

TEST(OverlayTest, OneBodysVersionsAreARange) {
  Overlay overlay;
  for (const char* suffix : {"2", "0", "1"}) overlay.Put(MakeKey("k", suffix), suffix);
  overlay.Put(MakeKey("j"), "before");
  overlay.Put(MakeKey(std::string("k\0", 2)), "behind");
  const Ops expected = {{MakeKey("k", "1"), "1"}, {MakeKey("k", "2"), "2"}};
  EXPECT_EQ(Read(overlay, MakeKey("k", "1"), MakeKey(std::string("k\0", 2))), expected);
  EXPECT_EQ(Read(overlay, MakeKey("missing"), MakeKey(std::string("missing\0", 8))), Ops());
}

TEST(OverlayTest, CountsBytes) {
  Overlay overlay;
  overlay.Put(MakeKey("a"), std::string(1000, 'x'));
  const size_t large = overlay.bytes();
  EXPECT_GT(large, 1000u);
  overlay.Put(MakeKey("a"), std::nullopt);
  EXPECT_EQ(overlay.bytes(), large - 1000);
  EXPECT_EQ(overlay.size(), 1u);
  overlay.Put(MakeKey("b"), "y");
  overlay.Erase(MakeKey("b"));
  EXPECT_EQ(overlay.bytes(), large - 1000);
  const Overlay moved = std::exchange(overlay, {});
  EXPECT_TRUE(overlay.empty());
  EXPECT_EQ(overlay.bytes(), 0u);
  EXPECT_EQ(moved.size(), 1u);
}

}  // namespace
}  // namespace quorate::storage
