// Database::Open: the library over the real world, on a thread of its own.
#include <memory>

#include "base/check.h"
#include "base/real_clock.h"
#include "base/real_executor.h"
#include "base/status_macros.h"
#include "base/stderr_logger.h"
#include "client/database_impl.h"
#include "client/fork_guard.h"
#include "client/route/grpc_channel.h"
#include "client/route/grpc_loop.h"

namespace quorate::client {
namespace {

// The service's own sink of log lines.
class SinkLogger final : public Logger {
 public:
  SinkLogger(decltype(Options::log) sink, LogLevel level) : sink_(std::move(sink)), level_(level) {}
  bool Enabled(LogLevel level) const override { return level >= level_; }
  void Write(LogLevel level, std::string_view line) override {
    try {
      sink_(level, line);
    } catch (...) {
      // There is no other place to tell.
    }
  }

 private:
  const decltype(Options::log) sink_;
  const LogLevel level_;
};

// Standard error's logger has a thread of its own, which most Databases never need. Executor's
// thread.
class LazyStderrLogger final : public Logger {
 public:
  explicit LazyStderrLogger(LogLevel level) : level_(level) {}
  bool Enabled(LogLevel level) const override { return level >= level_; }
  void Write(LogLevel level, std::string_view line) override {
    if (logger_ == nullptr) logger_ = std::make_unique<StderrLogger>(level_);
    logger_->Write(level, line);
  }

 private:
  const LogLevel level_;
  std::unique_ptr<StderrLogger> logger_;
};

std::unique_ptr<Logger> MakeLogger(const Options& options) {
  if (options.log) return std::make_unique<SinkLogger>(options.log, options.log_level);
  return std::make_unique<LazyStderrLogger>(options.log_level);
}

// All that lives for one Database.
class World {
 public:
  explicit World(const Options& options) : log_(MakeLogger(options)) {
    database_ = std::make_unique<DatabaseImpl>(env_, *channel_, options,
                                               DatabaseImpl::Threading::kThreaded);
    executor_.Start();
  }
  World(const World&) = delete;
  ~World() {
    CHECK(!executor_.OnThread(), "a Database is not destroyed by one of its own tasks");
    database_->Close();
    // Tasks end on their own thread; only then may it stop.
    Parcel<bool> gone;
    executor_.Post([this, &gone] {
      database_.reset();
      gone.Put(true);
    });
    gone.Take();
    executor_.Stop();
    executor_.Join();
    channel_.reset();
  }

  DatabaseImpl& database() { return *database_; }
  bool OnThread() const { return executor_.OnThread(); }

 private:
  GrpcLoop loop_;
  RealExecutor executor_{loop_};
  RealClock clock_;
  Random random_{EntropySeed()};
  const std::unique_ptr<Logger> log_;
  Metrics metrics_;
  Env env_{executor_, clock_, random_, *log_, metrics_};
  std::unique_ptr<GrpcChannel> channel_ = std::make_unique<GrpcChannel>(env_, loop_);
  std::unique_ptr<DatabaseImpl> database_;
};

class OpenDatabase final : public Database {
 public:
  explicit OpenDatabase(const Options& options) : world_(std::make_unique<World>(options)) {}
  ~OpenDatabase() override {
    // Its thread and connections are the parent's: nothing here can be ended.
    if (fork_.in_child()) (void)world_.release();
  }

  Task<CommitResult> TransactAsync(Closure closure, TransactOptions options) override {
    return impl().TransactAsync(std::move(closure), std::move(options));
  }
  Task<Status> SnapshotAsync(Closure closure, TransactOptions options) override {
    return impl().SnapshotAsync(std::move(closure), std::move(options));
  }
  Task<Result<std::optional<std::string>>> GetAsync(std::string key, Duration timeout) override {
    return impl().GetAsync(std::move(key), timeout);
  }
  Task<CommitResult> PutAsync(std::string key, std::string value, Duration timeout) override {
    return impl().PutAsync(std::move(key), std::move(value), timeout);
  }
  Task<CommitResult> DeleteAsync(std::string key, Duration timeout) override {
    return impl().DeleteAsync(std::move(key), timeout);
  }
  Task<Result<client::Outcome>> OutcomeAsync(TxnHandle txn, Duration timeout) override {
    return impl().OutcomeAsync(std::move(txn), timeout);
  }

  Task<Status> ScanAllAsync(std::string from, std::string to, ScanAllOptions options,
                            TakePage take) override {
    return impl().ScanAllAsync(std::move(from), std::move(to), std::move(options), std::move(take));
  }

