// Proposals: who waits for which entry, and how each wait ends, exactly once:
//
//   applied    the entry at its index has its term: answered with Apply's result
//   replaced   an entry of a later term was applied at or before its index: NOT_LEADER, it never
//              takes effect
//   covered    a snapshot jumped over its index: UNAVAILABLE, it may have been applied elsewhere
//   stopped    the host is destroyed: never answered, like a crash
//
// A later term's entry in the log alone ends nothing: until one of them is committed, the older one
// may still win on another replica.
#pragma once

#include <absl/container/btree_map.h>

#include <utility>
#include <variant>

#include "base/task.h"
#include "raft/host/gather.h"
#include "raft/host/host.h"

namespace quorate::raft {

// Where an answer goes. Promises resume their waiter in a later turn by themselves; closures are
// handed to the Answers queue for that.
using Waiter = std::variant<GroupHandle::ProposeDone, Promise<Result<Proposed>>>;

// Runs closures of all groups in one later turn.
class Answers {
 public:
  explicit Answers(Executor& executor) : executor_(executor) {}
  Answers(const Answers&) = delete;
  ~Answers() { *alive_ = false; }
  void Give(Waiter waiter, Result<Proposed> result);

 private:
  void Run();

  Executor& executor_;
  std::vector<std::pair<GroupHandle::ProposeDone, Result<Proposed>>> queue_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

class Proposals {
 public:
  Proposals(Answers& answers, Gather* gather) : answers_(answers), gather_(gather) {}

  void Add(LogIndex index, Term term, Waiter waiter);
  // The entry (index, term) was applied here with `result`; called in log order.
  void Applied(LogIndex index, Term term, ApplyResult result);
  // A snapshot at `index` was installed.
  void Covered(LogIndex index);

  size_t size() const { return waiters_.size(); }

 private:
  // Terms never fall along the log: behind an applied entry of `term` no older one is committed.
  // Without this they would wait for the new leader's log to become as long as theirs.
  void EndOlder(Term term);
  // The first waiter leaves.
  Waiter TakeFirst();

  Answers& answers_;
  Gather* gather_;
  Term applied_term_;
  absl::btree_map<std::pair<LogIndex, Term>, Waiter> waiters_;
};

}  // namespace quorate::raft
