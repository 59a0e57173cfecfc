#include "base/task.h"

#include "base/check.h"

namespace quorate {

void task_internal::Misused(const char* how) { CHECK(false, "{}", how); }

struct TaskScope::RootPromise {
  TaskScope* scope;
  RootPromise* next = nullptr;
  RootPromise* previous = nullptr;
  // Set while the start is still queued, so that a cleared scope is not touched by it.
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);

  RootPromise(TaskScope* s, Task<void>&) : scope(s) {
    next = scope->head_;
    if (next != nullptr) next->previous = this;
    scope->head_ = this;
    ++scope->count_;
  }
  ~RootPromise() {
    *alive = false;
    (previous != nullptr ? previous->next : scope->head_) = next;
    if (next != nullptr) next->previous = previous;
    --scope->count_;
  }

  Root get_return_object();
  std::suspend_always initial_suspend() noexcept { return {}; }
  // Destroys itself from await_suspend: with suspend_never, clang 16 at -O1 and above drops the
  // promise's destructor effects.
  struct DestroySelf {
    bool await_ready() noexcept { return false; }
    void await_suspend(std::coroutine_handle<RootPromise> h) noexcept { h.destroy(); }
    void await_resume() noexcept {}
  };
  DestroySelf final_suspend() noexcept { return {}; }
  void return_void() {}
  void unhandled_exception() { std::terminate(); }
};

struct TaskScope::Root {
  using promise_type = RootPromise;
  std::coroutine_handle<RootPromise> handle;
};

TaskScope::Root TaskScope::RootPromise::get_return_object() {
  return Root{std::coroutine_handle<RootPromise>::from_promise(*this)};
}

TaskScope::Root TaskScope::Run(TaskScope*, Task<void> task) { co_await std::move(task); }

void TaskScope::Spawn(Task<void> task) {
  const auto handle = Run(this, std::move(task)).handle;
  executor_.Post([handle, alive = handle.promise().alive] {
    if (*alive) handle.resume();
  });
}

void TaskScope::Clear() {
  while (head_ != nullptr) std::coroutine_handle<RootPromise>::from_promise(*head_).destroy();
}

}  // namespace quorate
