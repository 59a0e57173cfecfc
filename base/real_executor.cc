#include "base/real_executor.h"

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "base/check.h"
#include "base/real_clock.h"

namespace quorate {
namespace {

thread_local const RealExecutor* current_executor = nullptr;

// Handlers run between two looks at sockets and timers.
constexpr size_t kDrainMax = 1024;

constexpr uint64_t kSlotMask = 0xffffffff;
TimerId MakeTimerId(uint32_t slot, uint32_t generation) {
  return (static_cast<uint64_t>(generation) << 32) | slot;
}

}  // namespace

struct RealExecutor::Asio {
  // Concurrency hint 1: only one thread runs it; posts from others stay safe.
  boost::asio::io_context context{1};
  boost::asio::steady_timer timer{context};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work{
      context.get_executor()};
};

RealExecutor::RealExecutor() : asio_(std::make_unique<Asio>()) {}

RealExecutor::~RealExecutor() {
  CHECK(!thread_.joinable(), "an executor is joined before it is destroyed");
  // What a handler owns may post or cancel while it is destroyed; that must find a whole executor.
  while (true) {
    std::deque<Closure> local = std::exchange(local_, {});
    std::vector<Closure> remote;
    {
      const std::lock_guard lock(mutex_);
      remote = std::exchange(remote_, {});
      wake_pending_ = true;
    }
    std::vector<TimerSlot> slots = std::exchange(slots_, {});
    heap_.clear();
    drain_scheduled_ = true;
    if (local.empty() && remote.empty() && slots.empty()) break;
  }
}

bool RealExecutor::OnThread() const { return current_executor == this; }
boost::asio::io_context& RealExecutor::context() { return asio_->context; }

void RealExecutor::Post(Closure fn) {
  if (OnThread()) {
    local_.push_back(std::move(fn));
    ScheduleDrain();
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    remote_.push_back(std::move(fn));
    if (std::exchange(wake_pending_, true)) return;
  }
  boost::asio::post(asio_->context, [this] { Drain(); });
}

void RealExecutor::ScheduleDrain() {
  if (std::exchange(drain_scheduled_, true)) return;
  boost::asio::post(asio_->context, [this] { Drain(); });
}

void RealExecutor::Drain() {
  // Taken as scheduled while it runs, so that handlers posting from here cost no asio::post.
  drain_scheduled_ = true;
  {
    const std::lock_guard lock(mutex_);
    incoming_.swap(remote_);
    wake_pending_ = false;
  }
  for (Closure& fn : incoming_) local_.push_back(std::move(fn));
  incoming_.clear();
  for (size_t n = 0; n < kDrainMax && !local_.empty() && !asio_->context.stopped(); ++n) {
    Closure fn = std::move(local_.front());
    local_.pop_front();
    fn();
  }
  drain_scheduled_ = false;
  if (!local_.empty()) ScheduleDrain();
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
  if (due < armed_for_) Arm();
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

void RealExecutor::Arm() {
  while (!heap_.empty() && FindTimer(heap_.front().id) == nullptr) {
    std::pop_heap(heap_.begin(), heap_.end());
    heap_.pop_back();
  }
  if (heap_.empty()) {
    armed_for_ = Instant::max();
    return;
  }
  if (heap_.front().due == armed_for_) return;
  armed_for_ = heap_.front().due;
  // The steady clock stands still while the machine sleeps; a timer is then late, never early.
  const Duration delay = std::max(armed_for_ - RealClock::BootNow(), Duration(0));
  asio_->timer.expires_after(delay);
  asio_->timer.async_wait([this](const boost::system::error_code& error) {
    if (!error) RunTimers();
  });
}

void RealExecutor::RunTimers() {
  armed_for_ = Instant::max();
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
  }
  Arm();
}

void RealExecutor::Run() {
  CHECK(current_executor == nullptr, "one executor per thread");
  current_executor = this;
  asio_->context.run();
  current_executor = nullptr;
}

void RealExecutor::Start() {
  CHECK(!thread_.joinable(), "started twice");
  thread_ = std::thread([this] { Run(); });
}

void RealExecutor::Stop() { asio_->context.stop(); }

void RealExecutor::Join() {
  if (thread_.joinable()) thread_.join();
}

}  // namespace quorate
