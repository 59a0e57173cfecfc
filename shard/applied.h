// Applied: what a proposed entry turned out to do, as told to its proposer.
#pragma once

#include <string>

#include "base/status.h"
#include "txn/record.h"
#include "txn/timestamp.h"

namespace quorate::shard {

// What became of an evaluation that was proposed. Available once applied.
struct Applied {
  // OK: it had its effect. NOT_LEADER: not applied as proposed (says nothing about the outcome).
  // Others: what Apply refused with (STALE_EPOCH, TOO_OLD, LOCK_CONFLICT, ABORTED).
  Status status;
  Timestamp prepare_ts;  // what stands, which is what every copy is told
  Timestamp commit_ts;   // of a COMMITTED record
  TxnState state = TxnState::kNone;
  // Not empty: nothing was applied yet, and why (raft::ApplyResult).
  std::string waits;
};

// What the store has of a range that an entry wants.
struct InTheWay {
  std::string what;       // empty: nothing
  bool for_good = false;  // it is of a shard that came after the entry
};

}  // namespace quorate::shard
