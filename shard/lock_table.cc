#include "shard/lock_table.h"

#include <absl/container/flat_hash_set.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/check.h"
#include "base/probe.h"

namespace quorate::shard {
namespace {

Holder KindOf(const PreparedLock& lock) {
  return lock.one_phase || lock.committed ? Holder::kEnding : Holder::kPrepared;
}

const std::vector<Span>& GuardsOf(const LockAsk& ask) {
  static const std::vector<Span> kNone;
  return ask.guards == nullptr ? kNone : *ask.guards;
}

}  // namespace

// Weighs everything in the way of one ask.
class LockTable::Judgement {
 public:
  Judgement(const LockAsk& ask, Instant now, WaiterId self) : ask_(ask), now_(now), self_(self) {}

  void Against(const PreparedLock& lock) {
    ++looked_at_;
    if (lock.owner == ask_.owner || lock.resolve_proposed) return;
    const Contention c = AgainstHolder(ask_.asker, ask_.priority, KindOf(lock), lock.priority);
    Weigh(c);
    if (c == Contention::kWait && !verdict_.blocker && !lock.one_phase) {
      verdict_.blocker = lock.owner;
    }
  }

  void Against(const Advisory& advisory) {
    if (advisory.txn == ask_.owner.txn_id || advisory.expiry <= now_) return;
    const Contention c =
        AgainstHolder(ask_.asker, ask_.priority, Holder::kAdvisory, advisory.priority);
    Weigh(c);
    if (c == Contention::kWait && (!verdict_.recheck || advisory.expiry < *verdict_.recheck)) {
      verdict_.recheck = advisory.expiry;
    }
  }

  void Against(const Waiter& waiter) {
    if (Passed(waiter)) Weigh(AgainstOlderWaiter(ask_.asker));
  }

  void Against(const Queue& queue) {
    for (const Waiter* waiter : queue) {
      ++looked_at_;
      if (!(waiter->priority < ask_.priority)) return;  // and so are all behind it
      if (!Passed(*waiter)) continue;
      Weigh(AgainstOlderWaiter(ask_.asker));
      return;
    }
  }

  size_t looked_at() const { return looked_at_; }
  LockVerdict Take() {
    switch (worst_) {
      case Contention::kWound:
        verdict_.kind = LockVerdict::Kind::kGo;
        break;
      case Contention::kWait:
        verdict_.kind = LockVerdict::Kind::kWait;
        break;
      case Contention::kDie:
        verdict_.kind = LockVerdict::Kind::kDie;
        break;
    }
    return verdict_;
  }

 private:
  // Whether going on now would pass this waiter.
  bool Passed(const Waiter& waiter) const {
    return waiter.id != self_ && waiter.owner != ask_.owner && waiter.priority < ask_.priority;
  }
  void Weigh(Contention c) { worst_ = std::max(worst_, c); }

