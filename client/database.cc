#include <algorithm>

#include "base/limits.h"
#include "base/status_macros.h"
#include "client/blocking.h"
#include "client/database_impl.h"
#include "client/retry.h"

namespace quorate::client {
namespace {

CommitResult Failed(Status status) {
  CommitResult result;
  result.status = std::move(status);
  return result;
}

Task<void> RunOwned(std::function<Task<void>()> task) { co_await task(); }

class SessionImpl final : public Database::Session {
 public:
  SessionImpl(Core* core, Attempt::Spec spec) : core_(core), attempt_(core, std::move(spec)) {}
  ~SessionImpl() override { attempt_.Release(); }

  Transaction& transaction() override { return attempt_; }
  Task<CommitResult> Commit(Duration timeout) override {
    const Result<Instant> deadline = core_->DeadlineFor(timeout);
    if (!deadline.ok()) co_return Failed(deadline.status());
    attempt_.set_deadline(*deadline);
    Settled settled = co_await attempt_.Commit();
    if (settled.state == Settled::State::kUnknown) core_->counters().unknown.Add();
    if (settled.commit_ts) core_->counters().commits.Add();
    if (settled.status.code() == Code::kAlreadyExists) {
      settled.status =
          Status(Code::kAborted, "the transaction's name was closed by asking about it");
    }
    attempt_.Release();
    co_return ToCommitResult(std::move(settled), attempt_.handle(), 1);
  }
  void Rollback() override { attempt_.Release(); }
  TxnHandle handle() const override { return attempt_.handle(); }

 private:
  Core* core_;
  Attempt attempt_;
};

// An attempt as a thread sees it. Writes touch only the buffer, which nobody else looks at while
// the closure runs.
class SyncView final : public SyncTransaction {
 public:
  SyncView(TaskScope& scope, Attempt& attempt) : scope_(scope), attempt_(attempt) {}

  Result<std::optional<std::string>> Get(std::string key) override {
    return Block(scope_, attempt_.Get(std::move(key)));
  }
  Result<std::vector<std::optional<std::string>>> GetMany(std::vector<std::string> keys) override {
    return Block(scope_, attempt_.GetMany(std::move(keys)));
  }
  Result<std::optional<std::string>> GetForUpdate(std::string key) override {
    return Block(scope_, attempt_.GetForUpdate(std::move(key)));
  }
  Result<std::vector<Row>> Scan(std::string from, std::string to, ScanOptions options) override {
    return Block(scope_, attempt_.Scan(std::move(from), std::move(to), options));
  }
  Status Put(std::string key, std::string value) override {
    return attempt_.Put(std::move(key), std::move(value));
  }
  Status Delete(std::string key) override { return attempt_.Delete(std::move(key)); }
  int attempt() const override { return attempt_.attempt(); }

 private:
  TaskScope& scope_;
  Attempt& attempt_;
};

bool IsAddress(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0) return false;
  const std::string port = address.substr(colon + 1);
  const bool digits =
      !port.empty() && port.size() <= 5 &&
      std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; });
  return digits && std::stoi(port) > 0 && std::stoi(port) <= 65535;
}

}  // namespace

Status CheckOptions(const Options& options) {
  if (options.cluster.empty()) return InvalidArgument("cluster names no address");
  for (const std::string& address : options.cluster) {
    if (!IsAddress(address)) {
      return InvalidArgument(fmt::format("'{}' is no address: expected HOST:PORT", address));
    }
  }
  if (options.timeout <= Duration(0) || options.timeout > limits::kRequestTimeoutMax) {
    return InvalidArgument(fmt::format("a timeout of {} ms is outside of 1..{} ms",
                                       ToMillis(options.timeout),
                                       ToMillis(limits::kRequestTimeoutMax)));
  }
  return Status::Ok();
}

std::unique_ptr<Database> Database::Create(Env& env, Channel& channel, Options options) {
  return std::make_unique<DatabaseImpl>(env, channel, std::move(options),
                                        DatabaseImpl::Threading::kCallers);
}

DatabaseImpl::DatabaseImpl(Env& env, Channel& channel, Options options, Threading threading)
    : core_(env, channel, std::move(options)), threading_(threading), scope_(env.executor) {}

DatabaseImpl::~DatabaseImpl() = default;

// ---- coroutine forms ----------------------------------------------------------------------------

Task<CommitResult> DatabaseImpl::RunAsync(Closure closure, TransactOptions options,
                                          bool read_only) {
  TransactLoop loop(&core_, options, read_only);
  Status status;
  while (co_await loop.Advance(std::move(status))) {
    status = co_await closure(loop.attempt());
  }
  co_return loop.TakeResult();
}

Task<CommitResult> DatabaseImpl::TransactAsync(Closure closure, TransactOptions options) {
  return RunAsync(std::move(closure), options, false);
}

Task<Status> DatabaseImpl::SnapshotAsync(Closure closure, TransactOptions options) {
  co_return (co_await RunAsync(std::move(closure), options, true)).status;
}

