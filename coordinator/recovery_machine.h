// RecoveryMachine: finishes a transaction whose coordinator is gone (docs/transactions.md,
// section 5). Runs on the anchor's serving leader, once per transaction at a time. No I/O.
//
//   no record, below the horizon ──► TOO_OLD
//   no record ──► Decide{ABORTED} ──► what stands
//   STAGED ──► QueryPrepare to all ──► all PREPARED: Decide{COMMITTED, max} ─┐
//                                  └─► any ABORTED:  Decide{ABORTED} ────────┴─► what stands
//   COMMITTED without Done ──► Resolve at all ──► Done
//
// Kept here: A1 (only an applied Decide is told, and it stands), A2 (silence is never a refusal: it
// is asked again), L1 (every path ends, or the rights do and the next leader starts over).
#pragma once

#include <absl/container/inlined_vector.h>

#include <cstdint>
#include <optional>

#include "base/status.h"
#include "coordinator/commit_machine.h"
#include "txn/timestamp.h"

namespace quorate::coordinator {

class RecoveryMachine {
 public:
  // The transaction record as the serving leader has applied it.
  struct Record {
    TxnState state = TxnState::kNone;
    Timestamp commit_ts;         // COMMITTED
    size_t participants = 0;     // STAGED and COMMITTED: the staged grouping
    bool done = false;           // COMMITTED: every participant has resolved
    bool below_horizon = false;  // of the transaction's start_ts
  };
  struct Action {
    enum class Kind : uint8_t {
      kQuery,            // QueryPrepare to `participant`; `again`: after a pause
      kLogDecide,        // `commit`, ts; `again`: after a pause
      kAnswerCommitted,  // ts
      kAnswerAborted,
      kAnswerTooOld,
      kLookAgain,  // the record is not what it was, or the rights are gone
      kResolve,    // `commit`, ts: at every participant
      kLogDone,
    };
    Kind kind;
    size_t participant = 0;
    Timestamp ts;
    bool commit = false;
    bool again = false;
  };

  void Start(const Record& record);
  void Answered(size_t participant, const PartAnswer& answer);
  void Decided(const Standing& stands);
  void RightsEnded();
  void Resolved();
  void DoneLogged();

  std::optional<Action> Next();
  bool finished() const { return phase_ == Phase::kFinished; }
  // The outcome is in the record, or this recovery will not bring it there.
  bool settled() const { return phase_ >= Phase::kResolving; }
  bool rights() const { return rights_; }

 private:
  enum class Phase : uint8_t { kNew, kAsking, kDeciding, kResolving, kClosing, kFinished };

  void Emit(Action action) { actions_.push_back(action); }
  void Decide(bool commit, Timestamp commit_ts);
  void LookAgain();

  Phase phase_ = Phase::kNew;
  absl::InlinedVector<bool, 4> prepared_;
  absl::InlinedVector<Action, 4> actions_;
  size_t next_action_ = 0;
  Timestamp commit_ts_;  // highest prepare_ts heard
  bool commit_ = false;  // what was proposed
  bool rights_ = true;
};

}  // namespace quorate::coordinator
