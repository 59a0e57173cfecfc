#include "shard/lock_wait.h"

#include <algorithm>

#include "base/limits.h"
#include "base/status_macros.h"

namespace quorate::shard {

Status CheckRangeRoom(const LockTable& locks, const std::vector<Span>& guards) {
  const auto more = static_cast<size_t>(std::count_if(
      guards.begin(), guards.end(), [](const Span& guard) { return !guard.single(); }));
  if (more == 0 || locks.ranges() + more <= limits::kShardRangesMax) return Status::Ok();
  return Status(Code::kOverloaded,
                fmt::format("transactions that commit have read {} ranges of this shard, and this "
                            "one {}: the limit is {} at once; try again later",
                            locks.ranges(), more, limits::kShardRangesMax));
}

LockWait::LockWait(Shard::Rep& rep, std::shared_ptr<Leadership> under, Instant deadline)
    : rep_(rep),
      under_(std::move(under)),
      deadline_(deadline),
      push_at_(rep.Now() + rep.settings.push_after),
      place_(under_) {}

Status LockWait::CheckRoom(size_t places) const {
  const LockTable& locks = under_->locks();
  if (locks.waiting() < limits::kShardWaitersMax &&
      locks.places() + places <= limits::kShardPlacesMax) {
    return Status::Ok();
  }
  return Status(
      Code::kOverloaded,
      fmt::format("{} requests wait for locks on {} keys and ranges of this shard, and this one "
                  "would on {}: the limits are {} requests and {} keys and ranges; try again later",
                  locks.waiting(), locks.places(), places, limits::kShardWaitersMax,
                  limits::kShardPlacesMax));
}

Status LockWait::Queue(const LockAsk& ask) {
  if (under_->locks().queued(place_.id())) return Status::Ok();
  size_t places = ask.writes.size();
  if (ask.guards != nullptr) {
    places += ask.guards->size();
    RETURN_IF_ERROR(CheckRangeRoom(under_->locks(), *ask.guards));
  }
  RETURN_IF_ERROR(CheckRoom(places));
  place_.Take(under_->locks().Enqueue(ask));
  return Status::Ok();
}

Status LockWait::Observe(const Owner& owner) {
  RETURN_IF_ERROR(CheckRoom(0));
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
