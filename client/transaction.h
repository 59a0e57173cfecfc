// Transaction: what the closure given to Database::Transact works with. Reads see one snapshot plus
// the transaction's own buffered writes; nothing is sent to be written before commit.
//
// Keys 1..480 bytes, values up to 1 MiB, a transaction up to 16 MiB and 50,000 keys, and 1,024
// scanned ranges unless it is read-only (scans that overlap, or go on where one ended, count as
// one range): beyond, INVALID_ARGUMENT with the limit, and nothing is buffered. Keys that begin
// with the bytes ff 74 62 6c are of tables (client/table.h), and refused here likewise.
//
// The coroutine forms run on the library's executor (or the caller's, see Database::Create); the
// sync forms of SyncTransaction wrap them and must not be called on it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/task.h"
#include "txn/given_name.h"
#include "txn/id.h"
#include "txn/timestamp.h"

namespace quorate::client {

struct Row {
  std::string key;
  std::string value;
  friend bool operator==(const Row&, const Row&) = default;
};

struct ScanOptions {
  size_t limit = 0;        // rows; 0: all
  bool reverse = false;    // from the end of the range
  bool keys_only = false;  // rows come without their values, which do not travel either
  // Of the keys and values of the result: the row that reaches it is the last. 0: no bound. A
  // result with fewer bytes than this, and fewer rows than `limit`, holds all of the range.
  size_t limit_bytes = 0;
};

struct BufferedWrite {
  std::string key;
  std::optional<std::string> value;  // none: a deletion
};

// A part of a long scan (Database::ScanAll).
struct ScanPage {
  Timestamp read_ts;  // of all pages
  std::vector<Row> rows;
  // Behind the last row: where a scan at `read_ts` goes on, as `from`, or as `to` of a reverse one.
  // Empty: there is nothing behind it.
  std::string resume_key;
};

// Names a transaction whose outcome is unknown; to be given to Database::GetOutcome.
struct TxnHandle {
  // One attempt of a transaction, or, with no start_ts, the name that its caller gave it.
  TxnId txn_id;
  Timestamp start_ts;
  std::string anchor_key;  // with a name: any one key that the transaction writes
  bool named() const { return !start_ts; }
  static TxnHandle OfName(const GivenName& name, std::string key);
  // Of the fields above. With another key another shard would be asked, and answer "aborted".
  uint32_t Check() const;
  // As printed and parsed by the CLI: "<txn_id>:<start_ts>:<anchor key in hex>:<check in hex>".
  std::string ToString() const;
  // INVALID_ARGUMENT: not what ToString made.
  static Result<TxnHandle> Parse(std::string_view text);
};

class TableDoor;  // client/open_table.h

class Transaction {
 public:
  virtual ~Transaction() = default;

  // nullopt: absent. Errors end the attempt: return them from the closure. (An attempt whose read
  // failed is never committed, but INVALID_ARGUMENT does no harm.) Reads may run concurrently.
  virtual Task<Result<std::optional<std::string>>> Get(std::string key) = 0;
  // All keys in one round per shard, in parallel.
  virtual Task<Result<std::vector<std::optional<std::string>>>> GetMany(
      std::vector<std::string> keys) = 0;
  // As Get, and first takes an advisory lock, waiting for older holders, so that this transaction
  // is not aborted by younger writers. The lock affects progress only.
  virtual Task<Result<std::optional<std::string>>> GetForUpdate(std::string key) = 0;
  // Rows of [from, to), which must not be empty; an empty `to` means to the end. Depends on all
  // keys of the range, absent ones too; if a limit ended it, on those up to the last row.
  virtual Task<Result<std::vector<Row>>> Scan(std::string from, std::string to,
                                              ScanOptions options) = 0;
  virtual Status Put(std::string key, std::string value) = 0;
  virtual Status Delete(std::string key) = 0;

  virtual Timestamp start_ts() const = 0;  // zero before the first read
  virtual int attempt() const = 0;         // from 1

  // For client/table.h: keys of tables are refused everywhere else.
  virtual TableDoor& tables() = 0;
};

// The same, blocking: for closures on the caller's threads.
class SyncTransaction {
 public:
  virtual ~SyncTransaction() = default;
  virtual Result<std::optional<std::string>> Get(std::string key) = 0;
  virtual Result<std::vector<std::optional<std::string>>> GetMany(
      std::vector<std::string> keys) = 0;
  virtual Result<std::optional<std::string>> GetForUpdate(std::string key) = 0;
  virtual Result<std::vector<Row>> Scan(std::string from, std::string to,
                                        ScanOptions options = {}) = 0;
  virtual Status Put(std::string key, std::string value) = 0;
  virtual Status Delete(std::string key) = 0;
  virtual Timestamp start_ts() const = 0;  // zero before the first read
  virtual int attempt() const = 0;

  // Waits for a task over the same transaction, which runs on the library's thread.
  using Step = std::function<Task<Status>(Transaction&)>;
  virtual Status Await(Step step) = 0;
};

}  // namespace quorate::client
