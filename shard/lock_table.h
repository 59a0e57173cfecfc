// LockTable: what stands between evaluation and outcome on a shard's leader, and who waits for it
// (docs/transactions.md, sections 2 and 6). Volatile; a pure core without coroutines: questions are
// answered with a verdict, changes note which waiters may have something to look at again.
//
//   prepared locks   write locks and shared guards (keys and ranges) of one participant, from its
//                    evaluation until its outcome is applied
//   advisory locks   of get_for_update and retries, with a time to live; they affect progress only
//   waiters          queued at each key (and range) that they want, oldest first
//
// A prepared lock whose COMMITTED is known stays until its Resolve is applied, as a version that is
// still stored as an intent: readers take it for what it is, and prepares may be evaluated beside
// it once the Resolve is proposed (log order then puts them behind it).
//
// Wake-ups: a waiter is woken when it may have become able to go on; it stays queued until it takes
// itself out, so nobody passes it meanwhile. No wake-up is lost: what blocks a waiter is a holder,
// or an older waiter, at one of its keys, and whenever either goes the oldest ones at its keys are
// woken. A guard (and an advisory lock) is in the way of writes only, so only they are woken when
// it goes.
//
// What a call costs grows with what is asked, plus what is held and waited for there, but not with
// their product; looked_at() counts it. What may be waited for is bounded in base/limits.h.
#pragma once

#include <absl/container/btree_map.h>
#include <absl/container/btree_set.h>
#include <absl/container/flat_hash_map.h>
#include <absl/container/inlined_vector.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "base/clock.h"
#include "shard/keys.h"
#include "shard/span_index.h"
#include "txn/conflict.h"
#include "txn/id.h"
#include "txn/key_span.h"

namespace quorate::shard {

using WaiterId = uint64_t;  // 0: none

struct PreparedLock {
  Owner owner;
  TxnPriority priority;
  Timestamp start_ts;
  Timestamp prepare_ts;
  std::string anchor_key;
  std::vector<std::string> writes;
  std::vector<Span> guards;
  bool one_phase = false;
  Instant since;

  bool applied = false;    // else: between evaluation and apply
  bool committed = false;  // COMMITTED is a fact, at commit_ts
  Timestamp commit_ts;
  bool resolve_proposed = false;  // and behind it nobody has to wait
  bool pushing = false;           // somebody is finding out what became of it
  absl::btree_set<WaiterId> observers;
  uint64_t sequence = 0;  // the lock table's
};
// The prepare_ts of a lock whose reads are still being validated: no read has to wait for it, since
// it will be evaluated above whatever is read meanwhile.
inline constexpr Timestamp kUndecided(~0ull);

// What somebody wants to lock: keys in order, each once, and disjoint spans. The views live during
// the call; the spans too.
struct LockAsk {
  Asker asker = Asker::kAdvisory;
  Owner owner;  // digest 0 and no key for advisory locks
  TxnPriority priority;
  std::vector<std::string_view> writes;
  const std::vector<Span>* guards = nullptr;
};

struct LockVerdict {
  enum class Kind : uint8_t { kGo, kWait, kDie } kind = Kind::kGo;
  // kWait: a prepared lock in the way that can be pushed, if there is one.
  std::optional<Owner> blocker;
  // kWait: when to look again though nothing was released (an advisory lock ends).
  std::optional<Instant> recheck;
};

class LockTable {
 public:
  // `random`: of the shape of its indexes.
  explicit LockTable(const Random& random)
      : range_guards_(random.Fork("guards")), range_waiters_(random.Fork("waiters")) {}

  // ---- prepared locks -------------------------------------------------------------------------
  // Whether `ask` may take its locks now. `self`: the waiter that asks again.
  LockVerdict Judge(const LockAsk& ask, Instant now, WaiterId self) const;
  // For a message: one of those in the way of `ask`, its key, and for how long.
  std::string Explain(const LockAsk& ask, Instant now) const;
  // Precondition: judged kGo in this step (or rebuilding from records). Takes the advisory locks of
  // others on its keys, and drops those of its own transaction.
  void Add(PreparedLock lock);
  const PreparedLock* Find(const Owner& owner) const;
  // Precondition of all: the lock is there.
  // Its prepare_ts is known: until then (kUndecided) it is above every read.
  void MarkEvaluated(const Owner& owner, Timestamp prepare_ts);
  void MarkApplied(const Owner& owner, Timestamp prepare_ts);
  void MarkCommitted(const Owner& owner, Timestamp commit_ts);
  void MarkResolveProposed(const Owner& owner, bool proposed);
  void MarkPushing(const Owner& owner, bool pushing);
  void Release(const Owner& owner);

  const std::map<Owner, std::unique_ptr<PreparedLock>>& prepared() const { return prepared_; }