  const LockAsk& ask_;
  Instant now_;
  WaiterId self_;
  Contention worst_ = Contention::kWound;  // nothing in the way weighs as little
  LockVerdict verdict_;
  size_t looked_at_ = 0;
};

LockVerdict LockTable::Judge(const LockAsk& ask, Instant now, WaiterId self) const {
  Judgement judgement(ask, now, self);
  for (std::string_view key : ask.writes) {
    if (const auto it = keys_.find(key); it != keys_.end()) {
      for (const PreparedLock* lock : it->second.writers) judgement.Against(*lock);
      for (const PreparedLock* lock : it->second.guards) judgement.Against(*lock);
      if (it->second.advisory) judgement.Against(*it->second.advisory);
      judgement.Against(it->second.to_write);
      judgement.Against(it->second.to_guard);
    }
  }
  const auto against = [&](const auto& in_the_way) { judgement.Against(in_the_way); };
  looked_at_ += ask.writes.size() + range_guards_.Visit(ask.writes, against) +
                range_waiters_.Visit(ask.writes, against);
  // Guards share with guards, and an advisory lock announces a write that a guard does not hinder;
  // but an older waiter for the key is not passed, or readers could starve it.
  auto against_writers = [&](const KeyLocks& locks) {
    ++looked_at_;
    for (const PreparedLock* lock : locks.writers) judgement.Against(*lock);
    judgement.Against(locks.to_write);
  };
  for (const Span& guard : GuardsOf(ask)) {
    if (guard.single()) {
      if (const auto it = keys_.find(guard.from); it != keys_.end()) against_writers(it->second);
      continue;
    }
    for (auto it = From(guard.from); it != keys_.end() && guard.Contains(it->first); ++it) {
      against_writers(it->second);
    }
  }
  looked_at_ += judgement.looked_at();
  return judgement.Take();
}

std::string LockTable::Explain(const LockAsk& ask, Instant now) const {
  const auto describe = [now](std::string_view key, const char* held, const TxnId& txn,
                              Instant since) {
    return fmt::format("key {} is {} by transaction {} since {} ms", Printable(key), held, txn,
                       ToMillis(now - since));
  };
  const auto holder = [&](const auto& locks) -> const PreparedLock* {
    for (const PreparedLock* lock : locks) {
      if (lock->owner != ask.owner && !lock->resolve_proposed) return lock;
    }
    return nullptr;
  };
  for (std::string_view key : ask.writes) {
    const auto it = keys_.find(key);
    if (it == keys_.end()) continue;
    for (const auto* locks : {&it->second.writers, &it->second.guards}) {
      if (const PreparedLock* lock = holder(*locks)) {
        return describe(key, "being committed", lock->owner.txn_id, lock->since);
      }
    }
    const auto& advisory = it->second.advisory;
    if (advisory && advisory->txn != ask.owner.txn_id && advisory->expiry > now) {
      return describe(key, "locked", advisory->txn, advisory->since);
    }
  }
  const PreparedLock* reads = nullptr;
  range_guards_.Visit(ask.writes, [&](const PreparedLock& lock) {
    if (reads == nullptr && lock.owner != ask.owner && !lock.resolve_proposed) reads = &lock;
  });
  if (reads != nullptr) {
    return fmt::format(
        "a range around one of the keys is read by transaction {}, which has been committing for "
        "{} ms",
        reads->owner.txn_id, ToMillis(now - reads->since));
  }
  for (const Span& guard : GuardsOf(ask)) {
    for (auto it = From(guard.from); it != keys_.end() && guard.Contains(it->first); ++it) {
      if (const PreparedLock* lock = holder(it->second.writers)) {
        return describe(it->first, "being committed", lock->owner.txn_id, lock->since);
      }
    }
  }
  return "an older transaction waits for one of the keys";
}

LockTable::Keys::const_iterator LockTable::From(std::string_view key) const {
  return keys_.lower_bound(key);
}

void LockTable::Add(PreparedLock lock) {
  auto owned = std::make_unique<PreparedLock>(std::move(lock));
  PreparedLock* added = owned.get();
  added->sequence = next_lock_++;
  CHECK(prepared_.emplace(added->owner, std::move(owned)).second, "a lock is evaluated once");
  for (const std::string& key : added->writes) {
    KeyLocks& locks = keys_[key];
    if (locks.advisory && locks.advisory->txn != added->owner.txn_id) {
      PROBE("shard: an advisory lock was wounded by a prepare");
      DropAdvisory(key);
    }
    locks.writers.push_back(added);
  }
  for (const Span& guard : added->guards) {
    if (guard.single()) {
      keys_[guard.from].guards.push_back(added);
    } else {
      range_guards_.Insert(guard, added->sequence, added);
    }
  }
  ReleaseAdvisory(added->owner.txn_id);
  WakeCopies(*added);
}

const PreparedLock* LockTable::Find(const Owner& owner) const {
  const auto it = prepared_.find(owner);
  return it == prepared_.end() ? nullptr : it->second.get();
}

PreparedLock* LockTable::Mutable(const Owner& owner) {
  const auto it = prepared_.find(owner);
  CHECK(it != prepared_.end(), "no such lock");
  return it->second.get();
}

void LockTable::WakeObservers(PreparedLock* lock) {
  for (WaiterId id : lock->observers) woken_.push_back(id);
}

void LockTable::MarkEvaluated(const Owner& owner, Timestamp prepare_ts) {
  Mutable(owner)->prepare_ts = prepare_ts;
}

void LockTable::MarkApplied(const Owner& owner, Timestamp prepare_ts) {
  PreparedLock* lock = Mutable(owner);
  lock->applied = true;
  lock->prepare_ts = prepare_ts;
  WakeObservers(lock);
}

void LockTable::MarkCommitted(const Owner& owner, Timestamp commit_ts) {
  PreparedLock* lock = Mutable(owner);
  CHECK(lock->applied, "COMMITTED is a fact only once every part is applied");
  if (lock->committed) return;
  lock->committed = true;
  lock->commit_ts = commit_ts;
  ++committed_;
  WakeObservers(lock);
}

void LockTable::MarkResolveProposed(const Owner& owner, bool proposed) {
  PreparedLock* lock = Mutable(owner);
  if (lock->resolve_proposed == proposed) return;
  lock->resolve_proposed = proposed;
  if (!proposed) return;
  for (const std::string& key : lock->writes) WakeKey(key, Woken::kAll);
  WakeRangesAround(lock->writes);
  for (const Span& guard : lock->guards) WakeWritersIn(guard);
}

void LockTable::MarkPushing(const Owner& owner, bool pushing) { Mutable(owner)->pushing = pushing; }

void LockTable::Release(const Owner& owner) {
  const auto it = prepared_.find(owner);
  CHECK(it != prepared_.end(), "no such lock");
  const std::unique_ptr<PreparedLock> lock = std::move(it->second);
  prepared_.erase(it);
  if (lock->committed) --committed_;
  auto drop = [&](auto& list) { list.erase(std::find(list.begin(), list.end(), lock.get())); };
  for (const std::string& key : lock->writes) {
    drop(keys_.find(key)->second.writers);
    WakeKey(key, Woken::kAll);
    DropIfEmpty(key);
  }
  WakeRangesAround(lock->writes);
  for (const Span& guard : lock->guards) {
    if (guard.single()) {
      drop(keys_.find(guard.from)->second.guards);
      WakeKey(guard.from, Woken::kWriters);
      DropIfEmpty(guard.from);
    } else {
      range_guards_.Erase(guard, lock->sequence);
      WakeWritersIn(guard);
    }
  }
  WakeObservers(lock.get());
  for (WaiterId id : lock->observers) observers_.erase(id);
}

void LockTable::DropIfEmpty(std::string_view key) {
  const auto it = keys_.find(key);
  if (it != keys_.end() && it->second.empty()) keys_.erase(it);
}

// ---- readers ----------------------------------------------------------------------------------

const PreparedLock* LockTable::ReadBlocker(std::string_view key, Timestamp at,
                                           const TxnId& reader) const {
  if (keys_.empty()) return nullptr;
  const auto it = keys_.find(key);
  if (it == keys_.end()) return nullptr;
  for (const PreparedLock* lock : it->second.writers) {
    if (!lock->committed && lock->prepare_ts <= at && lock->owner.txn_id != reader) return lock;
  }
  return nullptr;
}

const PreparedLock* LockTable::ReadBlocker(const Span& span, Timestamp at,
                                           const TxnId& reader) const {
  for (auto it = From(span.from); it != keys_.end() && span.Contains(it->first); ++it) {
    for (const PreparedLock* lock : it->second.writers) {
      if (!lock->committed && lock->prepare_ts <= at && lock->owner.txn_id != reader) return lock;
    }
  }
  return nullptr;
}

const PreparedLock* LockTable::CommittedOn(std::string_view key) const {
  const auto it = keys_.find(key);
  if (it == keys_.end()) return nullptr;
  for (const PreparedLock* lock : it->second.writers) {
    if (lock->committed) return lock;
  }
  return nullptr;
}

std::vector<std::pair<std::string, const PreparedLock*>> LockTable::CommittedIn(
    const Span& span) const {
  std::vector<std::pair<std::string, const PreparedLock*>> found;
  for (auto it = From(span.from); it != keys_.end() && span.Contains(it->first); ++it) {
    for (const PreparedLock* lock : it->second.writers) {
      if (lock->committed) found.emplace_back(it->first, lock);
    }
  }
  return found;
}

// ---- advisory locks ---------------------------------------------------------------------------

void LockTable::TakeAdvisory(const TxnId& txn, const TxnPriority& priority,
                             const std::vector<std::string_view>& keys, Instant now,
                             Instant expiry) {
  for (std::string_view key : keys) {
    KeyLocks& locks = keys_[std::string(key)];
    const Instant since =
        locks.advisory && locks.advisory->txn == txn ? locks.advisory->since : now;
    if (locks.advisory && locks.advisory->txn != txn) {
      PROBE("shard: an advisory lock was wounded or had ended");
      DropAdvisory(key);
    }
    if (!locks.advisory) {
      advisory_keys_[txn].emplace(key);
      ++advisory_count_;
    }
    locks.advisory = Advisory{txn, priority, since, expiry};
  }
}

// Leaves the key's entry in place.
void LockTable::DropAdvisory(std::string_view key) {
  KeyLocks& locks = keys_.find(key)->second;
  const auto it = advisory_keys_.find(locks.advisory->txn);
  it->second.erase(std::string(key));
  if (it->second.empty()) advisory_keys_.erase(it);
  locks.advisory.reset();
  --advisory_count_;
}

void LockTable::ReleaseAdvisory(const TxnId& txn) {
  const auto it = advisory_keys_.find(txn);
  if (it == advisory_keys_.end()) return;
  const absl::btree_set<std::string> keys = std::move(it->second);
  advisory_keys_.erase(it);
  advisory_count_ -= keys.size();
  for (const std::string& key : keys) {
    keys_.find(key)->second.advisory.reset();
    WakeKey(key, Woken::kWriters);
    DropIfEmpty(key);
  }
}

size_t LockTable::ExpireAdvisory(Instant now) {
  size_t left = 0;
  std::vector<std::string> ended;
  for (const auto& [txn, keys] : advisory_keys_) {
    for (const std::string& key : keys) {
      if (keys_.find(key)->second.advisory->expiry <= now) {
        ended.push_back(key);
      } else {
        ++left;
      }
    }
  }
  for (const std::string& key : ended) {
    DropAdvisory(key);
    WakeKey(key, Woken::kWriters);
    DropIfEmpty(key);
  }
  return left;
}

bool LockTable::AdvisoryAwaited(const TxnId& txn) const {
  const auto held = advisory_keys_.find(txn);
  if (held == advisory_keys_.end()) return false;
  return std::any_of(held->second.begin(), held->second.end(), [&](const std::string& key) {
    // Who waits to guard it does not wait for an advisory lock.
    const Queue& queue = keys_.find(key)->second.to_write;
    return std::any_of(queue.begin(), queue.end(),
                       [&](const Waiter* waiter) { return waiter->owner.txn_id != txn; });
  });
}

bool LockTable::HoldsAdvisory(const TxnId& txn, std::string_view key, Instant now) const {
  const auto it = keys_.find(key);
  return it != keys_.end() && it->second.advisory && it->second.advisory->txn == txn &&
         it->second.advisory->expiry > now;
}

// ---- waiting ----------------------------------------------------------------------------------

WaiterId LockTable::Enqueue(const LockAsk& ask) {
  auto owned = std::make_unique<Waiter>();
  const WaiterId id = next_waiter_++;
  owned->id = id;
  owned->asker = ask.asker;
  owned->owner = ask.owner;
  owned->priority = ask.priority;
  owned->writes.assign(ask.writes.begin(), ask.writes.end());
  owned->guards = GuardsOf(ask);
  const Waiter* waiter = owned.get();
  waiters_.emplace(id, std::move(owned));
  waiters_of_[waiter->owner].insert(id);
  places_ += waiter->writes.size() + waiter->guards.size();

  for (const std::string& key : waiter->writes) keys_[key].to_write.insert(waiter);
  for (const Span& guard : waiter->guards) {
    if (guard.single()) {
      keys_[guard.from].to_guard.insert(waiter);
    } else {
      range_waiters_.Insert(guard, id, waiter);
    }
  }
  return id;
}

WaiterId LockTable::Observe(const Owner& owner) {
  const WaiterId id = next_waiter_++;
  Mutable(owner)->observers.insert(id);
  observers_.emplace(id, owner);
  return id;
}

void LockTable::Dequeue(WaiterId id) {
  if (const auto it = observers_.find(id); it != observers_.end()) {
    if (const auto lock = prepared_.find(it->second); lock != prepared_.end()) {
      lock->second->observers.erase(id);
    }
    observers_.erase(it);
    return;
  }
  const auto it = waiters_.find(id);
  if (it == waiters_.end()) return;
  const std::unique_ptr<Waiter> waiter = std::move(it->second);
  waiters_.erase(it);
  const auto copies = waiters_of_.find(waiter->owner);
  copies->second.erase(id);
  if (copies->second.empty()) waiters_of_.erase(copies);
  places_ -= waiter->writes.size() + waiter->guards.size();
  for (const std::string& key : waiter->writes) {
    keys_.find(key)->second.to_write.erase(waiter.get());
    WakeKey(key, Woken::kAll);
    DropIfEmpty(key);
  }
  WakeRangesAround(waiter->writes);
  for (const Span& guard : waiter->guards) {
    if (guard.single()) {
      keys_.find(guard.from)->second.to_guard.erase(waiter.get());
      WakeKey(guard.from, Woken::kWriters);
      DropIfEmpty(guard.from);
    } else {
      range_waiters_.Erase(guard, id);
      WakeWritersIn(guard);
    }
  }
}

// All that no strictly older one for a write is in the way of: equal priorities do not block each
// other.
void LockTable::WakeQueue(const KeyLocks& locks, Woken who) {
  const Waiter* oldest_writer = locks.to_write.empty() ? nullptr : *locks.to_write.begin();
  const auto wake = [&](const Queue& queue) {
    for (const Waiter* waiter : queue) {
      ++looked_at_;
      if (oldest_writer != nullptr && oldest_writer->priority < waiter->priority) return;
      woken_.push_back(waiter->id);
    }
  };
  if (who == Woken::kAll) wake(locks.to_guard);
  wake(locks.to_write);
}

// Copies of a request need not wait for its outcome: it is their own past now.
void LockTable::WakeCopies(const PreparedLock& lock) {
  const auto it = waiters_of_.find(lock.owner);
  if (it != waiters_of_.end()) woken_.insert(woken_.end(), it->second.begin(), it->second.end());
}

void LockTable::WakeKey(std::string_view key, Woken who) {
  if (waiters_.empty()) return;
  ++looked_at_;
  if (const auto it = keys_.find(key); it != keys_.end()) WakeQueue(it->second, who);
}

void LockTable::WakeWritersIn(const Span& span) {
  if (waiters_.empty()) return;
  for (auto it = From(span.from); it != keys_.end() && span.Contains(it->first); ++it) {
    ++looked_at_;
    WakeQueue(it->second, Woken::kWriters);
  }
}

void LockTable::WakeRangesAround(const std::vector<std::string>& keys) {
  looked_at_ +=
      range_waiters_.Visit(keys, [this](const Waiter& waiter) { woken_.push_back(waiter.id); });
}

std::vector<WaiterId> LockTable::TakeWoken() {
  std::vector<WaiterId> once;
  absl::flat_hash_set<WaiterId> seen;
  for (WaiterId id : woken_) {
    if (seen.insert(id).second) once.push_back(id);
  }
  woken_.clear();
  return once;
}

}  // namespace quorate::shard
