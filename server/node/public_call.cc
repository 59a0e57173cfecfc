#include "server/node/public_call.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/deadline.h"
#include "base/limits.h"
#include "base/status_macros.h"
#include "base/timer_guard.h"
#include "txn/errors.h"
#include "txn/id.h"

namespace quorate::server {
namespace {

Status CheckCount(size_t count, const char* what) {
  if (count <= limits::kTxnKeysMax) return Status::Ok();
  return InvalidArgument(
      fmt::format("{} {} in one request; the limit is {}", count, what, limits::kTxnKeysMax));
}

// `bytes`: of all writes so far.
Status CheckWrite(const v1::Write& write, const std::string& what, size_t* bytes) {
  RETURN_IF_ERROR(CheckKey(write.key(), what));
  RETURN_IF_ERROR(CheckValue(write.value()));
  *bytes += write.key().size() + write.value().size();
  return CheckTxnSize(*bytes, 0, 0);
}

Status CheckCondition(const v1::Condition& condition, int index) {
  RETURN_IF_ERROR(CheckKey(condition.key(), fmt::format("key of condition {}", index)));
  if (condition.expectation_case() != v1::Condition::EXPECTATION_NOT_SET) return Status::Ok();
  return InvalidArgument(fmt::format("condition {} expects nothing: set equals or absent", index));
}

Status CheckOperation(const v1::Operation& operation, int index, size_t* bytes) {
  const std::string key = fmt::format("key of operation {}", index);
  switch (operation.kind_case()) {
    case v1::Operation::kGet:
      return CheckKey(operation.get(), key);
    case v1::Operation::kPut:
      return CheckWrite(operation.put(), key, bytes);
    case v1::Operation::kScan:
      return CheckSpan(operation.scan().from(), operation.scan().to());
    case v1::Operation::KIND_NOT_SET:
      break;
  }
  return InvalidArgument(fmt::format("operation {} is empty: set get, put or scan", index));
}

template <class Request>
Status CheckStale(const Request& request) {
  return request.has_stale() ? CheckMaxAge(request.stale().max_age_ms()) : Status::Ok();
}

}  // namespace

void ClientGone::Set() {
  set_ = true;
  for (const auto& waiter : std::exchange(waiters_, {})) {
    waiter.Set(Cancelled("the client is gone"));
  }
}

void ClientGone::Tell(const Promise<Status>& waiter) {
  if (set_) {
    waiter.Set(Cancelled("the client is gone"));
    return;
  }
  std::erase_if(waiters_, [](const auto& other) { return other.is_set(); });
  waiters_.push_back(waiter);
}

Status CheckRequest(const v1::ExecuteRequest& request) {
  const size_t steps = static_cast<size_t>(request.conditions_size()) +
                       static_cast<size_t>(request.operations_size());
  RETURN_IF_ERROR(CheckCount(steps, "conditions and operations"));
  if (!request.txn_id().empty() && !TxnId::FromBytes(request.txn_id())) {
    return InvalidArgument("txn_id must have 16 bytes, or be absent");
  }
  for (int i = 0; i < request.conditions_size(); ++i) {
    RETURN_IF_ERROR(CheckCondition(request.conditions(i), i));
  }
  size_t bytes = 0;
  for (int i = 0; i < request.operations_size(); ++i) {
    RETURN_IF_ERROR(CheckOperation(request.operations(i), i, &bytes));
    if (request.has_stale() && request.operations(i).has_put()) {
      return InvalidArgument(fmt::format(
          "operation {} writes: stale is of what only reads, and what writes reads what is now",
          i));
    }
  }
  return CheckStale(request);
}

Status CheckRequest(const v1::SessionReadRequest& request) {
  RETURN_IF_ERROR(CheckCount(static_cast<size_t>(request.keys_size()), "keys"));
  for (const std::string& key : request.keys()) RETURN_IF_ERROR(CheckKey(key));
  return Status::Ok();
}

Status CheckRequest(const v1::SessionScanRequest& request) {
  return CheckSpan(request.from(), request.to());
}

Status CheckRequest(const v1::SessionWriteRequest& request) {
  RETURN_IF_ERROR(CheckCount(static_cast<size_t>(request.writes_size()), "writes"));
  size_t bytes = 0;
  for (int i = 0; i < request.writes_size(); ++i) {
    RETURN_IF_ERROR(CheckWrite(request.writes(i), fmt::format("key of write {}", i), &bytes));
  }
  return Status::Ok();
}

Status CheckRequest(const v1::ScanAllRequest& request) {
  RETURN_IF_ERROR(CheckSpan(request.from(), request.to()));
  RETURN_IF_ERROR(CheckStale(request));
  if (request.page_bytes() <= limits::kScanPageBytesMax) return Status::Ok();
  return InvalidArgument(fmt::format("page_bytes of {}: the limit is {}", request.page_bytes(),
                                     limits::kScanPageBytesMax));
}

Status CheckRequest(const v1::GetOutcomeRequest& request) {
  if (!TxnId::FromBytes(request.txn().txn_id())) {
    return InvalidArgument("a transaction id has 16 bytes");
  }
  return CheckKey(request.txn().anchor_key(), "anchor_key");
}

Status CheckRequest(const v1::BeginRequest& request) {
  if (request.has_stale() && !request.read_only()) {
    return InvalidArgument("stale is of sessions that are read_only");
  }
  return CheckStale(request);
}

// Nothing in them can be wrong by itself, or whoever acts on it judges it.
Status CheckRequest(const v1::SessionCommitRequest&) { return Status::Ok(); }
Status CheckRequest(const v1::SessionRollbackRequest&) { return Status::Ok(); }
Status CheckRequest(const v1::InitRequest&) { return Status::Ok(); }
Status CheckRequest(const v1::StatusRequest&) { return Status::Ok(); }

Task<Status> BreakOff(Env& env, std::shared_ptr<ClientGone> gone, Instant deadline,
                      Promise<Status> interrupt, Task<Status> step) {
  TaskScope scope(env.executor);
  scope.Spawn(task_internal::FulfilLater<Status>(std::move(step), interrupt));
  gone->Tell(interrupt);
  const Duration left = std::max(deadline - env.Now(), Duration(0));
  const TimerGuard timer(env.executor, left, [interrupt] {
    interrupt.Set(DeadlineExceeded("the time for this call is over; nothing was changed"));
  });
  co_return co_await interrupt.future();
}

}  // namespace quorate::server
