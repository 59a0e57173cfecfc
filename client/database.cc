#include <algorithm>

#include "base/address.h"
#include "base/limits.h"
#include "base/status_macros.h"
#include "client/database_impl.h"
#include "client/or_stopped.h"

namespace quorate::client {
namespace {

using Value = std::optional<std::string>;

CommitResult Failed(Status status) {
  CommitResult result;
  result.status = std::move(status);
  return result;
}

Status Ended() { return Cancelled("the call was ended before its time"); }

// What `make` and its task throw is the awaiter's.
template <class Make>
auto Guarded(const Make& make, std::exception_ptr* exception) -> decltype(make()) {
  try {
    return make();
  } catch (...) {
    *exception = std::current_exception();
    return {};
  }
}

Task<void> RunOwned(Logger* log, std::function<Task<void>()> make) {
  std::exception_ptr exception;
  Task<void> task = Guarded(make, &exception);
  if (!exception) exception = co_await task.Run();
  if (exception) log->Error("client: a spawned task threw: {}", WhatOf(exception));
}

// `threw`: what the callback is told of an exception.
template <class T>
Task<void> Complete(Completion<T> done, Task<T> task, T (*threw)(std::exception_ptr)) {
  std::exception_ptr exception = co_await task.Run();
  if (!exception) {
    done(std::move(task).Take());
  } else {
    done(threw(std::move(exception)));
  }
}

template <class T>
T Threw(std::exception_ptr exception) {
  Status status(Code::kAborted, "the closure threw: " + WhatOf(exception));
  if constexpr (std::is_same_v<T, CommitResult>) {
    CommitResult result = Failed(std::move(status));
    result.exception = std::move(exception);
    return result;
  } else {
    return status;
  }
}

template <class T>
Task<Result<T>> CancelledIfStopped(Executor* executor, std::stop_token stop, Task<Result<T>> task) {
  if (!stop.stop_possible()) co_return co_await std::move(task);
  auto result = co_await OrStopped(*executor, std::move(stop), std::move(task));
  if (!result) co_return Ended();
  co_return std::move(*result);
}

template <class T>
Task<void> DeliverUnlessStopped(Delivery<T> delivery, Task<std::optional<T>> task) {
  if (std::exception_ptr exception = co_await task.Run()) {
    delivery->Throw(std::move(exception));
  } else if (std::optional<T> value = std::move(task).Take()) {
    delivery->Put(std::move(*value));
  }
}

Task<Status> WriteOnce(Transaction* txn, std::string key, Value value) {
  if (value.has_value()) co_return txn->Put(std::move(key), std::move(*value));
  co_return txn->Delete(std::move(key));
}

}  // namespace

Status CheckOptions(const Options& options) {
  if (options.cluster.empty()) return InvalidArgument("cluster names no address");
  for (const std::string& address : options.cluster) {
    RETURN_IF_ERROR(ParseHostPort(address).status());
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
    : core_(env, channel, std::move(options)),
      metrics_(env.metrics),
      threading_(threading),
      gate_(std::make_shared<Gate>(env.executor)),
      ids_(env.random.Fork("client-ids")),
      scope_(env.executor) {}

DatabaseImpl::~DatabaseImpl() { EndAll(); }

void DatabaseImpl::EndAll() {
  std::vector<std::weak_ptr<std::unique_ptr<Attempt>>> sessions;
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    sessions = std::exchange(sessions_, {});
  }
  closed_ = true;
  scope_.Clear();
  gate_->Close();
  for (const auto& session : sessions) {
    if (const SessionImpl::Slot slot = session.lock()) slot->reset();
  }
}

void DatabaseImpl::Close() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  core_.env().executor.Post([this] { EndAll(); });
  std::unique_lock lock(mutex_);
  call_ended_.wait(lock, [this] { return sync_calls_ == 0; });
}

// ---- coroutine forms ----------------------------------------------------------------------------

DatabaseImpl::Loop DatabaseImpl::MakeLoop(TransactOptions options, bool read_only) {
  return std::make_shared<TransactLoop>(&core_, std::move(options), read_only);
}

Task<CommitResult> DatabaseImpl::RunLoop(Loop loop, Closure closure) {
  Status status;
  while (co_await loop->Advance(std::move(status))) {
    std::exception_ptr exception;
    Task<Status> task = Guarded([&] { return closure(loop->attempt()); }, &exception);
    if (!exception) exception = co_await task.Run();
    if (exception) {
      loop->attempt().End();
      std::rethrow_exception(exception);
    }
    status = std::move(task).Take();
  }
  co_return loop->TakeResult();
}

Task<CommitResult> DatabaseImpl::RunUnlessStopped(Loop loop, std::stop_token stop,
                                                  Closure closure) {
  if (!stop.stop_possible()) co_return co_await RunLoop(std::move(loop), std::move(closure));
  auto result =
      co_await OrStopped(core_.env().executor, std::move(stop), RunLoop(loop, std::move(closure)));
  if (!result) co_return loop->CancelledResult();
  co_return std::move(*result);
}

Task<CommitResult> DatabaseImpl::RunAsync(Closure closure, TransactOptions options,
                                          bool read_only) {
  const std::stop_token stop = options.stop;
  return RunUnlessStopped(MakeLoop(std::move(options), read_only), stop, std::move(closure));
}

Task<CommitResult> DatabaseImpl::TransactAsync(Closure closure, TransactOptions options) {
  return RunAsync(std::move(closure), std::move(options), false);
}

Task<Status> DatabaseImpl::SnapshotAsync(Closure closure, TransactOptions options) {
  co_return (co_await RunAsync(std::move(closure), std::move(options), true)).status;
}

Task<Result<Value>> DatabaseImpl::GetAsync(std::string key, Duration timeout) {
  return ReadOne(std::move(key), timeout, {});
}

Task<Result<Value>> DatabaseImpl::ReadOne(std::string key, Duration timeout, StaleRead stale) {
  const Result<Instant> deadline = core_.DeadlineFor(timeout);
  if (!deadline.ok()) co_return deadline.status();
  CO_RETURN_IF_ERROR(CheckStale(stale));
  Attempt::Spec spec;
  spec.read_only = true;
  spec.txn_id = TxnId::Make(core_.env().random);
  spec.deadline = *deadline;
  spec.stale = stale;
  Attempt attempt(&core_, std::move(spec));
  co_return co_await attempt.Get(std::move(key));
}

Database::Closure DatabaseImpl::WriteOne(std::string key, Value value) {
  return [key = std::move(key), value = std::move(value)](Transaction& txn) {
    return WriteOnce(&txn, key, value);
  };
}

Task<CommitResult> DatabaseImpl::PutAsync(std::string key, std::string value, Duration timeout) {
  return RunAsync(WriteOne(std::move(key), std::move(value)), {.timeout = timeout}, false);
}

Task<CommitResult> DatabaseImpl::DeleteAsync(std::string key, Duration timeout) {
  return RunAsync(WriteOne(std::move(key), std::nullopt), {.timeout = timeout}, false);
}

Task<Result<client::Outcome>> DatabaseImpl::OutcomeAsync(TxnHandle txn, Duration timeout) {
  const Result<Instant> deadline = core_.DeadlineFor(timeout);
  if (!deadline.ok()) co_return deadline.status();
  if (txn.anchor_key.empty()) co_return InvalidArgument("the handle names no anchor key");
  const Settled settled = co_await AskOutcome(&core_, std::move(txn), *deadline);
  switch (settled.state) {
    case Settled::State::kCommitted:
      co_return client::Outcome(client::Outcome::kCommitted, settled.commit_ts);
    case Settled::State::kAborted:
      co_return client::Outcome(client::Outcome::kAborted);
    case Settled::State::kUnknown:
      break;
  }
  co_return settled.status;
}

// ---- callback forms -----------------------------------------------------------------------------

template <class T>
void DatabaseImpl::Then(Task<T> task, Callback<T> done, std::function<T()> dropped) {
  // Posted under the lock, so that it comes before what ends the Database.
  const std::lock_guard lock(mutex_);
  if (closing_) return;
  core_.env().executor.Post(
      [this, done = Completion<T>(core_.env().log, std::move(done), std::move(dropped)),
       task = std::move(task)]() mutable {
        if (!closed_) scope_.Spawn(Complete<T>(std::move(done), std::move(task), &Threw<T>));
      });
}

void DatabaseImpl::RunThen(Closure closure, TransactOptions options, bool read_only,
                           Callback<CommitResult> done) {
  const std::stop_token stop = options.stop;
  const bool named = options.name.given() && !read_only;
  auto told = [named, done = std::move(done)](CommitResult result) {
    // Nobody has closed its name.
    if (result.exception) result.this_call_only = named;
    done(std::move(result));
  };
  const Loop loop = MakeLoop(std::move(options), read_only);
  Then<CommitResult>(RunUnlessStopped(loop, stop, std::move(closure)), std::move(told),
                     [loop] { return loop->CancelledResult(); });
}

void DatabaseImpl::TransactAsync(Closure closure, TransactOptions options,
                                 Callback<CommitResult> done) {
  RunThen(std::move(closure), std::move(options), false, std::move(done));
}

void DatabaseImpl::SnapshotAsync(Closure closure, TransactOptions options,
                                 Callback<CommitResult> done) {
  RunThen(std::move(closure), std::move(options), true, std::move(done));
}

void DatabaseImpl::GetAsync(std::string key, TransactOptions options,
                            Callback<Result<Value>> done) {
  Then<Result<Value>>(CancelledIfStopped(&core_.env().executor, options.stop,
                                         ReadOne(std::move(key), options.timeout, options.stale)),
                      std::move(done), [] { return Result<Value>(Ended()); });
}

void DatabaseImpl::PutAsync(std::string key, std::string value, TransactOptions options,
                            Callback<CommitResult> done) {
  RunThen(WriteOne(std::move(key), std::move(value)), std::move(options), false, std::move(done));
}

void DatabaseImpl::DeleteAsync(std::string key, TransactOptions options,
                               Callback<CommitResult> done) {
  RunThen(WriteOne(std::move(key), std::nullopt), std::move(options), false, std::move(done));
}

void DatabaseImpl::OutcomeAsync(TxnHandle txn, TransactOptions options,
                                Callback<Result<client::Outcome>> done) {
  Then<Result<client::Outcome>>(CancelledIfStopped(&core_.env().executor, options.stop,
                                                   OutcomeAsync(std::move(txn), options.timeout)),
                                std::move(done), [] { return Result<client::Outcome>(Ended()); });
}

// ---- sessions, tasks ----------------------------------------------------------------------------

std::unique_ptr<Database::Session> DatabaseImpl::Begin(bool read_only, GivenName name,
                                                       Duration timeout) {
  Attempt::Spec spec;
  spec.read_only = read_only;
  spec.name = name;
  spec.deadline = core_.env().Now() + (timeout > Duration(0) ? timeout : core_.options().timeout);
  auto slot = std::make_shared<std::unique_ptr<Attempt>>();
  const std::lock_guard lock(mutex_);
  spec.txn_id = TxnId::Make(ids_);
  *slot = std::make_unique<Attempt>(&core_, std::move(spec));
  if (sessions_.size() >= sessions_sweep_at_) {
    std::erase_if(sessions_, [](const auto& session) { return session.expired(); });
    sessions_sweep_at_ = 2 * sessions_.size() + kSessionsSweepMin;
  }
  sessions_.push_back(slot);
  return std::make_unique<SessionImpl>(&core_, gate_, std::move(slot));
}

void DatabaseImpl::Spawn(std::function<Task<void>()> task) {
  const std::lock_guard lock(mutex_);
  if (closing_) return;
  core_.env().executor.Post([this, task = std::move(task)]() mutable {
    if (!closed_) scope_.Spawn(RunOwned(&core_.env().log, std::move(task)));
  });
}

// ---- blocking forms -----------------------------------------------------------------------------

// Keeps the Database from going while a thread is in it.
class DatabaseImpl::SyncCall {
 public:
  explicit SyncCall(DatabaseImpl* database) : database_(database) {
    const std::lock_guard lock(database_->mutex_);
    if (database_->threading_ != Threading::kThreaded) {
      status_ = Status(Code::kFailedPrecondition,
                       "this Database runs on its caller's executor: use the coroutine forms");
    } else if (database_->closing_) {
      status_ = Cancelled("the Database is being destroyed; nothing was done");
    } else {
      ++database_->sync_calls_;
    }
  }
  SyncCall(const SyncCall&) = delete;
  ~SyncCall() {
    if (!status_.ok()) return;
    // Told under the lock: once it is free, the Database may be gone.
    const std::lock_guard lock(database_->mutex_);
    if (--database_->sync_calls_ == 0) database_->call_ended_.notify_all();
  }
  // OK: the call may go on.
  const Status& status() const { return status_; }

