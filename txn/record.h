// The two records of a transaction, and the only functions that say how they change.
//
// Participant record, one per (transaction, digest), at the participant's marker key (P1: never
// leaves an outcome):
//
//              Prepare                 Resolve{COMMITTED}
//     none ───────────────► PREPARED ───────────────────► COMMITTED{commit_ts}
//      │                        │ Resolve{ABORTED}
//      │ Refuse                 ▼
//      └──────────────────► ABORTED
//        Resolve{ABORTED}
//
// Transaction record, one per transaction, at its anchor key (A1: the first decision stands):
//
//              Stage                   Decide{COMMITTED}
//     none ───────────────► STAGED ────────────────────► COMMITTED{commit_ts, participants} ─► Done
//      │ │                      │ Decide{ABORTED}              ▲
//      │ └──────────────────────┼──────────────────────────────┘ CommitOnePhase (done at once)
//      │ Decide{ABORTED}        ▼
//      └──────────────────► ABORTED
//
// Every other event leaves a record as it is, and its sender is told what stands. Whether "none"
// may still become something is the caller's question first: below the horizon it may not.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "txn/given_name.h"
#include "txn/id.h"
#include "txn/key_span.h"
#include "txn/timestamp.h"

namespace quorate {

// Numbers are stored: never renumber.
enum class TxnState : uint8_t {
  kNone = 0,
  kPrepared = 1,  // participant records only
  kStaged = 2,    // transaction records only
  kCommitted = 3,
  kAborted = 4,
};
std::string_view TxnStateName(TxnState state);

struct ParticipantRecord {
  TxnState state = TxnState::kNone;
  TxnId txn_id;
  Digest digest;
  Timestamp start_ts;
  Timestamp prepare_ts;  // PREPARED, COMMITTED
  Timestamp commit_ts;   // COMMITTED
  TxnPriority priority;  // PREPARED
  std::string marker_key;
  std::string anchor_key;           // PREPARED
  std::vector<std::string> writes;  // PREPARED: where intents are; COMMITTED: for the collector
  std::vector<Span> guards;         // PREPARED: what was read here
  GivenName name;                   // PREPARED: if its caller named the transaction
};

struct ParticipantName {
  std::string marker_key;
  Digest digest;
  friend bool operator==(const ParticipantName&, const ParticipantName&) = default;
};

struct TransactionRecord {
  TxnState state = TxnState::kNone;
  TxnId txn_id;
  Timestamp start_ts;
  Timestamp commit_ts;  // COMMITTED
  std::string anchor_key;
  bool done = false;                          // every staged participant has resolved
  std::vector<ParticipantName> participants;  // STAGED, COMMITTED; none for one phase
  std::vector<std::string> writes;            // one phase: for the collector
};

enum class ParticipantEvent : uint8_t { kPrepare, kRefuse, kResolveCommitted, kResolveAborted };
enum class TransactionEvent : uint8_t { kStage, kCommitOnePhase, kDecideCommitted, kDecideAborted };

// The state after `event`; the same state if the event has no effect.
TxnState NextState(TxnState state, ParticipantEvent event);
TxnState NextState(TxnState state, TransactionEvent event);

}  // namespace quorate
