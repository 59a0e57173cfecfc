#include "server/node/local_channel.h"

#include <utility>

#include "base/timer_guard.h"

namespace quorate::server {

LocalChannel::LocalChannel(Env& env, client::Channel& remote, std::string own_address,
                           TaskScope& scope, Serve serve)
    : env_(env),
      remote_(remote),
      own_address_(std::move(own_address)),
      scope_(scope),
      serve_(std::move(serve)) {}

namespace {

Task<void> ServeInto(Task<v1::NodeResponse> serving, Promise<Result<v1::NodeResponse>> promise) {
  promise.Set(Result<v1::NodeResponse>(co_await std::move(serving)));
}

}  // namespace

Task<Result<v1::NodeResponse>> LocalChannel::Call(std::string address, v1::NodeRequest request,
                                                  Duration timeout) {
  if (address != own_address_) {
    co_return co_await remote_.Call(std::move(address), std::move(request), timeout);
  }
  if (request.timeout_ms() == 0) {
    request.set_timeout_ms(static_cast<uint32_t>(std::max<int64_t>(1, ToMillis(timeout))));
  }
  Promise<Result<v1::NodeResponse>> promise(env_.executor);
  scope_.Spawn(ServeInto(serve_(std::move(request)), promise));
  const TimerGuard timer(env_.executor, timeout, [promise] {
    promise.Set(Result<v1::NodeResponse>(DeadlineExceeded("no answer of this node in time")));
  });
  co_return co_await promise.future();
}

}  // namespace quorate::server
