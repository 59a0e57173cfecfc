#include "server/node/execute.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "base/mutant.h"
#include "base/status_macros.h"
#include "txn/errors.h"

namespace quorate::server {

namespace {

// Rows are fetched in pages, so that a scan of large values stops soon after its bound in bytes.
constexpr size_t kPageFirst = 64;
constexpr size_t kPageMax = 1024;
constexpr size_t kPageSmallBytes = 256 << 10;
constexpr size_t kCopiedInTurnMax = 1 << 20;  // of values, before everybody else has their turn
constexpr size_t kRowFraming = 8;             // of a row in its message, at most
// Held for a fetch until it is known what it brought; how much is fetched at once is bounded
// anyway.
constexpr size_t kFetchHeldMax = 64 << 10;
// Who has more than so much to take beside an answer is late; all fetches for such clients together
// have so long a pause before each.
constexpr size_t kUntakenMax = 2 << 20;
constexpr Duration kLatePause = 20ms;
// While answers have more than so much of the node, nothing is fetched for clients that are late.
constexpr size_t kLateAnswersMax = 32 << 20;

struct Execution {
  Execution(Env& e, PublicTurns* turns, v1::ExecuteRequest r, PublicCall c, Instant d)
      : env(e), request(std::move(r)), call(std::move(c)), deadline(d), room(env, call, turns) {}

