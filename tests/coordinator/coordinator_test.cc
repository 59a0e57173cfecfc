// The coordinator with real shards: rounds, answers, copies, leader changes. The protocol's corners
// are in the scenarios; here it is that the performers carry out what the machines say.
#include "coordinator/coordinator.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/limits.h"
#include "tests/coordinator/nodes.h"

namespace quorate::coordinator {
namespace {

using testing::Nodes;
using N = Nodes;

class CoordinatorTest : public ::testing::Test {
 protected:
  Nodes nodes;
};

TEST_F(CoordinatorTest, CommitsOnOneShardInOneRound) {
  auto answer = nodes.Commit(1, nodes.Request('1', nodes.newest(), {{"a", "1"}}));
  EXPECT_EQ(nodes.RoundsUntil(answer), 1);
  EXPECT_EQ((*answer)->error().code(), v1::OK) << (*answer)->error().message();
  EXPECT_EQ((*answer)->consensus_rounds(), 1u);
  EXPECT_EQ((*answer)->shards(), 1u);
  EXPECT_EQ(nodes.coordinator(1).live(), 0u);
  EXPECT_EQ(nodes.Read("a"), "1");
}

TEST_F(CoordinatorTest, CommitsOverTwoShardsInOneRound) {
  const Timestamp start = nodes.NextSlot();
  auto answer = nodes.Commit(1, nodes.Request('1', start, {{"a", "1"}, {"x", "2"}}, {"a", "x"}));
  EXPECT_EQ(nodes.RoundsUntil(answer), 1);
  EXPECT_EQ((*answer)->error().code(), v1::OK) << (*answer)->error().message();
  EXPECT_EQ((*answer)->consensus_rounds(), 1u);
  EXPECT_EQ((*answer)->shards(), 2u);
  EXPECT_EQ(nodes.Read("a"), "1");
  EXPECT_EQ(nodes.Read("x"), "2");
  nodes.Settle();
  EXPECT_EQ(nodes.coordinator(1).live(), 0u);
  EXPECT_EQ(nodes.leader(N::kA).prepared_count(), 0u);
  EXPECT_EQ(nodes.leader(N::kB).prepared_count(), 0u);
  EXPECT_TRUE(nodes.leader(N::kA).UnfinishedTxnRecords().empty()) << "Done is logged";
}

TEST_F(CoordinatorTest, ReachesAParticipantOnAnotherNodeInOneRound) {
  nodes.Lead(N::kB, 2, 0);
  auto answer = nodes.Commit(1, nodes.Request('1', nodes.newest(), {{"a", "1"}, {"x", "2"}}));
  EXPECT_EQ(nodes.RoundsUntil(answer), 1);
  EXPECT_EQ((*answer)->error().code(), v1::OK) << (*answer)->error().message();
  EXPECT_EQ((*answer)->consensus_rounds(), 1u);
  EXPECT_EQ(nodes.requests("prepare"), 1);
  nodes.Settle();
  EXPECT_EQ(nodes.requests("early"), 1);
  EXPECT_EQ(nodes.requests("resolve"), 1);
  EXPECT_EQ(nodes.leader(N::kB).prepared_count(), 0u);
  EXPECT_EQ(nodes.coordinator(1).live(), 0u);
}

TEST_F(CoordinatorTest, ReadersGoOnBeforeTheDecideIsApplied) {
  auto answer = nodes.Commit(1, nodes.Request('1', nodes.newest(), {{"a", "1"}, {"x", "2"}}));
  ASSERT_EQ(nodes.RoundsUntil(answer), 1);
  // The early outcome has travelled, and no further entry is committed.
  ASSERT_EQ(nodes.group(N::kA).pending().size(), 1u) << "the Decide";
  EXPECT_EQ(nodes.Read("x"), "2");
  EXPECT_EQ(nodes.group(N::kB).pending().size(), 0u);
}

TEST_F(CoordinatorTest, TakesASlotForABlindWriteOnly) {
  const int before = nodes.requests("slot");
  const Timestamp start = nodes.NextSlot();
  auto answer = nodes.Commit(1, nodes.Request('1', start, {{"a", "1"}}, {"a"}));
  EXPECT_EQ(nodes.RoundsUntil(answer), 1);
  EXPECT_EQ(nodes.requests("slot"), before) << "it read at a slot of its own";
  answer = nodes.Commit(1, nodes.Request('2', start, {{"b", "1"}}));
  EXPECT_EQ(nodes.RoundsUntil(answer), 1);
  EXPECT_EQ(nodes.requests("slot"), before + 1);
  EXPECT_GT(Timestamp((*answer)->commit_ts()), nodes.newest()) << "T1: above the fresh slot";
}

TEST_F(CoordinatorTest, RefusesAStartTimestampAboveEverySlot) {
  const Timestamp wild = Timestamp::FromParts(nodes.newest().physical_ms() + 100'000, 0);
  for (const std::vector<std::string>& reads : {std::vector<std::string>{}, {"a"}}) {
    auto answer = nodes.Commit(1, nodes.Request('1', wild, {{"a", "1"}}, reads));
    EXPECT_EQ(nodes.RoundsUntil(answer), 0);
    EXPECT_EQ((*answer)->error().code(), v1::INVALID_ARGUMENT);
  }
}

// A record of a start_ts above every slot would never be collected.
TEST_F(CoordinatorTest, ANodeWithoutRoomLeavesNoRecordAboveEverySlot) {
  const auto numbered = [&](uint32_t number, Timestamp start, const testing::KeyValues& writes) {
    v1::CommitRequest request = nodes.Request('1', start, writes);
    std::string id(TxnId::kBytes, 'n');
    std::memcpy(id.data(), &number, sizeof(number));
    request.set_txn_id(id);
    request.mutable_priority()->set_txn_id(id);
    return request;
  };
  for (uint32_t i = 1; i <= limits::kLiveTxnsMax; ++i) {
    (void)nodes.Commit(1, numbered(i, nodes.newest(), {{"a" + std::to_string(i), "1"}}));
  }
  nodes.Quiet();
  ASSERT_EQ(nodes.coordinator(1).live(), limits::kLiveTxnsMax);
  const size_t pending = nodes.group(N::kA).pending().size();
  const Timestamp wild = Timestamp::FromParts(nodes.newest().physical_ms() + 1'000'000'000, 0);
  for (const testing::KeyValues& writes :
       {testing::KeyValues{{"c", "1"}}, testing::KeyValues{{"c", "1"}, {"x", "1"}}}) {
    auto answer = nodes.Commit(1, numbered(100'000, wild, writes));
    nodes.Quiet();
    EXPECT_EQ(nodes.group(N::kA).pending().size(), pending) << "nothing is logged";
    ASSERT_TRUE(answer->has_value());
    EXPECT_NE((*answer)->error().code(), v1::OVERLOADED);
    const bool judged = (*answer)->error().code() == v1::INVALID_ARGUMENT;
    const char* const why = judged ? "above every slot" : "too many transactions in flight";
    EXPECT_NE((*answer)->error().message().find(why), std::string::npos)
        << (*answer)->error().message();
  }
  nodes.Settle();
}

// Transactions that are much for one entry of a log.
class LargeCommitTest : public CoordinatorTest {
 protected:
  static std::string Key(int i) { return fmt::format("a{:02}", i); }
  testing::KeyValues Writes(int count, size_t bytes) {
    testing::KeyValues writes;
    for (int i = 0; i < count; ++i) writes[Key(i)] = std::string(bytes, static_cast<char>('A' + i));
    return writes;
  }
  // Of what is not committed yet.
  std::pair<size_t, size_t> LargestAndAll() {
    size_t largest = 0;
    size_t all = 0;
    for (const auto& entry : nodes.group(N::kA).pending()) {
      largest = std::max(largest, entry.payload.size());
      all += entry.payload.size();
    }
    return {largest, all};
  }
};

TEST_F(LargeCommitTest, EntersTheLogInPartsOneAfterTheOther) {
  constexpr size_t kSlack = 4 << 10;
  const testing::KeyValues writes = Writes(14, 1'000'000);
  std::vector<std::string> reads;
  for (const auto& [key, value] : writes) reads.push_back(key);
  v1::CommitRequest request = nodes.Request('1', nodes.NextSlot(), writes, reads);
  v1::KeySpan* range = request.add_reads();  // over all parts
  range->set_from("a");
  range->set_to("b");
  auto answer = nodes.Commit(1, std::move(request));
  nodes.Quiet();
  int rounds = 0;
  for (; !answer->has_value() && rounds < 50; ++rounds) {
    const auto [largest, all] = LargestAndAll();
    EXPECT_LE(largest, limits::kPartBytesMax + kSlack);
    EXPECT_LE(all, limits::kPartsSentBytesMax + limits::kPartBytesMax + kSlack);
    nodes.Round();
  }
  ASSERT_TRUE(answer->has_value());
  EXPECT_EQ((*answer)->error().code(), v1::OK) << (*answer)->error().message();
  EXPECT_EQ((*answer)->shards(), 14u) << "participants";
  for (const auto& [key, value] : writes) EXPECT_EQ(nodes.Read(key), value);
  nodes.Settle();
  EXPECT_EQ(nodes.coordinator(1).live(), 0u);
  EXPECT_EQ(nodes.leader(N::kA).prepared_count(), 0u);
  EXPECT_TRUE(nodes.leader(N::kA).UnfinishedTxnRecords().empty());
}

// Applying a Resolve rewrites what was prepared.
TEST_F(LargeCommitTest, IsResolvedAPartAtATime) {
  auto answer = nodes.Commit(1, nodes.Request('1', nodes.NextSlot(), Writes(6, 1'000'000)));
  ASSERT_GE(nodes.RoundsUntil(answer), 0);
  int entries = 0;
  for (int i = 0; i < 20; ++i) {
    for (const auto& entry : nodes.group(N::kA).pending()) {
      v1::ShardCommand command;
      ASSERT_TRUE(command.ParseFromString(entry.payload));
      EXPECT_LE(command.resolve().resolutions_size(), 1);
      entries += command.has_resolve() ? 1 : 0;
    }
    nodes.Round();
  }
  EXPECT_EQ(entries, 6);
  nodes.Settle();
  EXPECT_EQ(nodes.leader(N::kA).prepared_count(), 0u);
}

TEST_F(LargeCommitTest, AConflictInItsLastPartLeavesNothingOfIt) {
  const Timestamp start = nodes.NextSlot();
  ASSERT_EQ(nodes.RoundsUntil(nodes.Commit(1, nodes.Request('1', start, {{Key(4), "1"}}))), 1);
  auto answer = nodes.Commit(1, nodes.Request('2', start, Writes(5, 1'000'000), {Key(4)}));
  ASSERT_GE(nodes.RoundsUntil(answer), 0);
  EXPECT_EQ((*answer)->error().code(), v1::READ_CONFLICT);
  nodes.Settle();
  for (int i = 0; i < 4; ++i) EXPECT_EQ(nodes.Read(Key(i)), "");
  EXPECT_EQ(nodes.Read(Key(4)), "1");
  EXPECT_EQ(nodes.leader(N::kA).prepared_count(), 0u);
  EXPECT_EQ(nodes.coordinator(1).live(), 0u);
}

TEST_F(LargeCommitTest, TheNextLeaderFinishesWhatWasPreparedInParts) {
  auto answer = nodes.Commit(1, nodes.Request('1', nodes.NextSlot(), Writes(5, 1'000'000)));
  for (int i = 0; i < 2; ++i) nodes.Round();
  ASSERT_FALSE(answer->has_value());
  nodes.Lead(N::kA, 2, 1);
  nodes.Settle();
  nodes.env.executor.RunFor(10s);
  nodes.Settle();
  ASSERT_TRUE(answer->has_value());
  // Nobody was told that it is committed, so whichever it is, it is so in all its keys.
  const bool committed = nodes.Read(Key(0)) != "";
  for (int i = 0; i < 5; ++i) EXPECT_EQ(nodes.Read(Key(i)) != "", committed) << i;
  EXPECT_EQ(nodes.leader(N::kA).prepared_count(), 0u);
  EXPECT_TRUE(nodes.leader(N::kA).UnfinishedTxnRecords().empty());
}

TEST_F(CoordinatorTest, AnswersAReadConflictAtTheAnchorWithoutARound) {
  const Timestamp start = nodes.NextSlot();
  ASSERT_EQ(nodes.RoundsUntil(nodes.Commit(1, nodes.Request('1', start, {{"a", "1"}}))), 1);
  auto answer = nodes.Commit(1, nodes.Request('2', start, {{"a", "2"}, {"x", "2"}}, {"a"}));
  EXPECT_EQ(nodes.RoundsUntil(answer), 0);
  EXPECT_EQ((*answer)->error().code(), v1::READ_CONFLICT);
  EXPECT_EQ((*answer)->consensus_rounds(), 0u);
}

TEST_F(CoordinatorTest, AnswersARefusalElsewhereOnceItsAbortIsApplied) {
  const Timestamp start = nodes.NextSlot();
  ASSERT_EQ(nodes.RoundsUntil(nodes.Commit(1, nodes.Request('1', start, {{"x", "1"}}))), 1);
  auto answer = nodes.Commit(1, nodes.Request('2', start, {{"a", "2"}, {"x", "2"}}, {"x"}));
  nodes.Quiet();
  ASSERT_EQ(nodes.group(N::kA).pending().size(), 2u) << "Stage and Decide";
  EXPECT_FALSE(answer->has_value());
  EXPECT_EQ(nodes.RoundsUntil(answer), 1);
  EXPECT_EQ((*answer)->error().code(), v1::READ_CONFLICT);
  EXPECT_EQ((*answer)->consensus_rounds(), 2u);
  nodes.Settle();
  EXPECT_EQ(nodes.Read("a"), "");
  EXPECT_EQ(nodes.Read("x"), "1");
  EXPECT_EQ(nodes.leader(N::kA).prepared_count(), 0u);
}

// Whoever asked cannot find out otherwise whose disk it is.
TEST_F(CoordinatorTest, ANodeWithoutSpaceIsNamedByWhomeverItRefused) {
  for (const int leader_of_b : {1, 2}) {
    nodes.Lead(N::kB, leader_of_b, 0);
    nodes.SetRoom(2, Status(Code::kNoSpace, "the disk of node 2 is full"));
    if (leader_of_b == 1) nodes.SetRoom(1, Status(Code::kNoSpace, "the disk of node 1 is full"));
    auto answer = nodes.Commit(
        1, nodes.Request(leader_of_b == 1 ? '1' : '2', nodes.newest(), {{"a", "1"}, {"x", "2"}}));
    EXPECT_GE(nodes.RoundsUntil(answer), 0);
    EXPECT_EQ((*answer)->error().code(), v1::NO_SPACE);
    EXPECT_EQ((*answer)->error().message(),
              fmt::format("the disk of node {} is full", leader_of_b));
    nodes.SetRoom(1, Status::Ok());
    nodes.Settle();
  }
}

TEST_F(CoordinatorTest, AbortsAtItsDeadline) {
  nodes.Lead(N::kB, 2, 0);
  nodes.Lose("prepare", 1000);
  auto answer = nodes.Commit(1, nodes.Request('1', nodes.newest(), {{"a", "1"}, {"x", "2"}}), 1s);
  nodes.Quiet();
  nodes.Round();
  nodes.env.executor.RunFor(950ms);
  EXPECT_FALSE(answer->has_value());
  EXPECT_EQ(nodes.RoundsUntil(answer), 1);
  EXPECT_EQ((*answer)->error().code(), v1::ABORTED);
  nodes.Settle();
  EXPECT_EQ(nodes.Read("a"), "");
}

TEST_F(CoordinatorTest, ACopyJoinsTheLiveCoordinator) {
  const auto request = nodes.Request('1', nodes.newest(), {{"a", "1"}, {"x", "2"}});
  auto first = nodes.Commit(1, request);
  nodes.Quiet();
  auto copy = nodes.Commit(1, request);
  nodes.Quiet();
  EXPECT_EQ(nodes.group(N::kA).pending().size(), 1u) << "one Stage";
  EXPECT_EQ(nodes.group(N::kB).pending().size(), 1u) << "one Prepare";
  EXPECT_EQ(nodes.RoundsUntil(first), 1);
  EXPECT_EQ(nodes.RoundsUntil(copy), 0);
  EXPECT_EQ((*first)->commit_ts(), (*copy)->commit_ts());
  nodes.Settle();
  // Much later, from the record.
  auto late = nodes.Commit(1, request);
  EXPECT_EQ(nodes.RoundsUntil(late), 0);
  EXPECT_EQ((*first)->commit_ts(), (*late)->commit_ts());
}

TEST_F(CoordinatorTest, ACopyOfAOneShardCommitAnswersTheSame) {
  const auto request = nodes.Request('1', nodes.newest(), {{"a", "1"}});
  auto first = nodes.Commit(1, request);
  nodes.Quiet();
  auto copy = nodes.Commit(1, request);
  EXPECT_EQ(nodes.RoundsUntil(first), 1);
  EXPECT_EQ(nodes.RoundsUntil(copy), 0);
  auto late = nodes.Commit(1, request);
  EXPECT_EQ(nodes.RoundsUntil(late), 0);
  EXPECT_EQ((*first)->commit_ts(), (*copy)->commit_ts());
  EXPECT_EQ((*first)->commit_ts(), (*late)->commit_ts());
}

TEST_F(CoordinatorTest, ACopyIsToldWhyAsTheFirstIs) {
  char id = '1';
  for (const auto& writes :
       {testing::KeyValues{{"a", "1"}}, testing::KeyValues{{"a", "1"}, {"x", "2"}}}) {
    nodes.SetRoom(1, Status(Code::kNoSpace, "the disk of node 1 is full"));
    const auto request = nodes.Request(id++, nodes.newest(), writes);
    auto first = nodes.Commit(1, request);
    nodes.Quiet();
    auto copy = nodes.Commit(1, request);
    EXPECT_EQ(nodes.RoundsUntil(first), 1);
    EXPECT_GE(nodes.RoundsUntil(copy), 0);
    nodes.Settle();
    nodes.SetRoom(1, Status::Ok());  // so that it finds the record, and nothing else to refuse it
    auto late = nodes.Commit(1, request);
    EXPECT_GE(nodes.RoundsUntil(late), 0);
    for (const auto& answer : {first, copy, late}) {
      EXPECT_EQ((*answer)->error().code(), v1::NO_SPACE);
      EXPECT_EQ((*answer)->error().message(), "the disk of node 1 is full");
    }
  }
}

TEST_F(CoordinatorTest, OnlyTheAnchorsLeaderCoordinates) {
  auto answer = nodes.Commit(2, nodes.Request('1', nodes.newest(), {{"a", "1"}}));
  EXPECT_EQ(nodes.RoundsUntil(answer), 0);
  EXPECT_EQ((*answer)->error().code(), v1::NOT_LEADER);
  EXPECT_EQ((*answer)->error().leader().node_id(), 1u);
}

TEST_F(CoordinatorTest, ADeposedCoordinatorAnswersFromTheFacts) {
  nodes.Lead(N::kB, 2, 0);
  auto answer = nodes.Commit(1, nodes.Request('1', nodes.newest(), {{"a", "1"}, {"x", "2"}}));
  nodes.Quiet();
  nodes.Lead(N::kA, 3, 1);  // the Stage is inherited
  EXPECT_EQ(nodes.RoundsUntil(answer), 1) << "B's Prepare";
  EXPECT_EQ((*answer)->error().code(), v1::OK) << (*answer)->error().message();
  nodes.Settle();
  EXPECT_EQ(nodes.Read("a"), "1");
  EXPECT_EQ(nodes.Read("x"), "2");
  EXPECT_TRUE(nodes.leader(N::kA).UnfinishedTxnRecords().empty());
}

TEST_F(CoordinatorTest, TheNextLeaderFinishesWhatWasStaged) {
  nodes.Lead(N::kB, 2, 0);
  nodes.Lose("prepare", 1000);
  const auto request = nodes.Request('1', nodes.newest(), {{"a", "1"}, {"x", "2"}});
  auto answer = nodes.Commit(1, request);
  nodes.Quiet();
  nodes.Lead(N::kA, 3, 1);
  // Nobody prepared B: recovery has it refuse, and decides.
  nodes.Settle();
  EXPECT_EQ(nodes.Read("a"), "");
  ASSERT_TRUE(answer->has_value()) << "it does not keep its client waiting for the deadline";
  EXPECT_EQ((*answer)->error().code(), v1::UNAVAILABLE);
  auto outcome = nodes.Push(3, request);
  EXPECT_EQ(nodes.RoundsUntil(outcome), 0);
  EXPECT_EQ((*outcome)->state(), v1::ABORTED_STATE);
}

TEST_F(CoordinatorTest, TheClientMaySendAgainWhatItsLeaderLost) {
  const auto request = nodes.Request('1', nodes.newest(), {{"a", "1"}, {"x", "2"}});
  auto lost = nodes.Commit(1, request);
  nodes.Quiet();
  nodes.Lead(N::kA, 3, 0);
  EXPECT_GE(nodes.RoundsUntil(lost), 0);
  EXPECT_EQ((*lost)->error().code(), v1::NOT_LEADER);
  auto again = nodes.Commit(3, request);
  EXPECT_EQ(nodes.RoundsUntil(again), 1);
  EXPECT_EQ((*again)->error().code(), v1::OK) << (*again)->error().message();
  EXPECT_EQ(nodes.Read("x"), "2");
}

TEST_F(CoordinatorTest, APushWithoutRecordAbortsForGood) {
  const auto request = nodes.Request('1', nodes.newest(), {{"a", "1"}, {"x", "2"}});
  auto outcome = nodes.Push(1, request);
  EXPECT_EQ(nodes.RoundsUntil(outcome), 1);
  EXPECT_EQ((*outcome)->state(), v1::ABORTED_STATE);
  auto answer = nodes.Commit(1, request);
  EXPECT_EQ(nodes.RoundsUntil(answer), 0);
  EXPECT_EQ((*answer)->error().code(), v1::ABORTED);
}

// Who pushes may resolve, and Resolve is sent only from an applied Decide.
TEST_F(CoordinatorTest, APushWaitsForTheDecideOfTheLiveCoordinator) {
  const auto request = nodes.Request('1', nodes.newest(), {{"a", "1"}, {"x", "2"}});
  auto answer = nodes.Commit(1, request);
  nodes.Quiet();
  auto outcome = nodes.Push(1, request);
  EXPECT_EQ(nodes.RoundsUntil(answer), 1);
  auto late = nodes.Push(1, request);
  nodes.Quiet();
  EXPECT_FALSE(outcome->has_value() || late->has_value());
  EXPECT_EQ(nodes.RoundsUntil(outcome), 1);
  EXPECT_EQ(nodes.RoundsUntil(late), 0);
  EXPECT_EQ((*outcome)->state(), v1::COMMITTED);
  EXPECT_EQ((*outcome)->commit_ts(), (*answer)->commit_ts());
  EXPECT_EQ((*outcome)->participants_size(), 2);
}

TEST_F(CoordinatorTest, APushOfAnAbandonedOneEndsByItsDeadline) {
  nodes.Lead(N::kB, 2, 0);
  nodes.Lose("prepare", 1000);
  const auto request = nodes.Request('1', nodes.newest(), {{"a", "1"}, {"x", "2"}});
  auto answer = nodes.Commit(1, request);
  nodes.Quiet();
  auto outcome = nodes.Push(1, request, 100ms);
  nodes.env.executor.RunFor(150ms);
  ASSERT_TRUE(outcome->has_value());
  EXPECT_EQ((*outcome)->error().code(), v1::DEADLINE_EXCEEDED);
}

TEST_F(CoordinatorTest, SendsALostPrepareAgain) {
  nodes.Lead(N::kB, 2, 0);
  nodes.Lose("prepare", 1);
  auto answer = nodes.Commit(1, nodes.Request('1', nodes.newest(), {{"a", "1"}, {"x", "2"}}));
  nodes.Quiet();
  nodes.Round();
  nodes.env.executor.RunFor(3s);
  EXPECT_EQ(nodes.RoundsUntil(answer), 1);
  EXPECT_EQ((*answer)->error().code(), v1::OK) << (*answer)->error().message();
  EXPECT_EQ((*answer)->consensus_rounds(), 1u);
}

TEST_F(CoordinatorTest, RefusesMalformedCommits) {
  const auto good = nodes.Request('1', nodes.newest(), {{"a", "1"}, {"b", "2"}});
  std::vector<v1::CommitRequest> bad(7, good);
  bad[0].set_txn_id("short");
  bad[1].set_anchor_key("c");
  bad[2].clear_writes();
  bad[3].mutable_writes()->SwapElements(0, 1);
  bad[4].mutable_writes(0)->set_key(std::string(500, 'a'));
  bad[5].clear_priority();
  bad[6].add_reads()->set_from("z");
  bad[6].mutable_reads(0)->set_to("a");
  for (const auto& request : bad) {
    auto answer = nodes.Commit(1, request);
    EXPECT_EQ(nodes.RoundsUntil(answer), 0);
    EXPECT_EQ((*answer)->error().code(), v1::INVALID_ARGUMENT) << request.ShortDebugString();
  }
}

TEST_F(CoordinatorTest, CountsWhatItDid) {
  const Timestamp start = nodes.NextSlot();
  nodes.RoundsUntil(nodes.Commit(1, nodes.Request('1', start, {{"a", "1"}})));
  nodes.RoundsUntil(nodes.Commit(1, nodes.Request('2', nodes.newest(), {{"b", "1"}, {"x", "1"}})));
  nodes.RoundsUntil(nodes.Commit(1, nodes.Request('3', start, {{"a", "3"}}, {"a"})));
  const std::string text = nodes.env.metrics.Exposition();
  EXPECT_NE(text.find("quorate_txn_commits_total{shards=\"one\"} 1"), text.npos) << text;
  EXPECT_NE(text.find("quorate_txn_commits_total{shards=\"many\"} 1"), text.npos);
  EXPECT_NE(text.find("quorate_txn_aborts_total{reason=\"read_conflict\"} 1"), text.npos);
}

}  // namespace
}  // namespace quorate::coordinator
