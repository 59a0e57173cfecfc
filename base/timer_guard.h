// TimerGuard: a timer that is cancelled when its guard goes out of scope.
#pragma once

#include <utility>

#include "base/executor.h"

namespace quorate {

class TimerGuard {
 public:
  TimerGuard(Executor& executor, Duration delay, Closure fn)
      : executor_(executor), timer_(executor.After(delay, std::move(fn))) {}
  TimerGuard(const TimerGuard&) = delete;
  ~TimerGuard() { executor_.Cancel(timer_); }

 private:
  Executor& executor_;
  const TimerId timer_;
};

}  // namespace quorate
