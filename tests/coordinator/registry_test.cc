#include "coordinator/registry.h"

#include <gtest/gtest.h>

#include "coordinator/admission.h"
#include "tests/support/test_env.h"

namespace quorate::coordinator {
namespace {

const TxnId kTxn = *TxnId::FromBytes(std::string(16, '1'));
const TxnId kOther = *TxnId::FromBytes(std::string(16, '2'));
constexpr ShardId kShard(7);
constexpr raft::Term kTerm(3);

class RegistryTest : public ::testing::Test {
 protected:
  RegistryTest() : registry(env.env), scope(env.executor) {}

  // Joins, and returns where the finding will be.
  std::shared_ptr<std::optional<Finding>> Join(const TxnId& txn, raft::Term term = kTerm,
                                               Duration timeout = 1s,
                                               JoinUntil until = JoinUntil::kFact) {
    auto found = std::make_shared<std::optional<Finding>>();
    scope.Spawn(Wait(this, txn, term, until, env.executor.Now() + timeout, found));
    env.executor.RunFor(Duration(0));
    return found;
  }
  static Task<void> Wait(RegistryTest* test, TxnId txn, raft::Term term, JoinUntil until,
                         Instant deadline, std::shared_ptr<std::optional<Finding>> found) {
    *found = co_await test->registry.Join(txn, kShard, term, until, deadline);
  }
  void Run() { env.executor.RunFor(Duration(0)); }

