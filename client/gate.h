// Gate: the way onto an executor for those who may live longer than it. Any thread.
#pragma once

#include <mutex>

#include "base/executor.h"

namespace quorate::client {

class Gate {
 public:
  explicit Gate(Executor& executor) : executor_(&executor) {}

  // False if the gate is closed: `fn` is destroyed unrun.
  bool Post(Closure fn) {
    const std::lock_guard lock(mutex_);
    if (executor_ == nullptr) return false;
    executor_->Post(std::move(fn));
    return true;
  }
  // The executor is used no more, once this returns.
  void Close() {
    const std::lock_guard lock(mutex_);
    executor_ = nullptr;
  }

 private:
  std::mutex mutex_;
  Executor* executor_;  // guarded by mutex_
};

}  // namespace quorate::client
