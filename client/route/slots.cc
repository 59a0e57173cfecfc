#include "client/route/slots.h"

#include <algorithm>

#include "base/mutant.h"
#include "base/timer_guard.h"
#include "quorate/v1/node.pb.h"
#include "txn/errors.h"

namespace quorate::client {

Slots::Slots(Env& env, Caller& caller) : env_(env), caller_(caller), scope_(env.executor) {}
Slots::~Slots() = default;

Task<Result<Timestamp>> Slots::Fetch(Duration timeout) {
  timeout = std::max(timeout, Duration(0));
  if (MUTANT("tso-slot-used-again")) {
    if (const auto known = NewestWithin(50ms)) co_return *known;
  }
  Promise<Result<Timestamp>> promise(env_.executor);
  waiting_.push_back({promise, env_.Now() + timeout});
  if (!fetching_) {
    fetching_ = true;
    scope_.Spawn(FetchLoop());
  }
  const TimerGuard timer(env_.executor, timeout, [promise] {
    promise.Set(Result<Timestamp>(DeadlineExceeded("no timestamp slot in time")));
  });
  co_return co_await promise.future();
}

Task<void> Slots::FetchLoop() {
  while (!waiting_.empty()) {
    // Whoever asks from here on is served by the next fetch: this one counts as sent.
    const std::vector<Waiter> batch = std::exchange(waiting_, {});
    Instant deadline = batch.front().deadline;
    for (const Waiter& waiter : batch) deadline = std::max(deadline, waiter.deadline);
    const Instant asked_at = env_.Now();
    const Result<Timestamp> slot = co_await FetchOnce(deadline);
    if (slot.ok()) {
      Observe(*slot);
      fetched_ = *slot;
      asked_at_ = asked_at;
    }
    for (const Waiter& waiter : batch) waiter.promise.Set(slot);
    if (MUTANT("tso-slot-fetched-before-begin")) {
      for (const Waiter& waiter : std::exchange(waiting_, {})) waiter.promise.Set(slot);
    }
  }
  fetching_ = false;
}

Task<Result<Timestamp>> Slots::FetchOnce(Instant deadline) {
  v1::NodeRequest request;
  request.mutable_slot();
  Result<v1::NodeResponse> response = co_await caller_.CallPlacement(std::move(request), deadline);
  if (!response.ok()) co_return response.status();
  const v1::Error& error = ErrorOf(*response);
  if (error.code() != v1::OK) co_return StatusFromError(error);
  const Timestamp slot(response->slot().slot());
  if (!slot || !slot.is_slot()) co_return Internal("the oracle answered something that is no slot");
  co_return slot;
}

std::optional<Timestamp> Slots::NewestWithin(Duration age) const {
  if (!newest_ || env_.Now() - newest_at_ > age) return std::nullopt;
  return newest_;
}

std::optional<uint64_t> Slots::UnixMillisAtMost() const {
  if (!fetched_) return std::nullopt;
  return fetched_.physical_ms() + static_cast<uint64_t>(ToMillis(env_.Now() - asked_at_)) + 1;
}

uint64_t Slots::UnixMillis() const {
  if (!newest_) return static_cast<uint64_t>(env_.clock.WallMillis());
  return newest_.physical_ms() + static_cast<uint64_t>(ToMillis(env_.Now() - newest_at_));
}

void Slots::Observe(Timestamp ts) {
  const Timestamp slot(ts.bits() & ~Timestamp::kSubMax);
  if (slot <= newest_) return;
  newest_ = slot;
  newest_at_ = env_.Now();
}

}  // namespace quorate::client
