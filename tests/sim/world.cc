#include "tests/sim/world.h"

#include <bit>

#include "base/check.h"

namespace quorate::sim {

World::World(uint64_t seed)
    : root_(seed),
      fault_random_(root_.Fork("faults")),
      network_random_(root_.Fork("network")),
      scheduler_random_(root_.Fork("scheduler")) {}

void World::At(Duration delay, Closure fn) {
  CHECK(delay.count() >= 0, "scheduled in the past");
  queue_.push({now_ + delay, ++sequence_, std::make_shared<Closure>(std::move(fn))});
}

void World::RunUntil(Instant until, const std::function<bool()>& stop) {
  while (!queue_.empty() && queue_.top().at <= until) {
    const auto event = queue_.top();
    queue_.pop();
    now_ = event.at;
    ++events_;
    (*event.fn)();
    if (stop && stop()) return;
  }
  if (now_ < until) now_ = until;
}

void World::Trace(uint64_t a, uint64_t b) {
  for (const uint64_t v : {a, b, static_cast<uint64_t>(now_.time_since_epoch().count())}) {
    trace_ = std::rotl(trace_ ^ v, 27) * 0x9e3779b97f4a7c15ull;
  }
}

Process::Process(World& world, std::string name, uint64_t trace_id, ClockModel* clock, Logger& log)
    : world_(world),
      name_(std::move(name)),
      trace_id_(trace_id),
      clock_(clock),
      random_(world.Fork("process " + name_)),
      turn_random_(random_.Fork("turns")),
      env_{*this, *this, random_, log, metrics_} {}

Process::~Process() { *alive_ = false; }

void Process::Pause(Instant until) { paused_until_ = std::max(paused_until_, until); }
bool Process::paused() const { return paused_until_ > world_.now(); }

void Process::Post(Closure fn) {
  ready_.push_back(std::move(fn));
  if (!turn_scheduled_) ScheduleTurn(Duration(turn_random_.Below(20'000)));
}

void Process::ScheduleTurn(Duration delay) {
  turn_scheduled_ = true;
  world_.At(delay, [this, alive = alive_] {
    if (*alive) Turn();
  });
}

void Process::Turn() {
  if (paused()) {
    ScheduleTurn(paused_until_ - world_.now());
    return;
  }
  turn_scheduled_ = false;
  world_.Trace(trace_id_, ready_.size());
  // What this turn posts runs in the next one.
  std::deque<Closure> batch;
  batch.swap(ready_);
  const auto alive = alive_;
  for (Closure& fn : batch) {
    fn();
    if (!*alive) return;
  }
}

TimerId Process::After(Duration delay, Closure fn) {
  const TimerId id = ++last_timer_;
  timers_.emplace(id, std::move(fn));
  // A clock that runs fast fires early in virtual time.
  const auto real = Duration(static_cast<int64_t>(
      static_cast<double>(std::max<int64_t>(delay.count(), 0)) / (1.0 + clock_->drift)));
  world_.At(real, [this, id, alive = alive_] {
    if (!*alive) return;
    Post([this, id] {
      const auto it = timers_.find(id);
      if (it == timers_.end()) return;
      Closure due = std::move(it->second);
      timers_.erase(it);
      due();
    });
  });
  return id;
}

void Process::Cancel(TimerId timer) { timers_.erase(timer); }

Instant Process::Now() const {
  const double elapsed = static_cast<double>(world_.now().time_since_epoch().count());
  return Instant(Duration(static_cast<int64_t>(elapsed * (1.0 + clock_->drift))) +
                 clock_->boot_offset);
}

int64_t Process::WallMillis() const {
  return 1'700'000'000'000 + ToMillis(world_.now().time_since_epoch()) + clock_->wall_offset_ms;
}

}  // namespace quorate::sim
