#include "txn/record.h"

#include <gtest/gtest.h>

namespace quorate {
namespace {

constexpr ParticipantEvent kParticipantEvents[] = {
    ParticipantEvent::kPrepare, ParticipantEvent::kRefuse, ParticipantEvent::kResolveCommitted,
    ParticipantEvent::kResolveAborted};
constexpr TransactionEvent kTransactionEvents[] = {
    TransactionEvent::kStage, TransactionEvent::kCommitOnePhase, TransactionEvent::kDecideCommitted,
    TransactionEvent::kDecideAborted};

// P1 and A1.
TEST(Record, NoEventLeavesAnOutcome) {
  for (TxnState outcome : {TxnState::kCommitted, TxnState::kAborted}) {
    for (auto event : kParticipantEvents) EXPECT_EQ(NextState(outcome, event), outcome);
    for (auto event : kTransactionEvents) EXPECT_EQ(NextState(outcome, event), outcome);
  }
}

TEST(Record, ARefusalDoesNotUndoAPrepare) {
  EXPECT_EQ(NextState(TxnState::kPrepared, ParticipantEvent::kRefuse), TxnState::kPrepared);
  EXPECT_EQ(NextState(TxnState::kNone, ParticipantEvent::kRefuse), TxnState::kAborted);
  EXPECT_EQ(NextState(TxnState::kAborted, ParticipantEvent::kPrepare), TxnState::kAborted);
}

TEST(Record, AnAbortWithoutRecordIsRememberedAndACommitIsNot) {
  EXPECT_EQ(NextState(TxnState::kNone, ParticipantEvent::kResolveAborted), TxnState::kAborted);
  EXPECT_EQ(NextState(TxnState::kNone, ParticipantEvent::kResolveCommitted), TxnState::kNone);
}

TEST(Record, OnlyWhatWasStagedIsDecidedCommitted) {
  EXPECT_EQ(NextState(TxnState::kNone, TransactionEvent::kDecideCommitted), TxnState::kNone);
  EXPECT_EQ(NextState(TxnState::kStaged, TransactionEvent::kDecideCommitted), TxnState::kCommitted);
  EXPECT_EQ(NextState(TxnState::kStaged, TransactionEvent::kCommitOnePhase), TxnState::kStaged);
  EXPECT_EQ(NextState(TxnState::kStaged, TransactionEvent::kDecideAborted), TxnState::kAborted);
}

}  // namespace
}  // namespace quorate
