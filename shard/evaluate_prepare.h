// Evaluation of a prepare: steps 0 to 5 of docs/transactions.md, section 4, in that order and in
// one step of the executor. A pure look at applied state and lock table; prepares.cc performs what
// it says.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "shard/applied.h"
#include "shard/lock_table.h"
#include "shard/table.h"

namespace quorate::v1 {
class PrepareRequest;
}

namespace quorate::shard {

enum class PrepareKind : uint8_t {
  kOnePhase,     // at the anchor, the only participant
  kStage,        // at the anchor, with others
  kParticipant,  // elsewhere
};

// A PrepareRequest, taken apart once; views into the request, which outlives it.
struct PrepareAsk {
  PrepareKind kind = PrepareKind::kParticipant;
  Owner owner;
  TxnPriority priority;
  Timestamp start_ts;
  Timestamp min_ts;
  std::string_view marker_key;
  std::string_view anchor_key;
  std::vector<std::string_view> writes;  // sorted, distinct
  std::vector<Span> guards;
  GivenName name;
};

// INVALID_ARGUMENT if the request breaks a limit or does not make sense; no state is looked at.
Result<PrepareAsk> ParsePrepare(const v1::PrepareRequest& request, PrepareKind kind);

LockAsk LocksOf(const PrepareAsk& ask);

struct PrepareVerdict {
  enum class Kind : uint8_t {
    kPropose,   // at prepare_ts, which then is locked and proposed in this very step
    kExisting,  // a record is there: `existing` is the answer
    kJoin,      // the own lock is in flight: look again when it was applied
    kWait,      // `lock`: for whom; then look again, from step 0
    kRefuse,    // `status`
  };
  Kind kind = Kind::kRefuse;
  Status status;
  Applied existing;
  Timestamp prepare_ts;
  LockVerdict lock;
};

PrepareVerdict EvaluatePrepare(const PrepareAsk& ask, const Table& table, const LockTable& locks,
                               Timestamp read_high, Instant now, WaiterId self);

// What stands according to a record.
Applied StandingOf(const ParticipantRecord& record);
Applied StandingOf(const TransactionRecord& record);
Status StaleEpoch(const Table& table);

}  // namespace quorate::shard
