#include "client/advisory_locks.h"

#include <algorithm>

#include "base/limits.h"
#include "quorate/v1/node.pb.h"
#include "txn/judge.h"

namespace quorate::client {
namespace {

constexpr Duration kLockTtl = 3s;
constexpr Duration kLockWaitMax = 5s;
constexpr Duration kReleaseTimeout = 1s;

enum class LockKind : uint8_t { kTake, kTakeIdle, kRelease };

Caller::Fill LockFill(const TxnId& id, const TxnPriority& priority, std::vector<std::string> keys,
                      LockKind kind) {
  return [=](const Route& route) {
    v1::NodeRequest request;
    v1::LockRequest* lock = request.mutable_lock();
    SetRoute(route, lock->mutable_route());
    lock->set_txn_id(std::string(id.bytes()));
    lock->mutable_priority()->set_start_ts(priority.start_ts.bits());
    lock->mutable_priority()->set_txn_id(std::string(priority.txn_id.bytes()));
    for (const auto& key : keys) lock->add_keys(key);
    lock->set_ttl_ms(static_cast<uint32_t>(ToMillis(kLockTtl)));
    lock->set_release(kind == LockKind::kRelease);
    lock->set_idle(kind == LockKind::kTakeIdle);
    return request;
  };
}

Task<void> ReleaseLocks(Core* core, TxnId id, std::vector<std::string> keys) {
  const Instant deadline = core->env().Now() + kReleaseTimeout;
  auto shared = std::make_shared<const std::vector<std::string>>(std::move(keys));
  auto groups = co_await core->GroupByShard(shared, deadline);
  if (!groups.ok()) co_return;
  std::vector<Task<Result<v1::NodeResponse>>> calls;
  for (const auto& group : *groups) {
    const std::string& key = (*shared)[group.front()];
    calls.push_back(core->Call(key, LockFill(id, {}, {key}, LockKind::kRelease), deadline));
  }
  // Whoever does not hear of it lets the locks run out.
  (void)co_await WhenAll(core->env().executor, std::move(calls));
}

}  // namespace

AdvisoryLocks::AdvisoryLocks(Core* core, TxnId txn_id)
    : core_(core), txn_id_(txn_id), scope_(core->env().executor) {}

Task<void> AdvisoryLocks::Lock(std::vector<std::string> keys, TxnPriority priority,
                               Instant deadline) {
  priority_ = priority;
  renew_until_ = deadline;
  const Instant wait_until = std::min(deadline, core_->env().Now() + kLockWaitMax);
  auto shared = std::make_shared<const std::vector<std::string>>(std::move(keys));
  auto groups = co_await core_->GroupByShard(shared, wait_until);
  if (!groups.ok()) co_return;
  // From now on they may be held, whatever is heard.
  asked_.insert(shared->begin(), shared->end());
  co_await LockGroups(shared, std::move(*groups), wait_until);
  if (!std::exchange(renewing_, true)) scope_.Spawn(Renew());
}

Task<void> AdvisoryLocks::LockGroups(std::shared_ptr<const std::vector<std::string>> keys,
                                     std::vector<std::vector<size_t>> groups, Instant deadline) {
  std::vector<Task<Status>> locks;
  for (const auto& group : groups) {
    std::vector<std::string> part;
    for (const size_t index : group) {
      if (part.size() == kAdvisoryKeysMax) {
        locks.push_back(LockGroup(std::exchange(part, {}), deadline));
      }
      part.push_back((*keys)[index]);
    }
    locks.push_back(LockGroup(std::move(part), deadline));
  }
  (void)co_await WhenAll(core_->env().executor, std::move(locks));
}

Task<Status> AdvisoryLocks::LockGroup(std::vector<std::string> keys, Instant deadline) {
  std::string route_key = keys.front();
  const bool idle = idle_since_ && core_->env().Now() - *idle_since_ >= limits::kSessionIdleMax;
  Caller::Fill fill =
      LockFill(txn_id_, priority_, keys, idle ? LockKind::kTakeIdle : LockKind::kTake);
  const Result<v1::NodeResponse> response =
      co_await core_->Call(std::move(route_key), std::move(fill), deadline);
  if (response.ok() && response->lock().error().code() == v1::OK) {
    held_.insert(keys.begin(), keys.end());
  } else if (response.status().code() == Code::kLockConflict) {
    // Others have them; who was idle gave up all that it had there.
    for (const std::string& key : keys) {
      held_.erase(key);
      if (idle) asked_.erase(key);
    }
  }
  co_return response.status();
}

Task<void> AdvisoryLocks::Renew() {
  while (true) {
    co_await Sleep(core_->env().executor, kLockTtl / 3);
    const Instant now = core_->env().Now();
    if (now >= renew_until_) break;
    auto keys = std::make_shared<const std::vector<std::string>>(asked_.begin(), asked_.end());
    auto groups = co_await core_->GroupByShard(keys, now + kLockTtl);
    if (!groups.ok()) continue;
    co_await LockGroups(keys, std::move(*groups), now + kLockTtl);
  }
  renewing_ = false;
}

void AdvisoryLocks::SetIdle(bool idle) {
  idle_since_.reset();
  if (idle) idle_since_ = core_->env().Now();
}

void AdvisoryLocks::Release() {
  scope_.Clear();
  renewing_ = false;
  held_.clear();
  if (asked_.empty()) return;
  std::vector<std::string> keys(asked_.begin(), asked_.end());
  asked_.clear();
  core_->background().Spawn(ReleaseLocks(core_, txn_id_, std::move(keys)));
}

}  // namespace quorate::client
