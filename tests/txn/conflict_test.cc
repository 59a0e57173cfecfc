#include "txn/conflict.h"

#include <gtest/gtest.h>

namespace quorate {
namespace {

TxnPriority At(uint64_t ms) { return {Timestamp::FromParts(ms, 0), TxnId()}; }
const TxnPriority kOld = At(1), kMid = At(2), kYoung = At(3);

// The table of section 6, line by line.
TEST(Conflict, AdvisoryOrAnchorWaitsForOlderAndForPreparedAndWoundsYoungerAdvisory) {
  for (Asker asker : {Asker::kAdvisory, Asker::kPrepareAtAnchor}) {
    EXPECT_EQ(AgainstHolder(asker, kMid, Holder::kAdvisory, kOld), Contention::kWait);
    EXPECT_EQ(AgainstHolder(asker, kMid, Holder::kPrepared, kOld), Contention::kWait);
    EXPECT_EQ(AgainstHolder(asker, kMid, Holder::kPrepared, kYoung), Contention::kWait);
    EXPECT_EQ(AgainstHolder(asker, kMid, Holder::kAdvisory, kYoung), Contention::kWound);
    EXPECT_EQ(AgainstOlderWaiter(asker), Contention::kWait);
  }
}

TEST(Conflict, PrepareElsewhereDiesOfOlderAndWaitsForYoungerPrepared) {
  const Asker asker = Asker::kPrepareElsewhere;
  EXPECT_EQ(AgainstHolder(asker, kMid, Holder::kAdvisory, kOld), Contention::kDie);
  EXPECT_EQ(AgainstHolder(asker, kMid, Holder::kPrepared, kOld), Contention::kDie);
  EXPECT_EQ(AgainstHolder(asker, kMid, Holder::kPrepared, kYoung), Contention::kWait);
  EXPECT_EQ(AgainstHolder(asker, kMid, Holder::kAdvisory, kYoung), Contention::kWound);
  EXPECT_EQ(AgainstOlderWaiter(asker), Contention::kDie);
}

TEST(Conflict, AnEarlierAttemptOfTheSameTransactionIsWaitedFor) {
  for (Asker asker : {Asker::kAdvisory, Asker::kPrepareAtAnchor, Asker::kPrepareElsewhere}) {
    EXPECT_EQ(AgainstHolder(asker, kMid, Holder::kPrepared, kMid), Contention::kWait);
    EXPECT_EQ(AgainstHolder(asker, kMid, Holder::kAdvisory, kMid), Contention::kWound);
  }
}

TEST(Conflict, NobodyDiesOfAHolderThatWaitsForNobody) {
  for (Asker asker : {Asker::kAdvisory, Asker::kPrepareAtAnchor, Asker::kPrepareElsewhere}) {
    for (const TxnPriority& holder : {kOld, kMid, kYoung}) {
      EXPECT_EQ(AgainstHolder(asker, kMid, Holder::kEnding, holder), Contention::kWait);
    }
  }
}

}  // namespace
}  // namespace quorate
