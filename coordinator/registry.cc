#include "coordinator/registry.h"

#include "base/check.h"
#include "base/mutant.h"
#include "base/timer_guard.h"

namespace quorate::coordinator {

bool Registry::Has(const TxnId& txn, ShardId shard, raft::Term term) const {
  const auto it = entries_.find({txn, shard});
  return it != entries_.end() && it->second->term_ == term;
}

Task<Finding> Registry::Join(TxnId txn, ShardId shard, raft::Term term, JoinUntil until,
                             Instant deadline) {
  if (!Has(txn, shard, term)) co_return Finding{};
  Registration* entry = entries_.find({txn, shard})->second;
  const bool fact = until == JoinUntil::kFact;
  if (fact && entry->told_.has_value()) co_return *entry->told_;
  const Duration left = deadline - env_.Now();
  if (left <= Duration(0)) co_return Finding{.kind = Finding::Kind::kTimeout};
  Promise<Finding> promise(env_.executor);
  (fact ? entry->waiters_ : entry->end_waiters_).push_back(promise);
  const TimerGuard timer(env_.executor, left,
                         [promise] { promise.Set({.kind = Finding::Kind::kTimeout}); });
  co_return co_await promise.future();
}

void Registry::Insert(Registration* entry) {
  const auto [it, inserted] = entries_.try_emplace({entry->txn_, entry->shard_}, entry);
  if (inserted) return;
  Registration* old = it->second;
  CHECK(old->term_ != entry->term_, "transaction {} is registered twice in term {}", entry->txn_,
        entry->term_);
  // Word of the old term's end has not arrived yet.
  it->second = entry;
  if (MUTANT("txn-coordinator-outlives-term")) return;
  old->live_ = false;
  old->WakeAll();
  if (const auto callback = std::exchange(old->on_rights_ended_, nullptr)) callback();
}

const Finding* Registry::WhyAborted(const TxnId& txn, ShardId shard) const {
  const auto it = aborted_.find({txn, shard});
  return it == aborted_.end() ? nullptr : &it->second;
}

void Registry::RememberAborted(const Key& key, Finding finding) {
  if (!aborted_.try_emplace(key, std::move(finding)).second) return;
  aborted_order_.push_back(key);
  if (aborted_order_.size() <= kAbortedMax) return;
  aborted_.erase(aborted_order_.front());
  aborted_order_.pop_front();
}

void Registry::EndShard(ShardId shard, const std::optional<Span>& left) {
  if (MUTANT("txn-coordinator-outlives-term")) return;
  std::vector<std::function<void()>> callbacks;
  for (auto it = entries_.begin(); it != entries_.end();) {
    Registration* entry = it->second;
    if (entry->shard_ != shard || (left && left->Contains(entry->anchor_key_))) {
      ++it;
      continue;
    }
    it = entries_.erase(it);
    entry->live_ = false;
    entry->WakeAll();
    if (entry->on_rights_ended_) {
      callbacks.push_back(std::exchange(entry->on_rights_ended_, nullptr));
    }
  }
  for (const auto& callback : callbacks) callback();
}

Registration::Registration(Registry& registry, TxnId txn, ShardId shard, raft::Term term,
                           std::string anchor_key, std::function<void()> on_rights_ended)
    : registry_(registry),
      txn_(txn),
      shard_(shard),
      term_(term),
      anchor_key_(std::move(anchor_key)),
      on_rights_ended_(std::move(on_rights_ended)) {
  registry_.Insert(this);
}

void Registration::Tell(Finding finding) {
  told_ = std::move(finding);
  Wake(&waiters_, *told_);
}

void Registration::End() {
  if (!live_) return;
  live_ = false;
  on_rights_ended_ = nullptr;
  registry_.entries_.erase({txn_, shard_});
  WakeAll();
  const bool aborted = told_ && told_->kind == Finding::Kind::kAborted;
  if (aborted && told_->code != Code::kAborted) {
    registry_.RememberAborted({txn_, shard_}, *std::move(told_));
  }
}

void Registration::Wake(std::vector<Promise<Finding>>* waiters, const Finding& finding) {
  for (const Promise<Finding>& waiter : std::exchange(*waiters, {})) waiter.Set(finding);
}

void Registration::WakeAll() {
  Wake(&waiters_, {});
  Wake(&end_waiters_, {});
}

}  // namespace quorate::coordinator
