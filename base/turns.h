// Turns of an executor's queue, for those who gather what one burst of work makes and send it as
// one.
#pragma once

#include <utility>

#include "base/executor.h"

namespace quorate {

// How many turns to gather for. A burst of requests makes its messages a few turns later, each
// request at its own pace; while the queue is empty the turns cost next to nothing.
inline constexpr int kGatherTurns = 4;

// Runs `fn` behind everything that is queued now, and behind what that queues, `turns` times over.
inline void PostAfterTurns(Executor& executor, int turns, Closure fn) {
  if (turns <= 1) return executor.Post(std::move(fn));
  executor.Post([&executor, turns, fn = std::move(fn)]() mutable {
    PostAfterTurns(executor, turns - 1, std::move(fn));
  });
}

}  // namespace quorate
