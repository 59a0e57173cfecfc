// The file that says where the others are. Nodes that move: tests/integration/house_test.py.
#include "server/node/peers.h"

#include <gtest/gtest.h>

namespace quorate::server {
namespace {

const std::string kCluster(32, 'c');

std::map<NodeId, v1::NodeInfo> Nodes() {
  std::map<NodeId, v1::NodeInfo> nodes;
  for (const uint64_t id : {1, 2, 12}) {
    v1::NodeInfo& node = nodes[NodeId(id)];
    node.set_node_id(id);
    node.set_storage_id(std::string(31, 'a') + static_cast<char>('0' + id % 10));
    node.set_address("10.0.0." + std::to_string(id) + ":7400");
  }
  return nodes;
}

TEST(Peers, TheFileSaysWhereEachNodeIs) {
  const std::string text = Peers::Encode(kCluster, Nodes());
  const auto read = Peers::Decode(text, kCluster);
  ASSERT_TRUE(read);
  ASSERT_EQ(read->size(), 3u);
  EXPECT_EQ(read->at(2).node_id(), 12u);
  EXPECT_EQ(read->at(2).address(), "10.0.0.12:7400");
  EXPECT_EQ(read->at(2).storage_id(), Nodes()[NodeId(12)].storage_id());
  EXPECT_NE(text.find("node 2 "), std::string::npos) << "people can read it";
}

TEST(Peers, ADamagedFileOrAnotherClustersIsOfNoUse) {
  const std::string text = Peers::Encode(kCluster, Nodes());
  EXPECT_FALSE(Peers::Decode(text, std::string(32, 'd')));
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_FALSE(Peers::Decode(text.substr(0, size), kCluster)) << "cut at " << size;
  }
  // A bit in what the checksum covers, or in itself.
  for (size_t at = 0; at < text.size() - 1; ++at) {
    std::string bad = text;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    EXPECT_FALSE(Peers::Decode(bad, kCluster)) << "bit flipped at " << at;
  }
}

}  // namespace
}  // namespace quorate::server
