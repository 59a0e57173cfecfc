// That the contents check can fail: each rule is shown one wrong observation, and the right one
// beside it.
#include "tests/sim/checks/contents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace quorate::sim {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Timestamp At(uint64_t ms, uint64_t sub = 0) { return Timestamp::FromParts(ms, 0, sub); }

class Contents : public testing::Test {
 protected:
  void Pass() { world_.RunUntil(world_.now() + 1ms); }

  // A committed write of one key, after everything so far.
  AttemptSeen& Write(const std::string& key, const Value& value, Timestamp ts) {
    AttemptSeen& attempt = Maybe(key, value);
    Pass();
    record_.Committed(&attempt, ts);
    return attempt;
  }
  // One whose outcome nobody was told.
  AttemptSeen& Maybe(const std::string& key, const Value& value) {
    Pass();
    AttemptSeen& attempt = record_.Begin("writer");
    attempt.writes[key] = value;
    attempt.state = AttemptSeen::State::kCommitting;
    return attempt;
  }
  AttemptSeen& Read(const std::string& key, const Value& value, Timestamp at) {
    Pass();
    AttemptSeen& attempt = record_.Begin("reader");
    attempt.start_ts = at;
    attempt.reads.push_back({key, key + '\0', 0, false, {{key, value}}, {}});
    Pass();
    record_.Committed(&attempt, Timestamp());
    return attempt;
  }
  AttemptSeen& Scan(std::vector<std::pair<std::string, Value>> rows, size_t limit, Timestamp at) {
    Pass();
    AttemptSeen& attempt = record_.Begin("scanner");
    attempt.start_ts = at;
    attempt.reads.push_back({"a", "z", limit, false, std::move(rows), {}});
    Pass();
    record_.Committed(&attempt, Timestamp());
    return attempt;
  }
  void Single(const std::string& key, const Value& value) {
    const int64_t began = record_.Now();
    Pass();
    record_.AddSingle({"single", key, value, began, record_.Now()});
  }
  std::vector<std::string> Found() { return JudgeContents(record_); }

  World world_{1};
  Record record_{world_};
};

TEST_F(Contents, AReadSeesTheNewestVersionBelowIt) {
  Write("k", "1", At(10, 1));
  Write("k", "2", At(20, 1));
  Read("k", "2", At(30));
  EXPECT_THAT(Found(), IsEmpty());
  Read("k", "1", At(40));
  EXPECT_THAT(Found(), ElementsAre(HasSubstr("S2: reader")));
}

TEST_F(Contents, AnAcknowledgedWriteIsMissing) {
  Write("k", "1", At(10, 1));
  Read("k", std::nullopt, At(20));
  EXPECT_THAT(Found(), ElementsAre(HasSubstr("read k = absent")));
}

TEST_F(Contents, AWriteThatNobodyMade) {
  Read("k", "1", At(20));
  EXPECT_THAT(Found(), ElementsAre(HasSubstr("A2: reader")));
}

TEST_F(Contents, AnAbortedWriteIsSeen) {
  record_.Aborted(&Maybe("k", "1"));
  Read("k", "1", At(20));
  EXPECT_THAT(Found(), ElementsAre(HasSubstr("nobody committed")));
}

TEST_F(Contents, ADeletionCameBack) {
  Write("k", "1", At(10, 1));
  Write("k", std::nullopt, At(20, 1));
  Read("k", "1", At(30));
  EXPECT_THAT(Found(), ElementsAre(HasSubstr("but it was absent then")));
}

TEST_F(Contents, AnUnknownWriteMayBeThereOrNotButNotBoth) {
  Write("k", "1", At(10, 1));
  Maybe("k", "2").start_ts = At(11);
  Read("k", "1", At(20));
  Read("k", "2", At(30));
  EXPECT_THAT(Found(), IsEmpty());
  Read("k", "1", At(40));
  EXPECT_THAT(Found(), ElementsAre(HasSubstr("S2")));
}

TEST_F(Contents, AWriteKnownToBeCommittedIsMissing) {
  AttemptSeen& attempt = Maybe("k", "2");
  Pass();
  record_.Committed(&attempt, Timestamp());
  Read("k", std::nullopt, At(40));
  EXPECT_THAT(Found(), ElementsAre(HasSubstr("S2")));
}

TEST_F(Contents, AScanMissesARow) {
  Write("b", "1", At(10, 1));
  Write("c", "1", At(11, 1));
  Scan({{"b", "1"}}, 1, At(20));
  EXPECT_THAT(Found(), IsEmpty()) << "a limit promises nothing behind its last row";
  Scan({{"b", "1"}}, 0, At(30));
  EXPECT_THAT(Found(), ElementsAre(HasSubstr("read c = absent")));
}

TEST_F(Contents, OwnWritesAreSeen) {
  AttemptSeen& attempt = Maybe("k", "mine");
  attempt.start_ts = At(5);
  attempt.reads.push_back({"k", std::string("k\0", 2), 0, false, {{"k", "mine"}}, {{"k", "mine"}}});
  EXPECT_THAT(Found(), IsEmpty());
  attempt.reads.push_back(
      {"k", std::string("k\0", 2), 0, false, {{"k", std::nullopt}}, {{"k", "mine"}}});
  EXPECT_THAT(Found(), ElementsAre(HasSubstr("internal")));
}

