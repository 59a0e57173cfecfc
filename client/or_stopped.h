// OrStopped: a task that any thread can end before its time.
#pragma once

#include <optional>
#include <stop_token>
#include <utility>

#include "base/task.h"

namespace quorate::client {

template <class T>
Task<void> RunTold(Task<T>* task, std::exception_ptr* exception, Promise<bool> ended) {
  *exception = co_await task->Run();
  ended.Set(true);
}

// What `task` returns; nullopt if a stop was requested first: it is then destroyed where it is
// suspended.
template <class T>
Task<std::optional<T>> OrStopped(Executor& executor, std::stop_token stop, Task<T> task) {
  if (stop.stop_requested()) co_return std::nullopt;
  const Promise<bool> ended(executor);
  std::exception_ptr exception;
  TaskScope scope(executor);
  scope.Spawn(RunTold(&task, &exception, ended));
  const std::stop_callback on_stop(
      stop, [&executor, ended] { executor.Post([ended] { ended.Set(false); }); });
  const bool ran = co_await ended.future();
  scope.Clear();
  if (!ran) {
    task = {};
    co_return std::nullopt;
  }
  if (exception) std::rethrow_exception(exception);
  co_return std::move(task).Take();
}

}  // namespace quorate::client
