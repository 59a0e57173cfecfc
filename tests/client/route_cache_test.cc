#include "client/route/route_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "base/random.h"
#include "quorate/v1/placement.pb.h"

namespace quorate::client {
namespace {

v1::ShardDescriptor Descriptor(uint64_t id, std::string from, std::string to, uint64_t version,
                               uint64_t membership = 1, uint64_t replica = 1) {
  v1::ShardDescriptor d;
  d.set_shard_id(id);
  d.set_from(std::move(from));
  d.set_to(std::move(to));
  d.set_version(version);
  d.set_membership_version(membership);
  d.add_replicas()->set_node_id(replica);
  d.mutable_replicas(0)->set_address("n" + std::to_string(replica) + ":1");
  return d;
}

TEST(RouteCache, FindsTheOwnerAndKnowsWhatItDoesNotKnow) {
  RouteCache cache({"seed:1"});
  cache.Update(Descriptor(2, "", "g", 1));
  cache.Update(Descriptor(3, "m", "", 1));
  EXPECT_EQ(cache.Find("a")->shard, ShardId(2));
  EXPECT_EQ(cache.Find("")->shard, ShardId(2));
  EXPECT_EQ(cache.Find("g"), nullptr);
  EXPECT_EQ(cache.Find("zz")->shard, ShardId(3));
  EXPECT_EQ(cache.FindBelow("")->shard, ShardId(3));
  EXPECT_EQ(cache.FindBelow("g")->shard, ShardId(2));
  EXPECT_EQ(cache.FindBelow("m"), nullptr);
  EXPECT_FALSE(cache.Cover({"a", "n"}).has_value());
  cache.Update(Descriptor(4, "g", "m", 1));
  const auto routes = cache.Cover({"a", "n"});
  ASSERT_TRUE(routes.has_value());
  EXPECT_EQ(routes->size(), 3u);
  EXPECT_EQ(cache.Cover(Span::All())->size(), 3u);
}

// PL27: an error's newer descriptor is not undone by an older map.
TEST(RouteCache, TheHigherVersionWinsWhoeverBringsIt) {
  RouteCache cache({"seed:1"});
  v1::Error stale;
  *stale.add_descriptors() = Descriptor(2, "", "m", 2);
  *stale.add_descriptors() = Descriptor(5, "m", "", 2);
  cache.Learn(ShardId(2), stale);
  v1::RoutesResponse old;
  *old.add_routes()->mutable_shard() = Descriptor(2, "", "", 1);
  EXPECT_TRUE(cache.Update(old));
  EXPECT_EQ(cache.Find("a")->version, 2u);
  EXPECT_EQ(cache.Find("x")->shard, ShardId(5));
}

TEST(RouteCache, KeepsTheLeaderOverANewDescriptorThatStillHasIt) {
  RouteCache cache({"seed:1"});
  cache.Update(Descriptor(2, "", "", 1, 1, 7));
  cache.SetLeader(ShardId(2), NodeId(7));
  cache.Update(Descriptor(2, "", "", 1, 2, 7));
  EXPECT_EQ(cache.Find("a")->leader, NodeId(7));
  cache.Update(Descriptor(2, "", "", 1, 3, 8));
  EXPECT_EQ(cache.Find("a")->leader, NodeId()) << "it is no replica any more";
}

TEST(RouteCache, AMapFillsUnknownLeadersOnly) {
  RouteCache cache({"seed:1"});
  v1::RoutesResponse map;
  *map.add_routes()->mutable_shard() = Descriptor(2, "", "", 1);
  map.mutable_routes(0)->set_leader_node_id(1);
  EXPECT_TRUE(cache.Update(map));
  EXPECT_EQ(cache.Find("a")->leader, NodeId(1));
  cache.SetLeader(ShardId(2), NodeId(3));
  EXPECT_TRUE(cache.Update(map));
  EXPECT_EQ(cache.Find("a")->leader, NodeId(3));
}

TEST(RouteCache, RefusesAnotherClustersMap) {
  RouteCache cache({"seed:1"});
  v1::RoutesResponse map;
  map.set_cluster_id("ours");
  EXPECT_TRUE(cache.Update(map));
  map.set_cluster_id("theirs");
  *map.add_routes()->mutable_shard() = Descriptor(2, "", "", 9);
  EXPECT_FALSE(cache.Update(map));
  EXPECT_TRUE(cache.empty());
}

TEST(RouteCache, MapSourcesNameThePlacementLeaderFirstAndSeedsLast) {
  RouteCache cache({"seed:1", "n2:1"});
  v1::RoutesResponse map;
  for (uint64_t id : {1, 2, 3}) {
    v1::NodeInfo* node = map.add_nodes();
    node->set_node_id(id);
    node->set_address("n" + std::to_string(id) + ":1");
  }
  map.add_placement_nodes(2);
  map.add_placement_nodes(3);
  map.set_placement_leader(3);
  EXPECT_TRUE(cache.Update(map));
  EXPECT_THAT(cache.MapSources(), testing::ElementsAre("n3:1", "n2:1", "n1:1", "seed:1"));
}

// A second implementation: one cell per key of a small key space.
class NaiveRoutes {
 public:
  static constexpr int kKeys = 12;
  struct Cell {
    uint64_t shard = 0;
    uint64_t version = 0;
    uint64_t membership = 0;
  };
  void Update(uint64_t shard, int from, int to, uint64_t version, uint64_t membership) {
    for (const Cell& c : cells) {
      if (c.shard == shard &&
          std::pair(version, membership) <= std::pair(c.version, c.membership)) {
        return;
      }
    }
    for (Cell& c : cells) {
      if (c.shard == shard) c = Cell{};
    }
    for (int i = from; i < to; ++i) {
      if (cells[i].version <= version) cells[i] = {shard, version, membership};
    }
  }
  std::array<Cell, kKeys> cells;
};

std::string KeyOf(int i) { return i == 0 ? "" : std::string(1, static_cast<char>('a' + i)); }

TEST(RouteCache, AgreesWithANaiveModelOnRandomUpdates) {
  Random random(7);
  for (int run = 0; run < 300; ++run) {
    RouteCache cache({});
    NaiveRoutes model;
    for (int step = 0; step < 40; ++step) {
      const int from = static_cast<int>(random.Below(NaiveRoutes::kKeys));
      const int to = static_cast<int>(random.Between(from + 1, NaiveRoutes::kKeys));
      const uint64_t shard = 1 + random.Below(6);
      const uint64_t version = 1 + random.Below(8);
      const uint64_t membership = 1 + random.Below(2);
      cache.Update(Descriptor(shard, KeyOf(from), to == NaiveRoutes::kKeys ? "" : KeyOf(to),
                              version, membership));
      model.Update(shard, from, to, version, membership);
      for (int i = 0; i < NaiveRoutes::kKeys; ++i) {
        const Route* route = cache.Find(KeyOf(i));
        const uint64_t found = route == nullptr ? 0 : route->shard.value();
        ASSERT_EQ(found, model.cells[i].shard) << "run " << run << " step " << step << " key " << i;
        if (route != nullptr) {
          ASSERT_EQ(route->version, model.cells[i].version);
          ASSERT_EQ(route->membership_version, model.cells[i].membership);
        }
      }
    }
  }
}

}  // namespace
}  // namespace quorate::client
