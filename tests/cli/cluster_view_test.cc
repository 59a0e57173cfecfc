// cli/cluster_view.h: what follows from what nodes report. How they are asked: tests/integration.
#include "cli/cluster_view.h"

#include <gtest/gtest.h>

namespace quorate::cli {
namespace {

// Nodes 1 to 4, of which all answer; shard 5 and placement are on 1 to 3.
class View : public ::testing::Test {
 protected:
  View() {
    for (uint64_t id = 1; id <= 4; ++id) {
      view_.map.add_nodes()->set_node_id(id);
      view_.nodes[id].emplace().set_accepts_writes(true);
      if (id == 4) continue;
      view_.map.add_placement_nodes(id);
    }
    v1::ShardDescriptor* shard = view_.map.add_routes()->mutable_shard();
    shard->set_shard_id(5);
    for (uint64_t id = 1; id <= 3; ++id) shard->add_replicas()->set_node_id(id);
    view_.leader_of[5] = 1;
    view_.placement_leader = 2;
  }
  std::string_view State(int node) { return view_.StateOf(view_.map.nodes(node - 1)); }
  void Drain(int node) { view_.map.mutable_nodes(node - 1)->set_draining(true); }

  ClusterView view_;
};

TEST_F(View, ANodeIsDrainedOnceTheMapHasNothingThere) {
  EXPECT_EQ(State(3), "up");
  Drain(3);
  EXPECT_EQ(view_.Holds(3), 2u);
  EXPECT_EQ(State(3), "draining");
  view_.map.mutable_routes(0)->mutable_shard()->mutable_replicas(2)->set_node_id(4);
  EXPECT_EQ(State(3), "draining") << "it still has one of placement";
  view_.map.mutable_placement_nodes()->RemoveLast();
  EXPECT_EQ(State(3), "drained");
  view_.map.add_placement_learners(3);
  EXPECT_EQ(State(3), "draining");
}

TEST_F(View, SilenceAndAFullDiskAreToldFirst) {
  view_.nodes[1]->set_accepts_writes(false);
  EXPECT_EQ(State(1), "full");
  Drain(4);
  view_.nodes[4].reset();
  EXPECT_EQ(State(4), "silent");
}

TEST_F(View, AChildThatLeadsBeforeTheMapHasItDoesNotCount) {
  view_.leader_of[6] = 1;
  EXPECT_EQ(view_.served(), 1u);
  EXPECT_TRUE(view_.healthy());
  view_.leader_of.erase(5);
  EXPECT_EQ(view_.served(), 0u);
  EXPECT_FALSE(view_.healthy()) << "the child's leader is not the one that is missing";
  EXPECT_EQ(view_.WhyNoWrites(), "1 of 1 shards have no serving leader");
}

TEST_F(View, WithoutAShardNothingIsServed) {
  view_.map.clear_routes();
  EXPECT_EQ(view_.WhyNoWrites(), "there are no shards");
  EXPECT_FALSE(view_.healthy());
}

TEST_F(View, AMoveIsDoneOnceTheMapHasIt) {
  EXPECT_FALSE(IsMoved(view_, 5, 3, 4));
  view_.map.mutable_routes(0)->mutable_shard()->add_replicas()->set_node_id(4);
  EXPECT_FALSE(IsMoved(view_, 5, 3, 4)) << "it is in both places";
  view_.map.mutable_routes(0)->mutable_shard()->mutable_replicas()->DeleteSubrange(2, 1);
  EXPECT_TRUE(IsMoved(view_, 5, 3, 4));
  EXPECT_TRUE(IsMoved(view_, 5, 3, 0));
  EXPECT_FALSE(IsMoved(view_, 5, 3, 6)) << "it went elsewhere";
  EXPECT_FALSE(IsMoved(view_, 6, 3, 4)) << "no such shard";
}

TEST_F(View, ASplitAndAMergeAreDoneOnceTheMapHasThem) {
  const v1::RoutesResponse whole = view_.map;  // shard 5 at version 0
  EXPECT_FALSE(IsSplit(view_, 5, "m"));
  v1::ShardDescriptor* left = view_.map.mutable_routes(0)->mutable_shard();
  left->set_to("m");
  left->set_version(2);
  EXPECT_FALSE(IsSplit(view_, 5, "m")) << "the other half is not known yet";
  v1::ShardDescriptor* right = view_.map.add_routes()->mutable_shard();
  right->set_shard_id(6);
  right->set_from("m");
  right->set_version(2);
  EXPECT_TRUE(IsSplit(view_, 5, "m"));
  EXPECT_FALSE(IsSplit(view_, 5, "n"));
  EXPECT_FALSE(IsSplit(view_, 6, "m"));

  const v1::RoutesResponse two = view_.map;
  EXPECT_FALSE(IsMerged(view_, two, 5, 6));
  view_.map = whole;
  EXPECT_FALSE(IsMerged(view_, two, 5, 6)) << "a map of before they were two";
  view_.map.mutable_routes(0)->mutable_shard()->set_version(3);
  EXPECT_TRUE(IsMerged(view_, two, 5, 6));
  EXPECT_TRUE(IsMerged(view_, two, 6, 5));
  EXPECT_FALSE(IsMerged(view_, two, 5, 7));
  EXPECT_FALSE(IsMerged(view_, whole, 5, 6)) << "there was no shard 6";
}

}  // namespace
}  // namespace quorate::cli
