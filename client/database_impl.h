// DatabaseImpl: Database over an Env and a Channel, wherever they come from.
//
//   blocking form ─► Wait ─► (post) ─► scope_: the task ─► the caller's thread
//   callback form ─────────► (post) ─► scope_: the task ─► the callback
//
// Closing it destroys every task of scope_, which tells whoever waits for one.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "client/blocking.h"
#include "client/completion.h"
#include "client/core.h"
#include "client/database.h"
#include "client/gate.h"
#include "client/retry.h"
#include "client/session.h"

namespace quorate::client {

class DatabaseImpl final : public Database {
 public:
  // kThreaded: the executor runs on a thread of its own, so that others may block on it.
  enum class Threading : uint8_t { kCallers, kThreaded };
  DatabaseImpl(Env& env, Channel& channel, Options options, Threading threading);
  // Executor's thread; kThreaded: after Close.
  ~DatabaseImpl() override;

  // Ends every call, and returns when no blocking one is left. Any thread but the executor's.
  void Close();

  Task<CommitResult> TransactAsync(Closure closure, TransactOptions options) override;
  Task<Status> SnapshotAsync(Closure closure, TransactOptions options) override;
  Task<Result<std::optional<std::string>>> GetAsync(std::string key, Duration timeout) override;
  Task<CommitResult> PutAsync(std::string key, std::string value, Duration timeout) override;
  Task<CommitResult> DeleteAsync(std::string key, Duration timeout) override;
  Task<Status> ScanAllAsync(std::string from, std::string to, ScanAllOptions options,
                            TakePage take) override;
  Task<Result<client::Outcome>> OutcomeAsync(TxnHandle txn, Duration timeout) override;

  void TransactAsync(Closure closure, TransactOptions options,
                     Callback<CommitResult> done) override;
  void SnapshotAsync(Closure closure, TransactOptions options,
                     Callback<CommitResult> done) override;
  void GetAsync(std::string key, TransactOptions options,
                Callback<Result<std::optional<std::string>>> done) override;
  void PutAsync(std::string key, std::string value, TransactOptions options,
                Callback<CommitResult> done) override;
  void DeleteAsync(std::string key, TransactOptions options, Callback<CommitResult> done) override;
  void OutcomeAsync(TxnHandle txn, TransactOptions options,
                    Callback<Result<client::Outcome>> done) override;

  std::unique_ptr<Session> Begin(bool read_only, GivenName name, Duration timeout) override;
  void Spawn(std::function<Task<void>()> task) override;

  CommitResult Transact(SyncClosure closure, TransactOptions options) override;
  Status Snapshot(SyncClosure closure, TransactOptions options) override;
  Result<std::optional<std::string>> Get(std::string key) override;
  Status ScanAll(std::string from, std::string to, ScanAllOptions options,
                 std::function<Status(ScanPage)> take) override;
  CommitResult Put(std::string key, std::string value) override;
  CommitResult Delete(std::string key) override;
  Result<client::Outcome> GetOutcome(TxnHandle txn) override;

  void VisitMetrics(const MetricVisitor& visit) const override { metrics_.Visit(visit); }
  std::string MetricsText() const override { return metrics_.Exposition(); }

  Core& core() { return core_; }

 private:
  class SyncView;
  class SyncCall;
  using Loop = std::shared_ptr<TransactLoop>;

  Task<Result<std::optional<std::string>>> ReadOne(std::string key, Duration timeout,
                                                   StaleRead stale);
  // Destroys what is under way. Executor's thread.
  void EndAll();
  Loop MakeLoop(TransactOptions options, bool read_only);
  Task<CommitResult> RunLoop(Loop loop, Closure closure);
  // `loop` until it ends or its call is stopped.
  Task<CommitResult> RunUnlessStopped(Loop loop, std::stop_token stop, Closure closure);
  // Between two of its pages.
  struct LongScan {
    Span rest;
    ScanAllOptions options;
    size_t rows_left = 0;
    Timestamp read_ts;
    bool chosen_here = false;  // it is that of a page, or was judged
    bool ended = false;
  };
  Result<std::shared_ptr<LongScan>> BeginLongScan(Span span, const ScanAllOptions& options) const;
  Task<Result<ScanPage>> NextPage(std::shared_ptr<LongScan> scan);
  Task<CommitResult> RunAsync(Closure closure, TransactOptions options, bool read_only);
  static Closure WriteOne(std::string key, std::optional<std::string> value);
  void RunThen(Closure closure, TransactOptions options, bool read_only,
               Callback<CommitResult> done);
  // Runs `task`, then `done`; `dropped` makes what it is told if the task does not come to its end.
  template <class T>
  void Then(Task<T> task, Callback<T> done, std::function<T()> dropped);

  // The result of `task`; nullopt once it is closed, or `stop` was requested.
  template <class T>
  std::optional<T> Wait(Task<T> task, std::stop_token stop);
  Loop MakeSyncLoop(TransactOptions options, bool read_only);
  CommitResult WriteSync(Closure closure);
  CommitResult RunSync(const SyncClosure& closure, TransactOptions options, bool read_only);

  static constexpr size_t kSessionsSweepMin = 64;

  Core core_;
  Metrics& metrics_;
  const Threading threading_;
  const std::shared_ptr<Gate> gate_;
  bool closed_ = false;  // executor's thread

  std::mutex mutex_;
  std::condition_variable call_ended_;
  bool closing_ = false;  // guarded by mutex_
  int sync_calls_ = 0;    // guarded by mutex_
  Random ids_;            // guarded by mutex_
  // Attempts of sessions that may still be there; guarded by mutex_.
  std::vector<std::weak_ptr<std::unique_ptr<Attempt>>> sessions_;
  size_t sessions_sweep_at_ = kSessionsSweepMin;

  TaskScope scope_;
};

// INVALID_ARGUMENT names the option and what it may be.
Status CheckOptions(const Options& options);

}  // namespace quorate::client
