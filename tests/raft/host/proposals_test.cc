// How waiting proposals end, each exactly once.
#include "raft/host/proposals.h"

#include <gtest/gtest.h>

#include "tests/support/test_env.h"

namespace quorate::raft {
namespace {

class ProposalsTest : public testing::Test {
 protected:
  Waiter Wait(int id) {
    return GroupHandle::ProposeDone([this, id](Result<Proposed> result) {
      EXPECT_FALSE(ended_.contains(id)) << "answered twice";
      ended_.emplace(id, std::move(result));
    });
  }
  Code CodeOf(int id) { return ended_.at(id).status().code(); }

  TestEnv env_;
  Answers answers_{env_.executor};
  Gather gather_{env_.env};
  Proposals proposals_{answers_, &gather_};
  std::map<int, Result<Proposed>> ended_;
};

TEST_F(ProposalsTest, EndWithApplysResultInALaterTurn) {
  proposals_.Add(LogIndex(5), Term(2), Wait(5));
  proposals_.Add(LogIndex(6), Term(2), Wait(6));
  proposals_.Applied(LogIndex(4), Term(1), {});
  proposals_.Applied(LogIndex(5), Term(2), {Status::Ok(), "five"});
  EXPECT_TRUE(ended_.empty());
  env_.executor.RunFor(1ms);
  ASSERT_EQ(ended_.size(), 1u);
  EXPECT_EQ(ended_.at(5)->result.payload, "five");
  EXPECT_EQ(ended_.at(5)->index, LogIndex(5));
  EXPECT_EQ(ended_.at(5)->term, Term(2));
  EXPECT_EQ(proposals_.size(), 1u);
}

TEST_F(ProposalsTest, OfSeveralTermsAtOneIndexOnlyTheAppliedOneSucceeds) {
  proposals_.Add(LogIndex(5), Term(2), Wait(2));
  proposals_.Add(LogIndex(5), Term(4), Wait(4));
  proposals_.Add(LogIndex(5), Term(6), Wait(6));
  env_.executor.RunFor(1ms);
  EXPECT_TRUE(ended_.empty()) << "a later term's entry in the log ends nothing";
  proposals_.Applied(LogIndex(5), Term(4), {});
  env_.executor.RunFor(1ms);
  EXPECT_EQ(CodeOf(2), Code::kNotLeader);
  EXPECT_TRUE(ended_.at(4).ok());
  EXPECT_EQ(CodeOf(6), Code::kNotLeader);
}

TEST_F(ProposalsTest, BehindAnAppliedEntryOfALaterTermNeverTakeEffect) {
  proposals_.Add(LogIndex(8), Term(1), Wait(1));
  proposals_.Add(LogIndex(9), Term(3), Wait(3));
  proposals_.Applied(LogIndex(5), Term(2), {});
  env_.executor.RunFor(1ms);
  EXPECT_EQ(CodeOf(1), Code::kNotLeader);
  EXPECT_FALSE(ended_.contains(3));
}

TEST_F(ProposalsTest, JumpedOverBySnapshotsAreUnknown) {
  proposals_.Add(LogIndex(5), Term(2), Wait(5));
  proposals_.Add(LogIndex(9), Term(2), Wait(9));
  proposals_.Covered(LogIndex(8));
  env_.executor.RunFor(1ms);
  EXPECT_EQ(EffectOf(CodeOf(5)), Effect::kUnknown);
  EXPECT_FALSE(ended_.contains(9));
}

TEST_F(ProposalsTest, NeverEndWhenTheHostStops) {
  {
    Answers answers(env_.executor);
    Proposals proposals(answers, &gather_);
    proposals.Add(LogIndex(5), Term(2), Wait(5));
    proposals.Add(LogIndex(6), Term(2), Wait(6));
    proposals.Applied(LogIndex(5), Term(2), {});
  }
  env_.executor.RunFor(1ms);
  EXPECT_TRUE(ended_.empty());
}

TEST_F(ProposalsTest, AreGatheredOnlyWhileManyAreUnderWay) {
  for (size_t i = 1; i <= kBusyProposals; ++i) {
    EXPECT_FALSE(gather_.Waits()) << "with " << i - 1 << " under way";
    proposals_.Add(LogIndex(i), Term(1), Wait(static_cast<int>(i)));
  }
  EXPECT_TRUE(gather_.Waits());
  for (size_t i = 1; i <= kBusyProposals; ++i) proposals_.Applied(LogIndex(i), Term(1), {});
  EXPECT_FALSE(gather_.Waits());
}

TEST_F(ProposalsTest, OfAllGroupsEnterTogetherAndNotTooOften) {
  env_.executor.RunFor(1s);
  std::vector<Instant> entered;
  const auto enter = [&] { entered.push_back(env_.executor.Now()); };
  const Instant begin = env_.executor.Now();
  gather_.Add(enter);
  gather_.Add(enter);
  EXPECT_TRUE(gather_.Waits()) << "behind those that wait already";
  env_.executor.RunFor(1ms);
  gather_.Add(enter);
  env_.executor.RunFor(10ms);
  EXPECT_EQ(entered, (std::vector{begin, begin, begin + kGatherFor}));
  EXPECT_FALSE(gather_.Waits());
}

}  // namespace
}  // namespace quorate::raft
