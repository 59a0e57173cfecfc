// Attempt: one try of a transaction. Reads at one timestamp, buffers writes, remembers what was
// read, commits.
//
// The timestamp comes with the first read: a read of one shard lets the leader take the slot (it is
// taken after the transaction began, and a round trip is saved); a read of several fetches one
// first. Whatever else wants to read meanwhile waits for it.
//
// A failed read dooms the attempt: what the closure does without knowing the answer must not be
// committed.
#pragma once

#include <absl/container/btree_set.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/core.h"
#include "client/transaction.h"
#include "client/write_buffer.h"

namespace quorate::v1 {
class ReadRequest;
class ReadResponse;
}  // namespace quorate::v1

namespace quorate::client {

class Attempt final : public Transaction {
 public:
  struct Spec {
    bool read_only = false;
    TxnId txn_id;
    TxnPriority priority;  // of the first attempt; zero start_ts: this is it
    Instant deadline;
    int number = 1;
  };
  // `core` outlives it.
  Attempt(Core* core, Spec spec);
  ~Attempt() override;

  Task<Result<std::optional<std::string>>> Get(std::string key) override;
  Task<Result<std::vector<std::optional<std::string>>>> GetMany(
      std::vector<std::string> keys) override;
  Task<Result<std::optional<std::string>>> GetForUpdate(std::string key) override;
  Task<Result<std::vector<Row>>> Scan(std::string from, std::string to,
                                      ScanOptions options) override;
  // These two may be called from any one thread, as long as no other call runs.
  Status Put(std::string key, std::string value) override;
  Status Delete(std::string key) override;
  Timestamp start_ts() const override { return start_ts_; }
  int attempt() const override { return spec_.number; }

  // Takes advisory locks, waiting for older holders. Failing to get one costs nothing but progress.
  Task<void> LockAll(std::vector<std::string> keys);

  // Makes the writes real. kAborted with the status of a failed read if the attempt is doomed.
  Task<Settled> Commit();
  // Gives up the advisory locks, in the background.
  void Release();

  void set_deadline(Instant deadline) { spec_.deadline = deadline; }
  // The status of the first read that failed; OK if none did.
  const Status& doom() const { return doom_; }
  const TxnPriority& priority() const { return spec_.priority; }
  const WriteBuffer& writes() const { return writes_; }
  std::vector<std::string> WrittenKeys() const;
  TxnHandle handle() const;

 private:
  struct Page;
  struct StartClaim;
  // Fills a request's keys and scans, given the version of the map that it will be sent under.
  using Fill = std::function<void(v1::ReadRequest*)>;
  Task<Result<v1::ReadResponse>> ReadShard(std::string route_key, Fill fill);
  Task<Result<v1::ReadResponse>> SendRead(std::string route_key, Fill fill, Timestamp at);
  Task<Status> FetchStart();
  Task<Status> AwaitStart();
  Task<Result<std::vector<std::optional<std::string>>>> ReadKeys(
      std::shared_ptr<const std::vector<std::string>> keys);
  Task<Status> ReadGroup(std::shared_ptr<const std::vector<std::string>> keys,
                         std::vector<size_t> indices,
                         std::shared_ptr<std::vector<std::optional<std::string>>> values);
  Task<Result<Page>> ReadPage(Span rest, size_t limit, bool reverse);
  Task<Status> LockGroup(std::vector<std::string> keys, Instant deadline);
  Task<void> RenewLocks();
  Task<Status> EnsurePriority();

  Status NoteRead(Span span);
  Status Write(std::string key, std::optional<std::string> value);
  Status Doom(Status status);
  Status CheckAge() const;
  std::shared_ptr<v1::CommitRequest> BuildCommit() const;

  Core* core_;
  Spec spec_;
  Timestamp start_ts_;
  Instant start_asked_;  // not after the slot was issued
  bool start_claimed_ = false;
  std::vector<Promise<bool>> start_waiters_;
  std::string anchor_key_;  // once committing
  Status doom_;
  WriteBuffer writes_;
  ReadSet reads_;
  absl::btree_set<std::string> locked_;
  bool renewing_ = false;
  TaskScope scope_;
};

}  // namespace quorate::client