  TestEnv env;
  Registry registry;
  TaskScope scope;
};

TEST_F(RegistryTest, NobodyIsThereToJoin) {
  const auto found = Join(kTxn);
  ASSERT_TRUE(found->has_value());
  EXPECT_EQ((*found)->kind, Finding::Kind::kLookAgain);
}

TEST_F(RegistryTest, TellsThoseWhoWaitAndThoseWhoCome) {
  Registration entry(registry, kTxn, kShard, kTerm, "a", nullptr);
  const auto early = Join(kTxn);
  EXPECT_FALSE(early->has_value());
  entry.Tell({.kind = Finding::Kind::kCommitted, .commit_ts = Timestamp(9)});
  Run();
  const auto late = Join(kTxn);
  for (const auto& found : {early, late}) {
    ASSERT_TRUE(found->has_value());
    EXPECT_EQ((*found)->kind, Finding::Kind::kCommitted);
    EXPECT_EQ((*found)->commit_ts, Timestamp(9));
  }
}

TEST_F(RegistryTest, LooksAgainWhenAnEntryEndsWithoutAnOutcome) {
  std::shared_ptr<std::optional<Finding>> found;
  {
    Registration entry(registry, kTxn, kShard, kTerm, "a", nullptr);
    found = Join(kTxn);
  }
  Run();
  ASSERT_TRUE(found->has_value());
  EXPECT_EQ((*found)->kind, Finding::Kind::kLookAgain);
  EXPECT_EQ(registry.size(), 0u);
}

TEST_F(RegistryTest, AFactDoesNotWakeWhoWaitsForTheEnd) {
  Registration entry(registry, kTxn, kShard, kTerm, "a", nullptr);
  const auto early = Join(kTxn, kTerm, 1s, JoinUntil::kEnd);
  entry.Tell({.kind = Finding::Kind::kCommitted, .commit_ts = Timestamp(9)});
  const auto late = Join(kTxn, kTerm, 1s, JoinUntil::kEnd);
  EXPECT_FALSE(early->has_value());
  EXPECT_FALSE(late->has_value());
  entry.End();
  Run();
  ASSERT_TRUE(early->has_value() && late->has_value());
  EXPECT_EQ((*early)->kind, Finding::Kind::kLookAgain);
}

TEST_F(RegistryTest, EndsAWaitByItsDeadline) {
  Registration entry(registry, kTxn, kShard, kTerm, "a", nullptr);
  const auto found = Join(kTxn, kTerm, 20ms);
  env.executor.RunFor(19ms);
  EXPECT_FALSE(found->has_value());
  env.executor.RunFor(1ms);
  ASSERT_TRUE(found->has_value());
  EXPECT_EQ((*found)->kind, Finding::Kind::kTimeout);
}

TEST_F(RegistryTest, EntriesEndWithTheLeadersTerm) {
  int ended = 0;
  Registration entry(registry, kTxn, kShard, kTerm, "a", [&] { ++ended; });
  Registration elsewhere(registry, kOther, ShardId(8), kTerm, "a", [&] { ended += 100; });
  const auto found = Join(kTxn);
  registry.EndShard(kShard, std::nullopt);
  Run();
  EXPECT_EQ(ended, 1);
  EXPECT_FALSE(entry.live());
  EXPECT_TRUE(elsewhere.live());
  EXPECT_EQ((*found)->kind, Finding::Kind::kLookAgain);
  EXPECT_FALSE(registry.Has(kTxn, kShard, kTerm));
}

TEST_F(RegistryTest, AnEntryOfAnOlderTermGivesWay) {
  bool ended = false;
  auto old =
      std::make_unique<Registration>(registry, kTxn, kShard, kTerm, "a", [&] { ended = true; });
  EXPECT_FALSE(registry.Has(kTxn, kShard, raft::Term(4)));
  Registration entry(registry, kTxn, kShard, raft::Term(4), "a", nullptr);
  EXPECT_TRUE(ended);
  EXPECT_FALSE(old->live());
  old.reset();
  EXPECT_TRUE(registry.Has(kTxn, kShard, raft::Term(4))) << "the old one takes nothing along";
}

TEST_F(RegistryTest, AnotherShardsEntryOfTheSameTransactionIsApart) {
  Registration entry(registry, kTxn, kShard, kTerm, "a", nullptr);
  {
    Registration wrong(registry, kTxn, ShardId(8), kTerm, "a", nullptr);
    EXPECT_TRUE(entry.live());
  }
  EXPECT_TRUE(registry.Has(kTxn, kShard, kTerm));
}

TEST_F(RegistryTest, AnOwnerMayGoWhenItsRightsEnd) {
  std::unique_ptr<Registration> entry;
  entry =
      std::make_unique<Registration>(registry, kTxn, kShard, kTerm, "a", [&] { entry.reset(); });
  registry.EndShard(kShard, std::nullopt);
  EXPECT_EQ(entry, nullptr);
  EXPECT_EQ(registry.size(), 0u);
}

TEST_F(RegistryTest, WhyTheLastOnesWereAbortedIsKnownForAWhile) {
  const auto end_with = [&](const TxnId& txn, Code code) {
    Registration entry(registry, txn, kShard, kTerm, "a", nullptr);
    entry.Tell({.kind = Finding::Kind::kAborted, .code = code, .explained = "who is in the way"});
  };
  end_with(kOther, Code::kAborted);
  EXPECT_EQ(registry.WhyAborted(kOther, kShard), nullptr) << "its record says as much";
  end_with(kTxn, Code::kLockConflict);
  ASSERT_NE(registry.WhyAborted(kTxn, kShard), nullptr);
  EXPECT_EQ(registry.WhyAborted(kTxn, kShard)->explained, "who is in the way");
  EXPECT_EQ(registry.WhyAborted(kTxn, ShardId(8)), nullptr);
  for (size_t i = 0; i < Registry::kAbortedMax; ++i) {
    EXPECT_NE(registry.WhyAborted(kTxn, kShard), nullptr);
    end_with(TxnId::Make(env.random), Code::kLockConflict);
  }
  EXPECT_EQ(registry.WhyAborted(kTxn, kShard), nullptr);
}

TEST(Admission, AbortsAboveTheBoundAndDropsFarAboveIt) {
  TestEnv env;
  Admission admission(env.metrics, 2);
  using Verdict = Admission::Verdict;
  std::vector<std::unique_ptr<Admission::Ticket>> tickets;
  for (const Verdict expected :
       {Verdict::kAdmit, Verdict::kAdmit, Verdict::kAbort, Verdict::kAbort, Verdict::kDrop}) {
    tickets.push_back(std::make_unique<Admission::Ticket>(admission));
    EXPECT_EQ(tickets.back()->verdict(), expected);
  }
  tickets.clear();
  EXPECT_EQ(admission.live(), 0u);
  EXPECT_EQ(Admission::Ticket(admission).verdict(), Verdict::kAdmit);
}

TEST(Admission, LeavesTimeToAnswer) {
  const Instant now{};
  EXPECT_EQ(Admission::WorkDeadline(now, now + 1s), now + 900ms);
  EXPECT_EQ(Admission::WorkDeadline(now, now + 10s), now + 9750ms);
  EXPECT_EQ(Admission::WorkDeadline(now, now + 1000s), now + limits::kRequestTimeoutMax - 250ms);
}

}  // namespace
}  // namespace quorate::coordinator
