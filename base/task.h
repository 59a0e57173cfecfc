// Task<T>: a lazily started coroutine with one owner; Promise/Future: a one-shot value between
// handlers; TaskScope: the owner of spawned tasks.
//
// Rules (docs/decisions/0002): parameters by value, or owned by what outlives the scope; no
// capturing lambda coroutines; no lock and no reference into a container held over co_await. After
// every suspension the world may have moved: re-check term, epoch and lease.
//
// Destroying a TaskScope destroys its unfinished coroutines where they are suspended. That is how a
// component stops, and how the simulator crashes a node: every awaiter below deregisters itself in
// its destructor, so that nothing resumes a frame that is gone. Never destroy a scope from one of
// its own coroutines.
//
// Our own code throws nothing, but coroutines of users may run inside ours: what leaves a task is
// thrown again where the task is awaited. A task that is spawned has nobody to tell: it must catch.
#pragma once

#include <coroutine>
#include <exception>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/executor.h"

namespace quorate {

template <class T>
class Task;

namespace task_internal {

// Ends the process: what is wrong with a use of a task.
[[noreturn]] void Misused(const char* how);

struct PromiseBase {
  std::coroutine_handle<> continuation = std::noop_coroutine();
  std::exception_ptr exception;

  std::suspend_always initial_suspend() noexcept { return {}; }
  struct FinalAwaiter {
    bool await_ready() noexcept { return false; }
    template <class P>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<P> h) noexcept {
      return h.promise().continuation;
    }
    void await_resume() noexcept {}
  };
  FinalAwaiter final_suspend() noexcept { return {}; }
  void unhandled_exception() { exception = std::current_exception(); }
};

template <class T>
struct TaskPromise : PromiseBase {
  std::optional<T> value;
  Task<T> get_return_object();
  template <class U>
  void return_value(U&& v) {
    value.emplace(std::forward<U>(v));
  }
};

template <>
struct TaskPromise<void> : PromiseBase {
  Task<void> get_return_object();
  void return_void() {}
};

}  // namespace task_internal

template <class T = void>
class [[nodiscard]] Task {
 public:
  using promise_type = task_internal::TaskPromise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  Task() = default;
  explicit Task(Handle h) : handle_(h) {}
  Task(Task&& o) noexcept : handle_(std::exchange(o.handle_, {})) {}
  Task& operator=(Task&& o) noexcept {
    if (this != &o) {
      if (handle_) handle_.destroy();
      handle_ = std::exchange(o.handle_, {});
    }
    return *this;
  }
  ~Task() {
    if (handle_) handle_.destroy();
  }

  bool valid() const { return static_cast<bool>(handle_); }

  // Runs it to its end, and returns what it returned.
  auto operator co_await() && {
    struct Awaiter : Running {
      T await_resume() { return TakeFrom(this->handle); }
    };
    return Awaiter{{Checked()}};
  }

  // Runs it to its end without throwing: awaited, this is the exception that it ended in, or null.
  // After null, Take() returns what it returned.
  auto Run() {
    struct Awaiter : Running {
      std::exception_ptr await_resume() { return this->handle.promise().exception; }
    };
    return Awaiter{{Checked()}};
  }
  T Take() && { return TakeFrom(handle_); }

 private:
  struct Running {
    Handle handle;
    bool await_ready() const { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> parent) {
      handle.promise().continuation = parent;
      return handle;
    }
  };
  static T TakeFrom(Handle handle) {
    if (handle.promise().exception) [[unlikely]]
      std::rethrow_exception(handle.promise().exception);
    if constexpr (!std::is_void_v<T>) return std::move(*handle.promise().value);
  }
  Handle Checked() const {
    if (!handle_) [[unlikely]] task_internal::Misused("an empty Task is awaited");
    return handle_;
  }

  Handle handle_;
};

template <class T>
Task<T> task_internal::TaskPromise<T>::get_return_object() {
  return Task<T>(std::coroutine_handle<TaskPromise<T>>::from_promise(*this));
}
inline Task<void> task_internal::TaskPromise<void>::get_return_object() {
  return Task<void>(std::coroutine_handle<TaskPromise<void>>::from_promise(*this));
}

