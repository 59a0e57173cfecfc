// An Env for unit tests: virtual time, a seeded source, no log output.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <utility>

#include "base/env.h"

namespace quorate {

// Handlers run in the order of posting, timers in the order of their times, nothing by itself.
class TestExecutor final : public Executor, public Clock {
 public:
  void Post(Closure fn) override { ready_.push_back(std::move(fn)); }
  TimerId After(Duration delay, Closure fn) override {
    timers_.emplace(std::pair(now_ + delay, ++last_timer_), std::move(fn));
    times_[last_timer_] = now_ + delay;
    return last_timer_;
  }
  void Cancel(TimerId id) override {
    const auto it = times_.find(id);
    if (it == times_.end()) return;
    timers_.erase({it->second, id});
    times_.erase(it);
  }
  Instant Now() const override { return now_; }
  int64_t WallMillis() const override { return ToMillis(now_.time_since_epoch()); }

  // Runs the next handler or timer up to `limit`; false if there is none.
  bool Step(Instant limit = Instant::max()) {
    if (!ready_.empty()) {
      Closure fn = std::move(ready_.front());
      ready_.pop_front();
      fn();
      return true;
    }
    if (timers_.empty() || timers_.begin()->first.first > limit) return false;
    auto node = timers_.extract(timers_.begin());
    now_ = node.key().first;
    times_.erase(node.key().second);
    node.mapped()();
    return true;
  }
  void RunFor(Duration duration) {
    const Instant end = now_ + duration;
    while (Step(end)) {
    }
    now_ = end;
  }
  // False if nothing was left to run before `done` held.
  bool RunUntil(const std::function<bool()>& done) {
    while (!done()) {
      if (!Step()) return false;
    }
    return true;
  }
  // Drops everything that was going to run, as a crash does.
  void Clear() {
    ready_.clear();
    timers_.clear();
    times_.clear();
  }

 private:
  std::deque<Closure> ready_;
  std::map<std::pair<Instant, TimerId>, Closure> timers_;
  std::map<TimerId, Instant> times_;
  Instant now_{};
  TimerId last_timer_ = 0;
};

struct TestEnv {
  explicit TestEnv(uint64_t seed = 1) : random(seed) {}
  TestExecutor executor;
  Random random;
  NullLogger log;
  Metrics metrics;
  Env env{executor, executor, random, log, metrics};
};

}  // namespace quorate
