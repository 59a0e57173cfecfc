#include "base/task.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <stdexcept>
#include <string>

namespace quorate {
namespace {

// The smallest executor that can run tasks: a queue and virtual time.
class ManualExecutor final : public Executor {
 public:
  void Post(Closure fn) override { ready_.push_back(std::move(fn)); }
  TimerId After(Duration delay, Closure fn) override {
    timers_.emplace(std::pair(now_ + delay, ++last_timer_), std::move(fn));
    return last_timer_;
  }
  void Cancel(TimerId id) override {
    std::erase_if(timers_, [&](const auto& t) { return t.first.second == id; });
  }
  void Run() {
    while (true) {
      if (!ready_.empty()) {
        auto fn = std::move(ready_.front());
        ready_.pop_front();
        fn();
      } else if (!timers_.empty()) {
        auto node = timers_.extract(timers_.begin());
        now_ = node.key().first;
        node.mapped()();
      } else {
        return;
      }
    }
  }
  Duration now() const { return now_; }

 private:
  std::deque<Closure> ready_;
  std::map<std::pair<Duration, TimerId>, Closure> timers_;
  Duration now_{0};
  TimerId last_timer_ = 0;
};

Task<int> Answer(int n) { co_return n; }

Task<int> SleepThenAnswer(Executor& executor, Duration d, int n) {
  co_await Sleep(executor, d);
  co_return n;
}

Task<void> Store(Task<int> task, int* out) { *out = co_await std::move(task); }

TEST(Task, ReturnsItsValueToTheAwaiter) {
  ManualExecutor executor;
  TaskScope scope(executor);
  int got = 0;
  scope.Spawn(Store(Answer(7), &got));
  EXPECT_EQ(got, 0) << "a spawned task starts in a later turn";
  executor.Run();
  EXPECT_EQ(got, 7);
  EXPECT_EQ(scope.size(), 0u);
}

TEST(Task, SleepsInVirtualTime) {
  ManualExecutor executor;
  TaskScope scope(executor);
  int got = 0;
  scope.Spawn(Store(SleepThenAnswer(executor, 5ms, 3), &got));
  executor.Run();
  EXPECT_EQ(got, 3);
  EXPECT_EQ(executor.now(), Duration(5ms));
}

struct Canary {
  bool* destroyed;
  explicit Canary(bool* d) : destroyed(d) {}
  ~Canary() { *destroyed = true; }
};

Task<void> HoldCanary(Future<int> future, bool* destroyed) {
  Canary canary(destroyed);
  co_await std::move(future);
}

TEST(TaskScope, DestroysSuspendedTasksAndNothingResumesThem) {
  ManualExecutor executor;
  Promise<int> promise(executor);
  bool destroyed = false;
  {
    TaskScope scope(executor);
    scope.Spawn(HoldCanary(promise.future(), &destroyed));
    executor.Run();
    EXPECT_FALSE(destroyed);
    promise.Set(1);  // the resumption is queued, then the frame dies
  }
  EXPECT_TRUE(destroyed);
  executor.Run();
}

TEST(TaskScope, ForgetsTasksThatNeverStarted) {
  ManualExecutor executor;
  int got = 0;
  {
    TaskScope scope(executor);
    scope.Spawn(Store(Answer(7), &got));
  }
  executor.Run();
  EXPECT_EQ(got, 0);
}

TEST(Promise, KeepsTheFirstValue) {
  ManualExecutor executor;
  Promise<int> promise(executor);
  EXPECT_TRUE(promise.Set(1));
  EXPECT_FALSE(promise.Set(2));
}

Task<void> GatherThree(Executor& executor, std::vector<int>* out) {
  std::vector<Task<int>> tasks;
  tasks.push_back(SleepThenAnswer(executor, 30ms, 1));
  tasks.push_back(SleepThenAnswer(executor, 10ms, 2));
  tasks.push_back(Answer(3));
  *out = co_await WhenAll(executor, std::move(tasks));
}

TEST(WhenAll, RunsConcurrentlyAndKeepsOrder) {
  ManualExecutor executor;
  TaskScope scope(executor);
  std::vector<int> results;
  scope.Spawn(GatherThree(executor, &results));
  executor.Run();
  EXPECT_EQ(results, (std::vector<int>{1, 2, 3}));
  EXPECT_EQ(executor.now(), Duration(30ms));
}

TEST(WhenAll, ChildrenDieWithTheirParent) {
  ManualExecutor executor;
  std::vector<int> results;
  {
    TaskScope scope(executor);
    scope.Spawn(GatherThree(executor, &results));
    executor.Post([] {});
  }
  executor.Run();
  EXPECT_TRUE(results.empty());
}

Task<int> ThrowAfter(Executor& executor, Duration d, const char* what) {
  co_await Sleep(executor, d);
  throw std::runtime_error(what);
}

Task<void> Catch(Task<int> task, std::string* what) {
  try {
    (void)co_await std::move(task);
  } catch (const std::runtime_error& e) {
    *what = e.what();
  }
}

Task<int> Through(Task<int> task) { co_return co_await std::move(task); }

TEST(Task, WhatItThrowsIsThrownWhereItIsAwaited) {
  ManualExecutor executor;
  TaskScope scope(executor);
  std::string what;
  scope.Spawn(Catch(Through(ThrowAfter(executor, 5ms, "thrown")), &what));
  executor.Run();
  EXPECT_EQ(what, "thrown");
}

Task<void> RunBoth(Executor& executor, std::string* seen) {
  Task<int> good = Answer(3);
  Task<int> bad = ThrowAfter(executor, 1ms, "bad");
  if (!co_await good.Run()) *seen += std::to_string(std::move(good).Take());
  if (co_await bad.Run()) *seen += " bad";
}

TEST(Task, RunTellsOfTheExceptionWithoutThrowing) {
  ManualExecutor executor;
  TaskScope scope(executor);
  std::string seen;
  scope.Spawn(RunBoth(executor, &seen));
  executor.Run();
  EXPECT_EQ(seen, "3 bad");
}

Task<int> GatherThrowing(Executor& executor, int* ended) {
  std::vector<Task<int>> tasks;
  tasks.push_back(ThrowAfter(executor, 20ms, "second"));
  tasks.push_back(ThrowAfter(executor, 10ms, "first"));
  tasks.push_back([](Executor& e, int* n) -> Task<int> {
    co_await Sleep(e, 30ms);
    co_return ++*n;
  }(executor, ended));
  co_return static_cast<int>((co_await WhenAll(executor, std::move(tasks))).size());
}

TEST(WhenAll, ThrowsTheFirstExceptionOnceAllHaveEnded) {
  ManualExecutor executor;
  TaskScope scope(executor);
  int ended = 0;
  std::string what;
  scope.Spawn(Catch(GatherThrowing(executor, &ended), &what));
  executor.Run();
  EXPECT_EQ(what, "first");
  EXPECT_EQ(ended, 1);
}

}  // namespace
}  // namespace quorate
