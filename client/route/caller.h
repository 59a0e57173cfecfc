// Caller: one call to the leader of the shard that owns a key, with redirects. Used by the client
// library and by the servers themselves (coordinator, recovery).
//
// NOT_LEADER and STALE_EPOCH repair the route cache from the error and are tried again; UNAVAILABLE
// is tried again at another replica only if the request is `kIdempotent`. All within the deadline.
#pragma once

#include <functional>
#include <string>

#include "base/env.h"
#include "base/status.h"
#include "base/task.h"
#include "client/route/channel.h"
#include "client/route/route_cache.h"

namespace quorate::client {

// Whether a request may be sent again after silence. All of ours are but a thin client's Execute.
class Caller {
 public:
  Caller(Env& env, Channel& channel, RouteCache& routes);

  // Calls the leader of the shard owning `key`. `fill` sets the request's route (shard id, version)
  // just before each sending and returns the request; if the shard no longer covers what the
  // request needs it is the answering shard that says STALE_EPOCH.
  // Result: an answer whose own error is neither NOT_LEADER nor a transport failure. STALE_EPOCH is
  // returned to the caller (after the cache was repaired), since keys may have to be regrouped.
  // DEADLINE_EXCEEDED: no such answer in time; the request may have had its effect.
  using Fill = std::function<v1::NodeRequest(uint64_t shard_id, uint64_t version)>;
  Task<Result<v1::NodeResponse>> CallShard(std::string key, Fill fill, Instant deadline);

  // Calls the placement leader: same rules.
  Task<Result<v1::NodeResponse>> CallPlacement(v1::NodeRequest request, Instant deadline);

  RouteCache& routes() { return routes_; }

 private:
  Env& env_;
  Channel& channel_;
  RouteCache& routes_;
};

}  // namespace quorate::client
