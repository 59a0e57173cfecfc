// bank: a small service over quorate.
//
//   bank CLUSTER open N BALANCE         accounts 0..N-1
//   bank CLUSTER transfer FROM TO AMOUNT
//   bank CLUSTER balance ACCOUNT
//   bank CLUSTER total                  of all accounts, at one moment
//   bank CLUSTER churn THREADS COUNT    COUNT random transfers by each of THREADS threads
//
// CLUSTER: addresses HOST:PORT, separated by commas. Exit: 0 done, 1 refused or failed (nothing
// happened), 2 usage, 3 unknown outcome.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <sstream>
#include <thread>
#include <vector>

#include "bank.h"

namespace {

int Report(const quorate::Status& status) {
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.code() == quorate::Code::kUnknownOutcome ? 3 : 1;
}

int Print(const quorate::Result<int64_t>& value) {
  if (!value.ok()) return Report(value.status());
  std::printf("%lld\n", static_cast<long long>(*value));
  return 0;
}

int Churn(Bank& bank, int threads, int count) {
  int64_t accounts = 0;
  const auto before = bank.Total(&accounts);
  if (!before.ok()) return Report(before.status());
  if (accounts < 2) return Report(quorate::InvalidArgument("open at least two accounts first"));
  std::atomic<int> made{0};
  std::atomic<int> refused{0};
  std::atomic<int> failed{0};
  std::vector<std::thread> workers;
  for (int t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      std::mt19937_64 random(static_cast<uint64_t>(t) + 1);
      for (int i = 0; i < count; ++i) {
        const auto from = static_cast<int64_t>(random() % static_cast<uint64_t>(accounts));
        const int64_t to = (from + 1) % accounts;
        const quorate::Status status = bank.Transfer(from, to, 1);
        if (status.ok()) {
          ++made;
        } else if (status.code() == quorate::Code::kFailedPrecondition) {
          ++refused;
        } else {
          ++failed;
        }
      }
    });
  }
  for (auto& worker : workers) worker.join();
  const auto after = bank.Total(nullptr);
  if (!after.ok()) return Report(after.status());
  std::printf("%d transfers, %d refused, %d failed; total %lld, before %lld\n", made.load(),
              refused.load(), failed.load(), static_cast<long long>(*after),
              static_cast<long long>(*before));
  return *after == *before && failed == 0 ? 0 : 1;
}

int Usage() {
  std::fprintf(stderr,
               "usage: bank CLUSTER open N BALANCE | transfer FROM TO AMOUNT | balance ACCOUNT |\n"
               "       total | churn THREADS COUNT\n");
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
  auto database = quorate::client::Database::Open(options);
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
