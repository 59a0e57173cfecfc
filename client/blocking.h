// Block: runs a task on an executor and waits for it on the calling thread, which must be another.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "base/task.h"

namespace quorate::client {

template <class T>
class Parcel {
 public:
  void Put(T value) {
    const std::lock_guard lock(mutex_);
    value_.emplace(std::move(value));
    arrived_.notify_one();
  }
  T Take() {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [this] { return value_.has_value(); });
    return std::move(*value_);
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::optional<T> value_;
};

template <class T>
Task<void> Deliver(Task<T> task, std::shared_ptr<Parcel<T>> parcel) {
  parcel->Put(co_await std::move(task));
}

// `scope` lives on its executor's thread and outlives the call.
template <class T>
T Block(TaskScope& scope, Task<T> task) {
  auto parcel = std::make_shared<Parcel<T>>();
  scope.executor().Post([&scope, task = std::move(task), parcel]() mutable {
    scope.Spawn(Deliver(std::move(task), std::move(parcel)));
  });
  return parcel->Take();
}

}  // namespace quorate::client
