// Large entries: one is in the log, the next waits with its locks, and what is small goes past.
#include <gtest/gtest.h>

#include "base/limits.h"
#include "tests/shard/shard_fixture.h"

namespace quorate::shard {
namespace {

class LargeEntryTest : public ShardTest {
 protected:
  v1::PrepareRequest Large(const std::string& key) {
    v1::PrepareRequest part = Part(key, NextSlot().bits());
    part.mutable_writes(0)->set_value(std::string(limits::kPartsLoggedBytesMax, 'v'));
    return part;
  }
};

TEST_F(LargeEntryTest, WaitsForAnotherAndWhatIsSmallGoesPast) {
  const auto first = Start(leader().CommitOnePhase(Large("a"), Deadline()));
  const auto second = Start(leader().Prepare(Large("b"), Deadline()));
  const auto third = Start(leader().CommitOnePhase(Large("c"), Deadline()));
  EXPECT_TRUE(first->has_value());
  EXPECT_FALSE(third->has_value());
  ASSERT_EQ(group_->pending().size(), 1u);
  const auto small = Start(leader().CommitOnePhase(Part("d", NextSlot().bits()), Deadline()));
  EXPECT_TRUE(small->has_value());
  ASSERT_EQ(group_->pending().size(), 2u);
  group_->CommitOne();
  Run();
  EXPECT_EQ(group_->pending().size(), 2u) << "the small one, and the second";
  EXPECT_FALSE(second->has_value() || third->has_value());
  Commit();
  Commit();
  ASSERT_TRUE(second->has_value() && third->has_value());
  EXPECT_EQ((*second)->state(), v1::PREPARED);
  EXPECT_EQ(parts_logged_.held_bytes(), 0u);
}

// A read is not held up by what is not in the log, and what it returned stays so.
TEST_F(LargeEntryTest, IsEvaluatedWhenItsTurnHasCome) {
  Start(leader().CommitOnePhase(Large("a"), Deadline()));
  const auto second = Start(leader().CommitOnePhase(Large("b"), Deadline()));
  v1::ReadRequest read;
  read.add_keys("b");
  read.set_read_ts(NextSlot().bits());
  const auto answer = Start(leader().Read(read, Deadline()));
  ASSERT_TRUE(answer->has_value());
  EXPECT_FALSE((*answer)->gets(0).found());
  const auto blocked = Start(leader().CommitOnePhase(Part("b", NextSlot().bits()), Deadline()));
  EXPECT_FALSE(blocked->has_value()) << "it has its lock";
  Commit();
  ASSERT_TRUE(second->has_value());
  EXPECT_GT((*second)->prepare_ts, Timestamp(read.read_ts()));
}

TEST_F(LargeEntryTest, ThatWaitsEndsWithTheTermAndTheDeadline) {
  const auto first = Start(leader().CommitOnePhase(Large("a"), Deadline()));
  const auto late = Start(leader().CommitOnePhase(Large("b"), env_.executor.Now() + 100ms));
  env_.executor.RunFor(1s);  // the first is without a majority, and in nobody's way any more
  ASSERT_TRUE(late->has_value());
  EXPECT_EQ((*late)->status.code(), Code::kDeadlineExceeded);
  const auto second = Start(leader().CommitOnePhase(Large("c"), Deadline()));
  const auto third = Start(leader().CommitOnePhase(Large("d"), Deadline()));
  EXPECT_TRUE((*second)->ok());
  EXPECT_FALSE(third->has_value());
  EXPECT_EQ(leader().in_memory().locks, 3u);
  group_->Elect(1);
  Run();
  ASSERT_TRUE(third->has_value());
  EXPECT_EQ((*third)->status.code(), Code::kNotLeader);
  EXPECT_EQ(parts_logged_.held_bytes(), 0u);
}

// Half of the time there is none, however long each takes.
TEST_F(LargeEntryTest, LeavesTheLogAloneForAsLongAsItTook) {
  Start(leader().CommitOnePhase(Large("a"), Deadline()));
  const auto second = Start(leader().CommitOnePhase(Large("b"), Deadline()));
  env_.executor.RunFor(100ms);
  Commit();
  env_.executor.RunFor(90ms);
  EXPECT_FALSE(second->has_value());
  env_.executor.RunFor(20ms);
  ASSERT_TRUE(second->has_value());
  EXPECT_TRUE((*second)->ok());
}

}  // namespace
}  // namespace quorate::shard