// Owns spawned tasks. Single-threaded, like everything that lives on an executor.
class TaskScope {
 public:
  explicit TaskScope(Executor& executor) : executor_(executor) {}
  TaskScope(const TaskScope&) = delete;
  TaskScope& operator=(const TaskScope&) = delete;
  ~TaskScope() { Clear(); }

  // Starts `task` in a later turn of the executor; it is destroyed when it ends or with the scope.
  void Spawn(Task<void> task);
  // Destroys all unfinished tasks.
  void Clear();
  size_t size() const { return count_; }
  Executor& executor() const { return executor_; }

 private:
  struct Root;
  struct RootPromise;
  static Root Run(TaskScope* scope, Task<void> task);

  Executor& executor_;
  RootPromise* head_ = nullptr;  // intrusive list, newest first
  size_t count_ = 0;
};

// ---- Promise and Future -------------------------------------------------------------------------

namespace task_internal {

template <class T>
struct OneShotState {
  Executor* executor;
  std::optional<T> value;
  std::coroutine_handle<> waiter;
};

}  // namespace task_internal

// The reading side: awaited at most once.
template <class T>
class Future {
 public:
  explicit Future(std::shared_ptr<task_internal::OneShotState<T>> state)
      : state_(std::move(state)) {}

  bool ready() const { return state_->value.has_value(); }

  auto operator co_await() && {
    struct Awaiter {
      std::shared_ptr<task_internal::OneShotState<T>> state;
      explicit Awaiter(std::shared_ptr<task_internal::OneShotState<T>> s) : state(std::move(s)) {}
      Awaiter(const Awaiter&) = delete;
      ~Awaiter() { state->waiter = {}; }
      bool await_ready() const { return state->value.has_value(); }
      void await_suspend(std::coroutine_handle<> h) {
        if (state->waiter) [[unlikely]] task_internal::Misused("a Future is awaited twice");
        state->waiter = h;
      }
      T await_resume() { return std::move(*state->value); }
    };
    return Awaiter(state_);
  }

 private:
  std::shared_ptr<task_internal::OneShotState<T>> state_;
};

// The writing side. Copies refer to one value; the first Set wins and later ones are ignored, so an
// answer and a timeout may race. The waiter resumes in a later turn of the executor.
template <class T>
class Promise {
 public:
  explicit Promise(Executor& executor)
      : state_(std::make_shared<task_internal::OneShotState<T>>()) {
    state_->executor = &executor;
  }

  Future<T> future() const { return Future<T>(state_); }
  bool is_set() const { return state_->value.has_value(); }

  bool Set(T value) const {
    if (state_->value.has_value()) return false;
    state_->value.emplace(std::move(value));
    if (state_->waiter) {
      state_->executor->Post([state = state_] {
        // The waiter may have been destroyed since; its awaiter then cleared the handle.
        if (auto h = std::exchange(state->waiter, {})) h.resume();
      });
    }
    return true;
  }

 private:
  std::shared_ptr<task_internal::OneShotState<T>> state_;
};

// Suspends the caller for `delay`. Cancelled when the caller's frame is destroyed.
class Sleep {
 public:
  Sleep(Executor& executor, Duration delay) : executor_(executor), delay_(delay) {}
  Sleep(const Sleep&) = delete;
  ~Sleep() { executor_.Cancel(timer_); }
  bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> h) {
    timer_ = executor_.After(delay_, [this, h] {
      timer_ = 0;
      h.resume();
    });
  }
  void await_resume() {}

 private:
  Executor& executor_;
  Duration delay_;
  TimerId timer_ = 0;
};

// Awaits all of `tasks` concurrently; results in the order given. When all have ended, throws what
// the first of those that threw did.
template <class T>
Task<std::vector<T>> WhenAll(Executor& executor, std::vector<Task<T>> tasks);

}  // namespace quorate

#include "base/task_inl.h"  // IWYU pragma: export
