#include "server/node/cluster_view.h"

#include <gtest/gtest.h>

#include "placement/service.h"
#include "server/node/bootstrap_plan.h"

namespace quorate::server {
namespace {

v1::BootstrapRequest Plan() {
  std::vector<v1::NodeInfo> members;
  for (int i = 1; i <= 3; ++i) {
    v1::NodeInfo node;
    node.set_address("n" + std::to_string(i) + ":7400");
    node.set_storage_id(std::string(31, '0') + static_cast<char>('0' + i));
    members.push_back(node);
  }
  v1::InitRequest request;
  request.add_split_keys("h");
  request.add_split_keys("p");
  return *PlanBootstrap(std::string(32, 'c'), members, request);
}

TEST(ClusterView, AnswersRoutesOfARange) {
  ClusterView view;
  view.Seed(Plan());
  EXPECT_EQ(view.Routes(Span::All()).routes_size(), 3);
  EXPECT_EQ(view.Routes({"a", "b"}).routes_size(), 1);
  EXPECT_EQ(view.Routes({"a", "h"}).routes_size(), 1);
  EXPECT_EQ(view.Routes({"a", "h2"}).routes_size(), 2);
  EXPECT_EQ(view.Routes({"z", ""}).routes(0).shard().shard_id(), kFirstShardId + 2);
  EXPECT_EQ(view.Routes({"z", ""}).nodes_size(), 3) << "addresses of all nodes";
}

TEST(ClusterView, ANodeThatWasRemovedIsGone) {
  ClusterView view;
  view.Seed(Plan());
  v1::RoutesResponse map = view.Routes(Span::All());
  map.mutable_nodes()->DeleteSubrange(1, 1);
  view.Update(map);
  EXPECT_EQ(view.FindNode(NodeId(2)), nullptr);
  EXPECT_EQ(view.Routes(Span::All()).nodes_size(), 2);
  view.Update(v1::RoutesResponse());
  EXPECT_EQ(view.nodes().size(), 2u) << "a map without nodes says nothing of them";
}

TEST(ClusterView, WhereANodeWasFoundCountsUntilTheMapNamesAnotherAddress) {
  ClusterView view;
  view.Seed(Plan());
  v1::RoutesResponse map = view.Routes(Span::All());
  v1::NodeInfo moved = *view.FindNode(NodeId(2));
  const std::string old = moved.address();
  moved.set_address("elsewhere:7400");
  view.SetFound(moved);
  EXPECT_EQ(view.FindNode(NodeId(2))->address(), "elsewhere:7400");
  view.Update(map);
  EXPECT_EQ(view.FindNode(NodeId(2))->address(), "elsewhere:7400") << "the map has not heard of it";
  EXPECT_EQ(view.Routes(Span::All()).nodes(1).address(), "elsewhere:7400") << "clients are told";
  map.mutable_nodes(1)->set_address("elsewhere:7400");
  view.Update(map);
  map.mutable_nodes(1)->set_address(old);
  view.Update(map);
  EXPECT_EQ(view.FindNode(NodeId(2))->address(), old) << "it moved back, says the map";
}

TEST(ClusterView, ANodeThatIsFoundFirstBeginsThere) {
  ClusterView view;
  view.Seed(Plan());
  v1::NodeInfo stranger;
  stranger.set_node_id(9);
  stranger.set_address("n9:7400");
  view.SetFound(stranger);
  ASSERT_NE(view.FindNode(NodeId(9)), nullptr);
  EXPECT_EQ(view.FindNode(NodeId(9))->address(), "n9:7400");
}

TEST(ClusterView, ALocalReplicaKnowsBetterWhoLeads) {
  ClusterView view;
  view.Seed(Plan());
  v1::RoutesResponse map = view.Routes(Span::All());
  map.mutable_routes(0)->set_leader_node_id(2);
  map.set_placement_leader(2);
  view.Update(map);
  EXPECT_EQ(view.LeaderOf(ShardId(kFirstShardId)), NodeId(2));
  view.SetLocalLeader([](GroupId group) {
    return group == placement::kPlacementGroup || group == GroupId(kFirstShardId) ? NodeId(3)
                                                                                  : NodeId();
  });
  EXPECT_EQ(view.LeaderOf(ShardId(kFirstShardId)), NodeId(3));
  EXPECT_EQ(view.Routes(Span::All()).placement_leader(), 3u);
}

TEST(ClusterView, ALateMapDoesNotBringBackAnOldEpoch) {
  ClusterView view;
  view.Seed(Plan());
  const v1::RoutesResponse old = view.Routes(Span::All());
  v1::ShardDescriptor grown = old.routes(0).shard();
  grown.set_to("p");
  grown.set_version(2);
  view.Update(grown);
  view.Update(old);
  EXPECT_EQ(view.Routes(Span::All()).routes_size(), 2);
  EXPECT_EQ(view.FindShard(ShardId(kFirstShardId))->version(), 2u);
}

TEST(ClusterView, HintsALeaderOnlyWithAnAddress) {
  ClusterView view;
  view.Seed(Plan());
  v1::Replica hint;
  EXPECT_FALSE(view.FillLeader(NodeId(9), &hint));
  EXPECT_TRUE(view.FillLeader(NodeId(1), &hint));
  EXPECT_EQ(hint.address(), "n1:7400");
}

}  // namespace
}  // namespace quorate::server