  // In a child nobody is there to call back.
  void TransactAsync(Closure closure, TransactOptions options,
                     Callback<CommitResult> done) override {
    if (fork_.in_child()) return;
    impl().TransactAsync(std::move(closure), std::move(options), std::move(done));
  }
  void SnapshotAsync(Closure closure, TransactOptions options,
                     Callback<CommitResult> done) override {
    if (fork_.in_child()) return;
    impl().SnapshotAsync(std::move(closure), std::move(options), std::move(done));
  }
  void GetAsync(std::string key, TransactOptions options,
                Callback<Result<std::optional<std::string>>> done) override {
    if (fork_.in_child()) return;
    impl().GetAsync(std::move(key), std::move(options), std::move(done));
  }
  void PutAsync(std::string key, std::string value, TransactOptions options,
                Callback<CommitResult> done) override {
    if (fork_.in_child()) return;
    impl().PutAsync(std::move(key), std::move(value), std::move(options), std::move(done));
  }
  void DeleteAsync(std::string key, TransactOptions options, Callback<CommitResult> done) override {
    if (fork_.in_child()) return;
    impl().DeleteAsync(std::move(key), std::move(options), std::move(done));
  }
  void OutcomeAsync(TxnHandle txn, TransactOptions options,
                    Callback<Result<client::Outcome>> done) override {
    if (fork_.in_child()) return;
    impl().OutcomeAsync(std::move(txn), std::move(options), std::move(done));
  }

  std::unique_ptr<Session> Begin(bool read_only, GivenName name, Duration timeout) override {
    return impl().Begin(read_only, name, timeout);
  }
  void Spawn(std::function<Task<void>()> task) override {
    if (!fork_.in_child()) impl().Spawn(std::move(task));
  }

  CommitResult Transact(SyncClosure closure, TransactOptions options) override {
    if (Status status = CheckSync(); !status.ok()) return Failed(std::move(status));
    return impl().Transact(std::move(closure), std::move(options));
  }
  Status Snapshot(SyncClosure closure, TransactOptions options) override {
    RETURN_IF_ERROR(CheckSync());
    return impl().Snapshot(std::move(closure), std::move(options));
  }
  Result<std::optional<std::string>> Get(std::string key) override {
    RETURN_IF_ERROR(CheckSync());
    return impl().Get(std::move(key));
  }
  Status ScanAll(std::string from, std::string to, ScanAllOptions options,
                 std::function<Status(ScanPage)> take) override {
    RETURN_IF_ERROR(CheckSync());
    return impl().ScanAll(std::move(from), std::move(to), std::move(options), std::move(take));
  }
  CommitResult Put(std::string key, std::string value) override {
    if (Status status = CheckSync(); !status.ok()) return Failed(std::move(status));
    return impl().Put(std::move(key), std::move(value));
  }
  CommitResult Delete(std::string key) override {
    if (Status status = CheckSync(); !status.ok()) return Failed(std::move(status));
    return impl().Delete(std::move(key));
  }
  Result<client::Outcome> GetOutcome(TxnHandle txn) override {
    RETURN_IF_ERROR(CheckSync());
    return impl().GetOutcome(std::move(txn));
  }

  void VisitMetrics(const MetricVisitor& visit) const override { impl().VisitMetrics(visit); }
  std::string MetricsText() const override { return impl().MetricsText(); }

 private:
  static CommitResult Failed(Status status) {
    CommitResult result;
    result.status = std::move(status);
    return result;
  }
  DatabaseImpl& impl() const { return world_->database(); }
  Status CheckSync() const {
    if (fork_.in_child()) {
      return Status(Code::kFailedPrecondition,
                    "this Database was opened before fork(), by the parent: nothing was done; a "
                    "child that calls exec() may open its own");
    }
    if (world_->OnThread()) {
      return Status(Code::kFailedPrecondition,
                    "a blocking form was called on the library's own thread, which it would wait "
                    "for: use the coroutine or callback forms there");
    }
    return Status::Ok();
  }

  const ForkGuard fork_;
  std::unique_ptr<World> world_;
};

}  // namespace

Result<std::unique_ptr<Database>> Database::Open(Options options) {
  RETURN_IF_ERROR(CheckOptions(options));
  if (ForkGuard::forked_under_guard()) {
    return Status(Code::kFailedPrecondition,
                  "the parent of this process had a Database open when it called fork(), and gRPC "
                  "does not work in such a child: call exec(), or fork before anything is opened");
  }
  return std::unique_ptr<Database>(std::make_unique<OpenDatabase>(options));
}

}  // namespace quorate::client