 private:
  DatabaseImpl* database_;
  Status status_;
};

template <class T>
std::optional<T> DatabaseImpl::Wait(Task<T> task, std::stop_token stop) {
  auto parcel = std::make_shared<Parcel<T>>();
  core_.env().executor.Post([this, delivery = Delivery<T>(parcel), task = std::move(task),
                             stop = std::move(stop)]() mutable {
    if (closed_) return;
    if (stop.stop_possible()) {
      auto stoppable = OrStopped(core_.env().executor, std::move(stop), std::move(task));
      scope_.Spawn(DeliverUnlessStopped(std::move(delivery), std::move(stoppable)));
    } else {
      scope_.Spawn(Deliver(std::move(delivery), std::move(task)));
    }
  });
  return parcel->Take();
}

// An attempt as a thread sees it. Writes touch only the buffer, which nobody else looks at while
// the closure runs.
class DatabaseImpl::SyncView final : public SyncTransaction {
 public:
  SyncView(DatabaseImpl* database, Attempt& attempt, std::stop_token stop)
      : database_(database), attempt_(attempt), stop_(std::move(stop)) {}

  Result<Value> Get(std::string key) override { return Read(attempt_.Get(std::move(key))); }
  Result<std::vector<Value>> GetMany(std::vector<std::string> keys) override {
    return Read(attempt_.GetMany(std::move(keys)));
  }
  Result<Value> GetForUpdate(std::string key) override {
    return Read(attempt_.GetForUpdate(std::move(key)));
  }
  Result<std::vector<Row>> Scan(std::string from, std::string to, ScanOptions options) override {
    return Read(attempt_.Scan(std::move(from), std::move(to), options));
  }
  Status Put(std::string key, std::string value) override {
    return attempt_.Put(std::move(key), std::move(value));
  }
  Status Delete(std::string key) override { return attempt_.Delete(std::move(key)); }
  Timestamp start_ts() const override { return attempt_.start_ts(); }
  int attempt() const override { return attempt_.attempt(); }
  Status Await(Step step) override {
    std::optional<Status> ended = database_->Wait(step(attempt_), stop_);
    return ended ? std::move(*ended) : Ended();
  }

