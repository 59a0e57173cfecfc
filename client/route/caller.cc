#include "client/route/caller.h"

#include <algorithm>

#include "base/backoff.h"
#include "client/route/answer.h"
#include "quorate/v1/node.pb.h"
#include "txn/errors.h"

namespace quorate::client {
namespace {

constexpr Duration kPauseInitial = 5ms;
constexpr Duration kPauseMax = 100ms;
// A pause may be this part of what was waited already: an outage takes hardly longer for it, and
// fewer who wait are in the way of ending it.
constexpr int kPausePart = 16;
constexpr int kRoundsPerMap = 4;
// How long one sending may stay unanswered before another replica is asked. A lock may be waited
// for longer than this; sending again then joins the wait.
constexpr Duration kPatienceInitial = 1s;
constexpr Duration kPatienceAgain = 250ms;
// Placement makes nobody wait for a lock, and a new leader of a shard cannot serve without a slot.
constexpr Duration kPlacementPatience = 250ms;
// What an operator asks is proved and logged before it is answered. Asked again it is judged by
// what it did itself, so a slow disk is waited for.
constexpr Duration kQuestionPatience = 5s;
constexpr Duration kAvoidSilent = 2s;
constexpr Duration kPatienceMax = 8s;
// What is large takes longer to be moved, logged and applied by a majority, and to send it again
// meanwhile would only be in its own way, and in that of others.
constexpr size_t kSmallBytes = 64 << 10;
constexpr size_t kBytesPerSecond = 4 << 20;
// A process that has never seen a map gives up this early: its addresses are probably wrong.
constexpr Duration kFirstMapTimeout = 1s;

// Of a replica's times, the share of the last one; and how often another one is tried.
constexpr int kNearShare = 8;
constexpr double kTryAnother = 1.0 / 32;
// Nodes come and go, a client may live for years.
constexpr size_t kNearMax = 1024;

const Route kNoRoute;

// On top of the patience with a small one.
Duration PatienceFor(const v1::NodeRequest& request) {
  const size_t bytes = request.ByteSizeLong();
  if (bytes <= kSmallBytes) return Duration(0);
  return Duration(1s) * bytes / kBytesPerSecond;
}

uint32_t MillisLeft(Duration left) {
  return static_cast<uint32_t>(std::max<int64_t>(1, ToMillis(left)));
}

// Whose leader is looked for: "shard 7"; without a key, placement.
std::string NameOfLed(const RouteCache& routes, const std::optional<std::string>& key) {
  if (!key.has_value()) return "placement";
  const Route* route = routes.Find(*key);
  return route == nullptr ? std::string("the key's shard") : fmt::format("shard {}", route->shard);
}

}  // namespace

void SetRoute(const Route& route, v1::ShardRoute* out) {
  out->set_shard_id(route.shard.value());
  out->set_version(route.version);
}

// One call's search for its leader.
struct Caller::Walk {
  Walk(std::optional<std::string> k, Fill f, Instant begin, Instant end)
      : key(std::move(k)), fill(std::move(f)), started(begin), deadline(end) {
    if (!key.has_value()) patience = kPlacementPatience;
  }

  std::optional<std::string> key;  // nullopt: placement
  bool any_replica = false;        // may answer it
  bool of_the_past = false;        // who answers it need not lead
  std::string began_at;            // the one that was asked first, if so
  Fill fill;
  Instant started;
  Instant deadline;
  Backoff pause{kPauseInitial, kPauseMax};
  Duration patience = kPatienceInitial;
  Duration patience_min{0};
  std::vector<std::string> asked;  // addresses of this round
  // Did not answer in time: stopped, cut off, or waiting for a lock. From then on it is asked after
  // all others; and, until `avoid_until`, not at all in a round in which one of them said that
  // there is no leader. That one may be cut off itself, hence the bound.
  std::string silent;
  Instant avoid_until;
  bool ask_silent = true;
  bool leaderless = false;
  int rounds = 0;
  bool maybe_done = false;  // a sending broke or stayed unanswered
  bool want_map = false;

