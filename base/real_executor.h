// RealExecutor: the executor of the real world, one thread over an Asio io_context.
//
// Handlers posted from the executor's own thread go into a plain queue; those from other threads
// into a locked one, with one wake-up per burst. All timers share one steady_timer.
#pragma once

#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/executor.h"

namespace boost::asio {
class io_context;
}

namespace quorate {

class RealExecutor final : public Executor {
 public:
  RealExecutor();
  // Handlers that have not run are destroyed, not run. The thread must have been joined.
  ~RealExecutor() override;

  void Post(Closure fn) override;
  TimerId After(Duration delay, Closure fn) override;
  void Cancel(TimerId timer) override;

  // Runs handlers on the calling thread until Stop.
  void Run();
  // Runs them on a thread of its own.
  void Start();
  // From any thread; the handler that is running ends first.
  void Stop();
  // After Stop: waits for the thread of Start.
  void Join();

  bool OnThread() const;
  // For sockets of components that need some. Executor's thread only, but for construction.
  boost::asio::io_context& context();

 private:
  struct Asio;
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

  void ScheduleDrain();
  void Drain();
  TimerSlot* FindTimer(TimerId id);
  void FreeTimer(TimerId id);
  void DropCancelled();
  void Arm();
  void RunTimers();

  std::unique_ptr<Asio> asio_;
  std::thread thread_;

  // Executor's thread.
  std::deque<Closure> local_;
  bool drain_scheduled_ = false;
  std::vector<TimerSlot> slots_;
  std::vector<uint32_t> free_slots_;
  std::vector<HeapEntry> heap_;
  size_t live_timers_ = 0;
  uint64_t timer_sequence_ = 0;
  Instant armed_for_ = Instant::max();

  std::mutex mutex_;
  std::vector<Closure> remote_;    // guarded by mutex_
  bool wake_pending_ = false;      // guarded by mutex_
  std::vector<Closure> incoming_;  // Drain's buffer, kept for its capacity
};

}  // namespace quorate
