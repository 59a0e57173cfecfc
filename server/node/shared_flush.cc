#include "server/node/shared_flush.h"

namespace quorate::server {

SharedFlush::SharedFlush(Executor& executor, const Clock& clock, Flush flush, Changes changes)
    : executor_(executor), clock_(clock), flush_(std::move(flush)), changes_(std::move(changes)) {}

SharedFlush::~SharedFlush() {
  *alive_ = false;
  executor_.Cancel(timer_);
}

Task<Status> SharedFlush::Flushed() {
  if (flushed_ == changes_()) co_return Status::Ok();
  const Promise<Status> flushed(executor_);
  waiting_.push_back(flushed);
  BeginNext();
  co_return co_await flushed.future();
}

void SharedFlush::BeginNext() {
  if (waiting_.empty() || under_way_ || timer_ != 0) return;
  const Duration left = began_ ? *began_ + kEvery - clock_.Now() : Duration(0);
  if (left <= Duration(0)) return Begin();
  timer_ = executor_.After(left, [this] {
    timer_ = 0;
    Begin();
  });
}

void SharedFlush::Begin() {
  under_way_ = true;
  began_ = clock_.Now();
  flush_([this, alive = alive_, changes = changes_(),
          waiting = std::exchange(waiting_, {})](const Status& status) {
    for (const Promise<Status>& one : waiting) one.Set(status);
    if (!*alive) return;
    under_way_ = false;
    if (status.ok()) flushed_ = changes;
    BeginNext();
  });
}

}  // namespace quorate::server
