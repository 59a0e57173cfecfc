// Recovery over real shards: pushes from anywhere, and what a new leader takes over.
#include "coordinator/recovery.h"

#include <gtest/gtest.h>

#include "tests/coordinator/nodes.h"

namespace quorate::coordinator {
namespace {

using shard::PushOutcome;
using testing::Nodes;
using N = Nodes;

class RecoveryTest : public ::testing::Test {
 protected:
  RecoveryTest() { nodes.Lead(N::kB, 2, 0); }
  Nodes nodes;
};

TEST_F(RecoveryTest, APushReachesTheAnchorsLeaderFromAnyNode) {
  const auto request = nodes.Request('1', nodes.newest(), {{"a", "1"}, {"x", "2"}});
  auto answer = nodes.Commit(1, request);
  nodes.Quiet();
  auto outcome = nodes.Ask(2, request);
  ASSERT_EQ(nodes.RoundsUntil(outcome), 2) << "it waits for the Decide";
  ASSERT_TRUE((*outcome)->ok()) << (*outcome)->status().ToString();
  EXPECT_EQ((**outcome)->state, PushOutcome::State::kCommitted);
  EXPECT_EQ((**outcome)->commit_ts, Timestamp((*answer)->commit_ts()));
  EXPECT_EQ((**outcome)->participants.size(), 2u);
  EXPECT_EQ(nodes.requests("push"), 1);
}

TEST_F(RecoveryTest, APushWithoutRecordDecidesAborted) {
  const auto request = nodes.Request('1', nodes.newest(), {{"a", "1"}, {"x", "2"}});
  auto outcome = nodes.Ask(3, request);
  auto another = nodes.Ask(2, request);
  ASSERT_EQ(nodes.RoundsUntil(outcome), 1);
  EXPECT_EQ((**outcome)->state, PushOutcome::State::kAborted);
  EXPECT_EQ(nodes.RoundsUntil(another), 0) << "one recovery for both";
  EXPECT_EQ((**another)->state, PushOutcome::State::kAborted);
}

TEST_F(RecoveryTest, BelowTheHorizonWithoutRecordItIsTooOld) {
  const auto request = nodes.Request('1', nodes.newest(), {{"a", "1"}, {"x", "2"}});
  nodes.Horizon(N::kA, nodes.NextSlot());
  auto outcome = nodes.Ask(2, request);
  ASSERT_EQ(nodes.RoundsUntil(outcome), 0);
  ASSERT_TRUE((*outcome)->ok()) << (*outcome)->status().ToString();
  EXPECT_EQ((**outcome)->state, PushOutcome::State::kTooOld);
  auto answer = nodes.Commit(1, request);
  EXPECT_EQ(nodes.RoundsUntil(answer), 0);
  EXPECT_EQ((*answer)->error().code(), v1::TOO_OLD) << "which is not ABORTED";
  EXPECT_EQ((*answer)->error().txn().anchor_key(), "a");
}

TEST_F(RecoveryTest, ACommittedRecordIsToldBelowTheHorizonUntilItIsDone) {
  nodes.Lose("resolve", 1000);
  const auto request = nodes.Request('1', nodes.newest(), {{"a", "1"}, {"x", "2"}});
  ASSERT_EQ(nodes.RoundsUntil(nodes.Commit(1, request)), 1);
  nodes.Settle();
  nodes.Horizon(N::kA, nodes.NextSlot());
  auto outcome = nodes.Ask(2, request);
  ASSERT_EQ(nodes.RoundsUntil(outcome), 0);
  EXPECT_EQ((**outcome)->state, PushOutcome::State::kCommitted);
}

TEST_F(RecoveryTest, AWildStartTimestampLeavesNoRecord) {
  auto request = nodes.Request('1', nodes.newest(), {{"a", "1"}});
  request.set_start_ts(Timestamp::FromParts(nodes.newest().physical_ms() + 100'000, 0).bits());
  auto outcome = nodes.Push(1, request);
  EXPECT_EQ(nodes.RoundsUntil(outcome), 0);
  EXPECT_EQ((*outcome)->error().code(), v1::INVALID_ARGUMENT);
}

TEST_F(RecoveryTest, AQuestionWithoutStartTimestampLeavesNoRecord) {
  auto request = nodes.Request('1', nodes.newest(), {{"a", "1"}});
  request.set_start_ts(0);
  auto outcome = nodes.Push(1, request);
  EXPECT_EQ(nodes.RoundsUntil(outcome), 0);
  EXPECT_EQ((*outcome)->error().code(), v1::INVALID_ARGUMENT);
}

TEST_F(RecoveryTest, AnAbortByAClaimedStartTimestampKeepsTheLateCommitAway) {
  const auto request = nodes.Request('1', nodes.NextSlot(), {{"a", "1"}});
  auto claimed = request;
  claimed.set_start_ts(Timestamp::FromParts(1, 0).bits());
  auto outcome = nodes.Push(1, claimed);
  ASSERT_EQ(nodes.RoundsUntil(outcome), 1);
  ASSERT_EQ((*outcome)->state(), v1::ABORTED_STATE);
  // The claimed start is far below the horizon, the Commit's own is not.
  nodes.Horizon(N::kA, Timestamp(request.start_ts()));
  auto late = nodes.Commit(1, request);
  ASSERT_GE(nodes.RoundsUntil(late), 0);
  EXPECT_EQ((*late)->error().code(), v1::ABORTED) << "A2: it was told ABORTED";
  EXPECT_EQ(nodes.Read("a"), "");
}

TEST_F(RecoveryTest, CommitsWhatEverybodyPrepared) {
  const auto request = nodes.Request('1', nodes.newest(), {{"a", "1"}, {"x", "2"}});
  auto answer = nodes.Commit(1, request);
  nodes.Quiet();
  nodes.group(N::kB).CommitOne();  // B is PREPARED
  nodes.Lead(N::kA, 3, 1);         // A is STAGED
  nodes.Settle();
  EXPECT_EQ(nodes.Read("a"), "1");
  EXPECT_EQ(nodes.Read("x"), "2");
  auto outcome = nodes.Push(3, request);
  ASSERT_EQ(nodes.RoundsUntil(outcome), 0);
  EXPECT_EQ((*outcome)->state(), v1::COMMITTED);
  ASSERT_TRUE(answer->has_value());
  EXPECT_EQ((*answer)->commit_ts(), (*outcome)->commit_ts()) << "A1";
}

TEST_F(RecoveryTest, ANewLeaderTakesOverMoreThanItDoesAtOnce) {
  nodes.Lose("prepare", 1'000'000);
  constexpr int kTxns = 600;
  for (int i = 0; i < kTxns; ++i) {
    auto request = nodes.Request('1', nodes.newest(),
                                 {{fmt::format("a{}", i), "1"}, {fmt::format("x{}", i), "2"}});
    std::string id = fmt::format("{:016}", i + 1);
    request.set_txn_id(id);
    request.mutable_priority()->set_txn_id(id);
    nodes.Commit(1, std::move(request));
  }
  nodes.Quiet();
  nodes.Lead(N::kA, 3, kTxns);
  nodes.Settle();
  nodes.Settle();
  EXPECT_TRUE(nodes.leader(N::kA).UnfinishedTxnRecords().empty());
  EXPECT_EQ(nodes.leader(N::kA).prepared_count(), 0u);
  EXPECT_EQ(nodes.coordinator(1).live(), 0u);
}

TEST_F(RecoveryTest, ARecoveryEndsWithItsLeader) {
  const auto request = nodes.Request('1', nodes.newest(), {{"a", "1"}, {"x", "2"}});
  auto answer = nodes.Commit(1, request);
  nodes.Quiet();
  nodes.Lose("query", 1000);
  nodes.Lead(N::kA, 3, 1);
  nodes.env.executor.RunFor(100ms);
  nodes.Lead(N::kA, 1, 0);
  nodes.Lose("query", 0);
  nodes.Settle();
  EXPECT_TRUE(nodes.leader(N::kA).UnfinishedTxnRecords().empty());
  auto outcome = nodes.Push(1, request);
  ASSERT_EQ(nodes.RoundsUntil(outcome), 0);
  EXPECT_NE((*outcome)->state(), v1::TXN_STATE_NONE);
}

}  // namespace
}  // namespace quorate::coordinator
