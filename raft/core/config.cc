#include "raft/core/config.h"

#include <fmt/format.h>

namespace quorate::raft {

Status Config::Validate() const {
  if (!self) return InvalidArgument("self: 0 is no replica");
  if (heartbeat_ticks < 1) return InvalidArgument("heartbeat_ticks: at least 1");
  if (election_ticks_min <= 3 * heartbeat_ticks) {
    return InvalidArgument("election_ticks_min: above three heartbeats");
  }
  if (lease <= Duration::zero()) return InvalidArgument("lease: must be positive");
  if (lease + lease / 9 > limits::kTick * election_ticks_min) {
    return InvalidArgument("lease: with its drift margin it outlasts election_ticks_min");
  }
  if (limits::kTick * heartbeat_ticks * 3 >= lease) {
    return InvalidArgument("heartbeat_ticks: one lost heartbeat would end the lease");
  }
  if (append_bytes_max == 0) return InvalidArgument("append_bytes_max: must be positive");
  if (inflight_appends_max == 0) return InvalidArgument("inflight_appends_max: must be positive");
  if (unapplied_bytes_max == 0) return InvalidArgument("unapplied_bytes_max: must be positive");
  return Status::Ok();
}

}  // namespace quorate::raft
