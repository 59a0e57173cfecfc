// Names over real shards (docs/transactions.md, section 8): sent again, asked about, and what
// happens between the steps.
#include <gtest/gtest.h>

#include "tests/coordinator/nodes.h"

namespace quorate::coordinator {
namespace {

using testing::Nodes;
using N = Nodes;

// Shard A is led by node 1, B by node 2.
class NamesTest : public ::testing::Test {
 protected:
  NamesTest() { nodes.Lead(N::kB, 2, 0); }

  // Attempt `id` of the name.
  v1::CommitRequest Attempt(char id, const testing::KeyValues& writes = {{"a", "1"}, {"x", "2"}}) {
    v1::CommitRequest request = nodes.Request(id, nodes.NextSlot(), writes);
    request.set_name(std::string(name.bytes()));
    return request;
  }
  // Rounds, and time between them, until the answer is there.
  template <class T>
  bool Done(const testing::Awaited<T>& answer) {
    for (int i = 0; i < 200 && !answer->has_value(); ++i) {
      nodes.Round();
      nodes.env.executor.RunFor(20ms);
    }
    return answer->has_value();
  }
  v1::TxnState Asked(int node, const std::string& key) {
    auto answer = nodes.AskName(node, name, key);
    EXPECT_TRUE(Done(answer));
    return answer->has_value() ? (*answer)->state() : v1::TXN_STATE_NONE;
  }

