// Bank: transfers between accounts, totals at snapshots, and a ledger row per transfer, so that
// every acknowledged transfer must be found at the end, no failed one may be, and the balances must
// be exactly what the ledger says.
#include <fmt/format.h>

#include <map>

#include "base/bytes.h"
#include "base/status_macros.h"
#include "tests/sim/workloads/catalogue.h"

namespace quorate::sim {

namespace {

constexpr int64_t kInitialBalance = 100;

struct Transfer {
  int from = 0;
  int to = 0;
  int64_t amount = 0;
  std::string ledger_key;
  enum class State : uint8_t { kUnknown, kCommitted, kFailed } state = State::kUnknown;
  std::string why;
};

class Bank final : public Workload {
 public:
  explicit Bank(const WorkloadContext& context)
      : Workload(context.world, "bank"), accounts_(context.options.accounts) {}

  Task<Status> Setup(Hands* hands) override {
    const auto result = co_await hands->database->TransactAsync(
        [this](client::Transaction& txn) { return PutInitial(this, &txn); }, {});
    co_return result.status;
  }

  Task<void> Step(Hands* hands) override {
    client::Database* database = hands->database;
    Random* random = hands->random;
    if (random->Chance(0.2)) {
      co_await CheckTotal(database);
      co_return;
    }
    auto transfer = std::make_shared<Transfer>();
    transfer->from = static_cast<int>(random->Below(accounts_));
    transfer->to =
        static_cast<int>((transfer->from + 1 + random->Below(accounts_ - 1)) % accounts_);
    transfer->amount = random->Between(1, 5);
    transfer->ledger_key = SpreadKey("ledger", static_cast<int>(random->Below(64)), 64) +
                           fmt::format("/{}/{}", hands->client, ++sequence_);
    transfers_.push_back(transfer);
    const bool lock = random->Chance(0.2);
    const auto result = co_await database->TransactAsync(
        [this, transfer, lock](client::Transaction& txn) {
          return Move(this, &txn, transfer, lock);
        },
        {});
    Count(result.status);
    if (result.ok()) {
      transfer->why = fmt::format("(attempt {}, {} shards, at {})", result.attempts, result.shards,
                                  result.commit_ts);
      transfer->state = Transfer::State::kCommitted;
      co_return;
    }
    transfer->why = result.status.ToString();
    if (result.status.code() != Code::kUnknownOutcome) {
      transfer->state = Transfer::State::kFailed;
      co_return;
    }
    if (!result.unknown) {
      Violation("UNKNOWN_OUTCOME without a handle to ask with");
      co_return;
    }
    const auto outcome = co_await database->OutcomeAsync(*result.unknown, 10s);
    if (outcome.ok()) {
      transfer->state = *outcome == client::Outcome::kCommitted ? Transfer::State::kCommitted
                                                                : Transfer::State::kFailed;
      transfer->why += ", then asked";
    }
  }

  Task<Status> Audit(Hands* hands) override {
    co_return co_await hands->database->SnapshotAsync(
        [this](client::Transaction& txn) { return ReadFinal(this, &txn); }, {});
  }

  std::vector<std::string> Violations() const override {
    std::vector<std::string> found = violations_;
    std::map<int, int64_t> balances;
    for (int i = 0; i < accounts_; ++i) balances[i] = kInitialBalance;
    for (const auto& transfer : transfers_) {
      const bool there = final_ledger_.contains(transfer->ledger_key);
      if (there) {
        balances[transfer->from] -= transfer->amount;
        balances[transfer->to] += transfer->amount;
      }
      if (transfer->state == Transfer::State::kCommitted && !there) {
        found.push_back("acknowledged transfer is missing: " + Printable(transfer->ledger_key) +
                        " " + transfer->why);
      }
      if (transfer->state == Transfer::State::kFailed && there) {
        found.push_back("failed transfer took effect: " + Printable(transfer->ledger_key) + " (" +
                        transfer->why + ")");
      }
    }
    if (final_ledger_.size() > transfers_.size())
      found.push_back("more ledger rows than transfers");
    for (int i = 0; i < accounts_; ++i) {
      const auto it = final_balances_.find(i);
      if (it == final_balances_.end()) {
        found.push_back(fmt::format("account {} was not audited", i));
      } else if (it->second != balances[i]) {
        found.push_back(
            fmt::format("account {} holds {}, the ledger says {}", i, it->second, balances[i]));
      }
    }
    return found;
  }

