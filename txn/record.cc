#include "txn/record.h"

#include "base/check.h"

namespace quorate {

std::string_view TxnStateName(TxnState state) {
  switch (state) {
    case TxnState::kNone:
      return "NONE";
    case TxnState::kPrepared:
      return "PREPARED";
    case TxnState::kStaged:
      return "STAGED";
    case TxnState::kCommitted:
      return "COMMITTED";
    case TxnState::kAborted:
      return "ABORTED";
  }
  CHECK(false, "transaction state {}", static_cast<int>(state));
}

TxnState NextState(TxnState state, ParticipantEvent event) {
  switch (state) {
    case TxnState::kNone:
      switch (event) {
        case ParticipantEvent::kPrepare:
          return TxnState::kPrepared;
        case ParticipantEvent::kRefuse:
          return TxnState::kAborted;
        case ParticipantEvent::kResolveAborted:
          return TxnState::kAborted;
        // Nothing to commit: a copy that comes after the record was collected, or another grouping.
        case ParticipantEvent::kResolveCommitted:
          return TxnState::kNone;
      }
      break;
    case TxnState::kPrepared:
      switch (event) {
        case ParticipantEvent::kPrepare:
          return state;
        // Compare-and-set: the prepare came first, and somebody may already count on it.
        case ParticipantEvent::kRefuse:
          return state;
        case ParticipantEvent::kResolveCommitted:
          return TxnState::kCommitted;
        case ParticipantEvent::kResolveAborted:
          return TxnState::kAborted;
      }
      break;
    case TxnState::kCommitted:
    case TxnState::kAborted:
      return state;
    case TxnState::kStaged:
      break;
  }
  CHECK(false, "a participant record is never {}", TxnStateName(state));
}

TxnState NextState(TxnState state, TransactionEvent event) {
  switch (state) {
    case TxnState::kNone:
      switch (event) {
        case TransactionEvent::kStage:
          return TxnState::kStaged;
        case TransactionEvent::kCommitOnePhase:
          return TxnState::kCommitted;
        case TransactionEvent::kDecideAborted:
          return TxnState::kAborted;
        // Only what was staged can be committed in several parts.
        case TransactionEvent::kDecideCommitted:
          return TxnState::kNone;
      }
      break;
    case TxnState::kStaged:
      switch (event) {
        case TransactionEvent::kDecideCommitted:
          return TxnState::kCommitted;
        case TransactionEvent::kDecideAborted:
          return TxnState::kAborted;
        case TransactionEvent::kStage:
          return state;
        // A copy grouped into one shard, behind one that was staged: the staged one is joined.
        case TransactionEvent::kCommitOnePhase:
          return state;
      }
      break;
    case TxnState::kCommitted:
    case TxnState::kAborted:
      return state;
    case TxnState::kPrepared:
      break;
  }
  CHECK(false, "a transaction record is never {}", TxnStateName(state));
}

}  // namespace quorate
