// Attempt: one try of a transaction. Reads at one timestamp (start_timestamp.h, snapshot_reader.h),
// lays its own writes over what is stored, remembers what was read, commits.
//
// A failed read dooms the attempt: what the closure does without knowing the answer must not be
// committed. An attempt that has ended, by Commit or End, takes no further steps.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/advisory_locks.h"
#include "client/core.h"
#include "client/database.h"
#include "client/open_table.h"
#include "client/snapshot_reader.h"
#include "client/start_timestamp.h"
#include "client/transaction.h"
#include "client/write_buffer.h"

namespace quorate::client {

class Attempt final : public Transaction, private TableDoor {
 public:
  struct Spec {
    bool read_only = false;
    TxnId txn_id;
    Timestamp read_ts;     // of a read-only attempt: where it reads; zero: a fresh slot
    StaleRead stale;       // of a read-only attempt
    TxnPriority priority;  // of the first attempt; zero start_ts: this is it
    Instant deadline;
    int number = 1;
    GivenName name;
    std::string name_key;  // one that is written, if not empty
  };
  // `core` outlives it.
  Attempt(Core* core, Spec spec);
  // Ends it. Executor's thread.
  ~Attempt() override;

  Task<Result<std::optional<std::string>>> Get(std::string key) override;
  Task<Result<std::vector<std::optional<std::string>>>> GetMany(
      std::vector<std::string> keys) override;
  Task<Result<std::optional<std::string>>> GetForUpdate(std::string key) override;
  Task<Result<std::vector<Row>>> Scan(std::string from, std::string to,
                                      ScanOptions options) override;
  // These may be called from any one thread, as long as no other call runs.
  Status Put(std::string key, std::string value) override;
  Status Delete(std::string key) override;
  // All or none.
  Status WriteAll(std::vector<BufferedWrite> writes);
  Timestamp start_ts() const override { return start_.get(); }
  int attempt() const override { return spec_.number; }
  TableDoor& tables() override { return *this; }
  // Whether what it does goes by the catalog.
  bool uses_tables() const { return !tables_.empty(); }

  // Takes advisory locks, waiting for older holders. Failing to get one costs nothing but progress.
  Task<void> LockAll(std::vector<std::string> keys);

  // Makes the writes real. kAborted with the status of a failed read if the attempt is doomed.
  Task<Settled> Commit();
  // Whether a Commit was sent of which nobody has heard what became of it.
  bool in_doubt() const { return commits_sent_ > 0; }
  // Nothing follows: gives up the advisory locks, in the background.
  void End();

  void set_deadline(Instant deadline);
  // Before the first read of a read-only one.
  void SetStale(StaleRead stale) { reader_.SetStale(stale); }
  // Nobody asks it for anything: soon it holds no locks that others wait for.
  void SetIdle(bool idle) { locks_.SetIdle(idle); }
  // The status of the first read that failed; OK if none did.
  const Status& doom() const { return doom_; }
  const TxnPriority& priority() const { return spec_.priority; }
  const GivenName& name() const { return spec_.name; }
  const WriteBuffer& writes() const { return writes_; }
  Database::Session::Size size() const {
    const ReadSet::Size& reads = reads_.size();
    return {reads.bytes, reads.spans, writes_.bytes(), writes_.keys()};
  }
  std::vector<std::string> WrittenKeys() const;
  TxnHandle handle() const;

 private:
  Task<Status> EnsurePriority();

  Status CheckOpen() const;
  Task<Result<OpenTablePtr>> Open(std::string name) override;
  Turns& turns() override { return turns_ ? *turns_ : turns_.emplace(core_->env().executor); }
  const std::optional<std::string>* Buffered(const std::string& key) const override {
    return writes_.Find(key);
  }
  Status WriteRows(const OpenTable& table, std::vector<BufferedWrite> writes) override;
  Status CheckWritable(const std::string& key) const;
  Status BufferAll(std::vector<BufferedWrite> writes);
  Status NoteRead(const Span& span);
  // Single keys. All or none.
  Status NoteKeys(std::vector<std::string> keys);
  // Whether this much may be read, and so many bytes written to so many keys.
  static Status CheckSize(const ReadSet::Size& reads, size_t written_bytes, size_t written_keys);
  Status Write(std::string key, std::optional<std::string> value);
  Status Doom(Status status);
  Status CheckAge() const;
  std::shared_ptr<v1::CommitRequest> BuildCommit();  // takes the values

  Core* core_;
  Spec spec_;
  StartTimestamp start_;
  SnapshotReader reader_;
  AdvisoryLocks locks_;
  std::string anchor_key_;  // once committing
  int commits_sent_ = 0;    // until its answer is known
  bool ended_ = false;
  Status doom_;
  WriteBuffer writes_;
  ReadSet reads_;
  std::optional<Turns> turns_;  // once rows are changed
  std::map<std::string, OpenTablePtr> tables_;  // by the names they were asked for
};

}  // namespace quorate::client
