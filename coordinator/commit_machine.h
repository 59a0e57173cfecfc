// CommitMachine: what the coordinator of one Commit does next (docs/transactions.md, section 4).
// No I/O: answers, applied entries and timeouts go in, actions come out; commit_across.cc performs
// them.
//
//   evaluating ──► staging ──────────────► committed: answer, early outcome, Decide
//       │             │ refusal, deadline       │                  │ applied
//       │ refusal     ▼                         │                  ▼
//       ├────────► aborting: Decide{ABORTED} ───┼──────────► resolving ──► Done ──► finished
//       │             │ rights ended            │ rights ended
//       ▼             ▼                         ▼
//    finished      finished (says nothing)   finished (recovery does the rest)
//
// Kept here, and what breaks without it (tests/coordinator/scenarios):
//   A1  facts decide COMMITTED only if no abort was proposed; what an applied Decide says stands
//   A2  ABORTED is answered only once a Decide is applied, except READ_CONFLICT of the own
//       evaluation; COMMITTED needs the own Stage applied and every participant PREPARED
//   L1  every path ends: with the answer, or with the rights
// Resolve comes after an applied Decide, Done after every Resolve. Without rights (section 2:
// leadership of the anchor in the term of the start) nothing is logged, but facts are still told.
#pragma once

#include <absl/container/inlined_vector.h>

#include <cstdint>
#include <optional>
#include <string>

#include "base/status.h"
#include "txn/record.h"
#include "txn/timestamp.h"

namespace quorate::coordinator {

// What stands for a transaction or a participant after an entry was applied, or by a record.
struct Standing {
  TxnState state = TxnState::kNone;
  Timestamp prepare_ts;   // kPrepared, kStaged
  Timestamp commit_ts;    // kCommitted
  Code code = Code::kOk;  // kNone: why the entry had no effect
};

// What came back from a participant. kPrepared, kCommitted and kAborted are facts about this
// (transaction, digest), whoever tells them; the rest says nothing about the outcome.
struct PartAnswer {
  enum class Kind : uint8_t { kPrepared, kCommitted, kAborted, kRefused, kSilence };
  Kind kind = Kind::kSilence;
  Timestamp ts;                    // prepare_ts or commit_ts
  Code code = Code::kUnavailable;  // kRefused
  std::string why = {};            // likewise, for people
};

class CommitMachine {
 public:
  struct Action {
    enum class Kind : uint8_t {
      kEvaluateOwn,      // min_ts = ts; several participants: Prepare + Stage, one: one phase
      kSendPrepare,      // to `participant` with min_ts = ts; `again`: after a pause
      kFetchSlot,        // then SlotArrived or SlotFailed
      kJoinRecovery,     // somebody staged it before: recovery decides and answers
      kAnswerCommitted,  // ts
      kAnswerAborted,    // code: why
      kAnswerUnknown,    // code; says nothing about the outcome
      kSendEarly,        // COMMITTED at ts is a fact
      kLogDecide,  // `commit`, ts; `unstaged`: nothing was staged here; `again`: after a pause
      kResolve,    // `commit`, ts: at every participant
      kLogDone,
    };
    Kind kind;
    size_t participant = 0;
    Timestamp ts;
    Code code = Code::kOk;
    bool commit = false;
    bool unstaged = false;
    bool again = false;
  };

  // `participants`: at least one; number 0 is the anchor's own part.
  explicit CommitMachine(size_t participants);

  // ---- inputs
  // ------------------------------------------------------------------------------------
  void Start(Timestamp min_ts);
  // Instead of Start: the node will not carry this transaction; it is aborted for good.
  void Refuse(Code code);

  // The own evaluation: proposed, refused, or a record was there already.
  void OwnProposed();
  void OwnRefused(Code code);
  void OwnFound(const Standing& record);
  // The entry of the own evaluation was applied, or never will be (code NOT_LEADER).
  void OwnApplied(const Standing& stands);

  void Answered(size_t participant, const PartAnswer& answer);
  void SlotArrived(Timestamp slot);
  void SlotFailed();
  void Deadline();
  void RightsEnded();
  void Decided(const Standing& stands);
  void Resolved();    // every participant has applied its Resolve
  void DoneLogged();  // or could not be: the next leader sees to it

  // ---- outputs
  // ----------------------------------------------------------------------------------- To be
  // performed in order; nullopt: wait for the next input.
  std::optional<Action> Next();

  // Nothing is left to be done. Actions may still be queued.
  bool finished() const { return phase_ == Phase::kFinished; }
  // The record at the anchor tells the outcome, or this coordinator never will: the registry's
  // entry may end.
  bool settled() const { return phase_ >= Phase::kResolving; }
  bool rights() const { return rights_; }
  size_t participants() const { return parts_.size(); }
  // Sequential consensus rounds before the answer.
  int rounds() const { return (proposed_ ? 1 : 0) + (abort_proposed_ ? 1 : 0); }

 private:
  enum class Phase : uint8_t {
    kNew,
    kEvaluating,
    kStaging,
    kAborting,
    kCommitted,
    kResolving,
    kClosing,
    kFinished
  };
  enum class Part : uint8_t { kIdle, kAsked, kWantsSlot, kPrepared };

  void Emit(Action action) { actions_.push_back(action); }
  void Abort(Code reason);
  void CommitIfFacts();
  void AnswerCommitted(Timestamp commit_ts);
  void AnswerUnknown(Code code);
  void WantSlot(size_t participant);
  void SettleByFact(Timestamp commit_ts);
  void SettleAborted(Code code);
  void JoinRecovery();

  Phase phase_ = Phase::kNew;
  absl::InlinedVector<Part, 4> parts_;
  absl::InlinedVector<Action, 4> actions_;
  size_t next_action_ = 0;
  Timestamp commit_ts_;           // highest prepare_ts heard; once answered: the commit_ts
  Code reason_ = Code::kAborted;  // why it aborts
  bool proposed_ = false;
  bool own_applied_ = false;
  bool abort_proposed_ = false;
  bool answered_ = false;
  bool committed_ = false;  // answered or known COMMITTED
  bool rights_ = true;
  bool fetching_slot_ = false;
  bool out_of_time_ = false;
};

// The code that a client is told for an abort with this cause: only codes that mean "nothing, for
// good".
Code AbortCode(Code cause);

}  // namespace quorate::coordinator
