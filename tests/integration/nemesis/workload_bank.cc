// Bank: files bank.edn, and after the end ledger (entries found) and outcomes (what the cluster
// said about transfers that were not answered).
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <fstream>
#include <map>
#include <mutex>
#include <thread>

#include "base/bytes.h"
#include "base/status_macros.h"
#include "tests/integration/nemesis/workloads.h"

namespace quorate::nemesis {
namespace {

constexpr int kAccountsPerShard = 4;
constexpr int kBalance = 100;
constexpr auto kAskOutcomeFor = std::chrono::seconds(30);

Result<int> ParseBalance(const std::optional<std::string>& text) {
  int number = 0;
  if (!text || std::from_chars(text->data(), text->data() + text->size(), number).ec != std::errc())
    return Internal("an account is missing");
  return number;
}

class Bank final : public Workload {
 public:
  explicit Bank(const Shared& shared)
      : shared_(shared),
        accounts_(shared.shards * kAccountsPerShard),
        log_(shared.directory + "/bank.edn") {}

  std::string_view name() const override { return "bank"; }

  Status Setup(client::Database& database) override {
    return database
        .Transact([this](client::SyncTransaction& txn) -> Status {
          for (int i = 0; i < accounts_; ++i) {
            RETURN_IF_ERROR(txn.Put(AccountKey(i), std::to_string(kBalance)));
          }
          return Status::Ok();
        })
        .status;
  }

  void Step(Worker* worker) override {
    if (worker->random.Chance(0.2)) {
      (void)ReadAll(worker);
    } else {
      Transfer(worker);
    }
  }

  Status Finish(Worker* worker) override {
    RETURN_IF_ERROR(ReadAll(worker));
    std::vector<std::string> entries;
    RETURN_IF_ERROR(worker->database.Snapshot([&](client::SyncTransaction& txn) -> Status {
      entries.clear();
      for (int shard = 0; shard < shared_.shards; ++shard) {
        const std::string prefix = ShardKey(shard, "ledger/");
        auto rows = txn.Scan(prefix, PrefixEnd(prefix));
        if (!rows.ok()) return rows.status();
        for (const auto& row : *rows) entries.push_back(row.key.substr(prefix.size()));
      }
      return Status::Ok();
    }));
    std::ofstream ledger(shared_.directory + "/ledger");
    for (const auto& entry : entries) ledger << entry << "\n";
    std::ofstream outcomes(shared_.directory + "/outcomes");
    for (const auto& [entry, outcome] : outcomes_) outcomes << entry << " " << outcome << "\n";
    return Status::Ok();
  }

  void Flush() override { log_.Flush(); }

 private:
  int ShardOf(int account) const { return account % shared_.shards; }
  std::string AccountKey(int account) const {
    return ShardKey(ShardOf(account), fmt::format("account/{:03}", account));
  }

  Status ReadAll(Worker* worker) {
    log_.Write("invoke", worker->process, "read", "nil");
    std::vector<std::string> keys;
    for (int i = 0; i < accounts_; ++i) keys.push_back(AccountKey(i));
    std::string value;
    const auto read = [&](client::SyncTransaction& txn) -> Status {
      auto values = txn.GetMany(keys);
      if (!values.ok()) return values.status();
      std::vector<std::string> pairs;
      for (int i = 0; i < accounts_; ++i) {
        auto balance = ParseBalance((*values)[static_cast<size_t>(i)]);
        if (!balance.ok()) return balance.status();
        pairs.push_back(fmt::format("{} {}", i, *balance));
      }
      value = fmt::format("{{{}}}", fmt::join(pairs, ", "));
      return Status::Ok();
    };
    const Status status = worker->database.Snapshot(read);
    RecordEnd(shared_, &log_, worker, "read", "nil", {status, value, {}});
    return status;
  }

  void Transfer(Worker* worker) {
    Random& random = worker->random;
    const int from = static_cast<int>(random.Below(static_cast<uint64_t>(accounts_)));
    const int hop = static_cast<int>(random.Between(1, accounts_ - 1));
    const int to = (from + hop) % accounts_;
    const auto amount = static_cast<int>(random.Between(1, 5));
    const uint64_t entry = next_entry_++;
    const int ledger = static_cast<int>(random.Below(static_cast<uint64_t>(shared_.shards)));
    const std::string invoked = fmt::format("{{:from {}, :to {}, :amount {}}}", from, to, amount);
    const std::string more = fmt::format(":ledger {}, ", entry);
    log_.Write("invoke", worker->process, "transfer", invoked, more);
    const auto result = worker->database.Transact([&](client::SyncTransaction& txn) -> Status {
      auto values = txn.GetMany({AccountKey(from), AccountKey(to)});
      if (!values.ok()) return values.status();
      ASSIGN_OR_RETURN(const int a, ParseBalance((*values)[0]));
      ASSIGN_OR_RETURN(const int b, ParseBalance((*values)[1]));
      if (a < amount) return Status(Code::kFailedPrecondition, "not enough in the account");
      RETURN_IF_ERROR(txn.Put(AccountKey(from), std::to_string(a - amount)));
      RETURN_IF_ERROR(txn.Put(AccountKey(to), std::to_string(b + amount)));
      return txn.Put(ShardKey(ledger, fmt::format("ledger/{}", entry)), "");
    });
    std::vector<int> shards = {ShardOf(from), ShardOf(to), ledger};
    std::sort(shards.begin(), shards.end());
    shards.erase(std::unique(shards.begin(), shards.end()), shards.end());
    RecordEnd(shared_, &log_, worker, "transfer", invoked, {result.status, invoked, shards}, more);
    if (result.unknown) AskOutcome(worker, entry, *result.unknown);
  }

  void AskOutcome(Worker* worker, uint64_t entry, const client::TxnHandle& handle) {
    const int64_t end = MonotonicNanos() + std::chrono::nanoseconds(kAskOutcomeFor).count();
    std::string words;
    do {
      auto outcome = worker->database.GetOutcome(handle);
      if (outcome.ok()) {
        words = *outcome == client::Outcome::kCommitted ? "committed" : "aborted";
      } else if (outcome.status().code() == Code::kTooOld) {
        words = "too-old";
      } else {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
      }
    } while (words.empty() && MonotonicNanos() < end);
    const std::lock_guard lock(mutex_);
    outcomes_[entry] = words.empty() ? "not-answered" : words;
  }

  const Shared shared_;
  const int accounts_;
  OpLog log_;
  std::atomic<uint64_t> next_entry_{0};
  std::mutex mutex_;
  std::map<uint64_t, std::string> outcomes_;
};

}  // namespace

std::unique_ptr<Workload> MakeBank(const Shared& shared) { return std::make_unique<Bank>(shared); }

}  // namespace quorate::nemesis
