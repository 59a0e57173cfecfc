#include "base/real_executor.h"

#include <algorithm>
#include <condition_variable>

#include "base/check.h"
#include "base/real_clock.h"

namespace quorate {
namespace {

thread_local const RealExecutor* current_executor = nullptr;

// Timers, and handlers, run for so long between two looks at what the waiter watches: the one under
// way ends.
constexpr Duration kTurnMax = 2ms;

constexpr uint64_t kSlotMask = 0xffffffff;
TimerId MakeTimerId(uint32_t slot, uint32_t generation) {
  return (static_cast<uint64_t>(generation) << 32) | slot;
}

class ConditionWaiter final : public Waiter {
 public:
  void Wait(Instant until) override {
    std::unique_lock lock(mutex_);
    const auto woken = [this] { return woken_; };
    if (until == Instant::max()) {
      condition_.wait(lock, woken);
    } else if (const Instant now = RealClock::BootNow(); until > now) {
      // The steady clock stands still while the machine sleeps; a timer is then late, never early.
      condition_.wait_for(lock, until - now, woken);
    }
    woken_ = false;
  }
  void Wake() override {
    const std::lock_guard lock(mutex_);
    woken_ = true;
    condition_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  bool woken_ = false;
};

}  // namespace

RealExecutor::RealExecutor()
    : own_waiter_(std::make_unique<ConditionWaiter>()), waiter_(*own_waiter_) {}

RealExecutor::RealExecutor(Waiter& waiter) : waiter_(waiter) {}

RealExecutor::~RealExecutor() {
  CHECK(!thread_.joinable(), "an executor is joined before it is destroyed");
  // What a handler owns may post or cancel while it is destroyed; that must find a whole executor.
  while (true) {
    std::deque<Closure> local = std::exchange(local_, {});
    std::vector<Closure> remote;
    {
      const std::lock_guard lock(mutex_);
      remote = std::exchange(remote_, {});
    }
    std::vector<TimerSlot> slots = std::exchange(slots_, {});
    heap_.clear();
    if (local.empty() && remote.empty() && slots.empty()) break;
  }
}

bool RealExecutor::OnThread() const { return current_executor == this; }

void RealExecutor::Post(Closure fn) {
  if (OnThread()) {
    local_.push_back(std::move(fn));
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    remote_.push_back(std::move(fn));
    if (!std::exchange(waiting_, false)) return;
  }
  waiter_.Wake();
}

void RealExecutor::TakeRemote() {
  {
    const std::lock_guard lock(mutex_);
    incoming_.swap(remote_);
  }
  for (Closure& fn : incoming_) local_.push_back(std::move(fn));
  incoming_.clear();
}

void RealExecutor::Drain() {
  TakeRemote();
  if (local_.empty()) return;
  const Instant end = RealClock::BootNow() + kTurnMax;
  while (!local_.empty() && !stopped_) {
    Closure fn = std::move(local_.front());
    local_.pop_front();
    fn();
    if (RealClock::BootNow() >= end) break;
  }
}

TimerId RealExecutor::After(Duration delay, Closure fn) {
  if (free_slots_.empty()) {
    free_slots_.push_back(static_cast<uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  const uint32_t index = free_slots_.back();
  free_slots_.pop_back();
  TimerSlot& slot = slots_[index];
  slot.live = true;
  slot.fn = std::move(fn);
  ++live_timers_;
  const TimerId id = MakeTimerId(index, slot.generation);
  const Instant due = RealClock::BootNow() + std::max(delay, Duration(0));
  heap_.push_back({due, id, ++timer_sequence_});
  std::push_heap(heap_.begin(), heap_.end());
  return id;
}

RealExecutor::TimerSlot* RealExecutor::FindTimer(TimerId id) {
  const uint64_t index = id & kSlotMask;
  if (index >= slots_.size()) return nullptr;
  TimerSlot& slot = slots_[index];
  return slot.live && slot.generation == id >> 32 ? &slot : nullptr;
}

void RealExecutor::FreeTimer(TimerId id) {
  TimerSlot& slot = slots_[id & kSlotMask];
  slot.live = false;
  // Generation 0 would make slot 0's id the id of no timer.
  if (++slot.generation == 0) slot.generation = 1;
  free_slots_.push_back(static_cast<uint32_t>(id & kSlotMask));
  --live_timers_;
}

void RealExecutor::Cancel(TimerId timer) {
  TimerSlot* slot = FindTimer(timer);
  if (slot == nullptr) return;
  // Destroyed last: its destructor may come back here.
  const Closure fn = std::move(slot->fn);
  slot->fn = nullptr;
  FreeTimer(timer);
  DropCancelled();
}

// Cancelled timers stay in the heap until they would be due; most request timeouts are cancelled
// long before, so they are swept out once they are the greater part.
void RealExecutor::DropCancelled() {
  if (heap_.size() < 64 || heap_.size() < live_timers_ * 4) return;
  std::erase_if(heap_, [this](const HeapEntry& e) { return FindTimer(e.id) == nullptr; });
  std::make_heap(heap_.begin(), heap_.end());
}

Instant RealExecutor::NextDue() {
  while (!heap_.empty() && FindTimer(heap_.front().id) == nullptr) {
    std::pop_heap(heap_.begin(), heap_.end());
    heap_.pop_back();
  }
  return heap_.empty() ? Instant::max() : heap_.front().due;
}

void RealExecutor::RunTimers() {
  if (heap_.empty()) return;
  const Instant now = RealClock::BootNow();
  // Timers made by these handlers wait for the next look, even with no delay.
  const uint64_t last = timer_sequence_;
  while (!heap_.empty() && heap_.front().due <= now && heap_.front().sequence <= last) {
    const TimerId id = heap_.front().id;
    std::pop_heap(heap_.begin(), heap_.end());
    heap_.pop_back();
    TimerSlot* slot = FindTimer(id);
    if (slot == nullptr) continue;
    Closure fn = std::move(slot->fn);
    slot->fn = nullptr;
    FreeTimer(id);
    fn();
    if (RealClock::BootNow() - now >= kTurnMax) return;
  }
}

void RealExecutor::Wait() {
  Instant until = Instant::min();
  if (local_.empty()) {
    const std::lock_guard lock(mutex_);
    waiting_ = remote_.empty() && !stopped_;
    if (waiting_) until = NextDue();
  }
  waiter_.Wait(until);
  if (until == Instant::min()) return;
  const std::lock_guard lock(mutex_);
  waiting_ = false;
}

void RealExecutor::Run() {
  CHECK(current_executor == nullptr, "one executor per thread");
  current_executor = this;
  while (!stopped_) {
    RunTimers();
    Drain();
    if (!stopped_) Wait();
  }
  stopped_ = false;
  current_executor = nullptr;
}

void RealExecutor::Start() {
  CHECK(!thread_.joinable(), "started twice");
  thread_ = std::thread([this] { Run(); });
}

void RealExecutor::Stop() {
  stopped_ = true;
  Post([] {});
}

void RealExecutor::Join() {
  if (thread_.joinable()) thread_.join();
}

}  // namespace quorate
