// Evaluation of a prepare: steps 0 to 4 of docs/transactions.md, section 4, in that order. Pure
// looks at applied state and lock table; prepares.cc performs what they say.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "shard/applied.h"
#include "shard/lock_table.h"
#include "shard/table.h"
#include "txn/judge.h"

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

PrepareAsk AskOf(const Judged<v1::PrepareRequest>& request, PrepareKind kind);

LockAsk LocksOf(const PrepareAsk& ask);

struct PrepareVerdict {
  enum class Kind : uint8_t {
    kGo,        // the locks are free: to be taken in this very step
    kExisting,  // a record is there: `existing` is the answer
    kJoin,      // the own lock is in flight: look again when it was applied
    kWait,      // `lock`: for whom; then look again, from step 0
    kRefuse,    // `status`
  };
  Kind kind = Kind::kRefuse;
  Status status;
  Applied existing;
  LockVerdict lock;
};

// Steps 0 to 2.
PrepareVerdict EvaluatePrepare(const PrepareAsk& ask, const Table& table, const LockTable& locks,
                               Instant now, WaiterId self);

// Step 3, and what step 4 has to know of the store: work that grows with what was read and written,
// done a bounded part at a time.
//
// One part may do for all; the locks then are taken in the same step of the executor. Else they are
// taken with the first part and held through the others. That is enough: a version above start_ts
// that is in the store at the end was evaluated before the locks were taken, or after. After: no,
// its writer would have had to pass them. Before: then its writer had gone from the lock table by
// that time, and the version was in the store for every part to see; or it was still there,
// COMMITTED and with its Resolve proposed (all others are waited for), which the first part sees in
// the lock table whether or not its versions are stored yet.
class Validation {
 public:
  explicit Validation(const PrepareAsk& ask) : ask_(ask) {}

  enum class State : uint8_t { kMore, kValid, kConflict };
  // Looks at about `versions_max` versions. The first part is taken in the step of EvaluatePrepare.
  State Step(const Table& table, const LockTable& locks, size_t versions_max);
  // Once valid: the newest version of the written keys.
  Timestamp newest() const { return newest_; }

 private:
  bool SeesCommitted(const LockTable& locks) const;
  // False: a conflict. Takes what it looks at off the budget.
  bool GuardIsValid(const Table& table, size_t* budget);

  const PrepareAsk& ask_;
  bool begun_ = false;
  size_t guard_ = 0;    // the first that is not validated
  std::string resume_;  // within it; empty: from its start
  size_t write_ = 0;    // the first that is not looked at
  Timestamp newest_;
};

// Step 4. TIMESTAMP_EXHAUSTED.
Result<Timestamp> PrepareTimestamp(const PrepareAsk& ask, Timestamp newest, Timestamp read_high);

// What stands according to a record.
Applied StandingOf(const ParticipantRecord& record);
Applied StandingOf(const TransactionRecord& record);
Status StaleEpoch(const Table& table);
Status TooOld(Timestamp start_ts, const Table& table);

}  // namespace quorate::shard
