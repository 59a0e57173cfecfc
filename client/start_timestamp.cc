#include "client/start_timestamp.h"

namespace quorate::client {

StartTimestamp::Claim::Claim(StartTimestamp* start) : start_(start) {
  start_->claimed_ = true;
  start_->asked_at_ = start_->core_->env().Now();
}

StartTimestamp::Claim::~Claim() {
  start_->claimed_ = false;
  for (const auto& waiter : std::exchange(start_->waiters_, {})) waiter.Set(true);
}

Task<void> StartTimestamp::Await() {
  while (!timestamp_ && claimed_) {
    const Promise<bool> promise(core_->env().executor);
    waiters_.push_back(promise);
    co_await promise.future();
  }
}

Task<Status> StartTimestamp::Fetch(Instant deadline) {
  co_await Await();
  if (timestamp_) co_return Status::Ok();
  const Claim claim(this);
  const Result<Timestamp> slot = co_await core_->slots().Fetch(deadline - core_->env().Now());
  if (!slot.ok()) co_return slot.status();
  timestamp_ = *slot;
  co_return Status::Ok();
}

}  // namespace quorate::client
