// bank: a small service over quorate, and all that it takes to embed the client library.
//
//   bank CLUSTER open N BALANCE         accounts 0..N-1
//   bank CLUSTER transfer FROM TO AMOUNT
//   bank CLUSTER balance ACCOUNT
//   bank CLUSTER total                  of all accounts, at one moment
//   bank CLUSTER churn WORKERS COUNT    COUNT random transfers by each of WORKERS at once
//
// CLUSTER: addresses HOST:PORT, separated by commas. Exit: 0 done, 1 refused or failed (nothing
// happened), 2 usage, 3 unknown outcome.
#include <quorate/database.h>
#include <quorate/task.h>

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <memory>
#include <random>
#include <sstream>
#include <string>

using quorate::Code;
using quorate::Result;
using quorate::Status;
using quorate::Task;
using quorate::client::CommitResult;
using quorate::client::Database;
using quorate::client::Outcome;
using quorate::client::SyncTransaction;
using quorate::client::Transaction;

namespace {

std::string KeyOf(int64_t account) {
  char key[32];
  std::snprintf(key, sizeof key, "account/%09lld", static_cast<long long>(account));
  return key;
}

// The balance that a read brought.
Result<int64_t> Parse(int64_t account, const Result<std::optional<std::string>>& value) {
  if (!value.ok()) return value.status();
  if (!value->has_value()) {
    return quorate::NotFound("there is no account " + std::to_string(account));
  }
  const std::string& text = **value;
  int64_t balance = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), balance);
  if (error != std::errc() || end != text.data() + text.size()) {
    return quorate::Corruption("'" + text + "' is no balance");
  }
  return balance;
}

class Bank {
 public:
  explicit Bank(std::unique_ptr<Database> database) : database_(std::move(database)) {}

  // Accounts 0..n-1 with this balance each. Opening them again changes nothing.
  Status Open(int64_t n, int64_t balance) {
    constexpr int64_t kPerTransaction = 100;
    for (int64_t first = 0; first < n; first += kPerTransaction) {
      const CommitResult result = database_->Transact([&](SyncTransaction& txn) -> Status {
        for (int64_t i = first; i < n && i < first + kPerTransaction; ++i) {
          auto there = txn.Get(KeyOf(i));
          if (!there.ok()) return there.status();
          if (there->has_value()) continue;
          if (Status put = txn.Put(KeyOf(i), std::to_string(balance)); !put.ok()) return put;
        }
        return Status::Ok();
      });
      if (!result.ok()) return result.status;
    }
    return Status::Ok();
  }

  // FAILED_PRECONDITION if `from` has too little. The blocking form: for threads of the service.
  Status Transfer(int64_t from, int64_t to, int64_t amount) {
    if (from == to || amount <= 0) return quorate::InvalidArgument("nothing to transfer");
    const CommitResult result = database_->Transact([&](SyncTransaction& txn) -> Status {
      const Result<int64_t> source = Parse(from, txn.Get(KeyOf(from)));
      if (!source.ok()) return source.status();
      const Result<int64_t> target = Parse(to, txn.Get(KeyOf(to)));
      if (!target.ok()) return target.status();
      if (*source < amount) {
        return Status(Code::kFailedPrecondition,
                      "account " + std::to_string(from) + " holds only " + std::to_string(*source));
      }
      Status taken = txn.Put(KeyOf(from), std::to_string(*source - amount));
      if (!taken.ok()) return taken;
      return txn.Put(KeyOf(to), std::to_string(*target + amount));
    });
    if (!result.unknown.has_value()) return result.status;
    // Never simply done again: it may have been done.
    const auto outcome = database_->GetOutcome(*result.unknown);
    if (!outcome.ok()) return result.status;
    return *outcome == Outcome::kCommitted ? Status::Ok()
                                           : Status(Code::kAborted, "the transfer was not made");
  }

  Result<int64_t> Balance(int64_t account) {
    return Parse(account, database_->Get(KeyOf(account)));
  }

  // Of all accounts at one moment; `accounts`, if given, is set to their number.
  Result<int64_t> Total(int64_t* accounts) {
    int64_t total = 0;
    const Status status = database_->Snapshot([&](SyncTransaction& txn) -> Status {
      auto rows = txn.Scan("account/", "account0");  // '0' is the byte after '/'
      if (!rows.ok()) return rows.status();
      total = 0;
      for (const auto& row : *rows) {
        const Result<int64_t> balance = Parse(0, std::optional<std::string>(row.value));
        if (!balance.ok()) return balance.status();
        total += *balance;
      }
      if (accounts != nullptr) *accounts = static_cast<int64_t>(rows->size());
      return Status::Ok();
    });
    if (!status.ok()) return status;
    return total;
  }

