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
//   UNKNOWN_OUTCOME      may have committed; CommitResult::unknown names it for GetOutcome()
//   any other error      nothing was committed, now or later
// With CommitResult::this_call_only any other error speaks of this call, and not of the others of
// its name: it may be run again under its name. A commit that was not answered is asked about
// before it is called unknown, and never made twice. Conflicts (READ_CONFLICT, LOCK_CONFLICT, ...)
// are retried inside Transact with the transaction's first priority kept, until the deadline. A
// closure may run several times: it must have no effect of its own that it cannot repeat.
//
// A closure that throws ends its attempt: nothing is committed, its locks are given up at once, and
// the exception reaches the caller: thrown by the blocking form and where a coroutine awaits the
// call, in CommitResult::exception for a callback.
//
// Destroying a Database ends what it is doing: CANCELLED (nothing was committed) or UNKNOWN_OUTCOME
// (a commit was under way) for blocking calls and callbacks; its coroutines are destroyed where
// they are suspended. The destructor waits for blocking calls to return, their closures included.
//
// In a child process after fork(), a Database of the parent does nothing: its blocking forms return
// FAILED_PRECONDITION. docs/embedding.md has all of this with examples.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/metric_sample.h"
#include "base/status.h"
#include "base/task.h"
#include "client/options.h"
#include "client/transaction.h"

namespace quorate {
struct Env;
}

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
  // An error of a named transaction (CANCELLED, OVERLOADED, NO_SPACE, ...) that left the name open:
  // nothing was committed by this call, but another one may have committed, or may yet.
  bool this_call_only = false;
  // What the closure threw (callback forms): then `status` is ABORTED, nothing was committed by
  // this call.
  std::exception_ptr exception;
  bool ok() const { return status.ok(); }
};

// What became of a transaction, for good.
struct Outcome {
  enum State : uint8_t { kCommitted, kAborted };
  Outcome(State s, Timestamp ts = {}) : state(s), commit_ts(ts) {}  // NOLINT: implicit by design
  State state;
  Timestamp commit_ts;  // kCommitted; zero: a node of an earlier version did not tell it
  friend bool operator==(const Outcome& outcome, State state) { return outcome.state == state; }
};

class Database {
 public:
  // Connects lazily: a wrong address shows in the first call, as UNAVAILABLE after about a second.
  // INVALID_ARGUMENT for malformed options; FAILED_PRECONDITION in a child whose parent had a
  // Database when it forked. Runs one thread of its own.
  static Result<std::unique_ptr<Database>> Open(Options options);
  // Over the caller's executor and channel, no thread of its own: coroutine forms only. This is how
  // nodes and the simulator run it. `env` and `channel` outlive it.
  static std::unique_ptr<Database> Create(Env& env, Channel& channel, Options options);
  virtual ~Database() = default;

  // ---- coroutine forms: awaited on the library's executor --------------------------------------
  using Closure = std::function<Task<Status>(Transaction&)>;
  virtual Task<CommitResult> TransactAsync(Closure closure, TransactOptions options) = 0;
  // One slot, one snapshot, no commit step; the closure's Transaction refuses writes.
  // With `options.stale`: a snapshot of the past.
  virtual Task<Status> SnapshotAsync(Closure closure, TransactOptions options) = 0;
  virtual Task<Result<std::optional<std::string>>> GetAsync(std::string key, Duration timeout) = 0;
  virtual Task<CommitResult> PutAsync(std::string key, std::string value, Duration timeout) = 0;
  virtual Task<CommitResult> DeleteAsync(std::string key, Duration timeout) = 0;
  // Rows of [from, to), however many, of one snapshot, a page at a time: the next one is asked for
  // when `take` has ended, so that whoever is slow holds one page. An error of `take` ends it.
  // SNAPSHOT_TOO_OLD: it lasted longer than versions are kept (60 s); a scan that broke for
  // another reason can go on from the last page's resume_key under its read_ts.
  using TakePage = std::function<Task<Status>(ScanPage)>;
  virtual Task<Status> ScanAllAsync(std::string from, std::string to, ScanAllOptions options,
                                    TakePage take) = 0;
  // What became of a transaction. An error: not known yet (or TOO_OLD: no longer to be known).
  virtual Task<Result<Outcome>> OutcomeAsync(TxnHandle txn, Duration timeout) = 0;

