// DatabaseImpl: Database over an Env and a Channel, wherever they come from.
#pragma once

#include <memory>

#include "client/core.h"
#include "client/database.h"

namespace quorate::client {

class DatabaseImpl final : public Database {
 public:
  // kThreaded: the executor runs on a thread of its own, so that others may block on it.
  enum class Threading : uint8_t { kCallers, kThreaded };
  DatabaseImpl(Env& env, Channel& channel, Options options, Threading threading);
  // Executor's thread.
  ~DatabaseImpl() override;

  Task<CommitResult> TransactAsync(Closure closure, TransactOptions options) override;
  Task<Status> SnapshotAsync(Closure closure, TransactOptions options) override;
  Task<Result<std::optional<std::string>>> GetAsync(std::string key, Duration timeout) override;
  Task<CommitResult> PutAsync(std::string key, std::string value, Duration timeout) override;
  Task<CommitResult> DeleteAsync(std::string key, Duration timeout) override;
  Task<Result<client::Outcome>> OutcomeAsync(TxnHandle txn, Duration timeout) override;
  std::unique_ptr<Session> Begin(bool read_only, GivenName name, Duration timeout) override;
  void Spawn(std::function<Task<void>()> task) override;

  CommitResult Transact(SyncClosure closure, TransactOptions options) override;
  Status Snapshot(SyncClosure closure, TransactOptions options) override;
  Result<std::optional<std::string>> Get(std::string key) override;
  CommitResult Put(std::string key, std::string value) override;
  CommitResult Delete(std::string key) override;
  Result<client::Outcome> GetOutcome(TxnHandle txn) override;

  Core& core() { return core_; }

 private:
  Task<CommitResult> RunAsync(Closure closure, TransactOptions options, bool read_only);
  Task<CommitResult> WriteOne(std::string key, std::optional<std::string> value, Duration timeout);
  CommitResult RunSync(const SyncClosure& closure, TransactOptions options, bool read_only);
  Status CheckThreaded() const;

  Core core_;
  const Threading threading_;
  TaskScope scope_;
};

// INVALID_ARGUMENT names the option and what it may be.
Status CheckOptions(const Options& options);

}  // namespace quorate::client
