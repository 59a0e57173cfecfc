// Bodies of the templates of base/task.h.
#pragma once

#include "base/task.h"

namespace quorate {

namespace task_internal {

template <class T>
struct Gather {
  explicit Gather(Executor& executor, size_t n) : done(executor), results(n), left(n) {}
  Promise<bool> done;
  std::vector<std::optional<T>> results;
  std::exception_ptr exception;
  size_t left;
};

template <class T>
Task<void> GatherOne(std::shared_ptr<Gather<T>> gather, size_t index, Task<T> task) {
  if (std::exception_ptr exception = co_await task.Run()) {
    if (!gather->exception) gather->exception = std::move(exception);
  } else {
    gather->results[index].emplace(std::move(task).Take());
  }
  if (--gather->left == 0) gather->done.Set(true);
}

}  // namespace task_internal

template <class T>
Task<std::vector<T>> WhenAll(Executor& executor, std::vector<Task<T>> tasks) {
  std::vector<T> values;
  if (tasks.empty()) co_return values;
  auto gather = std::make_shared<task_internal::Gather<T>>(executor, tasks.size());
  // The children belong to this frame: destroying the caller destroys them.
  TaskScope children(executor);
  for (size_t i = 0; i < tasks.size(); ++i) {
    children.Spawn(task_internal::GatherOne<T>(gather, i, std::move(tasks[i])));
  }
  co_await gather->done.future();
  if (gather->exception) std::rethrow_exception(gather->exception);
  values.reserve(tasks.size());
  for (auto& result : gather->results) values.push_back(std::move(*result));
  co_return values;
}

}  // namespace quorate
