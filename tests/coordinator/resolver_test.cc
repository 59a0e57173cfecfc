// What follows a decision, over real shards: batches, repeats, the order of Done.
#include "coordinator/resolver.h"

#include <gtest/gtest.h>

#include "tests/coordinator/nodes.h"

namespace quorate::coordinator {
namespace {

using testing::Nodes;
using N = Nodes;

class ResolverTest : public ::testing::Test {
 protected:
  ResolverTest() { nodes.Lead(N::kB, 2, 0); }

  testing::Awaited<v1::CommitResponse> CommitBoth(char id) {
    const std::string suffix(1, id);
    return nodes.Commit(
        1, nodes.Request(id, nodes.newest(), {{"a" + suffix, "1"}, {"x" + suffix, "2"}}));
  }

  Nodes nodes;
};

TEST_F(ResolverTest, SendsTogetherWhatCameTogether) {
  std::vector<testing::Awaited<v1::CommitResponse>> answers;
  for (char id = 'A'; id <= 'Z'; ++id) answers.push_back(CommitBoth(id));
  nodes.Settle();
  for (const auto& answer : answers) {
    ASSERT_TRUE(answer->has_value());
    EXPECT_EQ((*answer)->error().code(), v1::OK) << (*answer)->error().message();
  }
  EXPECT_LE(nodes.requests("resolve"), 2);
  EXPECT_LE(nodes.requests("early"), 2);
  EXPECT_EQ(nodes.leader(N::kB).prepared_count(), 0u);
  EXPECT_EQ(nodes.coordinator(1).live(), 0u);
}

TEST_F(ResolverTest, DoneComesAfterTheLastResolve) {
  nodes.Lose("resolve", 3);
  auto answer = CommitBoth('1');
  ASSERT_EQ(nodes.RoundsUntil(answer), 1);
  for (int i = 0; i < 20; ++i) {
    nodes.Round();
    nodes.env.executor.RunFor(50ms);
  }
  EXPECT_EQ(nodes.requests("resolve"), 0);
  EXPECT_EQ(nodes.leader(N::kA).prepared_count(), 0u) << "the own part has resolved";
  ASSERT_EQ(nodes.leader(N::kA).UnfinishedTxnRecords().size(), 1u) << "not done yet";
  EXPECT_EQ(nodes.coordinator(1).live(), 1u);
  for (int i = 0; i < 200; ++i) {
    nodes.Round();
    nodes.env.executor.RunFor(50ms);
  }
  EXPECT_GE(nodes.requests("resolve"), 1);
  EXPECT_EQ(nodes.leader(N::kB).prepared_count(), 0u);
  EXPECT_TRUE(nodes.leader(N::kA).UnfinishedTxnRecords().empty());
  EXPECT_EQ(nodes.coordinator(1).live(), 0u);
}

TEST_F(ResolverTest, TheNextLeaderResolvesAndClosesWhatIsLeft) {
  nodes.Lose("resolve", 1000);
  auto answer = CommitBoth('1');
  ASSERT_EQ(nodes.RoundsUntil(answer), 1);
  nodes.Settle();
  ASSERT_EQ(nodes.leader(N::kA).UnfinishedTxnRecords().size(), 1u);
  nodes.Lose("resolve", 0);
  nodes.Lead(N::kA, 3, 0);
  nodes.Settle();
  EXPECT_TRUE(nodes.leader(N::kA).UnfinishedTxnRecords().empty());
  EXPECT_EQ(nodes.leader(N::kB).prepared_count(), 0u);
  nodes.env.executor.RunFor(10s);
  EXPECT_EQ(nodes.coordinator(1).live(), 0u) << "the old one has let go";
}

TEST_F(ResolverTest, FollowsTheParticipantToItsNewLeader) {
  auto answer = CommitBoth('1');
  ASSERT_EQ(nodes.RoundsUntil(answer), 1);
  nodes.Lead(N::kB, 3, 0);
  nodes.Settle();
  EXPECT_EQ(nodes.leader(N::kB).prepared_count(), 0u);
  EXPECT_TRUE(nodes.leader(N::kA).UnfinishedTxnRecords().empty());
  EXPECT_EQ(nodes.Read("x1"), "2");
}

TEST_F(ResolverTest, ALostEarlyOutcomeDelaysNobodyForLong) {
  nodes.Lose("early", 1000);
  auto answer = CommitBoth('1');
  ASSERT_EQ(nodes.RoundsUntil(answer), 1);
  EXPECT_EQ(nodes.Read("x1"), "2") << "by the Resolve";
}

TEST_F(ResolverTest, AnAbortFreesTheParticipants) {
  nodes.Lose("prepare", 1000);
  auto answer = nodes.Commit(1, nodes.Request('1', nodes.newest(), {{"a", "1"}, {"x", "2"}}), 1s);
  nodes.Quiet();
  nodes.Round();
  nodes.env.executor.RunFor(1s);
  nodes.Settle();
  ASSERT_TRUE(answer->has_value());
  EXPECT_EQ((*answer)->error().code(), v1::ABORTED);
  EXPECT_EQ(nodes.leader(N::kA).prepared_count(), 0u);
  EXPECT_TRUE(nodes.leader(N::kA).UnfinishedTxnRecords().empty());
  EXPECT_EQ(nodes.coordinator(1).live(), 0u);
}

}  // namespace
}  // namespace quorate::coordinator
