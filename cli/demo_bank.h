// The demo's bank: accounts over many shards, clients that transfer at random, a reader that checks
// the total at snapshots, and an audit that judges every single transfer afterwards.
//
// Each transfer also writes a ledger key of its own, so that the audit can tell from the data alone
// which transfers took effect: those that were acknowledged must be there, those that were refused
// must not, those whose answer was lost must be there exactly if the cluster says COMMITTED; and
// the balances must be what the ledger adds up to.
//
// Threads: clients are coroutines on the client library's thread, the reader has its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <future>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"
#include "cli/latencies.h"
#include "client/database.h"

namespace quorate::cli {

struct BankOptions {
  int accounts = 1000;
  int clients = 16;
  int shards = 10;  // two of them for the ledger
};

// Where the shards begin, so that accounts and ledger are spread over all of them.
std::vector<std::string> BankSplitKeys(const BankOptions& options);

struct BankReport {
  uint64_t commits = 0;
  uint64_t cross_shard = 0;
  uint64_t retries = 0;
  uint64_t refused = 0;  // ended with an error that says: nothing happened
  uint64_t unknown = 0;
  uint64_t unknown_committed = 0;  // what the cluster said when it was asked
  uint64_t unknown_aborted = 0;
  uint64_t unresolved = 0;
  uint64_t totals_checked = 0;
  uint64_t totals_wrong = 0;
  uint64_t acknowledged_missing = 0;
  uint64_t aborted_applied = 0;
  uint64_t balances_wrong = 0;
  uint64_t snapshots_failed = 0;  // of the reader, which had an error instead of a total
  Latencies latencies;
  struct Commit {
    Instant at;  // of its answer; ascending
    Duration took;
  };
  std::vector<Commit> timeline;
  std::vector<std::string> failures;  // the first few, in words

  bool good() const {
    return totals_wrong == 0 && acknowledged_missing == 0 && aborted_applied == 0 &&
           balances_wrong == 0 && unresolved == 0 && totals_checked > 0 && commits > 0;
  }
};

// The longest time without a commit that began in [from, to), or was under way at `from`.
Duration LongestGap(const BankReport& report, Instant from, Instant to);

class Bank {
 public:
  Bank(client::Database& database, BankOptions options);
  ~Bank();

  Status Load();
  void Start();
  // No new transfers; waits for those under way.
  void Stop();
  // Resolves unknown outcomes and compares everything with the data. After Stop.
  Status Audit(BankReport* report);

  uint64_t commits() const { return commits_.load(std::memory_order_relaxed); }
  uint64_t totals_checked() const { return totals_checked_.load(std::memory_order_relaxed); }
  uint64_t totals_wrong() const { return totals_wrong_.load(std::memory_order_relaxed); }

 private:
  struct Transfer {
    std::string ledger_key;
    int from = 0;
    int to = 0;
    int64_t amount = 0;
    enum class End : uint8_t { kCommitted, kRefused, kUnknown } end = End::kRefused;
    std::optional<client::TxnHandle> handle;
  };

  Task<void> Client(int client, uint64_t seed);
  void Record(Transfer transfer, const client::CommitResult& result, Instant start);
  void ReadTotals();
  Status CheckTotal();
  Status ReadLedger(std::map<std::string, std::string>* ledger, std::vector<int64_t>* balances);
  void Resolve(Transfer* transfer, BankReport* report);
  void Judge(const std::map<std::string, std::string>& ledger, const std::vector<int64_t>& balances,
             BankReport* report);

  client::Database& database_;
  const BankOptions options_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> commits_{0};
  std::atomic<uint64_t> totals_checked_{0};
  std::atomic<uint64_t> totals_wrong_{0};
  uint64_t snapshots_failed_ = 0;  // the reader's
  std::thread reader_;

  // The library's thread until `finished_`.
  int running_ = 0;
  std::promise<void> finished_;
  BankReport report_;
  std::vector<Transfer> transfers_;
};

}  // namespace quorate::cli
