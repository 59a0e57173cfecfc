#include "cli/admin.h"

#include <fmt/format.h>

#include <future>
#include <optional>
#include <thread>

#include "base/env.h"
#include "base/real_clock.h"
#include "base/real_executor.h"
#include "base/stderr_logger.h"
#include "base/task.h"
#include "client/route/grpc_channel.h"
#include "client/route/grpc_loop.h"
#include "quorate/v1/node.pb.h"

namespace quorate::cli {
namespace {

using Answer = Result<v1::NodeResponse>;
constexpr Duration kRetryAfter = 100ms;

Task<void> CallTask(client::Channel* channel, std::string address, v1::NodeRequest request,
                    Duration timeout, std::promise<Answer> done) {
  done.set_value(co_await channel->Call(std::move(address), std::move(request), timeout));
}

const v1::Error& ErrorOf(const v1::NodeResponse& response) {
  if (response.has_error()) return response.error();
  if (response.has_init()) return response.init().error();
  if (response.has_status()) return response.status().error();
  if (response.has_routes()) return response.routes().error();
  if (response.has_hello()) return response.hello().error();
  if (response.has_placement()) return response.placement().error();
  return response.error();
}

// What a node says of itself in it.
Status SaidBy(const v1::NodeResponse& response) {
  const v1::Error& error = ErrorOf(response);
  return error.code() == v1::OK ? Status::Ok()
                                : Status(static_cast<Code>(error.code()), error.message());
}

bool OfTheMoment(Code code) {
  return code == Code::kUnavailable || code == Code::kDeadlineExceeded;
}

}  // namespace

struct Admin::Rep {
  RealClock clock;
  Random random{EntropySeed()};
  NullLogger log;
  Metrics metrics;
  client::GrpcLoop loop;
  RealExecutor executor{loop};
  Env env{executor, clock, random, log, metrics};
  client::GrpcChannel channel{env, loop};
  TaskScope scope{executor};
};

Admin::Admin() : rep_(std::make_unique<Rep>()) { rep_->executor.Start(); }

Admin::~Admin() {
  rep_->executor.Stop();
  rep_->executor.Join();
}

void Admin::SetCluster(const std::string& cluster_id) {
  rep_->executor.Post([rep = rep_.get(), cluster_id] { rep->channel.SetClusterId(cluster_id); });
}

Result<v1::NodeResponse> Admin::Send(const std::string& address, v1::NodeRequest request,
                                     Duration timeout) {
  request.set_timeout_ms(static_cast<uint32_t>(ToMillis(timeout)));
  // Who asks others in vain says so at the end of its time, and is to be heard.
  const Duration patience = timeout + std::min<Duration>(timeout / 4, 500ms);
  std::promise<Answer> promise;
  auto future = promise.get_future();
  rep_->executor.Post([this, address, request = std::move(request), patience,
                       promise = std::move(promise)]() mutable {
    rep_->scope.Spawn(
        CallTask(&rep_->channel, address, std::move(request), patience, std::move(promise)));
  });
  return future.get();
}

Result<v1::NodeResponse> Admin::Call(const std::string& address, v1::NodeRequest request,
                                     Duration timeout) {
  Answer answer = Send(address, std::move(request), timeout);
  if (!answer.ok()) return answer;
  if (Status said = SaidBy(*answer); !said.ok()) return said;
  return answer;
}

Result<v1::NodeResponse> Admin::CallAny(const std::vector<std::string>& addresses,
                                        const v1::NodeRequest& request, Duration timeout,
                                        const Check& check) {
  std::optional<Status> said;
  const auto take = [&said](Status status) {
    if (!said || OfTheMoment(said->code()) || !OfTheMoment(status.code())) said = std::move(status);
  };
  // The first silent node must not use up the time of the others.
  const Duration each = addresses.size() > 1 ? std::min<Duration>(timeout, 3s) : timeout;
  for (const auto& address : addresses) {
    Answer answer = Send(address, request, each);
    if (!answer.ok()) {
      if (!OfTheMoment(answer.status().code())) take(answer.status());
      continue;
    }
    Status status = SaidBy(*answer);
    if (status.ok() && check) status = check(address);
    if (status.ok()) return answer;
    take(std::move(status));
  }
  if (said) return *said;
  return Unavailable(
      fmt::format("no node answers at {}; is it running there? (--cluster names others)",
                  fmt::join(addresses, ", ")));
}

Result<v1::NodeResponse> Admin::CallUntilAvailable(const std::vector<std::string>& addresses,
                                                   const v1::NodeRequest& request,
                                                   Duration timeout) {
  const Instant end = RealClock::BootNow() + timeout;
  while (true) {
    const Instant now = RealClock::BootNow();
    auto answer = CallAny(addresses, request, std::max<Duration>(end - now, 100ms));
    if (answer.ok() || answer.status().code() != Code::kUnavailable || now + kRetryAfter > end) {
      return answer;
    }
    std::this_thread::sleep_for(kRetryAfter);
  }
}

}  // namespace quorate::cli
