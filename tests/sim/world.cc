#include "tests/sim/world.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/check.h"
#include "tests/sim/real_world_guard.h"

namespace quorate::sim {

namespace {

constexpr Duration kStopInterval = 1ms;
constexpr double kGoesOn = 0.8;

TimerId MakeTimerId(size_t slot, uint32_t generation) {
  return (uint64_t{generation} << 32) | (slot + 1);
}

}  // namespace

// ---- world --------------------------------------------------------------------------------------

World::World(uint64_t seed)
    : root_(seed),
      fault_random_(root_.Fork("faults")),
      network_random_(root_.Fork("network")),
      scheduler_random_(root_.Fork("scheduler")) {}

uint32_t World::Register(Process* process) {
  processes_.push_back(process);
  return static_cast<uint32_t>(processes_.size() - 1);
}

void World::Push(Duration delay, Kind kind, uint32_t process, uint64_t detail) {
  CHECK(delay.count() >= 0, "scheduled in the past");
  std::vector<Event>& heap = heaps_[static_cast<size_t>(kind)];
  heap.push_back({now_ + delay, ++sequence_, detail, process, kind});
  std::push_heap(heap.begin(), heap.end());
}

std::vector<World::Event>* World::NextHeap() {
  std::vector<Event>* next = nullptr;
  for (std::vector<Event>& heap : heaps_) {
    if (!heap.empty() && (next == nullptr || next->front() < heap.front())) next = &heap;
  }
  return next;
}

void World::At(Duration delay, Closure fn) {
  uint32_t slot;
  if (free_closures_.empty()) {
    slot = static_cast<uint32_t>(closures_.size());
    closures_.push_back(std::move(fn));
  } else {
    slot = free_closures_.back();
    free_closures_.pop_back();
    closures_[slot] = std::move(fn);
  }
  Push(delay, Kind::kClosure, 0, slot);
}

void World::Run(const Event& event) {
  if (event.kind == Kind::kClosure) {
    Closure fn = std::move(closures_[event.detail]);
    free_closures_.push_back(static_cast<uint32_t>(event.detail));
    fn();
    return;
  }
  Process* process = processes_[event.process];
  if (process == nullptr) return;
  if (event.kind == Kind::kTurn) {
    process->Turn();
  } else {
    process->TimerDue(event.detail);
  }
}

void World::RunUntil(Instant until, const std::function<bool()>& stop) {
  const RealWorldGuard guard;
  Instant asked{};
  while (std::vector<Event>* heap = NextHeap()) {
    const Event event = heap->front();
    if (event.at > until) break;
    std::pop_heap(heap->begin(), heap->end());
    heap->pop_back();
    now_ = event.at;
    ++events_;
    Run(event);
    if (stop && now_ - asked >= kStopInterval) {
      asked = now_;
      if (stop()) return;
    }
  }
  if (now_ < until) now_ = until;
}

void World::Trace(uint64_t a, uint64_t b) {
  for (const uint64_t v : {a, b, static_cast<uint64_t>(now_.time_since_epoch().count())}) {
    trace_ = std::rotl(trace_ ^ v, 27) * 0x9e3779b97f4a7c15ull;
  }
}

// ---- clocks -------------------------------------------------------------------------------------

void ClockModel::SetDrift(double drift) {
  const Instant reads = Now();
  anchor_ = world_.now();
  boot_ = reads - anchor_;
  drift_ = drift;
}

Instant ClockModel::Now() const {
  if (frozen_boot_) return *frozen_boot_;
  const Duration since = world_.now() - anchor_;
  return world_.now() + boot_ +
         Duration(static_cast<int64_t>(static_cast<double>(since.count()) * drift_));
}

void ClockModel::FreezeBoot(Duration length) {
  world_.clocks_moved = true;
  frozen_until_ = std::max(frozen_until_, world_.now() + length);
  if (!frozen_boot_) frozen_boot_ = Now();
}

void ClockModel::WakeBoot() {
  if (!frozen_boot_) return;
  const Instant reads = *std::exchange(frozen_boot_, std::nullopt);
  boot_ += reads - Now();
}

void ClockModel::FreezeWall() {
  frozen_wall_ms_ = WallMillis();
  world_.clocks_moved = true;
}

void ClockModel::JumpWall(int64_t ms) {
  wall_offset_ms_ += ms;
  world_.clocks_moved = true;
}

void ClockModel::SkewWall(int64_t ms) {
  wall_skew_ms_ = ms;
  world_.clocks_moved = true;
}

int64_t ClockModel::WallMillis() const {
  if (frozen_wall_ms_) return *frozen_wall_ms_;
  return kEpochMs + ToMillis(world_.now().time_since_epoch()) + wall_offset_ms_ + wall_skew_ms_;
}

// ---- processes ----------------------------------------------------------------------------------

Process::Process(World& world, std::string name, ClockModel* clock, Logger& log)
    : world_(world),
      name_(std::move(name)),
      number_(world.Register(this)),
      clock_(clock),
      random_(world.Fork("process " + name_)),
      turn_random_(random_.Fork("turns")),
      env_{*this, *this, random_, log, metrics_} {}

Process::~Process() {
  world_.processes_[number_] = nullptr;
  if (destroyed_ != nullptr) *destroyed_ = true;
}

void Process::Pause(Instant until) { paused_until_ = std::max(paused_until_, until); }

void Process::Enqueue(Ready ready) {
  ready_.push_back(std::move(ready));
  if (!turn_scheduled_ && !in_turn_) ScheduleTurn(TurnDelay());
}

Duration Process::TurnDelay() {
  return Duration(turn_random_.Below(static_cast<uint64_t>(turn_delay_max_.count())));
}

void Process::Post(Closure fn) { Enqueue({std::move(fn), 0}); }

void Process::ScheduleTurn(Duration delay) {
  turn_scheduled_ = true;
  world_.Push(delay, World::Kind::kTurn, number_, 0);
}

void Process::Turn() {
  if (paused()) return ScheduleTurn(paused_until_ - world_.now());
  turn_scheduled_ = false;
  // A handler may end the process, and with it this.
  bool destroyed = false;
  destroyed_ = &destroyed;
  in_turn_ = true;
  std::vector<Ready> batch = std::exchange(batch_, {});
  do {
    world_.Trace(number_, ready_.size());
    batch.swap(ready_);
    for (Ready& ready : batch) {
      Closure fn = ready.timer == 0 ? std::move(ready.fn) : TakeTimer(ready.timer);
      if (fn) fn();
      if (destroyed) return;
    }
    batch.clear();
  } while (!ready_.empty() && GoesOn());
  in_turn_ = false;
  destroyed_ = nullptr;
  batch_ = std::move(batch);
  if (!ready_.empty()) ScheduleTurn(TurnDelay());
}

bool Process::GoesOn() {
  return !paused() && turn_delay_max_ == kTurnDelayMax && turn_random_.Chance(kGoesOn);
}

// ---- timers -------------------------------------------------------------------------------------

Process::TimerSlot* Process::FindTimer(TimerId timer) {
  const uint64_t slot = (timer & 0xffffffff) - 1;
  if (timer == 0 || slot >= timers_.size()) return nullptr;
  TimerSlot& found = timers_[slot];
  return found.live && found.generation == timer >> 32 ? &found : nullptr;
}

Closure Process::TakeTimer(TimerId timer) {
  TimerSlot* slot = FindTimer(timer);
  if (slot == nullptr) return {};
  Closure fn = std::exchange(slot->fn, {});
  slot->live = false;
  ++slot->generation;
  free_timers_.push_back(static_cast<uint32_t>(slot - timers_.data()));
  return fn;
}

TimerId Process::After(Duration delay, Closure fn) {
  if (free_timers_.empty()) {
    free_timers_.push_back(static_cast<uint32_t>(timers_.size()));
    timers_.emplace_back();
  }
  const uint32_t at = free_timers_.back();
  free_timers_.pop_back();
  TimerSlot& slot = timers_[at];
  slot.live = true;
  slot.fn = std::move(fn);
  const TimerId id = MakeTimerId(at, slot.generation);
  // A clock that runs fast fires early in virtual time.
  const auto real = Duration(static_cast<int64_t>(
      static_cast<double>(std::max<int64_t>(delay.count(), 0)) / (1.0 + clock_->drift())));
  world_.Push(real, World::Kind::kTimer, number_, id);
  return id;
}

void Process::TimerDue(TimerId timer) {
  if (FindTimer(timer) != nullptr) Enqueue({{}, timer});
}

void Process::Cancel(TimerId timer) { TakeTimer(timer); }

}  // namespace quorate::sim
