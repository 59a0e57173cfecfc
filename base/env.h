// Env: everything that touches the world, handed to each component by reference. There are two
// worlds, the real one and the simulated one; the same node and client code runs in both.
//
// Files come through storage/file.h, peers through raft/host/transport.h, client/route/channel.h:
// those seams need types of their layers, so they are handed over beside the Env
// (server/node/node.h).
#pragma once

#include "base/clock.h"
#include "base/executor.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/random.h"

namespace quorate {

struct Env {
  Executor& executor;
  Clock& clock;
  Random& random;
  Logger& log;
  Metrics& metrics;

  Instant Now() const { return clock.Now(); }
};

}  // namespace quorate
