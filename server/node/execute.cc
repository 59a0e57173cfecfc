#include "server/node/execute.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "base/coding.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "base/status_macros.h"
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

Status Validate(const v1::ExecuteRequest& request, uint64_t unix_ms) {
  const size_t steps = static_cast<size_t>(request.conditions_size() + request.operations_size());
  if (steps > limits::kTxnKeysMax) {
    return InvalidArgument(
        fmt::format("{} conditions and operations; the limit is {}", steps, limits::kTxnKeysMax));
  }
  if (!request.txn_id().empty()) {
    const auto name = ParseName(request.txn_id(), unix_ms);
    if (!name.ok()) return name.status();
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

uint32_t CheckOf(const v1::TxnRef& txn) {
  std::string fields = txn.txn_id();
  PutFixed64(&fields, txn.start_ts());
  return Crc32c(fields + txn.anchor_key());
}

// The key at which all sendings of a named request meet: by the request alone.
std::string FirstWritten(const v1::ExecuteRequest& request) {
  const std::string* first = nullptr;
  for (const v1::Operation& operation : request.operations()) {
    if (!operation.has_put()) continue;
    if (first == nullptr || operation.put().key() < *first) first = &operation.put().key();
  }
  return first == nullptr ? std::string() : *first;
}

}  // namespace

Task<v1::ExecuteResponse> Execute(Env& env, client::Database& database, v1::ExecuteRequest request,
                                  uint64_t unix_ms, Duration timeout) {
  auto execution = std::make_shared<Execution>();
  if (const Status status = Validate(request, unix_ms); !status.ok()) {
    StatusToError(status, execution->response.mutable_error());
    co_return std::move(execution->response);
  }
  client::TransactOptions options{.timeout = timeout};
  execution->request = std::move(request);
  const auto closure = [execution](client::Transaction& transaction) {
    return RunOnce(execution, &transaction);
  };
  client::CommitResult result;
  if (!Writes(execution->request)) {
    // Nothing that could happen twice: its name says nothing.
    result.status = co_await database.SnapshotAsync(closure, options);
  } else {
    if (const auto name = GivenName::FromBytes(execution->request.txn_id())) {
      options.name = *name;
      options.name_key = FirstWritten(execution->request);
    }
    result = co_await database.TransactAsync(closure, options);
  }
  v1::ExecuteResponse& response = execution->response;
  if (options.name.given()) {
    FillTxn(client::TxnHandle::OfName(options.name, options.name_key), response.mutable_txn());
  }
  if (result.ok()) {
    response.set_commit_ts(result.commit_ts.bits());
    if (result.earlier) {
      // The results are those of this run, which did not commit.
      response.clear_results();
      response.clear_failed_conditions();
      response.clear_read_ts();
      response.set_earlier(true);
    }
  } else {
    response.clear_results();
    FillCommitError(result, response.mutable_error());
    if (result.unknown) FillTxn(*result.unknown, response.mutable_txn());
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

Result<GivenName> ParseName(std::string_view bytes, uint64_t unix_ms) {
  const auto name = GivenName::FromBytes(bytes);
  if (!name) {
    return InvalidArgument(fmt::format(
        "txn_id of {} bytes is no name: give a UUIDv7 (16 bytes that begin with Unix milliseconds)",
        bytes.size()));
  }
  const uint64_t ahead = static_cast<uint64_t>(ToMillis(limits::kNameAheadMax));
  if (name->unix_ms() > unix_ms + ahead) {
    return InvalidArgument(
        fmt::format("name {} is of {} ms, and it is {} ms here: it may be {} ms ahead at most",
                    *name, name->unix_ms(), unix_ms, ahead));
  }
  const uint64_t kept = static_cast<uint64_t>(ToMillis(limits::kNameRetention));
  if (name->unix_ms() + kept < unix_ms) {
    return Status(Code::kTooOld, fmt::format("name {} is of {} ms, and it is {} ms here: names are "
                                             "kept for {} ms",
                                             *name, name->unix_ms(), unix_ms, kept));
  }
  return *name;
}

void FillTxn(const client::TxnHandle& handle, v1::TxnRef* txn) {
  txn->set_txn_id(std::string(handle.txn_id.bytes()));
  txn->set_start_ts(handle.start_ts.bits());
  txn->set_anchor_key(handle.anchor_key);
  if (!handle.named()) txn->set_check(CheckOf(*txn));
}

Result<client::TxnHandle> ParseTxn(const v1::TxnRef& txn, uint64_t unix_ms) {
  const auto id = TxnId::FromBytes(txn.txn_id());
  if (!id) {
    return InvalidArgument(
        fmt::format("txn_id has {} bytes: a transaction has 16", txn.txn_id().size()));
  }
  RETURN_IF_ERROR(CheckKey(txn.anchor_key(), "anchor_key (one key that it writes)"));
  client::TxnHandle handle{*id, Timestamp(txn.start_ts()), txn.anchor_key()};
  if (handle.named()) {
    RETURN_IF_ERROR(ParseName(txn.txn_id(), unix_ms).status());
  } else if (txn.check() != CheckOf(txn)) {
    return InvalidArgument(
        "this txn was not handed out as it is: ask with the one of the error, unchanged, or with "
        "a name in txn_id, any key that it writes in anchor_key, and no start_ts");
  }
  return handle;
}

void FillCommitError(const client::CommitResult& result, v1::Error* error) {
  StatusToError(result.status, error);
  if (result.unknown) FillTxn(*result.unknown, error->mutable_txn());
}

}  // namespace quorate::server
