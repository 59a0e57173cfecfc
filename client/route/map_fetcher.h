// MapFetcher: asks nodes for the shard map, once for everyone of this process who waits for the
// same part of it, and keeps the route cache up to date with the answers.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/status.h"
#include "base/task.h"
#include "client/route/channel.h"
#include "client/route/route_cache.h"

namespace quorate::client {

class MapFetcher {
 public:
  // All outlive it. Destroying it drops what is under way; its awaiters must be gone.
  MapFetcher(Env& env, Channel& channel, RouteCache& routes);

  // Asks for the map of `span`, and for the whole one while none is known; once for everyone who
  // waits for the same. UNAVAILABLE, UNINITIALIZED, WRONG_CLUSTER: of the sources that were asked.
  // Ends by `deadline`, with UNAVAILABLE, however many sources are still to be asked.
  Task<Status> Refresh(Span span, Instant deadline);

  // Makes every part of `span` known, refreshing the map as needed.
  Task<Result<std::vector<Route>>> Cover(Span span, Instant deadline);

  // `address` did not answer in time: it is not to be waited for first.
  void AskLast(std::string address) { silent_ = std::move(address); }

 private:
  struct Waiter {
    Promise<Status> promise;
    Instant deadline;
  };
  struct Wanted {
    Span span;
    std::vector<Waiter> waiters;
    std::string tried;  // sources that failed, and how
  };
  Status OutOfTime() const;
  // One after the other, until nobody waits.
  Task<void> AskForAll();
  // The first source that knows shards of the span will do; ends when nobody waits any more.
  Task<Status> AskSources();
  enum class Answer : uint8_t { kShards, kNodesOnly };
  Task<Result<Answer>> AskOne(std::string address, Span span, Duration timeout);

  Env& env_;
  Channel& channel_;
  RouteCache& routes_;
  Counter& refreshes_;
  std::string last_source_;
  std::string silent_;
  std::optional<Wanted> current_;  // under way
  std::optional<Wanted> next_;     // of all who need another part meanwhile
  TaskScope scope_;
};

}  // namespace quorate::client
