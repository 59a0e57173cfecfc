// RealExecutor: the executor of the real world, one thread that runs what is posted and, when there
// is nothing to run, waits in its Waiter.
//
// Handlers posted from the executor's own thread go into a plain queue; those from other threads
// into a locked one, with a wake-up only if the thread waits.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/executor.h"

namespace quorate {

// How an executor's thread spends the time in which it has nothing to run. An implementation may
// watch something meanwhile (client/route/grpc_loop.h: gRPC's connections) and handle what comes on
// this thread, as the executor's handlers are run.
class Waiter {
 public:
  virtual ~Waiter() = default;
  // Returns at `until` at the latest; earlier after Wake, or when something that it watches came
  // up. A time that has passed: handles what is there and returns. Executor's thread.
  virtual void Wait(Instant until) = 0;
  // Ends the Wait under way or, if there is none, the next. Any thread.
  virtual void Wake() = 0;
};

class RealExecutor final : public Executor {
 public:
  // Waits on a condition variable.
  RealExecutor();
  // `waiter` outlives the executor.
  explicit RealExecutor(Waiter& waiter);
  // Handlers that have not run are destroyed, not run. The thread must have been joined.
  ~RealExecutor() override;

  void Post(Closure fn) override;
  TimerId After(Duration delay, Closure fn) override;
  void Cancel(TimerId timer) override;

  // Runs handlers on the calling thread until Stop. May be called again afterwards.
  void Run();
  // Runs them on a thread of its own.
  void Start();
  // From any thread; the handler that is running ends first.
  void Stop();
  // After Stop: waits for the thread of Start.
  void Join();

  bool OnThread() const;

 private:
  struct HeapEntry {
    Instant due;
    TimerId id;
    // std::push_heap puts the greatest first: the earliest, and of those the first made.
    friend bool operator<(const HeapEntry& a, const HeapEntry& b) {
      return a.due != b.due ? a.due > b.due : a.sequence > b.sequence;
    }
    uint64_t sequence;
  };
  struct TimerSlot {
    uint32_t generation = 1;
    bool live = false;
    Closure fn;
  };

  void Drain();
  void TakeRemote();
  void Wait();
  TimerSlot* FindTimer(TimerId id);
  void FreeTimer(TimerId id);
  void DropCancelled();
  void RunTimers();
  // Instant::max(): none.
  Instant NextDue();

  const std::unique_ptr<Waiter> own_waiter_;
  Waiter& waiter_;
  std::thread thread_;
  std::atomic<bool> stopped_{false};

  // Executor's thread.
  std::deque<Closure> local_;
  std::vector<TimerSlot> slots_;
  std::vector<uint32_t> free_slots_;
  std::vector<HeapEntry> heap_;
  size_t live_timers_ = 0;
  uint64_t timer_sequence_ = 0;

  std::mutex mutex_;
  std::vector<Closure> remote_;    // guarded by mutex_
  bool waiting_ = false;           // guarded by mutex_: the next post has to wake the thread
  std::vector<Closure> incoming_;  // TakeRemote's buffer, kept for its capacity
};

}  // namespace quorate