Task<Result<std::optional<std::string>>> DatabaseImpl::GetAsync(std::string key, Duration timeout) {
  const Result<Instant> deadline = core_.DeadlineFor(timeout);
  if (!deadline.ok()) co_return deadline.status();
  Attempt::Spec spec;
  spec.read_only = true;
  spec.txn_id = TxnId::Make(core_.env().random);
  spec.deadline = *deadline;
  Attempt attempt(&core_, std::move(spec));
  co_return co_await attempt.Get(std::move(key));
}

Task<CommitResult> DatabaseImpl::WriteOne(std::string key, std::optional<std::string> value,
                                          Duration timeout) {
  TransactOptions options;
  options.timeout = timeout;
  TransactLoop loop(&core_, options, false);
  Status status;
  while (co_await loop.Advance(status)) {
    status = value.has_value() ? loop.attempt().Put(key, *value) : loop.attempt().Delete(key);
  }
  co_return loop.TakeResult();
}

Task<CommitResult> DatabaseImpl::PutAsync(std::string key, std::string value, Duration timeout) {
  return WriteOne(std::move(key), std::move(value), timeout);
}

Task<CommitResult> DatabaseImpl::DeleteAsync(std::string key, Duration timeout) {
  return WriteOne(std::move(key), std::nullopt, timeout);
}

Task<Result<client::Outcome>> DatabaseImpl::OutcomeAsync(TxnHandle txn, Duration timeout) {
  const Result<Instant> deadline = core_.DeadlineFor(timeout);
  if (!deadline.ok()) co_return deadline.status();
  if (txn.anchor_key.empty()) co_return InvalidArgument("the handle names no anchor key");
  const Settled settled = co_await AskOutcome(&core_, std::move(txn), *deadline);
  switch (settled.state) {
    case Settled::State::kCommitted:
      co_return client::Outcome::kCommitted;
    case Settled::State::kAborted:
      co_return client::Outcome::kAborted;
    case Settled::State::kUnknown:
      break;
  }
  co_return settled.status;
}

std::unique_ptr<Database::Session> DatabaseImpl::Begin(bool read_only, GivenName name,
                                                       Duration timeout) {
  Attempt::Spec spec;
  spec.read_only = read_only;
  spec.txn_id = TxnId::Make(core_.env().random);
  spec.name = name;
  spec.deadline = core_.env().Now() + (timeout > Duration(0) ? timeout : core_.options().timeout);
  return std::make_unique<SessionImpl>(&core_, std::move(spec));
}

void DatabaseImpl::Spawn(std::function<Task<void>()> task) {
  core_.env().executor.Post(
      [this, task = std::move(task)]() mutable { scope_.Spawn(RunOwned(std::move(task))); });
}

// ---- sync forms ---------------------------------------------------------------------------------

Status DatabaseImpl::CheckThreaded() const {
  if (threading_ == Threading::kThreaded) return Status::Ok();
  return Status(Code::kFailedPrecondition,
                "this Database runs on its caller's executor: use the coroutine forms");
}

CommitResult DatabaseImpl::RunSync(const SyncClosure& closure, TransactOptions options,
                                   bool read_only) {
  if (Status status = CheckThreaded(); !status.ok()) return Failed(std::move(status));
  // The loop belongs to the executor's thread, where it must also end, even when the closure
  // throws.
  Executor& executor = core_.env().executor;
  const auto end_there = [&executor](TransactLoop* loop) {
    executor.Post([owned = std::unique_ptr<TransactLoop>(loop)] {});
  };
  const std::unique_ptr<TransactLoop, decltype(end_there)> loop(
      new TransactLoop(&core_, options, read_only), end_there);
  Status status;
  while (Block(scope_, loop->Advance(std::move(status)))) {
    SyncView view(scope_, loop->attempt());
    status = closure(view);
  }
  return loop->TakeResult();
}

CommitResult DatabaseImpl::Transact(SyncClosure closure, TransactOptions options) {
  return RunSync(closure, options, false);
}

Status DatabaseImpl::Snapshot(SyncClosure closure, TransactOptions options) {
  return RunSync(closure, options, true).status;
}

Result<std::optional<std::string>> DatabaseImpl::Get(std::string key) {
  RETURN_IF_ERROR(CheckThreaded());
  return Block(scope_, GetAsync(std::move(key), Duration(0)));
}

CommitResult DatabaseImpl::Put(std::string key, std::string value) {
  if (Status status = CheckThreaded(); !status.ok()) return Failed(std::move(status));
  return Block(scope_, PutAsync(std::move(key), std::move(value), Duration(0)));
}

CommitResult DatabaseImpl::Delete(std::string key) {
  if (Status status = CheckThreaded(); !status.ok()) return Failed(std::move(status));
  return Block(scope_, DeleteAsync(std::move(key), Duration(0)));
}

Result<client::Outcome> DatabaseImpl::GetOutcome(TxnHandle txn) {
  RETURN_IF_ERROR(CheckThreaded());
  return Block(scope_, OutcomeAsync(std::move(txn), Duration(0)));
}

}  // namespace quorate::client
