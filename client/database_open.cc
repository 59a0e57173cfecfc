// Database::Open: the library over the real world, on a thread of its own.
#include <memory>

#include "base/check.h"
#include "base/real_clock.h"
#include "base/real_executor.h"
#include "base/status_macros.h"
#include "base/stderr_logger.h"
#include "client/blocking.h"
#include "client/database_impl.h"
#include "client/route/grpc_channel.h"
#include "client/route/grpc_loop.h"

namespace quorate::client {
namespace {

class OpenDatabase final : public Database {
 public:
  explicit OpenDatabase(Options options) {
    impl_ = std::make_unique<DatabaseImpl>(env_, *channel_, std::move(options),
                                           DatabaseImpl::Threading::kThreaded);
    executor_.Start();
  }

  ~OpenDatabase() override {
    CHECK(!executor_.OnThread(), "a Database is not destroyed by one of its own tasks");
    // Tasks end on their own thread; only then may it stop.
    Parcel<bool> gone;
    executor_.Post([this, &gone] {
      impl_.reset();
      gone.Put(true);
    });
    gone.Take();
    executor_.Stop();
    executor_.Join();
    channel_.reset();
  }

  Task<CommitResult> TransactAsync(Closure closure, TransactOptions options) override {
    return impl_->TransactAsync(std::move(closure), options);
  }
  Task<Status> SnapshotAsync(Closure closure, TransactOptions options) override {
    return impl_->SnapshotAsync(std::move(closure), options);
  }
  Task<Result<std::optional<std::string>>> GetAsync(std::string key, Duration timeout) override {
    return impl_->GetAsync(std::move(key), timeout);
  }
  Task<CommitResult> PutAsync(std::string key, std::string value, Duration timeout) override {
    return impl_->PutAsync(std::move(key), std::move(value), timeout);
  }
  Task<CommitResult> DeleteAsync(std::string key, Duration timeout) override {
    return impl_->DeleteAsync(std::move(key), timeout);
  }
  Task<Result<client::Outcome>> OutcomeAsync(TxnHandle txn, Duration timeout) override {
    return impl_->OutcomeAsync(std::move(txn), timeout);
  }
  std::unique_ptr<Session> Begin(bool read_only, GivenName name, Duration timeout) override {
    return impl_->Begin(read_only, name, timeout);
  }
  void Spawn(std::function<Task<void>()> task) override { impl_->Spawn(std::move(task)); }

  CommitResult Transact(SyncClosure closure, TransactOptions options) override {
    CheckThread();
    return impl_->Transact(std::move(closure), options);
  }
  Status Snapshot(SyncClosure closure, TransactOptions options) override {
    CheckThread();
    return impl_->Snapshot(std::move(closure), options);
  }
  Result<std::optional<std::string>> Get(std::string key) override {
    CheckThread();
    return impl_->Get(std::move(key));
  }
  CommitResult Put(std::string key, std::string value) override {
    CheckThread();
    return impl_->Put(std::move(key), std::move(value));
  }
  CommitResult Delete(std::string key) override {
    CheckThread();
    return impl_->Delete(std::move(key));
  }
  Result<client::Outcome> GetOutcome(TxnHandle txn) override {
    CheckThread();
    return impl_->GetOutcome(std::move(txn));
  }

 private:
  void CheckThread() const {
    CHECK(!executor_.OnThread(), "a sync form was called on the library's own thread");
  }

  GrpcLoop loop_;
  RealExecutor executor_{loop_};
  RealClock clock_;
  Random random_{EntropySeed()};
  StderrLogger log_{LogLevel::kWarn};
  Metrics metrics_;
  Env env_{executor_, clock_, random_, log_, metrics_};
  std::unique_ptr<GrpcChannel> channel_ = std::make_unique<GrpcChannel>(env_, loop_);
  std::unique_ptr<DatabaseImpl> impl_;
};

}  // namespace

Result<std::unique_ptr<Database>> Database::Open(Options options) {
  RETURN_IF_ERROR(CheckOptions(options));
  return std::unique_ptr<Database>(std::make_unique<OpenDatabase>(std::move(options)));
}

}  // namespace quorate::client