  Env& env;
  const v1::ExecuteRequest request;
  const PublicCall call;
  const Instant deadline;
  AnswerRoom room;
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

bool Writes(const v1::ExecuteRequest& request) {
  return std::any_of(request.operations().begin(), request.operations().end(),
                     [](const v1::Operation& operation) { return operation.has_put(); });
}

// Of `count` values, as many as one read answers.
size_t BytesOfValues(size_t count) {
  return std::min(count * limits::kValueBytesMax, limits::kAnswerBytesMax);
}

size_t BytesOf(const std::vector<std::optional<std::string>>& values) {
  size_t bytes = 0;
  for (const auto& value : values) bytes += value ? value->size() : 0;
  return bytes;
}

// The values of `keys`, those from `first` on, as many as fit one read; at least one.
Task<Result<std::vector<std::optional<std::string>>>> ReadSome(
    client::Transaction* transaction, std::shared_ptr<const std::vector<std::string>> keys,
    size_t first, size_t* most, AnswerRoom* room) {
  while (true) {
    const size_t count = std::min(*most, keys->size() - first);
    const auto begin = keys->begin() + static_cast<std::ptrdiff_t>(first);
    CO_ASSIGN_OR_RETURN(Fetch fetch, co_await room->Begin(BytesOfValues(count)));
    auto values =
        co_await transaction->GetMany({begin, begin + static_cast<std::ptrdiff_t>(count)});
    if (values.ok()) fetch.Brought(BytesOf(*values));
    if (values.status().code() != Code::kInvalidArgument || count == 1) co_return values;
    *most = count / 2;
  }
}

Task<Status> CheckConditions(std::shared_ptr<Execution> execution,
                             client::Transaction* transaction) {
  auto keys = std::make_shared<std::vector<std::string>>();
  for (const v1::Condition& condition : execution->request.conditions()) {
    keys->push_back(condition.key());
  }
  size_t most = keys->size();
  for (size_t checked = 0; checked < keys->size();) {
    CO_ASSIGN_OR_RETURN(const auto values,
                        co_await ReadSome(transaction, keys, checked, &most, &execution->room));
    for (const auto& value : values) {
      const auto index = static_cast<int>(checked++);
      if (!Holds(execution->request.conditions(index), value)) {
        execution->response.add_failed_conditions(static_cast<uint32_t>(index));
      }
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
      CO_ASSIGN_OR_RETURN(Fetch fetch, co_await execution->room.Begin(BytesOfValues(1)));
      CO_ASSIGN_OR_RETURN(auto value, co_await transaction->Get(operation.get()));
      fetch.Brought(value ? value->size() : 0);
      out->set_key(operation.get());
      out->set_found(value.has_value());
      if (value) out->set_value(std::move(*value));
      co_return execution->room.Take(*out);
    }
    case v1::Operation::kPut:
      co_return BufferWrite(transaction, operation.put());
    case v1::Operation::kScan: {
      const v1::ScanOperation& asked = operation.scan();
      RowScan scan{{asked.from(), asked.to()},
                   asked.limit(),
                   asked.limit_bytes(),
                   asked.reverse(),
                   asked.keys_only()};
      CO_ASSIGN_OR_RETURN(ScanCut cut, co_await ScanRows(transaction, std::move(scan),
                                                         &execution->room, result->mutable_rows()));
      result->set_more(cut.more);
      result->set_resume_key(std::move(cut.resume_key));
      co_return execution->room.Take(result->resume_key().size());
    }
    case v1::Operation::KIND_NOT_SET:
      break;
  }
  co_return InvalidArgument("an operation is empty");
}

Task<Status> RunSteps(std::shared_ptr<Execution> execution, client::Transaction* transaction) {
  CO_RETURN_IF_ERROR(co_await CheckConditions(execution, transaction));
  // Each has a result, if an empty one.
  const auto results = static_cast<size_t>(execution->request.operations_size());
  CO_RETURN_IF_ERROR(execution->room.Take(results * kRowFraming));
  size_t copied = 0;
  for (int i = 0; i < execution->request.operations_size(); ++i) {
    CO_RETURN_IF_ERROR(co_await RunOperation(execution, transaction, i));
    copied += execution->request.operations(i).put().value().size();
    if (copied < kCopiedInTurnMax) continue;
    co_await Sleep(execution->env.executor, Duration(0));
    copied = 0;
  }
  co_return Status::Ok();
}

// One attempt up to its commit: whatever an earlier one has filled in is forgotten. For a client
// that is gone nothing is begun that is not needed any more; a commit goes on without it.
Task<Status> RunOnce(std::shared_ptr<Execution> execution, client::Transaction* transaction) {
  execution->response.Clear();
  execution->room.Reset();
  CO_RETURN_IF_ERROR(co_await BreakOff(execution->env, execution->call.gone, execution->deadline,
                                       Promise<Status>(execution->env.executor),
                                       RunSteps(execution, transaction)));
  execution->response.set_read_ts(transaction->start_ts().bits());
  co_return Status::Ok();
}

// For what it writes, as long as the whole transaction takes.
Task<Status> TakeTurn(ByteTurns* writes, std::shared_ptr<Execution> execution,
                      std::unique_ptr<ByteTurns::Turn>* turn) {
  const size_t bytes = execution->request.ByteSizeLong();
  *turn = co_await writes->TakeExactly(execution->call.client, bytes, kWritePatience);
  co_return Status::Ok();
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

Task<v1::ExecuteResponse> Execute(Env& env, client::Database& database, PublicTurns* turns,
                                  v1::ExecuteRequest request, uint64_t unix_ms, PublicCall call,
                                  Duration timeout) {
  if (!request.txn_id().empty()) {
    const auto name = ParseName(request.txn_id(), unix_ms);
    if (!name.ok()) {
      v1::ExecuteResponse refused;
      StatusToError(name.status(), refused.mutable_error());
      co_return refused;
    }
  }
  const Instant deadline = env.Now() + timeout;
  client::TransactOptions options{.timeout = timeout};
  auto execution =
      std::make_shared<Execution>(env, turns, std::move(request), std::move(call), deadline);
  const auto closure = [execution](client::Transaction& transaction) {
    return RunOnce(execution, &transaction);
  };
  std::unique_ptr<ByteTurns::Turn> turn;
  client::CommitResult result = {};
  const bool writes = Writes(execution->request);
  if (writes && !execution->request.txn_id().empty()) {
    options.name = *GivenName::FromBytes(execution->request.txn_id());
    options.name_key = FirstWritten(execution->request);
  }
  if (writes) {
    result.status =
        co_await BreakOff(env, execution->call.gone, deadline, Promise<Status>(env.executor),
                          TakeTurn(&turns->writes, execution, &turn));
    options.timeout = std::max<Duration>(deadline - env.Now(), 1ms);
  }
  if (!result.status.ok()) {
    // Its turn did not come in time: nothing is known of its name.
    result.this_call_only = options.name.given();
  } else if (!writes) {
    // Nothing that could happen twice: its name says nothing.
    options.stale = StaleOf(execution->request.stale());
    result.status = co_await database.SnapshotAsync(closure, options);
  } else {
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

// ---- what fits an answer ------------------------------------------------------------------------

bool AnswerRoom::Fits(const v1::KeyValue& row) const {
  return used_ + row.ByteSizeLong() + kRowFraming <= limits::kAnswerBytesMax;
}

Task<Result<Fetch>> AnswerRoom::Begin(size_t at_most, Duration turn_ends_after) {
  auto turn = co_await TakeTurn(at_most, turn_ends_after);
  if (turn == nullptr) co_return TooMuchHeld();
  // Whoever has no room for the beginning has none for the rest.
  const size_t held = std::min({turn->bytes(), kFetchHeldMax, holding_->total() / 8});
  if (!holding_->Grow(held)) co_return TooMuchHeld();
  co_return Fetch(std::move(turn), holding_, held);
}

bool AnswerRoom::late() const {
  return turns_->answers->HeldBy(client_) - answer_->amount() > kUntakenMax;
}

bool AnswerRoom::in_vain() const { return late() && turns_->answers->used() > kLateAnswersMax; }

Task<std::unique_ptr<ByteTurns::Turn>> AnswerRoom::TakeTurn(size_t at_most,
                                                            Duration turn_ends_after) {
  const size_t expected = turns_->reads.Expected(client_, at_most);
  if (!ByteTurns::NeedsNone(expected) && in_vain()) co_return nullptr;
  auto turn = co_await turns_->reads.Take(client_, at_most, turn_ends_after);
  // What it has to take may have come while this one waited.
  if (ByteTurns::NeedsNone(turn->bytes()) || !late()) co_return turn;
  const size_t bytes = turn->bytes();
  turn.reset();
  if (in_vain()) co_return nullptr;
  turn = co_await turns_->late_reads.TakeExactly(client_, bytes, turn_ends_after);
  co_await Sleep(env_.executor, kLatePause);
  co_return turn;
}

Status AnswerRoom::Take(const v1::KeyValue& row) { return Take(row.ByteSizeLong() + kRowFraming); }

Status AnswerRoom::Take(size_t bytes) {
  if (used_ + bytes > limits::kAnswerBytesMax) {
    return InvalidArgument(
        fmt::format("the results have more than the {} bytes that one answer holds: ask for less "
                    "in one request, and give scans a limit_bytes",
                    limits::kAnswerBytesMax));
  }
  if (!holding_->Grow(bytes)) return TooMuchHeld();
  CHECK(answer_->Grow(bytes), "more answers than memory");
  used_ += bytes;
  return Status::Ok();
}

void AnswerRoom::Reset() {
  answer_->Shrink(used_);
  holding_->Shrink(std::exchange(used_, 0));
}

Status TooMuchHeld() {
  return Status(Code::kOverloaded,
                "this client holds too much of the node's memory (requests under way, sessions, "
                "answers not read): read answers, end sessions, then send this again");
}

Task<Status> ReadKeys(client::Transaction* transaction, std::vector<std::string> keys,
                      bool for_update, AnswerRoom* room, KeyValues* values) {
  std::vector<std::optional<std::string>> found;
  if (!for_update && !keys.empty()) {
    CO_ASSIGN_OR_RETURN(Fetch fetch, co_await room->Begin(BytesOfValues(keys.size())));
    CO_ASSIGN_OR_RETURN(found, co_await transaction->GetMany(keys));
    fetch.Brought(BytesOf(found));
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    std::optional<std::string> value;
    if (for_update) {
      CO_ASSIGN_OR_RETURN(Fetch fetch,
                          co_await room->Begin(BytesOfValues(1), kLockedFetchPatience));
      CO_ASSIGN_OR_RETURN(value, co_await transaction->GetForUpdate(keys[i]));
      fetch.Brought(value ? value->size() : 0);
    } else {
      value = std::move(found[i]);
    }
    v1::KeyValue* out = values->Add();
    out->set_key(std::move(keys[i]));
    out->set_found(value.has_value());
    if (value) out->set_value(std::move(*value));
    CO_RETURN_IF_ERROR(room->Take(*out));
  }
  co_return Status::Ok();
}

Task<Result<ScanCut>> ScanRows(client::Transaction* transaction, RowScan scan, AnswerRoom* room,
                               KeyValues* rows) {
  const size_t most =
      scan.limit == 0 ? limits::kScanRowsMax : std::min<size_t>(scan.limit, limits::kScanRowsMax);
  const size_t bytes_max = scan.limit_bytes == 0 ? SIZE_MAX : scan.limit_bytes;
  size_t bytes = 0;
  client::ScanOptions page{.limit = kPageFirst,
                           .reverse = scan.reverse,
                           .keys_only = scan.keys_only,
                           .limit_bytes = kPageSmallBytes};
  Span rest = std::move(scan.span);
  while (true) {
    // One more than wanted tells whether there are more.
    client::ScanOptions ask = page;
    ask.limit = std::min(page.limit, most - static_cast<size_t>(rows->size()) + 1);
    CO_ASSIGN_OR_RETURN(Fetch fetch, co_await room->Begin(ask.limit_bytes + kRowBytesMax));
    CO_ASSIGN_OR_RETURN(auto fetched, co_await transaction->Scan(rest.from, rest.to, ask));
    size_t page_bytes = 0;
    for (const client::Row& row : fetched) page_bytes += row.key.size() + row.value.size();
    fetch.Brought(page_bytes);
    for (client::Row& row : fetched) {
      const size_t row_bytes = row.key.size() + row.value.size();
      v1::KeyValue out;
      out.set_key(std::move(row.key));
      out.set_value(std::move(row.value));
      out.set_found(true);
      const bool full = static_cast<size_t>(rows->size()) == most || bytes >= bytes_max;
      if (full || !room->Fits(out)) {
        if (MUTANT("server-scan-page-off-by-one")) {
          rest = rest.Behind(out.key(), scan.reverse).value_or(rest);
        }
        co_return ScanCut{true, scan.reverse ? std::move(rest.to) : std::move(rest.from)};
      }
      CO_RETURN_IF_ERROR(room->Take(out));
      bytes += row_bytes;
      std::optional<Span> behind = rest.Behind(out.key(), scan.reverse);
      *rows->Add() = std::move(out);
      if (!behind) co_return ScanCut{};
      rest = *std::move(behind);
    }
    if (fetched.size() < ask.limit && page_bytes < ask.limit_bytes) co_return ScanCut{};
    page.limit = std::min(page.limit * 2, kPageMax);
  }
}

client::StaleRead StaleOf(const v1::StaleRead& stale) {
  return {std::chrono::milliseconds(stale.max_age_ms()), Timestamp(stale.not_before())};
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
  if (!handle.named()) txn->set_check(handle.Check());
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
  } else if (txn.check() != handle.Check()) {
    return InvalidArgument(
        "this txn was not handed out as it is: ask with the one of the error, unchanged, or with "
        "a name in txn_id, any key that it writes in anchor_key, and no start_ts");
  }
  return handle;
}

void FillCommitError(const client::CommitResult& result, v1::Error* error) {
  StatusToError(result.status, error);
  error->set_no_effect(!result.unknown && !result.this_call_only);
  if (result.unknown) FillTxn(*result.unknown, error->mutable_txn());
}

}  // namespace quorate::server
