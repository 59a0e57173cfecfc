// Data directories that are copied, or put back to an earlier state. With faults around it:
// tests/sim/faults_identity.cc; with real processes: tests/integration/incarnations_test.py.
#include "server/node/incarnations.h"

#include <gtest/gtest.h>

#include "server/node/node.h"
#include "tests/server/cluster_fixture.h"

namespace quorate::server {
namespace {

class IncarnationsTest : public testing::Test {
 protected:
  IncarnationsTest() : cluster_(3) {
    cluster_.StartAndInit(2);
    for (size_t i = 1; i <= 3; ++i) WatchEnd(cluster_.at(i));
  }

  void WatchEnd(sim::SimNode& node) {
    node.OnFatal([this](const Status& status) { ended_.push_back(status.message()); });
  }
  // Whether the other nodes remember the start of `node` that runs.
  bool OthersKnow(size_t node) {
    return cluster_.RunUntil([&] {
      for (size_t i = 1; i <= 3; ++i) {
        if (i != node && cluster_.node(i).incarnations().Remembered(NodeId(IdOf(node))) !=
                             cluster_.node(node).incarnations().current()) {
          return false;
        }
      }
      return true;
    });
  }
  NodeId IdOf(size_t node) { return cluster_.node(node).id(); }
  // Stops the machine and keeps what it has, then starts it again and lets it go on for a while.
  sim::SimNode::Image KeepImageOf(size_t node) {
    cluster_.at(node).Crash();
    const sim::SimNode::Image image = cluster_.at(node).TakeImage();
    EXPECT_TRUE(cluster_.at(node).Start(cluster_.addresses()).ok());
    EXPECT_TRUE(cluster_.AllReady());
    EXPECT_TRUE(OthersKnow(node));
    EXPECT_TRUE(cluster_.Put("since", "the image").ok());
    return image;
  }

