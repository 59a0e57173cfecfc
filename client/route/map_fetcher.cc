#include "client/route/map_fetcher.h"

#include <algorithm>

#include "base/backoff.h"
#include "base/timer_guard.h"
#include "client/route/answer.h"
#include "quorate/v1/node.pb.h"
#include "txn/errors.h"

namespace quorate::client {
namespace {

constexpr Duration kPauseInitial = 5ms;
constexpr Duration kPauseMax = 100ms;
constexpr Duration kAskTimeout = 500ms;

}  // namespace

MapFetcher::MapFetcher(Env& env, Channel& channel, RouteCache& routes)
    : env_(env),
      channel_(channel),
      routes_(routes),
      refreshes_(env.metrics.GetCounter("quorate_client_map_refreshes_total",
                                        "Times that nodes were asked for the shard map.")),
      scope_(env.executor) {}

Status MapFetcher::OutOfTime() const {
  const std::string tried = current_ ? current_->tried : "";
  return Unavailable(
      fmt::format("the shard map could not be had in time{}{}", tried.empty() ? "" : ": ", tried));
}

Task<Status> MapFetcher::Refresh(Span span, Instant deadline) {
  const Duration left = deadline - env_.Now();
  if (left <= Duration(0)) co_return OutOfTime();
  if (routes_.empty()) span = Span::All();
  const Promise<Status> promise(env_.executor);
  const Waiter waiter{promise, deadline};
  if (current_ && current_->span.Contains(span)) {
    current_->waiters.push_back(waiter);
  } else if (next_) {
    next_->span = next_->span.Join(span);
    next_->waiters.push_back(waiter);
  } else {
    next_.emplace(Wanted{std::move(span), {waiter}, {}});
    if (!current_) scope_.Spawn(AskForAll());
  }
  const TimerGuard timer(env_.executor, left, [this, promise] { promise.Set(OutOfTime()); });
  co_return co_await promise.future();
}

Task<void> MapFetcher::AskForAll() {
  while (next_) {
    current_ = std::exchange(next_, std::nullopt);
    refreshes_.Add();
    const Status status = co_await AskSources();
    const Wanted done = *std::exchange(current_, std::nullopt);
    for (const Waiter& waiter : done.waiters) waiter.promise.Set(status);
  }
}

Task<Status> MapFetcher::AskSources() {
  std::vector<std::string> sources = routes_.MapSources();
  const auto last = std::find(sources.begin(), sources.end(), last_source_);
  if (last != sources.end()) std::rotate(sources.begin(), last, last + 1);
  std::stable_partition(sources.begin(), sources.end(),
                        [this](const std::string& source) { return source != silent_; });
  Status status(Code::kUnavailable, "no address of any node is known");
  bool some = false;
  for (const std::string& source : sources) {
    // Whoever came meanwhile may have more time than the first.
    Instant deadline = Instant::min();
    for (const Waiter& waiter : current_->waiters) deadline = std::max(deadline, waiter.deadline);
    const Duration left = deadline - env_.Now();
    if (left <= Duration(0)) break;
    const Result<Answer> asked =
        co_await AskOne(source, current_->span, std::min(left, kAskTimeout));
    if (asked.ok() && *asked == Answer::kShards) last_source_ = source;
    some = some || asked.ok();
    if (asked.ok() && *asked == Answer::kShards) break;
    if (asked.ok()) continue;
    // A channel names the address of a connection that failed; a node that answered does not.
    const std::string& said = asked.status().message();
    std::string& tried = current_->tried;
    tried += tried.empty() ? "" : "; ";
    tried += said.starts_with(source) ? said : fmt::format("{}: {}", source, said);
    // The most telling failure names the class: a wrong cluster, then an uninitialised one.
    const Code code = asked.status().code();
    const bool telling = code == Code::kWrongCluster ||
                         (code == Code::kUninitialized && status.code() != Code::kWrongCluster);
    status = Status(telling ? code : status.code(), tried);
  }
  co_return some ? Status::Ok() : status;
}

Task<Result<MapFetcher::Answer>> MapFetcher::AskOne(std::string address, Span span,
                                                    Duration timeout) {
  v1::NodeRequest request;
  request.set_timeout_ms(static_cast<uint32_t>(std::max<int64_t>(1, ToMillis(timeout))));
  request.mutable_routes()->set_from(std::move(span.from));
  request.mutable_routes()->set_to(std::move(span.to));
  Result<v1::NodeResponse> result =
      co_await channel_.Call(std::move(address), std::move(request), timeout);
  if (!result.ok()) co_return result.status();
  const v1::Error& error = ErrorOf(*result);
  if (error.code() != v1::OK) co_return StatusFromError(error);
  const v1::RoutesResponse& map = result->routes();
  if (!routes_.Update(map)) {
    co_return Status(Code::kWrongCluster, fmt::format("it belongs to cluster {}, this is {}",
                                                      map.cluster_id(), routes_.cluster_id()));
  }
  if (!routes_.cluster_id().empty()) channel_.SetClusterId(routes_.cluster_id());
  if (!map.routes().empty()) co_return Answer::kShards;
  if (!map.placement_nodes().empty()) co_return Answer::kNodesOnly;
  co_return Unavailable("it has no map yet");
}

Task<Result<std::vector<Route>>> MapFetcher::Cover(Span span, Instant deadline) {
  Backoff pause(kPauseInitial, kPauseMax);
  while (true) {
    if (auto routes = routes_.Cover(span)) co_return std::move(*routes);
    const Status status = co_await Refresh(span, deadline);
    if (status.ok() && routes_.Cover(span).has_value()) continue;
    const Duration left = deadline - env_.Now();
    if (left <= Duration(0)) co_return Unavailable("the shard map could not be had in time");
    if (routes_.empty() && status.code() == Code::kUninitialized) co_return status;
    co_await Sleep(env_.executor, std::min(left, pause.Next(env_.random)));
  }
}

}  // namespace quorate::client