  // ---- readers --------------------------------------------------------------------------------
  // A write lock of another transaction in the way of a read at `at`.
  const PreparedLock* ReadBlocker(const Span& span, Timestamp at, const TxnId& reader) const;
  const PreparedLock* ReadBlocker(std::string_view key, Timestamp at, const TxnId& reader) const;
  // The committed lock whose intent on `key` is to be read as a version.
  const PreparedLock* CommittedOn(std::string_view key) const;
  // All keys in `span` with such an intent, in order.
  std::vector<std::pair<std::string, const PreparedLock*>> CommittedIn(const Span& span) const;
  bool any_committed() const { return committed_ > 0; }

  // ---- advisory locks -------------------------------------------------------------------------
  // Precondition: judged kGo in this step, as Asker::kAdvisory.
  void TakeAdvisory(const TxnId& txn, const TxnPriority& priority,
                    const std::vector<std::string_view>& keys, Instant now, Instant expiry);
  void ReleaseAdvisory(const TxnId& txn);
  // Drops the advisory locks that have ended; returns how many are left.
  size_t ExpireAdvisory(Instant now);
  bool any_advisory() const { return !advisory_keys_.empty(); }
  size_t advisory_count() const { return advisory_count_; }
  // Whether somebody waits at a key that `txn` holds.
  bool AdvisoryAwaited(const TxnId& txn) const;
  bool HoldsAdvisory(const TxnId& txn, std::string_view key, Instant now) const;

  // ---- waiting --------------------------------------------------------------------------------
  WaiterId Enqueue(const LockAsk& ask);
  // Woken when the lock changes: applied, committed, or gone. Precondition: it is there.
  WaiterId Observe(const Owner& owner);
  // Ends either; unknown ids are ignored.
  void Dequeue(WaiterId id);
  // Waiters woken since the last call, in the order of waking, each once; some may have gone.
  std::vector<WaiterId> TakeWoken();
  bool any_woken() const { return !woken_.empty(); }
  size_t waiting() const { return waiters_.size() + observers_.size(); }
  // Keys and ranges at which somebody stands in a queue, once for each who does.
  size_t places() const { return places_; }
  // Ranges (not single keys) that are guarded, or waited for.
  size_t ranges() const { return range_guards_.size() + range_waiters_.size(); }
  // Whether `id` stands in a queue (and does not merely observe a lock).
  bool queued(WaiterId id) const { return waiters_.contains(id); }

  // Entries looked at so far, by all calls.
  uint64_t looked_at() const { return looked_at_; }

 private:
  struct Waiter {
    WaiterId id = 0;
    Asker asker = Asker::kAdvisory;
    Owner owner;
    TxnPriority priority;
    std::vector<std::string> writes;
    std::vector<Span> guards;
  };
  struct Advisory {
    TxnId txn;
    TxnPriority priority;
    Instant since;
    Instant expiry;
  };
  struct Older {
    bool operator()(const Waiter* a, const Waiter* b) const {
      return std::tie(a->priority, a->id) < std::tie(b->priority, b->id);
    }
  };
  using Queue = absl::btree_set<const Waiter*, Older>;  // oldest first
  struct KeyLocks {
    absl::InlinedVector<PreparedLock*, 2> writers;
    absl::InlinedVector<PreparedLock*, 2> guards;
    std::optional<Advisory> advisory;
    Queue to_write, to_guard;  // who waits for the key
    bool empty() const {
      return writers.empty() && guards.empty() && !advisory.has_value() && to_write.empty() &&
             to_guard.empty();
    }
  };
  using Keys = absl::btree_map<std::string, KeyLocks, std::less<>>;
  class Judgement;
  // Who is woken at a key: what goes was in the way of writes only, or of everybody.
  enum class Woken : uint8_t { kWriters, kAll };

  PreparedLock* Mutable(const Owner& owner);
  Keys::const_iterator From(std::string_view key) const;
  void DropIfEmpty(std::string_view key);
  // Wakes at one key, not who waits for a range around it.
  void WakeKey(std::string_view key, Woken who);
  void WakeQueue(const KeyLocks& locks, Woken who);
  void WakeWritersIn(const Span& span);
  // Who waits for a range around one of `keys`, which a write has left.
  void WakeRangesAround(const std::vector<std::string>& keys);
  void WakeCopies(const PreparedLock& lock);
  void WakeObservers(PreparedLock* lock);
  void DropAdvisory(std::string_view key);

  std::map<Owner, std::unique_ptr<PreparedLock>> prepared_;
  size_t committed_ = 0;
  Keys keys_;
  SpanIndex<PreparedLock> range_guards_;
  uint64_t next_lock_ = 1;
  std::map<TxnId, absl::btree_set<std::string>> advisory_keys_;
  size_t advisory_count_ = 0;
  std::map<WaiterId, std::unique_ptr<Waiter>> waiters_;
  absl::flat_hash_map<Owner, absl::btree_set<WaiterId>> waiters_of_;  // looked up only
  SpanIndex<const Waiter> range_waiters_;
  size_t places_ = 0;
  std::map<WaiterId, Owner> observers_;
  WaiterId next_waiter_ = 1;
  std::vector<WaiterId> woken_;
  mutable uint64_t looked_at_ = 0;
};

}  // namespace quorate::shard