 private:
  template <class T>
  Result<T> Read(Task<Result<T>> read) {
    std::optional<Result<T>> result = database_->Wait(std::move(read), stop_);
    return result ? std::move(*result) : Result<T>(Ended());
  }

  DatabaseImpl* database_;
  Attempt& attempt_;
  const std::stop_token stop_;
};

// The loop belongs to the executor's thread, where it must also end, even when the closure throws.
DatabaseImpl::Loop DatabaseImpl::MakeSyncLoop(TransactOptions options, bool read_only) {
  Executor& executor = core_.env().executor;
  const auto end_there = [&executor](TransactLoop* loop) {
    executor.Post([owned = std::unique_ptr<TransactLoop>(loop)] {});
  };
  return Loop(new TransactLoop(&core_, std::move(options), read_only), end_there);
}

CommitResult DatabaseImpl::RunSync(const SyncClosure& closure, TransactOptions options,
                                   bool read_only) {
  const SyncCall call(this);
  if (!call.status().ok()) {
    CommitResult refused = Failed(call.status());
    refused.this_call_only = options.name.given() && !read_only;
    return refused;
  }
  const std::stop_token stop = options.stop;
  const Loop loop = MakeSyncLoop(std::move(options), read_only);
  Status status;
  while (true) {
    const std::optional<bool> run = Wait(loop->Advance(std::move(status)), stop);
    if (!run) return loop->CancelledResult();
    if (!*run) return loop->TakeResult();
    SyncView view(this, loop->attempt(), stop);
    status = closure(view);
  }
}

CommitResult DatabaseImpl::WriteSync(Closure closure) {
  const SyncCall call(this);
  if (!call.status().ok()) return Failed(call.status());
  const Loop loop = MakeSyncLoop({}, false);
  auto result = Wait(RunLoop(loop, std::move(closure)), {});
  return result ? std::move(*result) : loop->CancelledResult();
}

CommitResult DatabaseImpl::Transact(SyncClosure closure, TransactOptions options) {
  return RunSync(closure, std::move(options), false);
}

Status DatabaseImpl::Snapshot(SyncClosure closure, TransactOptions options) {
  return RunSync(closure, std::move(options), true).status;
}

Result<Value> DatabaseImpl::Get(std::string key) {
  const SyncCall call(this);
  if (!call.status().ok()) return call.status();
  auto value = Wait(GetAsync(std::move(key), Duration(0)), {});
  return value ? std::move(*value) : Result<Value>(Ended());
}

CommitResult DatabaseImpl::Put(std::string key, std::string value) {
  return WriteSync(WriteOne(std::move(key), std::move(value)));
}

CommitResult DatabaseImpl::Delete(std::string key) {
  return WriteSync(WriteOne(std::move(key), std::nullopt));
}

Status DatabaseImpl::ScanAll(std::string from, std::string to, ScanAllOptions options,
                             std::function<Status(ScanPage)> take) {
  const SyncCall call(this);
  RETURN_IF_ERROR(call.status());
  ASSIGN_OR_RETURN(const auto scan, BeginLongScan({std::move(from), std::move(to)}, options));
  while (!scan->ended) {
    std::optional<Result<ScanPage>> page = Wait(NextPage(scan), {});
    if (!page) return Ended();
    if (!page->ok()) return page->status();
    RETURN_IF_ERROR(take(std::move(**page)));
  }
  return Status::Ok();
}

Result<client::Outcome> DatabaseImpl::GetOutcome(TxnHandle txn) {
  const SyncCall call(this);
  if (!call.status().ok()) return call.status();
  auto outcome = Wait(OutcomeAsync(std::move(txn), Duration(0)), {});
  return outcome ? std::move(*outcome) : Result<client::Outcome>(Ended());
}

}  // namespace quorate::client
