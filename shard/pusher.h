// Pusher: find out what became of a transaction, finishing it if nobody else will. Declared here
// for readers and writers that wait; provided by coordinator/recovery.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "base/task.h"
#include "txn/id.h"
#include "txn/timestamp.h"

namespace quorate::shard {

struct TxnName {
  TxnId txn_id;
  Timestamp start_ts;
  std::string anchor_key;
};

struct StagedParticipant {
  std::string marker_key;
  Digest digest;
  friend bool operator==(const StagedParticipant&, const StagedParticipant&) = default;
};

struct PushOutcome {
  enum class State : uint8_t { kCommitted, kAborted, kTooOld } state = State::kAborted;
  Timestamp commit_ts;                          // kCommitted
  std::vector<StagedParticipant> participants;  // kCommitted: the staged grouping
};

class Pusher {
 public:
  virtual ~Pusher() = default;
  // Asks the anchor's leader (docs/transactions.md, section 5). An error says nothing about the
  // outcome.
  virtual Task<Result<PushOutcome>> Push(TxnName txn, Instant deadline) = 0;
};

}  // namespace quorate::shard
