#include "client/core.h"

#include <algorithm>
#include <map>

#include "base/backoff.h"
#include "base/limits.h"
#include "quorate/v1/node.pb.h"
#include "txn/errors.h"

namespace quorate::client {
namespace {

constexpr Duration kPauseInitial = 2ms;
constexpr Duration kPauseMax = 200ms;

}  // namespace

Core::Counters::Counters(Metrics& metrics)
    : commits(metrics.GetCounter("quorate_client_commits_total",
                                 "Transactions with writes that committed.")),
      conflicts(metrics.GetCounter("quorate_client_conflicts_total",
                                   "Attempts that ended in a conflict and were repeated.")),
      unknown(metrics.GetCounter("quorate_client_unknown_outcomes_total",
                                 "Transactions whose outcome could not be learned in time.")) {}

Core::Core(Env& env, Channel& channel, Options options)
    : env_(env),
      options_(std::move(options)),
      counters_(env.metrics),
      routes_(options_.cluster),
      caller_(env, channel, routes_),
      slots_(env, caller_),
      tables_(env, caller_),
      background_(env.executor) {}

Result<Instant> Core::DeadlineFor(Duration timeout) const {
  if (timeout == Duration(0)) timeout = options_.timeout;
  if (timeout < Duration(0) || timeout > limits::kRequestTimeoutMax) {
    return InvalidArgument(fmt::format("a timeout of {} ms is outside of 1..{} ms",
                                       ToMillis(timeout), ToMillis(limits::kRequestTimeoutMax)));
  }
  return env_.Now() + timeout;
}

Task<Result<v1::NodeResponse>> Core::Call(std::string key, Caller::Fill fill, Instant deadline,
                                          Caller::First first) {
  Backoff pause(kPauseInitial, kPauseMax);
  while (true) {
    Result<v1::NodeResponse> response = co_await caller_.CallShard(key, fill, deadline, first);
    if (!response.ok()) co_return response;
    const v1::Error& error = ErrorOf(*response);
    if (error.code() == v1::OK) co_return response;
    Status status = StatusFromError(error);
    const RetryClass retry = RetryClassOf(status.code());
    if (retry != RetryClass::kRedirect && retry != RetryClass::kLater) co_return status;
    const Duration wanted = std::chrono::milliseconds(error.retry_after_ms());
    const Duration wait = std::max(wanted, pause.Next(env_.random));
    if (env_.Now() + wait >= deadline) co_return status;
    co_await Sleep(env_.executor, wait);
  }
}

Task<Result<std::vector<std::vector<size_t>>>> Core::GroupByShard(
    std::shared_ptr<const std::vector<std::string>> keys, Instant deadline) {
  std::map<ShardId, std::vector<size_t>> by_shard;
  for (size_t i = 0; i < keys->size(); ++i) {
    const Route* route = routes_.Find((*keys)[i]);
    if (route == nullptr) {
      auto covered = co_await caller_.map().Cover(Span::OfKey((*keys)[i]), deadline);
      if (!covered.ok()) co_return covered.status();
      by_shard[covered->front().shard].push_back(i);
      continue;
    }
    by_shard[route->shard].push_back(i);
  }
  std::vector<std::vector<size_t>> groups;
  for (auto& [shard, indices] : by_shard) groups.push_back(std::move(indices));
  co_return groups;
}

Status CheckStale(const StaleRead& stale) {
  if (stale.wanted()) {
    return CheckMaxAge(
        stale.max_age < Duration(0) ? 0 : static_cast<uint64_t>(ToMillis(stale.max_age)));
  }
  if (!stale.not_before) return Status::Ok();
  return InvalidArgument("not_before is of stale reads: give max_age, too");
}

std::string ChooseAnchor(const RouteCache& routes, const std::vector<std::string_view>& keys) {
  struct Share {
    size_t writes = 0;
    std::string_view first;
  };
  std::map<ShardId, Share> shares;
  for (const std::string_view key : keys) {
    const Route* route = routes.Find(key);
    Share& share = shares[route == nullptr ? ShardId() : route->shard];
    if (share.writes++ == 0) share.first = key;
  }
  const auto most = std::max_element(
      shares.begin(), shares.end(),
      [](const auto& a, const auto& b) { return a.second.writes < b.second.writes; });
  return std::string(most->second.first);
}

}  // namespace quorate::client