 private:
  std::string Account(int i) const { return SpreadKey("account", i, accounts_); }

  static Task<Status> PutInitial(Bank* bank, client::Transaction* txn) {
    for (int i = 0; i < bank->accounts_; ++i) {
      CO_RETURN_IF_ERROR(txn->Put(bank->Account(i), std::to_string(kInitialBalance)));
    }
    co_return Status::Ok();
  }

  static Task<Status> Move(Bank* bank, client::Transaction* txn, std::shared_ptr<Transfer> transfer,
                           bool lock) {
    auto from = lock ? co_await txn->GetForUpdate(bank->Account(transfer->from))
                     : co_await txn->Get(bank->Account(transfer->from));
    if (!from.ok()) co_return from.status();
    auto to = co_await txn->Get(bank->Account(transfer->to));
    if (!to.ok()) co_return to.status();
    if (!from->has_value() || !to->has_value()) {
      bank->Violation("a transfer found no account");
      co_return Internal("account missing");
    }
    CO_RETURN_IF_ERROR(
        txn->Put(bank->Account(transfer->from), std::to_string(ToInt(**from) - transfer->amount)));
    CO_RETURN_IF_ERROR(
        txn->Put(bank->Account(transfer->to), std::to_string(ToInt(**to) + transfer->amount)));
    co_return txn->Put(transfer->ledger_key, std::to_string(transfer->amount));
  }

  Task<void> CheckTotal(client::Database* database) {
    auto total = std::make_shared<int64_t>(0);
    const Status status = co_await database->SnapshotAsync(
        [this, total](client::Transaction& txn) { return Sum(this, &txn, total); }, {});
    Count(status);
    if (status.ok() && *total != accounts_ * kInitialBalance) {
      Violation(fmt::format("a snapshot's total is {} instead of {}", *total,
                            accounts_ * kInitialBalance));
    }
  }

  static Task<Status> Sum(Bank* bank, client::Transaction* txn, std::shared_ptr<int64_t> total) {
    *total = 0;
    std::vector<std::string> keys;
    for (int i = 0; i < bank->accounts_; ++i) keys.push_back(bank->Account(i));
    auto values = co_await txn->GetMany(std::move(keys));
    if (!values.ok()) co_return values.status();
    for (const auto& value : *values) *total += value ? ToInt(*value) : 0;
    co_return Status::Ok();
  }

  static Task<Status> ReadFinal(Bank* bank, client::Transaction* txn) {
    auto rows = co_await txn->Scan("", "", {});
    if (!rows.ok()) co_return rows.status();
    bank->final_balances_.clear();
    bank->final_ledger_.clear();
    for (const client::Row& row : *rows) {
      if (row.key.substr(2, 6) == "ledger") bank->final_ledger_[row.key] = ToInt(row.value);
      for (int i = 0; i < bank->accounts_; ++i) {
        if (row.key == bank->Account(i)) bank->final_balances_[i] = ToInt(row.value);
      }
    }
    co_return Status::Ok();
  }

  const int accounts_;
  uint64_t sequence_ = 0;
  std::vector<std::shared_ptr<Transfer>> transfers_;
  std::map<int, int64_t> final_balances_;
  std::map<std::string, int64_t> final_ledger_;
};

}  // namespace

std::unique_ptr<Workload> MakeBank(const WorkloadContext& context) {
  return std::make_unique<Bank>(context);
}

}  // namespace quorate::sim
