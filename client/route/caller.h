// Caller: one call to the leader of the shard that owns a key, with redirects. Used by the client
// library and by the servers themselves (coordinator, recovery).
//
// Every request of the protocol is harmless when it arrives twice, so silence and broken
// connections are answered by sending again: to the leader if it is known, else to each replica in
// turn, with growing patience and, after each round of replicas, a pause and a fresh map.
// NOT_LEADER and STALE_EPOCH repair the route cache. All within the deadline. A replica that knows
// no leader keeps a request for a moment, since there may soon be one (server/node/handlers.h): a
// search is rather a wait at one replica after the other than a hail of requests.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/status.h"
#include "base/task.h"
#include "client/route/channel.h"
#include "client/route/route_cache.h"

namespace quorate::v1 {
class Error;
}

namespace quorate::client {

// The error of an answer: the envelope's own, or else its body's.
const v1::Error& ErrorOf(const v1::NodeResponse& response);
v1::Error* MutableErrorOf(v1::NodeResponse* response);

class Caller {
 public:
  // All outlive the caller. Destroying it drops the calls in flight; their awaiters must be gone.
  Caller(Env& env, Channel& channel, RouteCache& routes);
  ~Caller();

  // Calls the leader of the shard owning `key`. `fill` returns the request with its route (shard
  // id, version) set; it is called just before each sending. The request's timeout_ms, if zero,
  // becomes the time that is left. If the shard no longer covers what the request needs it is the
  // answering shard that says STALE_EPOCH.
  //
  // Result: an answer whose own error is neither NOT_LEADER nor a failure to reach its handler.
  // STALE_EPOCH is such an answer (handed out after the cache was repaired), since keys may have to
  // be regrouped. Otherwise:
  //   DEADLINE_EXCEEDED  no such answer in time; the request may have had its effect
  //   UNAVAILABLE        nothing happened: no sending of it can have reached a handler
  //   UNINITIALIZED, WRONG_CLUSTER  nothing happened
  using Fill = std::function<v1::NodeRequest(uint64_t shard_id, uint64_t version)>;
  Task<Result<v1::NodeResponse>> CallShard(std::string key, Fill fill, Instant deadline);

  // Calls the placement leader: same rules, with less patience for who stays silent, since nothing
  // there waits for a lock. Who does not know the placement nodes asks for the map first.
  Task<Result<v1::NodeResponse>> CallPlacement(v1::NodeRequest request, Instant deadline);

  // Asks for the map of `span`, and for the whole one while none is known; once for everyone who
  // waits for the same. UNAVAILABLE, UNINITIALIZED, WRONG_CLUSTER: of the sources that were asked.
  Task<Status> RefreshMap(Span span);

  // Makes every part of `span` known, refreshing the map as needed.
  Task<Result<std::vector<Route>>> Cover(Span span, Instant deadline);

  RouteCache& routes() { return routes_; }

 private:
  struct Walk;
  struct Stop;
  std::optional<Stop> NextStop(Walk& walk) const;
  Task<Result<v1::NodeResponse>> Run(std::shared_ptr<Walk> walk);
  // nullopt: go on with the next stop.
  std::optional<Result<v1::NodeResponse>> Judge(Walk& walk, const Stop& stop,
                                                Result<v1::NodeResponse> result);
  // One after the other, until nobody waits.
  Task<void> Refreshes();
  // The first source that knows shards of `span` will do.
  Task<Status> AskSources(Span span);
  enum class MapAnswer : uint8_t { kShards, kNodesOnly };
  Task<Result<MapAnswer>> AskForMap(std::string address, Span span);

  Env& env_;
  Channel& channel_;
  RouteCache& routes_;
  std::string last_map_source_;
  std::string silent_;  // the last that did not answer in time: not to be waited for first
  struct Refresh {
    Span span;
    std::vector<Promise<Status>> waiters;
  };
  std::optional<Refresh> refresh_;       // under way
  std::optional<Refresh> next_refresh_;  // of all who need another part meanwhile
  TaskScope scope_;
};

}  // namespace quorate::client