  Status last{Code::kUnavailable, "nobody could be asked"};
  Status cannot;  // any_replica: what one that was reached said of itself
};

struct Caller::Stop {
  ShardId shard;  // 0: placement
  uint64_t version = 0;
  NodeId node;  // 0: whoever answers at the address
  std::string address;
};

Caller::Caller(Env& env, Channel& channel, RouteCache& routes)
    : env_(env), channel_(channel), routes_(routes), map_(env, channel, routes) {}

Task<Result<v1::NodeResponse>> Caller::CallShard(std::string key, Fill fill, Instant deadline,
                                                 First first) {
  auto walk = std::make_shared<Walk>(std::move(key), std::move(fill), env_.Now(), deadline);
  walk->any_replica = first == First::kAnyReplica;
  return Run(std::move(walk));
}

std::string Caller::AddressOf(const Endpoint& replica) const {
  return routes_.AddressOf(replica.node).value_or(replica.address);
}

const Endpoint* Caller::Nearest(const Route& route) const {
  if (route.replicas.empty()) return nullptr;
  const size_t any = env_.random.Below(route.replicas.size());
  if (env_.random.Chance(kTryAnother)) return &route.replicas[any];
  const Endpoint* nearest = nullptr;
  Duration shortest;
  // Beginning anywhere, so that those of which nothing is known take turns.
  for (size_t i = 0; i < route.replicas.size(); ++i) {
    const Endpoint& replica = route.replicas[(any + i) % route.replicas.size()];
    const auto known = took_.find(AddressOf(replica));
    const Duration took = known == took_.end() ? Duration(0) : known->second;
    if (nearest != nullptr && took >= shortest) continue;
    nearest = &replica;
    shortest = took;
  }
  return nearest;
}

void Caller::NoteNear(const std::string& address, Duration took) {
  const auto [known, fresh] = took_.try_emplace(address, took);
  if (!fresh) known->second += (took - known->second) / kNearShare;
  if (took_.size() > kNearMax) took_.erase(took_.begin());
}

Task<Result<v1::NodeResponse>> Caller::CallPlacement(v1::NodeRequest request, Instant deadline) {
  auto shared = std::make_shared<const v1::NodeRequest>(std::move(request));
  Fill fill = [shared](const Route&) { return *shared; };
  auto walk = std::make_shared<Walk>(std::nullopt, std::move(fill), env_.Now(), deadline);
  if (shared->has_placement()) walk->patience = walk->patience_min = kQuestionPatience;
  return Run(std::move(walk));
}

// The leader first, then the others; each address once per round.
std::optional<Caller::Stop> Caller::NextStop(Walk& walk) const {
  const auto fresh = [&walk](const std::string& address) {
    return !address.empty() && (walk.ask_silent || address != walk.silent) &&
           std::find(walk.asked.begin(), walk.asked.end(), address) == walk.asked.end();
  };
  const auto stop_at = [&](const Endpoint& replica) -> std::optional<std::string> {
    std::string address = AddressOf(replica);
    if (!fresh(address)) return std::nullopt;
    return address;
  };
  if (walk.key.has_value()) {
    const Route* route = routes_.Find(*walk.key);
    if (route == nullptr) {
      walk.want_map = true;
      return std::nullopt;
    }
    Stop stop{route->shard, route->version, route->leader, {}};
    if (walk.any_replica && walk.began_at.empty()) {
      const Endpoint* nearest = Nearest(*route);
      if (auto address = nearest == nullptr ? std::nullopt : stop_at(*nearest)) {
        walk.began_at = *address;
        stop.node = nearest->node;
        stop.address = std::move(*address);
        return stop;
      }
    }
    if (route->leader) {
      Endpoint leader{route->leader, {}};
      for (const Endpoint& r : route->replicas) {
        if (r.node == route->leader) leader = r;
      }
      if (auto address = stop_at(leader)) {
        stop.address = std::move(*address);
        return stop;
      }
    }
    for (const Endpoint& replica : route->replicas) {
      if (auto address = stop_at(replica)) {
        stop.node = replica.node;
        stop.address = std::move(*address);
        return stop;
      }
    }
    return std::nullopt;
  }
  if (auto address = stop_at({routes_.placement_leader(), {}})) {
    return Stop{ShardId(), 0, routes_.placement_leader(), std::move(*address)};
  }
  const std::vector<Endpoint> nodes = routes_.placement();
  for (const Endpoint& node : nodes) {
    if (auto address = stop_at(node)) return Stop{ShardId(), 0, node.node, std::move(*address)};
  }
  if (nodes.empty()) walk.want_map = true;
  return std::nullopt;
}

Task<Result<v1::NodeResponse>> Caller::Run(std::shared_ptr<Walk> walk) {
  while (true) {
    while (const std::optional<Stop> stop = NextStop(*walk)) {
      const Duration left = walk->deadline - env_.Now();
      if (left <= Duration(0)) break;
      walk->asked.push_back(stop->address);
      v1::NodeRequest request =
          walk->fill(walk->key.has_value() ? *routes_.Find(*walk->key) : kNoRoute);
      if (request.timeout_ms() == 0) request.set_timeout_ms(MillisLeft(left));
      walk->of_the_past = request.read().has_stale();
      // A replica that is asked because it is near waits for nobody's lock.
      const bool near = walk->rounds == 0 && stop->address == walk->began_at;
      const Duration patience = (near ? kPatienceAgain : walk->patience) + PatienceFor(request);
      Result<v1::NodeResponse> result =
          co_await channel_.Call(stop->address, std::move(request), std::min(left, patience));
      auto answer = Judge(*walk, *stop, std::move(result));
      if (!answer.has_value()) continue;
      if (!walk->began_at.empty()) NoteNear(walk->began_at, env_.Now() - walk->started);
      // A version that errors do not repair: only the map can.
      const bool stale = answer->ok() && ErrorOf(**answer).code() == v1::STALE_EPOCH;
      if (stale && walk->key.has_value()) {
        const Route* route = routes_.Find(*walk->key);
        if (route == nullptr || (route->shard == stop->shard && route->version == stop->version)) {
          // The answer goes out whether or not it helped.
          (void)co_await map_.Refresh(Span::OfKey(*walk->key), walk->deadline);
        }
      }
      co_return std::move(*answer);
    }
    if (!walk->ask_silent && (!walk->leaderless || env_.Now() >= walk->avoid_until)) {
      walk->ask_silent = true;
      continue;
    }
    // Every candidate was asked once. The first map is asked for without a pause.
    walk->asked.clear();
    walk->ask_silent = walk->silent.empty();
    walk->leaderless = false;
    const bool in_time = env_.Now() < walk->deadline;
    if (in_time && (walk->want_map || walk->rounds % kRoundsPerMap == 1)) {
      walk->want_map = false;
      // Who looks for the placement leader needs no shard, only what comes with any.
      Status status = co_await map_.Refresh(Span::OfKey(walk->key.value_or("")), walk->deadline);
      if (status.ok() && walk->rounds++ == 0) continue;
      if (!status.ok()) {
        walk->last = status;
        const bool never_knew = routes_.empty() && !walk->maybe_done;
        const bool hopeless = status.code() == Code::kUninitialized ||
                              status.code() == Code::kWrongCluster ||
                              env_.Now() - walk->started >= kFirstMapTimeout;
        if (never_knew && hopeless) co_return status;
      }
    }
    ++walk->rounds;
    const Duration left = walk->deadline - env_.Now();
    if (left <= Duration(0)) {
      if (!walk->began_at.empty()) NoteNear(walk->began_at, env_.Now() - walk->started);
      const Code code = walk->maybe_done ? Code::kDeadlineExceeded : Code::kUnavailable;
      const std::string& cannot = walk->cannot.message();
      const bool more = !cannot.empty() && cannot != walk->last.message();
      co_return Status(code, fmt::format("no leader of {} answered in time (`quorate doctor` tells "
                                         "more), last: {}{}{}",
                                         NameOfLed(routes_, walk->key), walk->last.ToString(),
                                         more ? "; " : "", more ? cannot : ""));
    }
    const Duration part = (env_.Now() - walk->started) / kPausePart;
    const Duration pause = std::max(walk->pause.Next(env_.random),
                                    Duration(env_.random.Between(part.count() / 2, part.count())));
    co_await Sleep(env_.executor, std::min(left, pause));
  }
}

std::optional<Result<v1::NodeResponse>> Caller::Judge(Walk& walk, const Stop& stop,
                                                      Result<v1::NodeResponse> result) {
  const auto forget = [&] {
    if (stop.shard) {
      const Route* route = routes_.Find(*walk.key);
      if (route != nullptr && route->leader == stop.node) routes_.ForgetLeader(route->shard);
    } else if (routes_.placement_leader() == stop.node) {
      routes_.SetPlacementLeader(NodeId());
    }
  };
  if (!result.ok()) {
    const Code code = result.status().code();
    if (code == Code::kWrongCluster) return result;
    walk.maybe_done = true;
    walk.last = result.status();
    // Silence may be a long wait for a lock: others are asked, but the leader is not forgotten.
    if (code == Code::kDeadlineExceeded) {
      walk.patience =
          walk.silent.empty() ? kPatienceAgain : std::min(walk.patience * 3 / 2, kPatienceMax);
      walk.patience = std::max(walk.patience, walk.patience_min);
      walk.silent = stop.address;
      map_.AskLast(stop.address);
      walk.avoid_until = env_.Now() + kAvoidSilent;
    } else {
      forget();
    }
    return std::nullopt;
  }
  const v1::Error& error = ErrorOf(*result);
  switch (error.code()) {
    case v1::NOT_LEADER:
      if (walk.any_replica) walk.cannot = StatusFromError(error);
      if (error.leader().node_id() == 0) {
        forget();
        walk.leaderless = true;
      }
      if (stop.shard) {
        routes_.Learn(stop.shard, error);
      } else {
        routes_.LearnPlacement(error);
      }
      break;
    case v1::STALE_EPOCH:
      routes_.Learn(stop.shard, error);
      return result;
    case v1::UNAVAILABLE:
    case v1::CANCELLED:
      // The node could not or would not hand the request to its handler, or lost it there.
      walk.maybe_done = true;
      forget();
      break;
    case v1::WRONG_NODE:
      // Of a handler: it is the asker who is wrong.
      if (result->error().code() == v1::OK) return result;
      [[fallthrough]];
    case v1::UNINITIALIZED:
      walk.want_map = true;
      forget();
      break;
    default:
      if (stop.shard && stop.node && !walk.of_the_past && !walk.any_replica) {
        routes_.SetLeader(stop.shard, stop.node);
      }
      return result;
  }
  walk.last = StatusFromError(error);
  return std::nullopt;
}

}  // namespace quorate::client
