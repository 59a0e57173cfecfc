// Ticker: ticks for all groups of a node from one timer.
#pragma once

#include <functional>

#include "base/env.h"

namespace quorate::raft {

class Ticker {
 public:
  Ticker(Env& env, Duration interval, std::function<void(Instant)> tick)
      : env_(env), interval_(interval), tick_(std::move(tick)) {}
  Ticker(const Ticker&) = delete;
  ~Ticker() { env_.executor.Cancel(timer_); }

  void Start();

 private:
  void Arm();

  Env& env_;
  const Duration interval_;
  std::function<void(Instant)> tick_;
  Instant due_{};
  TimerId timer_ = 0;
};

}  // namespace quorate::raft
