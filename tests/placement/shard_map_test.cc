// The map against a naive one: an array with the newest descriptor of each of 64 keys.
#include "placement/shard_map.h"

#include <gtest/gtest.h>

#include <array>

#include "base/random.h"

namespace quorate::placement {
namespace {

constexpr int kKeys = 64;

std::string KeyOf(int i) {
  if (i <= 0 || i >= kKeys) return {};
  return std::string(1, static_cast<char>(i));
}

v1::ShardDescriptor Shard(uint64_t id, int from, int to, uint64_t version,
                          uint64_t membership = 1) {
  v1::ShardDescriptor d;
  d.set_shard_id(id);
  d.set_from(KeyOf(from));
  d.set_to(KeyOf(to));
  d.set_version(version);
  d.set_membership_version(membership);
  return d;
}

TEST(ShardMap, OneShardOwnsAllKeys) {
  ShardMap map;
  map.Put(Shard(2, 0, kKeys, 1));
  EXPECT_EQ(map.TilingError(), "");
  EXPECT_EQ(map.Find("anything")->shard_id(), 2u);
  EXPECT_EQ(map.Find("")->shard_id(), 2u);
}

TEST(ShardMap, SaysWhereItHasAGap) {
  ShardMap map;
  EXPECT_NE(map.TilingError(), "");
  map.Put(Shard(2, 0, 10, 1));
  EXPECT_NE(map.TilingError().find("nobody owns"), std::string::npos);
  map.Put(Shard(3, 12, kKeys, 1));
  EXPECT_NE(map.TilingError().find("shard 3"), std::string::npos);
  map.Put(Shard(4, 10, 12, 1));
  EXPECT_EQ(map.TilingError(), "");
}

TEST(ShardMap, OnlyChildrenThatFitArePlausible) {
  ShardMap map;
  map.Put(Shard(2, 0, 30, 4));
  map.Put(Shard(3, 30, kKeys, 7));
  EXPECT_TRUE(map.Plausible(Shard(2, 0, 20, 5), 10, true)) << "it gave keys away";
  EXPECT_FALSE(map.Plausible(Shard(2, 0, 40, 99), 10, true)) << "keys that were never its";
  EXPECT_TRUE(map.Plausible(Shard(2, 0, kKeys, 8), 10, true)) << "it absorbed all of its neighbour";
  EXPECT_FALSE(map.Plausible(Shard(2, 0, kKeys, 8), 10, false)) << "nothing is absorbed yet";
  EXPECT_FALSE(map.Plausible(Shard(2, 0, kKeys, 7), 10, true)) << "which was not older";
  EXPECT_FALSE(map.Plausible(Shard(3, 0, kKeys, 8), 10, true)) << "who absorbs grows to the right";
  EXPECT_TRUE(map.Plausible(Shard(9, 20, 30, 5), 10, true))
      << "a child, before its parent's report";
  EXPECT_FALSE(map.Plausible(Shard(10, 20, 30, 5), 10, true)) << "an id that nobody gave";
  EXPECT_FALSE(map.Plausible(Shard(9, 20, 30, 4), 10, true)) << "no newer than its parent";
  EXPECT_FALSE(map.Plausible(Shard(9, 20, 40, 99), 10, true)) << "keys of two shards";
  map.Put(Shard(9, 20, 30, 5));
  EXPECT_TRUE(map.Plausible(Shard(2, 0, 20, 5), 10, true)) << "the parent, behind its child";
  EXPECT_TRUE(map.Plausible(Shard(9, 20, 25, 6), 10, true));
  EXPECT_EQ(map.TilingError(), "");
}

TEST(ShardMap, ASplitReportedInAnyOrderLeavesNoGap) {
  for (const bool child_first : {false, true}) {
    ShardMap map;
    map.Put(Shard(2, 0, kKeys, 1));
    const auto parent = Shard(2, 0, 30, 2);
    const auto child = Shard(3, 30, kKeys, 2);
    map.Put(child_first ? child : parent);
    EXPECT_EQ(map.TilingError(), "") << child_first;
    EXPECT_EQ(map.Find(KeyOf(40))->shard_id(), child_first ? 3u : 2u);
    map.Put(child_first ? parent : child);
    EXPECT_EQ(map.TilingError(), "");
    EXPECT_EQ(map.Find(KeyOf(29))->version(), 2u);
    EXPECT_EQ(map.Find(KeyOf(30))->shard_id(), 3u);
    EXPECT_EQ(map.pieces().size(), 2u);
  }
}

TEST(ShardMap, AMergeTakesTheOtherShardsKeys) {
  ShardMap map;
  map.Put(Shard(2, 0, 30, 2));
  map.Put(Shard(3, 30, kKeys, 5));
  map.Put(Shard(2, 0, kKeys, 6));
  EXPECT_EQ(map.pieces().size(), 1u);
  EXPECT_EQ(map.Find(KeyOf(40))->shard_id(), 2u);
}

TEST(ShardMap, AnOldReportChangesNothing) {
  ShardMap map;
  map.Put(Shard(2, 0, kKeys, 3, 2));
  EXPECT_FALSE(map.Newer(Shard(2, 0, kKeys, 3, 2)));
  EXPECT_TRUE(map.Put(Shard(2, 0, kKeys, 2, 9)).empty());
  EXPECT_TRUE(map.Put(Shard(9, 5, 20, 3)).empty());
  EXPECT_TRUE(map.Newer(Shard(2, 0, kKeys, 3, 3)));
  EXPECT_FALSE(map.Put(Shard(2, 0, kKeys, 3, 3)).empty());
}

TEST(ShardMap, SaysWhatToStoreAndWhatToRemove) {
  ShardMap map;
  map.Put(Shard(2, 0, 30, 1));
  map.Put(Shard(3, 30, kKeys, 1));
  const ShardMap::Change change = map.Put(Shard(2, 0, kKeys, 2));
  EXPECT_EQ(change.removed, std::vector<std::string>{KeyOf(30)});
  EXPECT_EQ(change.written, std::vector<std::string>{std::string()});
}

TEST(ShardMap, IsTheNaiveMapOnRandomReports) {
  Random random(3);
  for (int round = 0; round < 300; ++round) {
    ShardMap map;
    std::map<std::string, v1::ShardDescriptor> stored;  // as the state machine keeps it
    std::array<v1::ShardDescriptor, kKeys> naive;
    const auto put = [&](const v1::ShardDescriptor& d) {
      const bool newer = map.Newer(d);
      const ShardMap::Change change = map.Put(d);
      EXPECT_EQ(newer, !change.empty());
      for (const auto& from : change.removed) stored.erase(from);
      for (const auto& from : change.written) stored[from] = map.pieces().at(from);
      const int from = d.from().empty() ? 0 : d.from()[0];
      const int to = d.to().empty() ? kKeys : d.to()[0];
      for (int k = from; k < to; ++k) {
        v1::ShardDescriptor& have = naive[static_cast<size_t>(k)];
        const bool same = have.shard_id() == d.shard_id();
        if (d.version() > have.version() || (same && d.version() == have.version() &&
                                             d.membership_version() > have.membership_version())) {
          have = d;
        }
      }
    };
    put(Shard(2, 0, kKeys, 1));
    for (int i = 0; i < 40; ++i) {
      const int from = static_cast<int>(random.Below(kKeys - 1));
      const int to = from + 1 + static_cast<int>(random.Below(kKeys - from));
      put(Shard(2 + random.Below(6), from, to, 1 + random.Below(20), 1 + random.Below(3)));
      ASSERT_EQ(map.TilingError(), "");
    }
    for (int k = 0; k < kKeys; ++k) {
      const v1::ShardDescriptor* found = map.Find(KeyOf(k));
      ASSERT_NE(found, nullptr);
      const v1::ShardDescriptor& want = naive[static_cast<size_t>(k)];
      ASSERT_EQ(found->shard_id(), want.shard_id()) << "key " << k << " in round " << round;
      ASSERT_EQ(found->version(), want.version());
      ASSERT_EQ(found->membership_version(), want.membership_version());
    }
    ShardMap loaded;
    for (auto& [from, piece] : stored) loaded.Load(piece);
    ASSERT_EQ(loaded.TilingError(), "");
    ASSERT_EQ(loaded.pieces().size(), map.pieces().size());
  }
}

}  // namespace
}  // namespace quorate::placement
