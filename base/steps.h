// The steps that a transaction takes from a client's Commit to the end, told to whoever watches.
// Only simulation does: it crosses them with faults (docs/testing.md). Without a watcher a step
// costs a load and a branch.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/executor.h"

namespace quorate {

enum class CommitStep : uint8_t {
  kSent,            // the client sends its Commit
  kStageProposed,   // the anchor's own part is evaluated and proposed
  kPreparesSent,    // to the other participants
  kStageApplied,    // at the anchor
  kPrepareApplied,  // at another participant
  kAnswered,        // COMMITTED
  kDecideProposed,
  kDecideApplied,
  kResolveSent,
  kResolveApplied,  // at a participant
  kDone,            // applied
  kPushed,          // somebody asks what became of it
  kQueried,         // recovery asks the participants
  kRefusalLogged,   // by a participant that had not prepared
  kRecoveryDecides,
};

inline constexpr std::array<std::string_view, 15> kCommitStepNames = {
    "commit sent", "stage proposed",  "prepares sent",  "stage applied",  "prepare applied",
    "answered",    "decide proposed", "decide applied", "resolve sent",   "resolve applied",
    "done",        "pushed",          "queried",        "refusal logged", "recovery decides"};

class StepObserver {
 public:
  virtual ~StepObserver() = default;
  // On the node or client whose executor it is.
  virtual void OnStep(const Executor& where, CommitStep step, std::string_view txn_id) = 0;
};

// Set by a simulation before its nodes run, never by the program.
inline StepObserver* step_observer = nullptr;

inline void MarkStep(const Executor& where, CommitStep step, std::string_view txn_id) {
  if (step_observer != nullptr) [[unlikely]]
    step_observer->OnStep(where, step, txn_id);
}

}  // namespace quorate
