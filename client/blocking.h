// Block: runs a task on an executor and waits for it on the calling thread, which must be another.
#pragma once

#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "base/task.h"

namespace quorate::client {

// One value from one thread to another.
template <class T>
class Parcel {
 public:
  void Put(T value) {
    Settle([&] { value_.emplace(std::move(value)); });
  }
  void Throw(std::exception_ptr exception) {
    Settle([&] { exception_ = std::move(exception); });
  }
  // Nothing will come.
  void Drop() {
    Settle([] {});
  }
  // Waits. nullopt: dropped.
  std::optional<T> Take() {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [this] { return settled_; });
    if (exception_) std::rethrow_exception(exception_);
    return std::move(value_);
  }

 private:
  template <class Fill>
  void Settle(Fill fill) {
    const std::lock_guard lock(mutex_);
    if (settled_) return;
    fill();
    settled_ = true;
    arrived_.notify_one();
  }

  std::mutex mutex_;
  std::condition_variable arrived_;
  bool settled_ = false;
  std::optional<T> value_;
  std::exception_ptr exception_;
};

// The sender's end of a parcel: gone without having sent anything, it drops the parcel.
template <class T>
class Delivery {
 public:
  explicit Delivery(std::shared_ptr<Parcel<T>> parcel) : parcel_(std::move(parcel)) {}
  Delivery(Delivery&&) noexcept = default;
  ~Delivery() {
    if (parcel_ != nullptr) parcel_->Drop();
  }
  Parcel<T>* operator->() const { return parcel_.get(); }

 private:
  std::shared_ptr<Parcel<T>> parcel_;
};

// The task goes before the delivery, so that nothing of it is left when the caller is told.
template <class T>
Task<void> Deliver(Delivery<T> delivery, Task<T> task) {
  if (std::exception_ptr exception = co_await task.Run()) {
    delivery->Throw(std::move(exception));
  } else {
    delivery->Put(std::move(task).Take());
  }
}

// nullopt: the task was destroyed before its end, with its scope. `scope` lives on its executor's
// thread and outlives the call.
template <class T>
std::optional<T> Block(TaskScope& scope, Task<T> task) {
  auto parcel = std::make_shared<Parcel<T>>();
  scope.executor().Post([&scope, delivery = Delivery<T>(parcel), task = std::move(task)]() mutable {
    scope.Spawn(Deliver(std::move(delivery), std::move(task)));
  });
  return parcel->Take();
}

}  // namespace quorate::client
