// An Executor for tests of code that has threads: posts come from anywhere and run on the test's
// thread, which waits for them. Timers are not needed there and not supported.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>

#include "base/check.h"
#include "base/env.h"

namespace quorate::storage {

class ThreadExecutor final : public Executor, public Clock {
 public:
  void Post(Closure fn) override {
    {
      std::lock_guard lock(mutex_);
      queue_.push_back(std::move(fn));
    }
    wake_.notify_one();
  }
  TimerId After(Duration, Closure) override {
    CHECK(false, "no timers here");
    return 0;
  }
  void Cancel(TimerId) override {}
  Instant Now() const override { return Instant(); }
  int64_t WallMillis() const override { return 0; }

  void RunUntil(const std::function<bool()>& done) {
    while (!done()) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return !queue_.empty(); });
      Closure fn = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      fn();
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Closure> queue_;
};

struct ThreadEnv {
  ThreadExecutor executor;
  Random random{1};
  NullLogger log;
  Metrics metrics;
  Env env{executor, executor, random, log, metrics};
};

}  // namespace quorate::storage