  Database& database() { return *database_; }

 private:
  std::unique_ptr<Database> database_;
};

// ---- the coroutine form: many transactions at once on the library's one thread
// -------------------

struct ChurnState {
  Database* database;
  int64_t accounts;
  int workers;
  std::mt19937_64 random{1};
  int made = 0;
  int refused = 0;
  int failed = 0;
  std::promise<void> all_done;
};

Task<Status> MoveOne(int64_t from, int64_t to, Transaction& txn) {
  auto values = co_await txn.GetMany({KeyOf(from), KeyOf(to)});
  if (!values.ok()) co_return values.status();
  const Result<int64_t> source = Parse(from, (*values)[0]);
  const Result<int64_t> target = Parse(to, (*values)[1]);
  if (!source.ok()) co_return source.status();
  if (!target.ok()) co_return target.status();
  if (*source < 1) co_return Status(Code::kFailedPrecondition, "nothing left to move");
  Status taken = txn.Put(KeyOf(from), std::to_string(*source - 1));
  if (!taken.ok()) co_return taken;
  co_return txn.Put(KeyOf(to), std::to_string(*target + 1));
}

Task<void> ChurnWorker(std::shared_ptr<ChurnState> state, int count) {
  const auto any = [&state] {
    return static_cast<int64_t>(state->random() % static_cast<uint64_t>(state->accounts));
  };
  for (int i = 0; i < count; ++i) {
    const int64_t from = any();
    const int64_t to = (from + 1 + any() % (state->accounts - 1)) % state->accounts;
    Database::Closure closure = [from, to](Transaction& txn) { return MoveOne(from, to, txn); };
    const CommitResult result = co_await state->database->TransactAsync(std::move(closure), {});
    if (result.ok()) {
      ++state->made;
    } else if (result.status.code() == Code::kFailedPrecondition) {
      ++state->refused;
    } else {
      std::fprintf(stderr, "%s\n", result.status.ToString().c_str());
      ++state->failed;
    }
  }
  if (--state->workers == 0) state->all_done.set_value();
}

// ---- the command line ---------------------------------------------------------------------------

int Report(const Status& status) {
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.code() == Code::kUnknownOutcome ? 3 : 1;
}

int Print(const Result<int64_t>& value) {
  if (!value.ok()) return Report(value.status());
  std::printf("%lld\n", static_cast<long long>(*value));
  return 0;
}

int Churn(Bank& bank, int workers, int count) {
  auto state = std::make_shared<ChurnState>();
  const Result<int64_t> before = bank.Total(&state->accounts);
  if (!before.ok()) return Report(before.status());
  if (state->accounts < 2 || workers < 1) {
    return Report(quorate::InvalidArgument("this takes two accounts and a worker at least"));
  }
  state->database = &bank.database();
  state->workers = workers;
  for (int i = 0; i < workers; ++i) {
    bank.database().Spawn([state, count] { return ChurnWorker(state, count); });
  }
  state->all_done.get_future().wait();
  const Result<int64_t> after = bank.Total(nullptr);
  if (!after.ok()) return Report(after.status());
  std::printf("%d transfers, %d refused, %d failed; total %lld, before %lld\n", state->made,
              state->refused, state->failed, static_cast<long long>(*after),
              static_cast<long long>(*before));
  return *after == *before && state->failed == 0 ? 0 : 1;
}

int Usage() {
  std::fprintf(stderr,
               "usage: bank CLUSTER open N BALANCE | transfer FROM TO AMOUNT | balance ACCOUNT |\n"
               "       total | churn WORKERS COUNT\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return Usage();
  quorate::client::Options options;
  options.cluster.clear();
  std::istringstream addresses(argv[1]);
  for (std::string address; std::getline(addresses, address, ',');) {
    options.cluster.push_back(address);
  }
  auto database = Database::Open(options);
  if (!database.ok()) {
    Report(database.status());
    return 2;
  }
  Bank bank(std::move(*database));
  const std::string command = argv[2];
  const auto number = [&](int i) { return std::atoll(argv[3 + i]); };
  if (command == "open" && argc == 5) return Report(bank.Open(number(0), number(1)));
  if (command == "transfer" && argc == 6) {
    return Report(bank.Transfer(number(0), number(1), number(2)));
  }
  if (command == "balance" && argc == 4) return Print(bank.Balance(number(0)));
  if (command == "total" && argc == 3) return Print(bank.Total(nullptr));
  if (command == "churn" && argc == 5) {
    return Churn(bank, static_cast<int>(number(0)), static_cast<int>(number(1)));
  }
  return Usage();
}
