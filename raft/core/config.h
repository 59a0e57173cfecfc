// Settings of one Raft group, validated once.
#pragma once

#include "base/clock.h"
#include "base/limits.h"
#include "base/status.h"
#include "raft/core/types.h"

namespace quorate::raft {

// How much later the next in line campaigns when the leader's connections broke: time enough for
// the one before it to win.
inline constexpr int kSuccessionTicks = 4;

struct Config {
  ReplicaId self;
  uint64_t group = 0;  // the same on all replicas: which of them is the first to succeed a leader
  // No replica of the group was on this node before: what this one has not voted or acknowledged,
  // none has in its name, and it votes before it knows members.
  bool first_here = false;
  int heartbeat_ticks = limits::kHeartbeatTicks;
  int election_ticks_min = limits::kElectionTicksMin;  // actual: uniform in [min, 2 * min)
  Duration lease = limits::kLease;
  // Without proposals and reads for so long, a group falls silent (quiescence.cc); 0: never.
  int quiesce_ticks = 0;
  size_t append_bytes_max = limits::kAppendBytesMax;
  size_t inflight_appends_max = limits::kInflightAppendsMax;
  size_t unapplied_bytes_max = limits::kProposalBytesMax;

  // INVALID_ARGUMENT names the field: self is 0, a lease that does not end before others may vote,
  // heartbeats too rare for the lease.
  Status Validate() const;
};

}  // namespace quorate::raft
