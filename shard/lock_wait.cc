#include "shard/lock_wait.h"

#include <algorithm>

#include "base/limits.h"
#include "base/status_macros.h"

namespace quorate::shard {

LockWait::LockWait(Shard::Rep& rep, std::shared_ptr<Leadership> under, Instant deadline)
    : rep_(rep),
      under_(std::move(under)),
      deadline_(deadline),
      push_at_(rep.Now() + rep.settings.push_after),
      place_(under_) {}

Status LockWait::RoomForOneMore() const {
  if (under_->locks().waiting() < limits::kShardWaitersMax) return Status::Ok();
  return Status(Code::kOverloaded, "too many requests wait for locks");
}

Status LockWait::Queue(const LockAsk& ask) {
  if (under_->locks().queued(place_.id())) return Status::Ok();
  RETURN_IF_ERROR(RoomForOneMore());
  place_.Take(under_->locks().Enqueue(ask));
  return Status::Ok();
}

Status LockWait::Observe(const Owner& owner) {
  RETURN_IF_ERROR(RoomForOneMore());
  place_.Take(under_->locks().Observe(owner));
  return Status::Ok();
}

Task<Status> LockWait::Wait(std::optional<Owner> blocker, std::optional<Instant> recheck) {
  const Instant now = rep_.Now();
  if (now >= deadline_) co_return DeadlineExceeded("waited for another transaction's outcome");
  if (now >= push_at_) {
    if (blocker) rep_.StartPush(under_, *blocker);
    push_at_ = now + rep_.settings.push_after;
  }
  Instant until = std::min(deadline_, push_at_);
  if (recheck) until = std::min(until, *recheck);
  co_await Leadership::Wait(under_, place_.id(), until);
  co_return Status::Ok();
}

}  // namespace quorate::shard
