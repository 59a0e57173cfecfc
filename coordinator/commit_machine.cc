#include "coordinator/commit_machine.h"

#include <algorithm>

#include "base/check.h"
#include "base/mutant.h"
#include "base/probe.h"

namespace quorate::coordinator {

Code AbortCode(Code cause) {
  switch (cause) {
    case Code::kReadConflict:
    case Code::kLockConflict:
    case Code::kSchemaFenced:
    case Code::kOverloaded:
    case Code::kNoSpace:
    case Code::kInvalidArgument:
    case Code::kAlreadyExists:  // its name has an outcome already, or is closed
      return cause;
    default:
      return Code::kAborted;
  }
}

CommitMachine::CommitMachine(size_t participants) : parts_(participants, Part::kIdle) {
  CHECK(participants > 0);
}

void CommitMachine::Start(Timestamp min_ts) {
  CHECK(phase_ == Phase::kNew);
  phase_ = Phase::kEvaluating;
  parts_[0] = Part::kAsked;
  Emit({.kind = Action::Kind::kEvaluateOwn, .ts = min_ts});
}

void CommitMachine::Refuse(Code code) {
  CHECK(phase_ == Phase::kNew);
  Abort(code);
}

// The own evaluation holds nothing while it waits, so the others are asked only now.
void CommitMachine::OwnProposed() {
  CHECK(phase_ == Phase::kEvaluating && parts_[0] == Part::kAsked);
  proposed_ = true;
  phase_ = Phase::kStaging;
  if (out_of_time_) return Abort(Code::kDeadlineExceeded);
  for (size_t i = 1; i < parts_.size(); ++i) {
    parts_[i] = Part::kAsked;
    Emit({.kind = Action::Kind::kSendPrepare, .participant = i});
  }
}

void CommitMachine::OwnRefused(Code code) {
  CHECK(phase_ == Phase::kEvaluating && parts_[0] == Part::kAsked);
  switch (code) {
    case Code::kReadConflict:
      // Every later copy is refused for the same version, so that nothing needs to be logged.
      answered_ = true;
      phase_ = Phase::kFinished;
      Emit({.kind = Action::Kind::kAnswerAborted, .code = code});
      return;
    case Code::kTimestampExhausted:
      WantSlot(0);
      return;
    case Code::kNotLeader:
    case Code::kStaleEpoch:  // nothing is logged yet: sent again, it is grouped anew
    case Code::kTooOld:      // a record may have been there, and a Decide would be void
      AnswerUnknown(code);
      return;
    default:
      Abort(code);
  }
}

void CommitMachine::OwnFound(const Standing& record) {
  CHECK(phase_ == Phase::kEvaluating && parts_[0] == Part::kAsked);
  PROBE("commit: copy finds record");
  switch (record.state) {
    case TxnState::kCommitted:
      SettleByFact(record.commit_ts);
      return;
    case TxnState::kAborted:
      SettleAborted(Code::kAborted);
      return;
    case TxnState::kStaged:
    case TxnState::kPrepared:
      JoinRecovery();
      return;
    case TxnState::kNone:
      break;
  }
  CHECK(false, "found a record without a state");
}

void CommitMachine::OwnApplied(const Standing& stands) {
  CHECK(proposed_ && !own_applied_);
  own_applied_ = true;
  const bool deposed = stands.state == TxnState::kNone && stands.code == Code::kNotLeader;
  if (deposed && !MUTANT("txn-coordinator-outlives-term")) rights_ = false;
  if (phase_ != Phase::kStaging) return;
  switch (stands.state) {
    case TxnState::kPrepared:
    case TxnState::kStaged:
      // Without a prepare_ts it is another's Stage that stands, perhaps in another grouping.
      if (!stands.prepare_ts) return JoinRecovery();
      parts_[0] = Part::kPrepared;
      commit_ts_ = std::max(commit_ts_, stands.prepare_ts);
      CommitIfFacts();
      return;
    case TxnState::kCommitted:
      SettleByFact(stands.commit_ts);
      return;
    case TxnState::kAborted:
      SettleAborted(Code::kAborted);
      return;
    case TxnState::kNone:
      // Never staged by this entry, and never will be: a copy may start at the new leader.
      if (!rights_) return AnswerUnknown(Code::kNotLeader);
      // Nor by this leader: a part of it belongs to another shard by now. Others may be prepared,
      // in a grouping that nobody stages any more, or once more in the next one.
      if (stands.code == Code::kStaleEpoch) return AnswerUnknown(stands.code);
      Abort(stands.code);
      return;
  }
}

void CommitMachine::Answered(size_t participant, const PartAnswer& answer) {
  CHECK(participant > 0 && participant < parts_.size());
  if (answer.kind == PartAnswer::Kind::kCommitted) {
    // Only an applied Decide is resolved: somebody finished it.
    if (phase_ == Phase::kStaging || phase_ == Phase::kAborting) SettleByFact(answer.ts);
    return;
  }
  if (phase_ != Phase::kStaging || parts_[participant] == Part::kPrepared) return;
  switch (answer.kind) {
    case PartAnswer::Kind::kPrepared:
      parts_[participant] = Part::kPrepared;
      commit_ts_ =
          MUTANT("txn-commit-ts-not-highest") ? answer.ts : std::max(commit_ts_, answer.ts);
      CommitIfFacts();
      return;
    case PartAnswer::Kind::kAborted:
      Abort(Code::kAborted);
      return;
    case PartAnswer::Kind::kRefused:
      if (answer.code == Code::kTimestampExhausted && rights_) return WantSlot(participant);
      Abort(answer.code);
      return;
    case PartAnswer::Kind::kSilence:
      if (!rights_) return AnswerUnknown(Code::kUnavailable);
      parts_[participant] = Part::kAsked;
      Emit({.kind = Action::Kind::kSendPrepare, .participant = participant, .again = true});
      return;
    case PartAnswer::Kind::kCommitted:
      break;
  }
  CHECK(false, "answer {}", static_cast<int>(answer.kind));
}

void CommitMachine::WantSlot(size_t participant) {
  parts_[participant] = Part::kWantsSlot;
  if (std::exchange(fetching_slot_, true)) return;
  Emit({.kind = Action::Kind::kFetchSlot});
}

void CommitMachine::SlotArrived(Timestamp slot) {
  CHECK(fetching_slot_);
  fetching_slot_ = false;
  PROBE("commit: sub bits ran out");
  if (phase_ == Phase::kEvaluating) {
    if (!rights_) return AnswerUnknown(Code::kNotLeader);
    if (out_of_time_) return Abort(Code::kTimestampExhausted);
    parts_[0] = Part::kAsked;
    Emit({.kind = Action::Kind::kEvaluateOwn, .ts = slot});
    return;
  }
  if (phase_ != Phase::kStaging || !rights_) return;
  for (size_t i = 1; i < parts_.size(); ++i) {
    if (parts_[i] != Part::kWantsSlot) continue;
    parts_[i] = Part::kAsked;
    Emit({.kind = Action::Kind::kSendPrepare, .participant = i, .ts = slot});
  }
}

void CommitMachine::SlotFailed() {
  CHECK(fetching_slot_);
  fetching_slot_ = false;
  if (phase_ == Phase::kEvaluating || phase_ == Phase::kStaging) Abort(Code::kTimestampExhausted);
}

// The own evaluation ends by the same deadline, with a refusal; it must not be crossed.
void CommitMachine::Deadline() {
  out_of_time_ = true;
  if (phase_ == Phase::kStaging) Abort(Code::kDeadlineExceeded);
}

void CommitMachine::RightsEnded() {
  rights_ = false;
  // While staging the facts may still come, and while a Decide is in flight its result.
  if (phase_ == Phase::kResolving || phase_ == Phase::kClosing) phase_ = Phase::kFinished;
}

void CommitMachine::Abort(Code reason) {
  CHECK(!abort_proposed_ && !committed_);
  // Lacks the facts and may not decide any more: recovery will tell.
  if (!rights_) return AnswerUnknown(Code::kUnavailable);
  abort_proposed_ = true;
  reason_ = reason;
  phase_ = Phase::kAborting;
  if (MUTANT("txn-abort-answered-before-logged")) {
    answered_ = true;
    Emit({.kind = Action::Kind::kAnswerAborted, .code = AbortCode(reason)});
  }
  Emit({.kind = Action::Kind::kLogDecide, .unstaged = !proposed_});
}

void CommitMachine::CommitIfFacts() {
  CHECK(phase_ == Phase::kStaging && !abort_proposed_);
  const auto prepared = [](Part p) { return p == Part::kPrepared; };
  const bool own_suffices = prepared(parts_[0]) && MUTANT("txn-commit-before-all-prepared");
  if (!std::all_of(parts_.begin(), parts_.end(), prepared) && !own_suffices) return;
  AnswerCommitted(commit_ts_);
  Emit({.kind = Action::Kind::kSendEarly, .ts = commit_ts_});
  if (MUTANT("txn-resolve-before-decide")) {
    Emit({.kind = Action::Kind::kResolve, .ts = commit_ts_, .commit = true});
  }
  if (!rights_) {
    PROBE("commit: deposed coordinator has the facts");
    phase_ = Phase::kFinished;
    return;
  }
  phase_ = Phase::kCommitted;
  Emit({.kind = Action::Kind::kLogDecide, .ts = commit_ts_, .commit = true});
}

// The record is COMMITTED already: by one phase, or by a recovery that resolves it, perhaps in
// another grouping than this one.
void CommitMachine::SettleByFact(Timestamp commit_ts) {
  AnswerCommitted(commit_ts);
  phase_ = Phase::kFinished;
}

// The record is ABORTED.
void CommitMachine::SettleAborted(Code code) {
  const bool known_bug = MUTANT("txn-abort-answered-before-logged");
  CHECK(!answered_ || known_bug);
  phase_ = Phase::kFinished;
  if (!std::exchange(answered_, true)) Emit({.kind = Action::Kind::kAnswerAborted, .code = code});
  // Participants that were never asked hold nothing of this coordinator.
  if (proposed_ && parts_.size() > 1) Emit({.kind = Action::Kind::kResolve});
}

void CommitMachine::JoinRecovery() {
  phase_ = Phase::kFinished;
  Emit({.kind = Action::Kind::kJoinRecovery});
}

void CommitMachine::AnswerCommitted(Timestamp commit_ts) {
  CHECK(!answered_ && commit_ts);
  answered_ = committed_ = true;
  commit_ts_ = commit_ts;
  Emit({.kind = Action::Kind::kAnswerCommitted, .ts = commit_ts});
}

void CommitMachine::AnswerUnknown(Code code) {
  CHECK(!answered_);
  answered_ = true;
  phase_ = Phase::kFinished;
  Emit({.kind = Action::Kind::kAnswerUnknown, .code = code});
}

void CommitMachine::Decided(const Standing& stands) {
  if (committed_) {
    CHECK(stands.state != TxnState::kAborted, "answered COMMITTED, but ABORTED stands");
    CHECK(stands.state != TxnState::kCommitted || stands.commit_ts == commit_ts_,
          "answered COMMITTED at {}, but {} stands", commit_ts_, stands.commit_ts);
  }
  if (phase_ != Phase::kAborting && phase_ != Phase::kCommitted) return;
  switch (stands.state) {
    case TxnState::kCommitted:
      if (phase_ == Phase::kAborting) return SettleByFact(stands.commit_ts);
      phase_ = rights_ ? Phase::kResolving : Phase::kFinished;
      Emit({.kind = Action::Kind::kResolve, .ts = commit_ts_, .commit = true});
      return;
    case TxnState::kAborted:
      SettleAborted(AbortCode(reason_));
      return;
    case TxnState::kStaged:
      // What was refused here another leader's coordinator has staged: that may be committed by its
      // facts, and answered.
      if (phase_ == Phase::kAborting && !proposed_) return JoinRecovery();
      break;
    case TxnState::kNone:
    case TxnState::kPrepared:
      break;
  }
  CHECK(stands.code != Code::kOk, "a Decide was applied and left {}", TxnStateName(stands.state));
  const bool left = stands.code == Code::kNotLeader || stands.code == Code::kStaleEpoch;
  if (left && !MUTANT("txn-coordinator-outlives-term")) rights_ = false;
  const bool for_good = stands.code == Code::kTooOld || stands.code == Code::kFailedPrecondition;
  if (rights_ && !for_good) {
    Emit({.kind = Action::Kind::kLogDecide,
          .ts = committed_ ? commit_ts_ : Timestamp(),
          .commit = committed_,
          .unstaged = !proposed_,
          .again = true});
    return;
  }
  phase_ = Phase::kFinished;
  if (!answered_) AnswerUnknown(left || !rights_ ? Code::kUnavailable : stands.code);
}

void CommitMachine::Resolved() {
  if (phase_ != Phase::kResolving) return;
  phase_ = Phase::kClosing;
  Emit({.kind = Action::Kind::kLogDone});
}

void CommitMachine::DoneLogged() {
  if (phase_ == Phase::kClosing) phase_ = Phase::kFinished;
}

std::optional<CommitMachine::Action> CommitMachine::Next() {
  if (next_action_ == actions_.size()) {
    actions_.clear();
    next_action_ = 0;
    return std::nullopt;
  }
  return actions_[next_action_++];
}

}  // namespace quorate::coordinator
