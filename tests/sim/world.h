// World: one thread, virtual time, N processes. Everything that happens in a simulation is an event
// of this queue, so a run is a function of (binary, seed, options).
//
// A Process is one incarnation of a node or client: its Executor, clock and random stream. A crash
// ends the incarnation: its queue and timers are dropped; the next one starts empty. Handlers that
// are ready run in turns, a turn some microseconds after it was asked for, so that processes
// interleave differently by seed while each keeps its FIFO order. What they post runs in the same
// turn or, now and then, in a later one: a real executor leaves a gap as rarely.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/env.h"

namespace quorate::sim {

// Wall time of every machine whose clock is right, when a run begins.
inline constexpr int64_t kEpochMs = 1'700'000'000'000;

class Process;

class World {
 public:
  explicit World(uint64_t seed);
  World(const World&) = delete;

  Instant now() const { return now_; }
  // Virtual time since the start of the world.
  Duration elapsed() const { return now_ - kStart; }
  // Runs `fn` at now + delay. Order at equal times is order of scheduling.
  void At(Duration delay, Closure fn);
  // Runs events until virtual time `until`, or until `stop` says so. `stop` may be expensive: it is
  // asked at most once in a millisecond of virtual time, and at the end.
  void RunUntil(Instant until, const std::function<bool()>& stop = nullptr);

  // Split streams: one more draw in one does not shift another.
  Random& fault_random() { return fault_random_; }
  Random& network_random() { return network_random_; }
  Random& scheduler_random() { return scheduler_random_; }
  Random Fork(std::string_view name) const { return root_.Fork(name); }

  // Folds a fact into the trace hash: two runs of a seed must agree on it.
  void Trace(uint64_t a, uint64_t b = 0);
  uint64_t trace_hash() const { return trace_; }
  uint64_t events() const { return events_; }

  // A machine's clock was made to tell another time than the world's.
  bool clocks_moved = false;

 private:
  friend class Process;

  static constexpr Instant kStart{std::chrono::hours(1)};

  enum class Kind : uint8_t { kClosure, kTurn, kTimer };
  // Small and trivially copyable, since the heap moves it about; what it runs lies elsewhere.
  struct Event {
    Instant at;
    uint64_t sequence;
    uint64_t detail;   // kClosure: its slot; kTimer: the timer
    uint32_t process;  // of kTurn and kTimer
    Kind kind;
    bool operator<(const Event& o) const {  // std::push_heap: greatest first
      return at != o.at ? at > o.at : sequence > o.sequence;
    }
  };

  void Push(Duration delay, Kind kind, uint32_t process, uint64_t detail);
  // The heap that the next event is in; nullptr: there is none.
  std::vector<Event>* NextHeap();
  void Run(const Event& event);
  uint32_t Register(Process* process);

  Instant now_ = kStart;
  uint64_t sequence_ = 0;
  uint64_t events_ = 0;
  uint64_t trace_ = 0xcbf29ce484222325ull;
  // One queue, a heap for each kind of event: most are turns and messages, of which few wait at a
  // time, while timers wait in thousands.
  std::array<std::vector<Event>, 3> heaps_;
  std::vector<Closure> closures_;
  std::vector<uint32_t> free_closures_;
  std::vector<Process*> processes_;  // by number; nullptr once gone
  Random root_;
  Random fault_random_;
  Random network_random_;
  Random scheduler_random_;
};

// A machine's clocks, as they deviate from virtual time. The boot clock never jumps, whatever
// happens to its rate; the wall clock may do anything.
class ClockModel {
 public:
  explicit ClockModel(World& world) : world_(world), anchor_(world.now()) {}

  // From now on the boot clock runs at 1 + drift.
  void SetDrift(double drift);
  double drift() const { return drift_; }
  // The machine is frozen for `length`, and its boot clock does not notice (a suspended guest).
  void FreezeBoot(Duration length);
  // Goes on from where it stood, unless it is frozen for longer.
  void ThawBoot() {
    if (world_.now() >= frozen_until_) WakeBoot();
  }
  void WakeBoot();
  void OffsetBoot(Duration offset) { boot_ += offset; }

  void JumpWall(int64_t ms);
  // Adds to every reading, and goes when set to zero: skew and strobes.
  void SkewWall(int64_t ms);
  void FreezeWall();
  void ThawWall() { frozen_wall_ms_.reset(); }

  Instant Now() const;
  int64_t WallMillis() const;

 private:
  World& world_;
  double drift_ = 0;
  Instant anchor_;    // since when the drift holds
  Duration boot_{0};  // boot clock minus virtual time, at the anchor
  std::optional<Instant> frozen_boot_;
  Instant frozen_until_{};
  int64_t wall_offset_ms_ = 0;
  int64_t wall_skew_ms_ = 0;
  std::optional<int64_t> frozen_wall_ms_;
};

class Process final : public Executor, public Clock {
 public:
  Process(World& world, std::string name, ClockModel* clock, Logger& log);
  Process(const Process&) = delete;
  ~Process() override;

  Env& env() { return env_; }
  Metrics& metrics() { return metrics_; }
  const std::string& name() const { return name_; }

  // Nothing runs until virtual time `until`; then everything that waited does, in order.
  void Pause(Instant until);
  bool paused() const { return paused_until_ > world_.now(); }
  // Every turn comes up to this much later: a process that is short of CPU.
  void SlowDown(Duration turn_delay_max) { turn_delay_max_ = turn_delay_max; }
  static constexpr Duration kTurnDelayMax = std::chrono::microseconds(20);

  // Executor
  void Post(Closure fn) override;
  TimerId After(Duration delay, Closure fn) override;
  void Cancel(TimerId timer) override;
  // Clock
  Instant Now() const override { return clock_->Now(); }
  int64_t WallMillis() const override { return clock_->WallMillis(); }

 private:
  friend class World;

  // A handler, or a timer that is due and may still be cancelled.
  struct Ready {
    Closure fn;
    TimerId timer = 0;
  };
  struct TimerSlot {
    uint32_t generation = 1;
    bool live = false;
    Closure fn;
  };

  void Enqueue(Ready ready);
  void ScheduleTurn(Duration delay);
  Duration TurnDelay();
  // Whether what a turn posted runs at once, before anything else in the world.
  bool GoesOn();
  void Turn();
  void TimerDue(TimerId timer);
  TimerSlot* FindTimer(TimerId timer);
  Closure TakeTimer(TimerId timer);

  World& world_;
  const std::string name_;
  const uint32_t number_;
  ClockModel* clock_;
  Random random_;
  Random turn_random_;
  Metrics metrics_;
  Env env_;
  std::vector<Ready> ready_;
  std::vector<Ready> batch_;   // of the turn that runs; kept for its capacity
  bool* destroyed_ = nullptr;  // set by the destructor while a turn runs
  bool turn_scheduled_ = false;
  bool in_turn_ = false;
  Instant paused_until_{};
  Duration turn_delay_max_ = kTurnDelayMax;
  std::vector<TimerSlot> timers_;
  std::vector<uint32_t> free_timers_;
};

}  // namespace quorate::sim