  // ---- callback forms: from any thread ---------------------------------------------------------
  // The same calls. `done` is called once, on the library's thread and never inside the call; what
  // it throws is logged and dropped. It is destroyed uncalled only if the call was made while the
  // Database was being destroyed. Closures run on the library's thread, too.
  template <class T>
  using Callback = std::function<void(T)>;
  virtual void TransactAsync(Closure closure, TransactOptions options,
                             Callback<CommitResult> done) = 0;
  virtual void SnapshotAsync(Closure closure, TransactOptions options,
                             Callback<CommitResult> done) = 0;
  virtual void GetAsync(std::string key, TransactOptions options,
                        Callback<Result<std::optional<std::string>>> done) = 0;
  virtual void PutAsync(std::string key, std::string value, TransactOptions options,
                        Callback<CommitResult> done) = 0;
  virtual void DeleteAsync(std::string key, TransactOptions options,
                           Callback<CommitResult> done) = 0;
  virtual void OutcomeAsync(TxnHandle txn, TransactOptions options,
                            Callback<Result<Outcome>> done) = 0;

  // ---- sessions --------------------------------------------------------------------------------
  // A transaction whose steps come from outside (the sessions of thin clients, benchmarks): reads
  // and writes through `transaction()`, then exactly one of Commit or Rollback; after that every
  // step is FAILED_PRECONDITION, another Commit included. No retries. May be destroyed on any
  // thread, which rolls back what has not ended. Once the Database is gone, its transaction must
  // not be used any more.
  class Session {
   public:
    virtual ~Session() = default;
    virtual Transaction& transaction() = 0;
    // As Put or Delete (no value) of each in turn, but of all or none: INVALID_ARGUMENT if what the
    // transaction would be then is beyond a limit, and nothing was buffered.
    virtual Status WriteAll(std::vector<BufferedWrite> writes) = 0;
    virtual Task<CommitResult> Commit(Duration timeout) = 0;
    virtual void Rollback() = 0;
    virtual TxnHandle handle() const = 0;
    // Nobody has asked it for anything since: after a few seconds of that it loses locks that
    // others wait for.
    virtual void SetIdle(bool) {}
    // Of a read-only one, before its first read, and judged (CheckStale).
    virtual void SetStale(StaleRead) {}
    // Reads may take until then, and locks are kept, however long ago it began.
    virtual void Extend(Duration) {}
    // What it keeps in memory of what it has read and written.
    struct Size {
      size_t read_bytes = 0;
      size_t read_entries = 0;
      size_t written_bytes = 0;
      size_t written_keys = 0;
    };
    virtual Size size() const { return {}; }
  };
  // `name`: as TransactOptions::name; or none. `timeout`: of all its reads, unless extended. Any
  // thread.
  virtual std::unique_ptr<Session> Begin(bool read_only, GivenName name, Duration timeout) = 0;

  // Runs `task` on the library's executor (any thread may call); for coroutine users without an
  // executor of their own. What it throws is logged and dropped.
  virtual void Spawn(std::function<Task<void>()> task) = 0;

  // ---- blocking forms: any thread but the library's (there: FAILED_PRECONDITION) ---------------
  using SyncClosure = std::function<Status(SyncTransaction&)>;
  virtual CommitResult Transact(SyncClosure closure, TransactOptions options = {}) = 0;
  virtual Status Snapshot(SyncClosure closure, TransactOptions options = {}) = 0;
  virtual Result<std::optional<std::string>> Get(std::string key) = 0;
  virtual Status ScanAll(std::string from, std::string to, ScanAllOptions options,
                         std::function<Status(ScanPage)> take) = 0;
  virtual CommitResult Put(std::string key, std::string value) = 0;
  virtual CommitResult Delete(std::string key) = 0;
  virtual Result<quorate::client::Outcome> GetOutcome(TxnHandle txn) = 0;

  // ---- what the library counted: any thread ----------------------------------------------------
  virtual void VisitMetrics(const MetricVisitor& visit) const = 0;
  virtual std::string MetricsText() const = 0;  // as Prometheus reads it
};

}  // namespace quorate::client
