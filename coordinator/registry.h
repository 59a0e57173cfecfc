// Registry: which transactions are being committed or recovered here right now. A copy of a Commit,
// and a Push, join what they find instead of starting anything.
//
// An entry belongs to the term in which this node led the anchor's shard when it began, and with it
// the right to decide: when the term ends, or the anchor key goes to another shard, so does the
// entry (docs/transactions.md, section 2; the counterexample is coord_survives). What goes on
// without an entry may still tell facts.
//
// Executor's thread only.
#pragma once

#include <absl/container/btree_map.h>

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/task.h"
#include "raft/core/types.h"
#include "shard/pusher.h"
#include "txn/id.h"
#include "txn/key_span.h"
#include "txn/timestamp.h"

namespace quorate::coordinator {

using StagedParts = std::shared_ptr<const std::vector<shard::StagedParticipant>>;

// What one who joins waits for. COMMITTED is a fact, to be told to a client, before its Decide is
// applied; but who was told by a push resolves, and Resolve is sent only from an applied Decide
// (early_resolve). So a push waits for the end of the entry, and then looks at the record.
enum class JoinUntil : uint8_t { kFact, kEnd };

// What those who joined are told.
struct Finding {
  enum class Kind : uint8_t {
    kCommitted,  // a fact
    kAborted,    // an applied Decide
    kTooOld,     // below the horizon, no record
    kLookAgain,  // the entry ended without an outcome
    kTimeout,    // the waiter's deadline
  };
  Kind kind = Kind::kLookAgain;
  Timestamp commit_ts;         // kCommitted
  StagedParts participants;    // kCommitted; null: one shard
  Code code = Code::kAborted;  // kAborted: why
  std::string explained = {};  // kAborted: the code in words, where there are better ones
  int rounds = 0;              // sequential consensus rounds it took
};

class Registration;

class Registry {
 public:
  explicit Registry(Env& env) : env_(env) {}

  bool Has(const TxnId& txn, ShardId shard, raft::Term term) const;
  // Waits with the entry, until it tells (kFact) or ends; kLookAgain at once if there is none.
  Task<Finding> Join(TxnId txn, ShardId shard, raft::Term term, JoinUntil until, Instant deadline);
  // This node leads no more of `shard` than `left`, or nothing: the entries anchored at other keys
  // end, their owners are told.
  void EndShard(ShardId shard, const std::optional<Span>& left);
  // What an entry that is gone had told of an abort; null: nothing that its record does not say. A
  // client sends again while it waits for a lock, and what it sent last may come behind the answer
  // to what it sent before. Of the last kAbortedMax only.
  const Finding* WhyAborted(const TxnId& txn, ShardId shard) const;
  size_t size() const { return entries_.size(); }

  static constexpr size_t kAbortedMax = 1024;

 private:
  friend class Registration;
  using Key = std::pair<TxnId, ShardId>;
  void Insert(Registration* entry);
  void RememberAborted(const Key& key, Finding finding);

  Env& env_;
  // By shard as well: who names a wrong anchor key must not get in anybody's way.
  absl::btree_map<Key, Registration*> entries_;
  absl::btree_map<Key, Finding> aborted_;
  std::deque<Key> aborted_order_;
};

// One entry; ends with this object at the latest.
class Registration {
 public:
  // There must be no entry of this transaction in this term. `on_rights_ended` runs when the term
  // ends first; it may destroy this object.
  Registration(Registry& registry, TxnId txn, ShardId shard, raft::Term term,
               std::string anchor_key, std::function<void()> on_rights_ended);
  Registration(const Registration&) = delete;
  ~Registration() { End(); }

  // The right to decide, as far as it is known here.
  bool live() const { return live_; }
  // The outcome, for those who wait for it and those who will until the entry ends.
  void Tell(Finding finding);
  void End();

 private:
  friend class Registry;
  static void Wake(std::vector<Promise<Finding>>* waiters, const Finding& finding);
  void WakeAll();

  Registry& registry_;
  const TxnId txn_;
  const ShardId shard_;
  const raft::Term term_;
  const std::string anchor_key_;
  std::function<void()> on_rights_ended_;
  bool live_ = true;
  std::optional<Finding> told_;
  std::vector<Promise<Finding>> waiters_;      // kFact
  std::vector<Promise<Finding>> end_waiters_;  // kEnd
};

}  // namespace quorate::coordinator
