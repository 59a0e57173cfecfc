#include "placement/node_table.h"

#include <gtest/gtest.h>

namespace quorate::placement {
namespace {

v1::NodeInfo Info(uint64_t id, const std::string& address, char disk) {
  v1::NodeInfo node;
  node.set_node_id(id);
  node.set_address(address);
  node.set_storage_id(std::string(32, disk));
  return node;
}

TEST(NodeTable, GivesIdsThatAreNeverUsedTwice) {
  NodeTable table;
  IdAllocator ids(4);
  EXPECT_EQ(*table.Put(Info(0, "a:1", 'a'), &ids), NodeId(4));
  EXPECT_EQ(*table.Put(Info(0, "b:1", 'b'), &ids), NodeId(5));
  ids.Reserve(9);
  EXPECT_EQ(*table.Put(Info(0, "c:1", 'c'), &ids), NodeId(10));
}

TEST(NodeTable, ARepeatedRegistrationKeepsItsId) {
  NodeTable table;
  IdAllocator ids;
  const NodeId first = *table.Put(Info(0, "a:1", 'a'), &ids);
  EXPECT_EQ(*table.Put(Info(0, "a:2", 'a'), &ids), first);
  EXPECT_EQ(table.Find(first)->address(), "a:2");
  EXPECT_EQ(table.nodes().size(), 1u);
}

TEST(NodeTable, RefusesAKnownIdWithAnotherDisk) {  // RC21
  NodeTable table;
  IdAllocator ids;
  const NodeId id = *table.Put(Info(0, "a:1", 'a'), &ids);
  EXPECT_EQ(table.Put(Info(id.value(), "a:1", 'b'), &ids).status().code(), Code::kWrongNode);
  EXPECT_EQ(table.Put(Info(77, "a:1", 'a'), &ids).status().code(), Code::kNotFound);
  EXPECT_EQ(table.Put(v1::NodeInfo(), &ids).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(table.Find(id)->storage_id(), std::string(32, 'a'));
}

TEST(NodeTable, ALaterStartFollowsTheOneThatIsKnown) {
  NodeTable table;
  IdAllocator ids;
  v1::NodeInfo node = Info(0, "a:1", 'a');
  node.mutable_incarnation()->set_number(1);
  node.mutable_incarnation()->set_nonce(11);
  node.set_node_id(table.Put(node, &ids)->value());
  EXPECT_FALSE(table.Differs(node));
  v1::NodeInfo next = node;
  *next.mutable_descends_from() = node.incarnation();
  next.mutable_incarnation()->set_number(2);
  next.mutable_incarnation()->set_nonce(22);
  EXPECT_TRUE(table.Differs(next));
  ASSERT_TRUE(table.Put(next, &ids).ok());
  EXPECT_EQ(table.Find(NodeId(node.node_id()))->incarnation().nonce(), 22u);
  EXPECT_FALSE(table.Find(NodeId(node.node_id()))->has_descends_from());
  // One more start of the directory as it was: the same number, another nonce.
  v1::NodeInfo copy = next;
  copy.mutable_incarnation()->set_nonce(33);
  EXPECT_FALSE(table.Follows(copy));
  EXPECT_EQ(table.Put(copy, &ids).status().code(), Code::kWrongNode);
  // Not even without an id: it was copied before it had one.
  copy.set_node_id(0);
  EXPECT_EQ(table.Put(copy, &ids).status().code(), Code::kWrongNode);
  // Nor a higher number that does not descend from what is known.
  copy.mutable_incarnation()->set_number(9);
  EXPECT_EQ(table.Put(copy, &ids).status().code(), Code::kWrongNode);
  // An earlier version says nothing of it, and what is known stays known.
  next.clear_incarnation();
  next.clear_descends_from();
  ASSERT_TRUE(table.Put(next, &ids).ok());
  EXPECT_EQ(table.Find(NodeId(node.node_id()))->incarnation().nonce(), 22u);
}

TEST(NodeTable, TellsWhetherAReportChangesAnything) {
  NodeTable table;
  IdAllocator ids;
  v1::NodeInfo node = Info(0, "a:1", 'a');
  (*node.mutable_locality())["zone"] = "z1";
  node.set_node_id(table.Put(node, &ids)->value());
  EXPECT_FALSE(table.Differs(node));
  (*node.mutable_locality())["zone"] = "z2";
  EXPECT_TRUE(table.Differs(node));
  EXPECT_TRUE(table.Differs(Info(99, "x:1", 'x')));
}

}  // namespace
}  // namespace quorate::placement
