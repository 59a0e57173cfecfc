// Database: a quorate cluster as a service sees it.
//
//   auto db = quorate::client::Database::Open({.cluster = {"127.0.0.1:7400"}});
//   auto committed = (*db)->Transact([](quorate::client::SyncTransaction& txn) -> quorate::Status {
//     auto balance = txn.Get("account/7");
//     if (!balance.ok()) return balance.status();
//     return txn.Put("account/7", "12");
//   });
//
// What answers mean, for every call that writes:
//   ok                   committed, strictly serializable, durable on a majority of every shard
//   UNKNOWN_OUTCOME      may have committed; CommitResult::unknown names it for Outcome()
//   any other error      nothing was committed, now or later (OVERLOADED and NO_SPACE of a named
//                        transaction: by this call; it may be run again under its name)
// A commit that was not answered is asked about before it is called unknown, and never made twice.
// Conflicts (READ_CONFLICT, LOCK_CONFLICT, ...) are retried inside Transact with the transaction's
// first priority kept, until the deadline. A closure may run several times: it must have no effect
// of its own that it cannot repeat.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/status.h"
#include "base/task.h"
#include "client/options.h"
#include "client/transaction.h"

namespace quorate::client {

class Channel;

struct CommitResult {
  Status status;
  Timestamp commit_ts;               // of a committed transaction that wrote
  std::optional<TxnHandle> unknown;  // UNKNOWN_OUTCOME
  int attempts = 0;
  int shards = 0;  // participants of the commit
  // Committed by another attempt of the same name: what this closure read had no part in it.
  bool earlier = false;
  bool ok() const { return status.ok(); }
};

enum class Outcome : uint8_t { kCommitted, kAborted };

class Database {
 public:
  // Connects lazily: a wrong address shows in the first call, as UNAVAILABLE after about a second.
  // INVALID_ARGUMENT for malformed options. Runs its own thread; the sync forms may be called from
  // any number of threads. Destroying it drops what its coroutines were doing; no sync call may be
  // under way then.
  static Result<std::unique_ptr<Database>> Open(Options options);
  // Over the caller's executor and channel, no thread of its own: coroutine forms only. This is how
  // nodes and the simulator run it. `env` and `channel` outlive it.
  static std::unique_ptr<Database> Create(Env& env, Channel& channel, Options options);
  virtual ~Database() = default;

  // ---- coroutine forms: awaited on the library's executor
  // ----------------------------------------
  using Closure = std::function<Task<Status>(Transaction&)>;
  virtual Task<CommitResult> TransactAsync(Closure closure, TransactOptions options) = 0;
  // One slot, one snapshot, no commit step; the closure's Transaction refuses writes.
  virtual Task<Status> SnapshotAsync(Closure closure, TransactOptions options) = 0;
  virtual Task<Result<std::optional<std::string>>> GetAsync(std::string key, Duration timeout) = 0;
  virtual Task<CommitResult> PutAsync(std::string key, std::string value, Duration timeout) = 0;
  virtual Task<CommitResult> DeleteAsync(std::string key, Duration timeout) = 0;
  // What became of a transaction. An error: not known yet (or TOO_OLD: no longer to be known).
  virtual Task<Result<Outcome>> OutcomeAsync(TxnHandle txn, Duration timeout) = 0;

  // A transaction whose steps come from outside (the sessions of thin clients, benchmarks): reads
  // and writes through `transaction()`, then exactly one of Commit or Rollback. No retries.
  class Session {
   public:
    virtual ~Session() = default;
    virtual Transaction& transaction() = 0;
    virtual Task<CommitResult> Commit(Duration timeout) = 0;
    virtual void Rollback() = 0;
    virtual TxnHandle handle() const = 0;
  };
  // `name`: as TransactOptions::name; or none.
  virtual std::unique_ptr<Session> Begin(bool read_only, GivenName name, Duration timeout) = 0;

  // Runs `task` on the library's executor (any thread may call); for coroutine users without an
  // executor of their own.
  virtual void Spawn(std::function<Task<void>()> task) = 0;

  // ---- sync forms: any thread but the library's
  // --------------------------------------------------
  using SyncClosure = std::function<Status(SyncTransaction&)>;
  virtual CommitResult Transact(SyncClosure closure, TransactOptions options = {}) = 0;
  virtual Status Snapshot(SyncClosure closure, TransactOptions options = {}) = 0;
  virtual Result<std::optional<std::string>> Get(std::string key) = 0;
  virtual CommitResult Put(std::string key, std::string value) = 0;
  virtual CommitResult Delete(std::string key) = 0;
  virtual Result<quorate::client::Outcome> GetOutcome(TxnHandle txn) = 0;
};

}  // namespace quorate::client
