#include "tests/sim/workloads/histories.h"

#include <fmt/format.h>

#include "tests/history/jepsen.h"

namespace quorate::sim {

history::Transaction* History::Invoke(int process, std::vector<history::MicroOp> ops) {
  auto& transaction = transactions_.emplace_back(std::make_unique<history::Transaction>());
  transaction->process = process;
  transaction->invoked = Now();
  transaction->ops = std::move(ops);
  return transaction.get();
}

void History::Complete(history::Transaction* transaction, history::Outcome outcome) {
  transaction->completed = Now();
  transaction->outcome = outcome;
}

std::vector<history::Transaction> History::All() const {
  std::vector<history::Transaction> transactions;
  for (const auto& transaction : transactions_) transactions.push_back(*transaction);
  return transactions;
}

std::string History::ToEdn() const {
  return fmt::format("; workload: {}\n{}", history::Name(kind_),
                     history::PrintJepsen(kind_, All()));
}

std::vector<std::string> History::Judge() const {
  std::vector<std::string> found;
  for (const auto& anomaly : history::Check(kind_, All()).anomalies) {
    found.push_back(anomaly.name + ": " + anomaly.explanation);
  }
  return found;
}

}  // namespace quorate::sim
