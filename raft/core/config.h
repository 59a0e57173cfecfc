// Settings of one Raft group, validated once.
#pragma once

#include "base/clock.h"
#include "base/limits.h"
#include "base/status.h"
#include "raft/core/types.h"

namespace quorate::raft {

struct Config {
  ReplicaId self;
  int heartbeat_ticks = limits::kHeartbeatTicks;
  int election_ticks_min = limits::kElectionTicksMin;  // actual: uniform in [min, 2 * min)
  Duration lease = limits::kLease;
  size_t append_bytes_max = limits::kAppendBytesMax;
  size_t inflight_appends_max = limits::kInflightAppendsMax;
  size_t unapplied_bytes_max = limits::kProposalBytesMax;

  // INVALID_ARGUMENT names the field: self is 0, a lease that does not end before others may vote,
  // heartbeats too rare for the lease.
  Status Validate() const;
};

}  // namespace quorate::raft
