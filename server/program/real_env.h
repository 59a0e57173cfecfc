// The real world as an Env: the machine's clocks and randomness, one executor thread, log lines on
// standard error.
#pragma once

#include "base/env.h"
#include "base/real_clock.h"
#include "base/real_executor.h"
#include "base/stderr_logger.h"

namespace quorate::server {

struct RealEnv {
  // The executor's thread waits in `waiter`.
  RealEnv(LogLevel log_level, Waiter& waiter);

  RealClock clock;
  Random random{EntropySeed()};
  StderrLogger log;
  Metrics metrics;
  RealExecutor executor;  // destroyed first: what it still holds may use what stands above
  Env env{executor, clock, random, log, metrics};
};

}  // namespace quorate::server
