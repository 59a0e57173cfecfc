// Executor: the one thread on which a node's (or client's) state lives, seen as a queue and timers.
//
// Two implementations: the real one (base/real_executor) and the simulated one with virtual time
// (tests/sim/world). Handlers run one at a time and never
// inside the call that posts them, so nobody has to think about re-entry.
#pragma once

#include <absl/functional/any_invocable.h>

#include <cstdint>

#include "base/clock.h"

namespace quorate {

using Closure = absl::AnyInvocable<void()>;
using TimerId = uint64_t;  // 0: no timer

class Executor {
 public:
  virtual ~Executor() = default;
  // Runs `fn` later on the executor's thread. Safe from any thread.
  virtual void Post(Closure fn) = 0;
  // Runs `fn` once `delay` has passed. Executor's thread only.
  virtual TimerId After(Duration delay, Closure fn) = 0;
  // Executor's thread only. A timer that already ran, or 0, is ignored.
  virtual void Cancel(TimerId timer) = 0;
};

}  // namespace quorate
