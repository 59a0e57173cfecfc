// LockWait: one request's waiting for locks. Whoever looks at the lock table and finds somebody in
// the way takes a place there, waits, and looks again; what is common to them is here: the bound of
// waiters, the deadline, and pushing a holder that is waited for too long.
#pragma once

#include <memory>
#include <optional>

#include "shard/leadership.h"
#include "shard/rep.h"

namespace quorate::shard {

// Whether the ranges among `guards` may be guarded, or waited for, beside those that are.
// OVERLOADED.
Status CheckRangeRoom(const LockTable& locks, const std::vector<Span>& guards);

class LockWait {
 public:
  LockWait(Shard::Rep& rep, std::shared_ptr<Leadership> under, Instant deadline);

  WaiterId id() const { return place_.id(); }
  // Takes a place in the queues of what is asked for, or keeps the one it has. OVERLOADED.
  Status Queue(const LockAsk& ask);
  // Watches one lock instead, without standing in anybody's way. OVERLOADED.
  Status Observe(const Owner& owner);
  // Gives the place up: nothing is waited for any more.
  void Leave() { place_.Leave(); }

  // Resumes when there may be something to look at again: woken, at `recheck`, or when the
  // leadership ends. `blocker` is pushed once it was waited for long enough. DEADLINE_EXCEEDED.
  Task<Status> Wait(std::optional<Owner> blocker, std::optional<Instant> recheck);

 private:
  // For one more who waits at so many keys and ranges.
  Status CheckRoom(size_t places) const;

  Shard::Rep& rep_;
  const std::shared_ptr<Leadership> under_;
  const Instant deadline_;
  Instant push_at_;
  QueuePlace place_;
};

}  // namespace quorate::shard
