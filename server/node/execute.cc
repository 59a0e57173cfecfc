#include "server/node/execute.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "base/limits.h"
#include "txn/errors.h"

namespace quorate::server {

namespace {

// Rows are fetched in pages, so that a scan of large values stops soon after its bound in bytes.
constexpr size_t kPageFirst = 64;
constexpr size_t kPageMax = 1024;
constexpr size_t kPageSmallBytes = 256 << 10;

struct Execution {
  v1::ExecuteRequest request;
  v1::ExecuteResponse response;
};

bool Holds(const v1::Condition& condition, const std::optional<std::string>& value) {
  switch (condition.expectation_case()) {
    case v1::Condition::kEquals:
      return value == condition.equals();
    case v1::Condition::kAbsent:
      return condition.absent() != value.has_value();
    case v1::Condition::EXPECTATION_NOT_SET:
      break;
  }
  return false;
}

Status Validate(const v1::ExecuteRequest& request) {
  const size_t steps = static_cast<size_t>(request.conditions_size() + request.operations_size());
  if (steps > limits::kTxnKeysMax) {
    return InvalidArgument(
        fmt::format("{} conditions and operations; the limit is {}", steps, limits::kTxnKeysMax));
  }
  if (!request.txn_id().empty() && request.txn_id().size() != TxnId::kBytes) {
    return InvalidArgument("txn_id must have 16 bytes, or be absent");
  }
  for (int i = 0; i < request.conditions_size(); ++i) {
    const v1::Condition& condition = request.conditions(i);
    RETURN_IF_ERROR(CheckKey(condition.key(), fmt::format("key of condition {}", i)));
    if (condition.expectation_case() == v1::Condition::EXPECTATION_NOT_SET) {
      return InvalidArgument(fmt::format("condition {} expects nothing: set equals or absent", i));
    }
  }
  for (int i = 0; i < request.operations_size(); ++i) {
    if (request.operations(i).kind_case() == v1::Operation::KIND_NOT_SET) {
      return InvalidArgument(fmt::format("operation {} is empty: set get, put or scan", i));
    }
  }
  return Status::Ok();
}

bool Writes(const v1::ExecuteRequest& request) {
  return std::any_of(request.operations().begin(), request.operations().end(),
                     [](const v1::Operation& operation) { return operation.has_put(); });
}

Task<Status> CheckConditions(std::shared_ptr<Execution> execution,
                             client::Transaction* transaction) {
  std::vector<std::string> keys;
  for (const v1::Condition& condition : execution->request.conditions()) {
    keys.push_back(condition.key());
  }
  if (keys.empty()) co_return Status::Ok();
  CO_ASSIGN_OR_RETURN(const auto values, co_await transaction->GetMany(std::move(keys)));
  for (int i = 0; i < execution->request.conditions_size(); ++i) {
    if (!Holds(execution->request.conditions(i), values[static_cast<size_t>(i)])) {
      execution->response.add_failed_conditions(static_cast<uint32_t>(i));
    }
  }
  const int failed = execution->response.failed_conditions_size();
  if (failed == 0) co_return Status::Ok();
  co_return Status(Code::kFailedPrecondition,
                   fmt::format("{} of {} conditions do not hold; nothing was written", failed,
                               execution->request.conditions_size()));
}

Task<Status> RunOperation(std::shared_ptr<Execution> execution, client::Transaction* transaction,
                          int index) {
  const v1::Operation& operation = execution->request.operations(index);
  v1::OperationResult* result = execution->response.add_results();
  switch (operation.kind_case()) {
    case v1::Operation::kGet: {
      v1::KeyValue* out = result->mutable_value();
      CO_ASSIGN_OR_RETURN(auto value, co_await transaction->Get(operation.get()));
      out->set_key(operation.get());
      out->set_found(value.has_value());
      if (value) out->set_value(std::move(*value));
      co_return Status::Ok();
    }
    case v1::Operation::kPut:
      co_return BufferWrite(transaction, operation.put());
    case v1::Operation::kScan: {
      CO_ASSIGN_OR_RETURN(
          const bool more,
          co_await ScanRows(transaction, operation.scan().from(), operation.scan().to(),
                            operation.scan().limit(), result->mutable_rows()));
      result->set_more(more);
      co_return Status::Ok();
    }
    case v1::Operation::KIND_NOT_SET:
      break;
  }
  co_return InvalidArgument("an operation is empty");
}

// One attempt: whatever an earlier one has filled in is forgotten.
Task<Status> RunOnce(std::shared_ptr<Execution> execution, client::Transaction* transaction) {
  execution->response.Clear();
  CO_RETURN_IF_ERROR(co_await CheckConditions(execution, transaction));
  for (int i = 0; i < execution->request.operations_size(); ++i) {
    CO_RETURN_IF_ERROR(co_await RunOperation(execution, transaction, i));
  }
  execution->response.set_read_ts(transaction->start_ts().bits());
  co_return Status::Ok();
}

// With an id of the caller's choosing; nullopt: it conflicted and is known to be aborted, so that
// another attempt, under another id, may follow.
Task<std::optional<client::CommitResult>> RunNamed(client::Database* database,
                                                   std::shared_ptr<Execution> execution,
                                                   TxnId txn_id, Duration timeout) {
  const auto session = database->Begin(false, txn_id, timeout);
  client::CommitResult result;
  result.status = co_await RunOnce(execution, &session->transaction());
  if (result.status.ok()) {
    result = co_await session->Commit(timeout);
    FillTxn(session->handle(), execution->response.mutable_txn());
  } else {
    session->Rollback();
  }
  if (RetryClassOf(result.status.code()) == RetryClass::kNewAttempt) co_return std::nullopt;
  co_return result;
}

}  // namespace

Task<v1::ExecuteResponse> Execute(Env& env, client::Database& database, v1::ExecuteRequest request,
                                  Duration timeout) {
  auto execution = std::make_shared<Execution>();
  if (const Status status = Validate(request); !status.ok()) {
    StatusToError(status, execution->response.mutable_error());
    co_return std::move(execution->response);
  }
  const Instant deadline = env.Now() + timeout;
  const std::optional<TxnId> named = TxnId::FromBytes(request.txn_id());
  execution->request = std::move(request);
  const auto closure = [execution](client::Transaction& transaction) {
    return RunOnce(execution, &transaction);
  };
  std::optional<client::CommitResult> result;
  if (!Writes(execution->request)) {
    result.emplace();
    result->status = co_await database.SnapshotAsync(closure, {.timeout = timeout});
  } else if (named) {
    result = co_await RunNamed(&database, execution, *named, timeout);
  }
  if (!result) {
    const Duration left = std::max<Duration>(deadline - env.Now(), 1ms);
    result = co_await database.TransactAsync(closure, {.timeout = left});
  }
  v1::ExecuteResponse& response = execution->response;
  if (result->ok()) {
    response.set_commit_ts(result->commit_ts.bits());
  } else {
    response.clear_results();
    FillCommitError(*result, response.mutable_error());
    if (result->unknown) FillTxn(*result->unknown, response.mutable_txn());
  }
  co_return std::move(response);
}

Task<Status> ReadKeys(client::Transaction* transaction, std::vector<std::string> keys,
                      bool for_update, KeyValues* values) {
  if (keys.size() > limits::kTxnKeysMax) {
    co_return InvalidArgument(
        fmt::format("{} keys asked; the limit is {}", keys.size(), limits::kTxnKeysMax));
  }
  std::vector<std::optional<std::string>> found;
  if (for_update) {
    for (const std::string& key : keys) {
      CO_ASSIGN_OR_RETURN(auto value, co_await transaction->GetForUpdate(key));
      found.push_back(std::move(value));
    }
  } else if (!keys.empty()) {
    CO_ASSIGN_OR_RETURN(found, co_await transaction->GetMany(keys));
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    v1::KeyValue* out = values->Add();
    out->set_key(std::move(keys[i]));
    out->set_found(found[i].has_value());
    if (found[i]) out->set_value(std::move(*found[i]));
  }
  co_return Status::Ok();
}

Task<Result<bool>> ScanRows(client::Transaction* transaction, std::string from, std::string to,
                            uint32_t limit, KeyValues* rows) {
  const size_t most =
      limit == 0 ? limits::kScanRowsMax : std::min<size_t>(limit, limits::kScanRowsMax);
  size_t bytes = 0;
  size_t page = kPageFirst;
  while (true) {
    // One more than wanted tells whether there are more.
    const size_t left = most - static_cast<size_t>(rows->size()) + 1;
    const size_t ask = std::min(page, left);
    CO_ASSIGN_OR_RETURN(auto fetched, co_await transaction->Scan(from, to, {.limit = ask}));
    const size_t before = bytes;
    for (client::Row& row : fetched) {
      if (static_cast<size_t>(rows->size()) == most || bytes > limits::kScanBytesMax) {
        co_return true;
      }
      bytes += row.key.size() + row.value.size();
      v1::KeyValue* out = rows->Add();
      from = row.key;
      from.push_back('\0');
      out->set_key(std::move(row.key));
      out->set_value(std::move(row.value));
      out->set_found(true);
    }
    if (fetched.size() < ask) co_return false;
    if (bytes - before < kPageSmallBytes) page = std::min(page * 2, kPageMax);
  }
}

Status BufferWrite(client::Transaction* transaction, v1::Write write) {
  if (write.deletion()) return transaction->Delete(std::move(*write.mutable_key()));
  return transaction->Put(std::move(*write.mutable_key()), std::move(*write.mutable_value()));
}

void FillTxn(const client::TxnHandle& handle, v1::TxnRef* txn) {
  txn->set_txn_id(std::string(handle.txn_id.bytes()));
  txn->set_start_ts(handle.start_ts.bits());
  txn->set_anchor_key(handle.anchor_key);
}

void FillCommitError(const client::CommitResult& result, v1::Error* error) {
  StatusToError(result.status, error);
  if (result.unknown) FillTxn(*result.unknown, error->mutable_txn());
}

}  // namespace quorate::server