TEST_F(Contents, OwnWritesAreSeenThoughNobodyCommittedThem) {
  AttemptSeen& attempt = Maybe("k", "mine");
  attempt.start_ts = At(5);
  attempt.reads.push_back({"a", "z", 0, false, {{"k", "mine"}}, {{"k", "mine"}}});
  record_.Aborted(&attempt);
  EXPECT_THAT(Found(), IsEmpty());
  attempt.reads.push_back({"a", "z", 0, false, {}, {{"k", "mine"}}});
  EXPECT_THAT(Found(), ElementsAre(HasSubstr("internal")));
}

TEST_F(Contents, SomebodyWroteBetweenReadAndCommit) {
  AttemptSeen& skewed = Maybe("x", "1");
  skewed.start_ts = At(10);
  skewed.reads.push_back({"k", std::string("k\0", 2), 0, false, {{"k", std::nullopt}}, {}});
  AttemptSeen& between = Maybe("k", "2");
  Pass();
  record_.Committed(&between, At(11));
  record_.Committed(&skewed, At(12));
  EXPECT_THAT(Found(), ElementsAre(HasSubstr("wrote it between")));
}

TEST_F(Contents, APhantomBetweenScanAndCommit) {
  AttemptSeen& skewed = Maybe("zz", "1");
  skewed.start_ts = At(10);
  skewed.reads.push_back({"a", "z", 0, false, {}, {}});
  AttemptSeen& between = Maybe("m", "2");
  Pass();
  record_.Committed(&between, At(11));
  record_.Committed(&skewed, At(12));
  EXPECT_THAT(Found(), ElementsAre(HasSubstr("wrote it between")));
}

TEST_F(Contents, TwoCommitsOfOneKeyAtOneTimestamp) {
  AttemptSeen& one = Maybe("k", "1");
  AttemptSeen& other = Maybe("k", "2");
  record_.Committed(&one, At(10, 1));
  record_.Committed(&other, At(10, 1));
  EXPECT_THAT(Found(), ElementsAre(HasSubstr("two commits wrote k")));
}

TEST_F(Contents, TimestampsAgainstRealTime) {
  Write("k", "1", At(20, 1));
  Write("other", "1", At(10, 1));
  EXPECT_THAT(Found(), ElementsAre(HasSubstr("T1: writer")));
}

TEST_F(Contents, ASnapshotFromBeforeAnAnsweredCommit) {
  Write("k", "1", At(20, 1));
  Read("other", std::nullopt, At(10));
  EXPECT_THAT(Found(), ElementsAre(HasSubstr("T1: reader")));
}

TEST_F(Contents, TwoOutcomesOfOneTransaction) {
  AttemptSeen& attempt = Maybe("k", "1");
  record_.Committed(&attempt, At(10, 1));
  record_.Aborted(&attempt);
  EXPECT_THAT(Found(), ElementsAre(HasSubstr("A1: writer")));
}

TEST_F(Contents, TwoCommitTimestampsOfOneTransaction) {
  AttemptSeen& attempt = Maybe("k", "1");
  record_.Committed(&attempt, At(10, 1));
  record_.Committed(&attempt, At(11, 1));
  EXPECT_THAT(Found(), ElementsAre(HasSubstr("two commit timestamps")));
}

TEST_F(Contents, ASingleReadGoesBack) {
  Write("k", "1", At(10, 1));
  Write("k", "2", At(20, 1));
  Single("k", "2");
  EXPECT_THAT(Found(), IsEmpty());
  Single("k", "1");
  EXPECT_THAT(Found(), ElementsAre(HasSubstr("linearizability")));
}

TEST_F(Contents, ASingleReadGoesBackBehindAnother) {
  Write("k", "1", At(10, 1));
  AttemptSeen& slow = Maybe("k", "2");
  Single("k", "2");
  Pass();
  Single("k", "1");
  Pass();
  record_.Committed(&slow, At(20, 1));
  EXPECT_THAT(Found(), ElementsAre(HasSubstr("linearizability")));
}

TEST_F(Contents, ASingleReadOfWhatMayHaveBeenWrittenShowsNothingElse) {
  Write("k", "1", At(10, 1));
  Maybe("k", std::nullopt);  // nobody ever learns of it
  AttemptSeen& slow = Maybe("k", std::nullopt);
  Pass();
  Single("k", std::nullopt);
  Write("k", "2", At(20, 1));
  Single("k", "2");
  record_.Committed(&slow, At(30, 1));
  EXPECT_THAT(Found(), IsEmpty());
}

TEST_F(Contents, ASingleReadFromTheFuture) {
  Single("k", "1");
  Write("k", "1", At(10, 1));
  EXPECT_THAT(Found(), ElementsAre(HasSubstr("linearizability")));
}

TEST_F(Contents, LongValuesAreComparedWhole) {
  const std::string value(5000, 'v');
  std::string other = value;
  other[4000] = 'w';
  EXPECT_EQ(Keep(value), Keep(value));
  EXPECT_NE(Keep(value), Keep(other));
}

}  // namespace
}  // namespace quorate::sim
