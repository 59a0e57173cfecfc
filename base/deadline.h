// WithDeadline: waits for a task no longer than until `deadline`.
#pragma once

#include <algorithm>
#include <utility>

#include "base/env.h"
#include "base/status.h"
#include "base/task.h"
#include "base/timer_guard.h"

namespace quorate {

namespace task_internal {

template <class T>
Task<void> FulfilLater(Task<T> task, Promise<T> promise) {
  promise.Set(co_await std::move(task));
}

}  // namespace task_internal

// Runs `task` in `scope`; DEADLINE_EXCEEDED if it takes longer (T is a Status or a Result). It then
// goes on to its end on its own, and so it does when the caller's frame is destroyed: what it began
// is not torn off halfway.
template <class T>
Task<T> WithDeadline(Env& env, TaskScope& scope, Task<T> task, Instant deadline) {
  Promise<T> promise(env.executor);
  scope.Spawn(task_internal::FulfilLater<T>(std::move(task), promise));
  const Duration left = std::max(deadline - env.Now(), Duration(0));
  const TimerGuard timer(env.executor, left, [promise] {
    promise.Set(T(DeadlineExceeded("no answer by the deadline")));
  });
  co_return co_await promise.future();
}

}  // namespace quorate
