// World: one thread, virtual time, N processes. Everything that happens in a simulation is an event
// of this queue, so a run is a function of (binary, seed, options).
//
// A Process is one incarnation of a node or client: its Executor, clock and random stream. A crash
// ends the incarnation: its queue and timers are dropped; the next one starts empty. Handlers that
// are ready run in turns, a turn some microseconds after it was asked for, so that processes
// interleave differently by seed while each keeps its FIFO order.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/env.h"

namespace quorate::sim {

class World {
 public:
  explicit World(uint64_t seed);
  World(const World&) = delete;

  Instant now() const { return now_; }
  // Runs `fn` at now + delay. Order at equal times is order of scheduling.
  void At(Duration delay, Closure fn);
  // Runs events until virtual time `until`, or until `stop` (checked after each event) says so.
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

 private:
  struct Event {
    Instant at;
    uint64_t sequence;
    std::shared_ptr<Closure> fn;
    bool operator<(const Event& o) const {  // priority_queue: greatest first
      return at != o.at ? at > o.at : sequence > o.sequence;
    }
  };

  Instant now_{std::chrono::hours(1)};
  uint64_t sequence_ = 0;
  uint64_t events_ = 0;
  uint64_t trace_ = 0xcbf29ce484222325ull;
  std::priority_queue<Event> queue_;
  Random root_;
  Random fault_random_;
  Random network_random_;
  Random scheduler_random_;
};

// How a process's clocks deviate from virtual time.
struct ClockModel {
  double drift = 0;  // boot clock runs at 1 + drift; bounded, leases depend on it
  Duration boot_offset{0};
  int64_t wall_offset_ms = 0;  // may jump at any time
};

class Process final : public Executor, public Clock {
 public:
  Process(World& world, std::string name, uint64_t trace_id, ClockModel* clock, Logger& log);
  ~Process() override;

  Env& env() { return env_; }
  Metrics& metrics() { return metrics_; }
  const std::string& name() const { return name_; }

  // Nothing runs until virtual time `until`; then everything that waited does, in order.
  void Pause(Instant until);
  bool paused() const;

  // Executor
  void Post(Closure fn) override;
  TimerId After(Duration delay, Closure fn) override;
  void Cancel(TimerId timer) override;
  // Clock
  Instant Now() const override;
  int64_t WallMillis() const override;

 private:
  void ScheduleTurn(Duration delay);
  void Turn();

  World& world_;
  std::string name_;
  uint64_t trace_id_;
  ClockModel* clock_;
  Random random_;
  Random turn_random_;
  Metrics metrics_;
  Env env_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::deque<Closure> ready_;
  bool turn_scheduled_ = false;
  Instant paused_until_{};
  TimerId last_timer_ = 0;
  std::unordered_map<TimerId, Closure> timers_;  // looked up only, never iterated
};

}  // namespace quorate::sim