  ClusterFixture cluster_;
  std::vector<std::string> ended_;
};

TEST_F(IncarnationsTest, ARestartIsNothingSpecial) {
  const storage::Incarnation before = cluster_.node(2).incarnations().current();
  cluster_.at(2).Crash();
  ASSERT_TRUE(cluster_.at(2).Start(cluster_.addresses()).ok());
  ASSERT_TRUE(cluster_.AllReady());
  EXPECT_TRUE(OthersKnow(2));
  EXPECT_EQ(cluster_.node(2).incarnations().current().number, before.number + 1);
  cluster_.RunFor(10s);
  EXPECT_TRUE(ended_.empty()) << ended_.front();
}

TEST_F(IncarnationsTest, APutBackDirectoryIsFoundOutAndItsReplicasAreFetchedAgain) {
  const sim::SimNode::Image image = KeepImageOf(3);
  const uint64_t newest = cluster_.node(3).incarnations().current().number;
  cluster_.at(3).Crash();
  cluster_.at(3).Restore(image);
  cluster_.RunFor(5s);
  ASSERT_TRUE(cluster_.at(3).Start(cluster_.addresses()).ok());
  ASSERT_TRUE(cluster_.RunUntil([this] { return !ended_.empty(); }));
  EXPECT_NE(ended_[0].find("was put back"), std::string::npos) << ended_[0];
  cluster_.RunFor(100ms);
  ASSERT_FALSE(cluster_.at(3).up());
  ASSERT_TRUE(cluster_.at(3).Start(cluster_.addresses()).ok());
  EXPECT_GT(cluster_.at(3).quarantined(), 0) << "what it promised is lost";
  EXPECT_GT(cluster_.node(3).incarnations().current().number, newest);
  ASSERT_TRUE(cluster_.RunUntil([this] { return cluster_.at(3).quarantined() == 0; }));
  EXPECT_TRUE(cluster_.AllReady());
  EXPECT_TRUE(cluster_.Put("after", "it").ok());
  EXPECT_EQ(*cluster_.Get("since"), "the image");
  cluster_.RunFor(10s);
  EXPECT_EQ(ended_.size(), 1u);
}

TEST_F(IncarnationsTest, TooSoonBehindTheLastProcessNothingIsDone) {
  const sim::SimNode::Image image = KeepImageOf(3);
  cluster_.at(3).Crash();
  cluster_.at(3).Restore(image);
  ASSERT_TRUE(cluster_.at(3).Start(cluster_.addresses()).ok());
  ASSERT_TRUE(cluster_.RunUntil([this] { return !ended_.empty(); }));
  EXPECT_NE(ended_[0].find("not the newest state"), std::string::npos) << ended_[0];
  cluster_.RunFor(5s);
  ASSERT_TRUE(cluster_.at(3).Start(cluster_.addresses()).ok());
  EXPECT_FALSE(cluster_.node(3).incarnations().doubted());
  ASSERT_TRUE(cluster_.RunUntil([this] { return ended_.size() == 2; }));
  EXPECT_NE(ended_[1].find("was put back"), std::string::npos) << ended_[1];
}

TEST_F(IncarnationsTest, ACopyElsewhereEndsAndHarmsNothing) {
  const sim::SimNode::Image image = KeepImageOf(3);
  const std::unique_ptr<sim::SimNode> copy = cluster_.Machine(9);
  WatchEnd(*copy);
  copy->Restore(image);
  ASSERT_TRUE(copy->Start(cluster_.addresses()).ok());
  ASSERT_TRUE(cluster_.RunUntil([this] { return !ended_.empty(); }));
  EXPECT_NE(ended_[0].find("this directory is a copy"), std::string::npos) << ended_[0];
  EXPECT_TRUE(cluster_.at(3).up());
  EXPECT_TRUE(cluster_.AllReady());
  // Nor does it get anywhere when the node is down, for it is not where the node was.
  cluster_.at(3).Crash();
  cluster_.RunFor(10s);
  ASSERT_TRUE(copy->Start(cluster_.addresses()).ok());
  ASSERT_TRUE(cluster_.RunUntil([this] { return ended_.size() == 2; }));
  cluster_.RunFor(100ms);
  EXPECT_FALSE(copy->up());
  ASSERT_TRUE(cluster_.at(3).Start(cluster_.addresses()).ok());
  EXPECT_TRUE(cluster_.AllReady());
  EXPECT_TRUE(cluster_.Put("after", "it").ok());
  cluster_.RunFor(10s);
  EXPECT_EQ(ended_.size(), 2u) << ended_.back();
}

TEST_F(IncarnationsTest, AStrangersHelloIsAtMostAReasonToAsk) {
  v1::NodeRequest request;
  v1::HelloRequest& hello = *request.mutable_hello();
  hello.set_node_id(IdOf(2).value());
  hello.mutable_incarnation()->set_number(99);
  hello.mutable_incarnation()->set_nonce(1);
  hello.mutable_remembered()->set_number(77);
  const Result<v1::NodeResponse> answer = cluster_.Call(1, std::move(request));
  ASSERT_TRUE(answer.ok());
  EXPECT_FALSE(answer->hello().descends());
  cluster_.RunFor(10s);
  EXPECT_TRUE(ended_.empty()) << ended_.front();
  EXPECT_EQ(cluster_.node(1).incarnations().Remembered(IdOf(2)),
            cluster_.node(2).incarnations().current());
}

TEST_F(IncarnationsTest, ALostFileIsFoundOutAsAnEarlierState) {
  cluster_.at(3).Crash();
  cluster_.at(3).disk().LoseFile("data/INCARNATIONS");
  cluster_.RunFor(5s);
  ASSERT_TRUE(cluster_.at(3).Start(cluster_.addresses()).ok());
  ASSERT_TRUE(cluster_.RunUntil([this] { return !ended_.empty(); }));
  EXPECT_NE(ended_[0].find("was put back"), std::string::npos) << ended_[0];
  cluster_.RunFor(100ms);
  ASSERT_TRUE(cluster_.at(3).Start(cluster_.addresses()).ok());
  EXPECT_TRUE(cluster_.AllReady());
  EXPECT_EQ(ended_.size(), 1u);
}

}  // namespace
}  // namespace quorate::server