  Nodes nodes;
  GivenName name = GivenName::Make(1000, nodes.env.random);
};

TEST_F(NamesTest, AnotherAttemptFindsWhatWasCommitted) {
  auto first = nodes.Commit(1, Attempt('1'));
  ASSERT_EQ(nodes.RoundsUntil(first), 1);
  nodes.Settle();
  auto second = nodes.Commit(1, Attempt('2', {{"a", "3"}, {"x", "4"}}));
  EXPECT_EQ(nodes.RoundsUntil(second), 0) << "from the record, without a word to anyone";
  EXPECT_EQ((*second)->commit_ts(), (*first)->commit_ts());
  EXPECT_TRUE((*second)->earlier());
  EXPECT_FALSE((*first)->earlier());
  EXPECT_EQ(nodes.Read("a"), "1");
  EXPECT_EQ(nodes.Read("x"), "2");
}

TEST_F(NamesTest, ItDoesNotMatterWhereAttemptsAreAnchored) {
  ASSERT_EQ(nodes.RoundsUntil(nodes.Commit(1, Attempt('1'))), 1);
  nodes.Settle();
  v1::CommitRequest other = Attempt('2');
  other.set_anchor_key("x");
  auto second = nodes.Commit(2, other);
  ASSERT_TRUE(Done(second));
  EXPECT_TRUE((*second)->earlier());
}

TEST_F(NamesTest, AnAttemptUnderWayIsWaitedFor) {
  auto first = nodes.Commit(1, Attempt('1'));
  v1::CommitRequest other = Attempt('2', {{"a", "3"}, {"x", "4"}});
  other.set_anchor_key("x");
  nodes.Quiet();
  auto second = nodes.Commit(2, other);
  ASSERT_TRUE(Done(second));
  ASSERT_TRUE(first->has_value());
  EXPECT_EQ((*first)->error().code(), v1::OK);
  EXPECT_EQ((*second)->error().code(), v1::OK);
  EXPECT_EQ((*second)->commit_ts(), (*first)->commit_ts());
  nodes.Settle();
  EXPECT_EQ(nodes.Read("x"), "2");
}

// It comes when the Resolve of another attempt is logged, and is refused where that is applied.
TEST_F(NamesTest, EveryCopyOfAnAttemptThatCameTooLateIsToldWhatWasCommitted) {
  auto first = nodes.Commit(1, Attempt('1'));
  ASSERT_EQ(nodes.RoundsUntil(first), 1);
  nodes.Round();
  const v1::CommitRequest again = Attempt('2', {{"a", "3"}, {"x", "4"}});
  auto second = nodes.Commit(1, again);
  nodes.Quiet();
  ASSERT_FALSE(second->has_value());
  auto copy = nodes.Commit(1, again);
  ASSERT_TRUE(Done(second) && Done(copy));
  nodes.Settle();
  auto late = nodes.Commit(1, again);
  ASSERT_TRUE(Done(late));
  for (const auto& answer : {second, copy, late}) {
    EXPECT_EQ((*answer)->error().code(), v1::OK) << (*answer)->error().message();
    EXPECT_EQ((*answer)->commit_ts(), (*first)->commit_ts());
    EXPECT_TRUE((*answer)->earlier());
  }
}

TEST_F(NamesTest, OneShardToo) {
  ASSERT_EQ(nodes.RoundsUntil(nodes.Commit(1, Attempt('1', {{"a", "1"}}))), 1);
  auto second = nodes.Commit(1, Attempt('2', {{"a", "2"}}));
  ASSERT_EQ(nodes.RoundsUntil(second), 0);
  EXPECT_TRUE((*second)->earlier());
  EXPECT_EQ(Asked(1, "a"), v1::COMMITTED);
  EXPECT_EQ(nodes.Read("a"), "1");
}

TEST_F(NamesTest, AnyWrittenKeyTellsTheOutcome) {
  auto answer = nodes.Commit(1, Attempt('1'));
  ASSERT_EQ(nodes.RoundsUntil(answer), 1);
  // Not resolved yet: what is prepared leads to the anchor.
  EXPECT_EQ(Asked(2, "x"), v1::COMMITTED);
  nodes.Settle();
  auto asked = nodes.AskName(2, name, "x");
  ASSERT_EQ(nodes.RoundsUntil(asked), 0);
  EXPECT_EQ((*asked)->commit_ts(), (*answer)->commit_ts());
  EXPECT_EQ(Asked(1, "a"), v1::COMMITTED);
  EXPECT_EQ(Asked(1, "b"), v1::COMMITTED) << "another key of a shard in which it has a part";
}

TEST_F(NamesTest, AskingWhereItHasNotComeYetEndsIt) {
  nodes.Lose("prepare", 1);
  auto answer = nodes.Commit(1, Attempt('1'));
  nodes.Quiet();
  EXPECT_EQ(Asked(2, "x"), v1::ABORTED_STATE);
  ASSERT_TRUE(Done(answer));
  EXPECT_EQ((*answer)->error().code(), v1::ALREADY_EXISTS);
  EXPECT_EQ(Asked(1, "a"), v1::ABORTED_STATE);
  auto again = nodes.Commit(1, Attempt('2'));
  ASSERT_TRUE(Done(again));
  EXPECT_EQ((*again)->error().code(), v1::ALREADY_EXISTS) << "for good";
  nodes.Settle();
  EXPECT_EQ(nodes.Read("a"), "");
  EXPECT_EQ(nodes.Read("x"), "");
}

TEST_F(NamesTest, ClosingThatComesBehindThePrepareHasNoEffect) {
  auto answer = nodes.Commit(1, Attempt('1'));
  nodes.Quiet();
  auto asked = nodes.AskName(2, name, "x");  // logged behind the Prepare
  ASSERT_TRUE(Done(asked));
  EXPECT_EQ((*asked)->state(), v1::COMMITTED);
  EXPECT_EQ((*answer)->error().code(), v1::OK);
}

TEST_F(NamesTest, ANewLeaderOfTheAnchorWithoutTheStage) {
  auto first = nodes.Commit(1, Attempt('1'));
  nodes.Quiet();
  nodes.group(N::kB).CommitOne();  // B is PREPARED
  nodes.Lead(N::kA, 3, 0);         // the Stage is lost
  auto second = nodes.Commit(3, Attempt('2', {{"a", "3"}, {"x", "4"}}));
  ASSERT_TRUE(Done(second));
  // What is prepared at B is pushed after a while.
  for (int i = 0; i < 3; ++i) nodes.Settle();
  const bool committed = (*second)->error().code() == v1::OK;
  EXPECT_EQ(nodes.Read("a"), committed ? "3" : "");
  EXPECT_EQ(nodes.Read("x"), committed ? "4" : "") << "A3";
  EXPECT_EQ(Asked(3, "a"), committed ? v1::COMMITTED : v1::ABORTED_STATE);
  EXPECT_EQ(Asked(2, "x"), committed ? v1::COMMITTED : v1::ABORTED_STATE);
}

TEST_F(NamesTest, ANewLeaderOfTheAnchorWithTheStage) {
  auto first = nodes.Commit(1, Attempt('1'));
  nodes.Quiet();
  nodes.group(N::kB).CommitOne();
  nodes.Lead(N::kA, 3, 1);
  auto second = nodes.Commit(3, Attempt('2', {{"a", "3"}, {"x", "4"}}));
  ASSERT_TRUE(Done(second));
  nodes.Settle();
  EXPECT_EQ((*second)->error().code(), v1::OK);
  EXPECT_TRUE((*second)->earlier());
  EXPECT_EQ(nodes.Read("x"), "2");
}

TEST_F(NamesTest, AnAttemptThatFailedIsNoOutcome) {
  ASSERT_EQ(nodes.RoundsUntil(nodes.Commit(1, nodes.Request('0', nodes.NextSlot(), {{"a", "0"}}))),
            1);
  v1::CommitRequest stale = nodes.Request('1', Timestamp::FromParts(1000, 0), {{"a", "1"}}, {"a"});
  stale.set_name(std::string(name.bytes()));
  auto first = nodes.Commit(1, stale);
  ASSERT_TRUE(Done(first));
  ASSERT_EQ((*first)->error().code(), v1::READ_CONFLICT);
  auto second = nodes.Commit(1, Attempt('2', {{"a", "2"}}));
  ASSERT_TRUE(Done(second));
  EXPECT_EQ((*second)->error().code(), v1::OK);
  EXPECT_FALSE((*second)->earlier());
  EXPECT_EQ(Asked(1, "a"), v1::COMMITTED);
}

TEST_F(NamesTest, WhenTheAttemptsRecordsAreGoneTheNameIsThere) {
  const v1::CommitRequest request = Attempt('1');
  auto first = nodes.Commit(1, request);
  ASSERT_EQ(nodes.RoundsUntil(first), 1);
  nodes.Settle();
  for (const auto shard : {N::kA, N::kB}) {
    nodes.Horizon(shard, nodes.NextSlot(), Timestamp::FromParts(1000, 0));
  }
  auto copy = nodes.Commit(1, request);
  ASSERT_EQ(nodes.RoundsUntil(copy), 0);
  EXPECT_EQ((*copy)->error().code(), v1::OK);
  EXPECT_EQ((*copy)->commit_ts(), (*first)->commit_ts());
  EXPECT_EQ(Asked(2, "x"), v1::COMMITTED);
}

TEST_F(NamesTest, BelowTheNamesHorizonNothingIsSaid) {
  ASSERT_EQ(nodes.RoundsUntil(nodes.Commit(1, Attempt('1'))), 1);
  nodes.Settle();
  for (const auto shard : {N::kA, N::kB}) {
    nodes.Horizon(shard, Timestamp::FromParts(900, 0), Timestamp::FromParts(1001, 0));
  }
  auto asked = nodes.AskName(2, name, "x");
  ASSERT_TRUE(Done(asked));
  EXPECT_EQ((*asked)->error().code(), v1::TOO_OLD);
  auto again = nodes.Commit(1, Attempt('2'));
  ASSERT_TRUE(Done(again));
  EXPECT_EQ((*again)->error().code(), v1::TOO_OLD);
  EXPECT_EQ(nodes.Read("a"), "1");
}

TEST_F(NamesTest, ANameFarAheadIsRefused) {
  name = GivenName::Make(10'000'000, nodes.env.random);
  auto asked = nodes.AskName(1, name, "a");
  ASSERT_TRUE(Done(asked));
  EXPECT_EQ((*asked)->error().code(), v1::INVALID_ARGUMENT);
  auto answer = nodes.Commit(1, Attempt('1', {{"a", "1"}}));
  ASSERT_TRUE(Done(answer));
  EXPECT_EQ((*answer)->error().code(), v1::INVALID_ARGUMENT);
}

}  // namespace
}  // namespace quorate::coordinator
