// Caller: one call to the leader of the shard that owns a key, with redirects. Used by the client
// library and by the servers themselves (coordinator, recovery).
//
// Every request of the protocol is harmless when it arrives twice, so silence and broken
// connections are answered by sending again: to the leader if it is known, else to each replica in
// turn, with growing patience (the more the larger the request is) and, after each round of
// replicas, a pause and a fresh map. NOT_LEADER and STALE_EPOCH repair the route cache. All within
// the deadline. A replica that knows no leader keeps a request for a moment, since there may soon
// be one (server/node/handlers.h): a search is rather a wait at one replica after the other than a
// hail of requests.
//
// What any replica may answer goes to one of them first: to the one that such calls were answered
// soonest through, as a rule; if it cannot (NOT_LEADER), on to the leader and then to the others.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/status.h"
#include "base/task.h"
#include "client/route/answer.h"
#include "client/route/channel.h"
#include "client/route/map_fetcher.h"
#include "client/route/route_cache.h"

namespace quorate::v1 {
class ShardRoute;
}

namespace quorate::client {

// What every request to a shard says of where it goes.
void SetRoute(const Route& route, v1::ShardRoute* out);

class Caller {
 public:
  // All outlive the caller. Destroying it drops the calls in flight; their awaiters must be gone.
  Caller(Env& env, Channel& channel, RouteCache& routes);

  // Calls the leader of the shard owning `key`. `fill` makes the request for the shard that owns it
  // (SetRoute among the rest); it is called just before each sending. The request's timeout_ms, if
  // zero, becomes the time that is left. If the shard no longer covers what the request needs it is
  // the answering shard that says STALE_EPOCH.
  //
  // Result: an answer whose own error is neither NOT_LEADER nor a failure to reach its handler.
  // STALE_EPOCH is such an answer (handed out after the cache was repaired), since keys may have to
  // be regrouped. Otherwise:
  //   DEADLINE_EXCEEDED  no such answer in time; the request may have had its effect
  //   UNAVAILABLE        nothing happened: no sending of it can have reached a handler
  //   UNINITIALIZED, WRONG_CLUSTER  nothing happened
  using Fill = std::function<v1::NodeRequest(const Route& route)>;
  enum class First : uint8_t { kLeader, kAnyReplica };
  Task<Result<v1::NodeResponse>> CallShard(std::string key, Fill fill, Instant deadline,
                                           First first = First::kLeader);

  // Calls the placement leader: same rules, with less patience for who stays silent, since nothing
  // there waits for a lock. Who does not know the placement nodes asks for the map first.
  Task<Result<v1::NodeResponse>> CallPlacement(v1::NodeRequest request, Instant deadline);

  MapFetcher& map() { return map_; }
  RouteCache& routes() { return routes_; }

 private:
  struct Walk;
  struct Stop;
  std::optional<Stop> NextStop(Walk& walk) const;
  // Of the replicas, the one through which calls end soonest; now and then any, to see.
  const Endpoint* Nearest(const Route& route) const;
  std::string AddressOf(const Endpoint& replica) const;
  // A call that began at the replica there took so long.
  void NoteNear(const std::string& address, Duration took);
  Task<Result<v1::NodeResponse>> Run(std::shared_ptr<Walk> walk);
  // nullopt: go on with the next stop.
  std::optional<Result<v1::NodeResponse>> Judge(Walk& walk, const Stop& stop,
                                                Result<v1::NodeResponse> result);

  Env& env_;
  Channel& channel_;
  RouteCache& routes_;
  MapFetcher map_;
  // Smoothed, of calls that began there; of replicas that were asked first.
  std::map<std::string, Duration> took_;
};

}  // namespace quorate::client
