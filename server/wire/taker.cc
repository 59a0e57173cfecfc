#include "server/wire/taker.h"

#include <algorithm>
#include <utility>

#include "base/timer_guard.h"

namespace quorate::server {
namespace {

constexpr size_t kWokenMax = 8;

}  // namespace

Taker::Read::~Read() {
  --taker_->going_;
  taker_->WakeSome();
}

void Taker::Left(size_t bytes) {
  queued_bytes_ -= bytes;
  WakeSome();
}

Taker::Waiting::Waiting(Taker* t, const void* o) : taker(t), owner(o), goes(t->env_.executor) {
  at = taker->waiting_.insert(taker->waiting_.end(), this);
}

Taker::Waiting::~Waiting() {
  if (woken) {
    --taker->going_;
  } else {
    taker->waiting_.erase(at);
  }
}

Task<std::unique_ptr<Taker::Read>> Taker::Wait(const void* owner, Instant deadline) {
  if (takes() && waiting_.empty()) co_return std::make_unique<Read>(this);
  const Waiting waiting(this, owner);
  const Duration left = std::max(deadline - env_.Now(), Duration(0));
  const TimerGuard timer(env_.executor, left, [goes = waiting.goes] { goes.Set(false); });
  if (!co_await waiting.goes.future()) co_return nullptr;
  co_return std::make_unique<Read>(this);
}

void Taker::GiveUp(const void* owner) {
  for (const Waiting* waiting : waiting_) {
    if (waiting->owner == owner) waiting->goes.Set(false);
  }
}

void Taker::WakeSome() {
  for (auto at = waiting_.begin(); at != waiting_.end() && takes() && going_ < kWokenMax;) {
    Waiting* const next = *at++;
    if (!next->goes.Set(true)) continue;  // it was told no, and leaves by itself
    waiting_.erase(next->at);
    next->woken = true;
    ++going_;
  }
}

}  // namespace quorate::server
