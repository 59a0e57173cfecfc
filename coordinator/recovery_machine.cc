#include "coordinator/recovery_machine.h"

#include <algorithm>

#include "base/check.h"
#include "base/mutant.h"
#include "base/probe.h"

namespace quorate::coordinator {

void RecoveryMachine::Start(const Record& record) {
  CHECK(phase_ == Phase::kNew);
  prepared_.assign(record.participants, false);
  switch (record.state) {
    case TxnState::kNone:
      if (record.below_horizon) {
        PROBE("recovery: no record below horizon");
        phase_ = Phase::kFinished;
        Emit({.kind = Action::Kind::kAnswerTooOld});
        return;
      }
      PROBE("recovery: no record");
      Decide(false, Timestamp());
      return;
    case TxnState::kStaged:
      PROBE("recovery: staged");
      CHECK(record.participants > 0, "a STAGED record names its participants");
      phase_ = Phase::kAsking;
      for (size_t i = 0; i < record.participants; ++i) {
        Emit({.kind = Action::Kind::kQuery, .participant = i});
      }
      return;
    case TxnState::kCommitted:
      Emit({.kind = Action::Kind::kAnswerCommitted, .ts = record.commit_ts});
      if (record.done || record.participants == 0) {
        phase_ = Phase::kFinished;
        return;
      }
      PROBE("recovery: resolves again");
      phase_ = Phase::kResolving;
      Emit({.kind = Action::Kind::kResolve, .ts = record.commit_ts, .commit = true});
      return;
    case TxnState::kAborted:
      phase_ = Phase::kFinished;
      Emit({.kind = Action::Kind::kAnswerAborted});
      return;
    case TxnState::kPrepared:
      break;
  }
  CHECK(false, "a transaction record is never {}", TxnStateName(record.state));
}

void RecoveryMachine::Answered(size_t participant, const PartAnswer& answer) {
  CHECK(participant < prepared_.size());
  if (phase_ != Phase::kAsking) return;
  switch (answer.kind) {
    case PartAnswer::Kind::kPrepared:
      if (std::exchange(prepared_[participant], true)) return;
      commit_ts_ = std::max(commit_ts_, answer.ts);
      if (MUTANT("recovery-commits-without-all") ||
          std::all_of(prepared_.begin(), prepared_.end(), [](bool p) { return p; })) {
        Decide(true, commit_ts_);
      }
      return;
    case PartAnswer::Kind::kCommitted:
      // Resolved from a Decide that a later leader of the anchor has applied.
      Decide(true, answer.ts);
      return;
    case PartAnswer::Kind::kAborted:
      Decide(false, Timestamp());
      return;
    case PartAnswer::Kind::kRefused:
    case PartAnswer::Kind::kSilence:
      if (!rights_) return LookAgain();
      if (MUTANT("recovery-silence-is-refusal")) return Decide(false, Timestamp());
      Emit({.kind = Action::Kind::kQuery, .participant = participant, .again = true});
      return;
  }
  CHECK(false, "answer {}", static_cast<int>(answer.kind));
}

void RecoveryMachine::Decide(bool commit, Timestamp commit_ts) {
  if (!rights_) return LookAgain();
  phase_ = Phase::kDeciding;
  commit_ = commit;
  commit_ts_ = commit_ts;
  Emit({.kind = Action::Kind::kLogDecide, .ts = commit_ts, .commit = commit});
}

void RecoveryMachine::Decided(const Standing& stands) {
  if (phase_ != Phase::kDeciding) return;
  switch (stands.state) {
    case TxnState::kCommitted:
      // A record that was not there before names participants that are not known here.
      if (prepared_.empty()) return LookAgain();
      CHECK(!commit_ || stands.commit_ts == commit_ts_, "recovered COMMITTED at {}, but {} stands",
            commit_ts_, stands.commit_ts);
      phase_ = rights_ ? Phase::kResolving : Phase::kFinished;
      Emit({.kind = Action::Kind::kAnswerCommitted, .ts = stands.commit_ts});
      Emit({.kind = Action::Kind::kResolve, .ts = stands.commit_ts, .commit = true});
      return;
    case TxnState::kAborted:
      phase_ = Phase::kFinished;
      Emit({.kind = Action::Kind::kAnswerAborted});
      if (!prepared_.empty()) Emit({.kind = Action::Kind::kResolve});
      return;
    case TxnState::kStaged:
    case TxnState::kPrepared:
    case TxnState::kNone:
      break;
  }
  if (stands.state == TxnState::kStaged && prepared_.empty()) {
    // A Stage was in the log ahead of the Decide for "no record".
    return LookAgain();
  }
  CHECK(stands.code != Code::kOk, "a Decide was applied and left {}", TxnStateName(stands.state));
  if (stands.code == Code::kNotLeader || stands.code == Code::kStaleEpoch || !rights_) {
    rights_ = false;
    return LookAgain();
  }
  if (stands.code == Code::kFailedPrecondition) return LookAgain();
  if (stands.code == Code::kTooOld) {
    phase_ = Phase::kFinished;
    Emit({.kind = Action::Kind::kAnswerTooOld});
    return;
  }
  Emit({.kind = Action::Kind::kLogDecide, .ts = commit_ts_, .commit = commit_, .again = true});
}

void RecoveryMachine::RightsEnded() {
  rights_ = false;
  if (phase_ == Phase::kDeciding || phase_ == Phase::kFinished) return;
  if (phase_ == Phase::kAsking) return LookAgain();
  phase_ = Phase::kFinished;
}

void RecoveryMachine::LookAgain() {
  phase_ = Phase::kFinished;
  Emit({.kind = Action::Kind::kLookAgain});
}

void RecoveryMachine::Resolved() {
  if (phase_ != Phase::kResolving) return;
  phase_ = Phase::kClosing;
  Emit({.kind = Action::Kind::kLogDone});
}

void RecoveryMachine::DoneLogged() {
  if (phase_ == Phase::kClosing) phase_ = Phase::kFinished;
}

std::optional<RecoveryMachine::Action> RecoveryMachine::Next() {
  if (next_action_ == actions_.size()) {
    actions_.clear();
    next_action_ = 0;
    return std::nullopt;
  }
  return actions_[next_action_++];
}

}  // namespace quorate::coordinator
