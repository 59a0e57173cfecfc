// Small random histories, judged a second time by trying all serial orders.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>
#include <numeric>
#include <random>

#include "tests/history/check.h"
#include "tests/history/jepsen.h"

namespace quorate::history {
namespace {

using Kind = MicroOp::Kind;
using Transactions = std::vector<Transaction>;

struct Database {
  std::map<std::string, std::vector<int64_t>> lists;
  std::map<std::string, std::optional<int64_t>> values;
};

// Runs a transaction on the database; false if an acknowledged read saw something else.
bool Run(Workload workload, const Transaction& t, Database* database) {
  for (const MicroOp& op : t.ops) {
    auto& list = database->lists[op.key];
    auto& value = database->values[op.key];
    switch (op.kind) {
      case Kind::kAppend:
        list.push_back(op.element);
        if (workload == Workload::kSet) std::sort(list.begin(), list.end());
        break;
      case Kind::kWrite:
        value = op.element;
        break;
      case Kind::kAdd:
        value = value.value_or(0) + op.element;
        break;
      case Kind::kRead:
        if (t.outcome != Outcome::kOk) break;
        if (workload == Workload::kCounter ? value.value_or(0) != op.value.value_or(0)
                                           : list != op.list || value != op.value) {
          return false;
        }
    }
  }
  return true;
}

// Tries each set of transactions of unknown outcome in each order that the model's order allows.
bool HasSerialOrder(Workload workload, const Transactions& transactions, Order order) {
  std::vector<int> certain, unknown;
  for (int t = 0; t < static_cast<int>(transactions.size()); ++t) {
    if (transactions[t].outcome == Outcome::kOk) certain.push_back(t);
    if (transactions[t].outcome == Outcome::kUnknown) unknown.push_back(t);
  }
  const auto before = [&](const Transaction& a, const Transaction& b) {
    return order == Order::kRealtime && a.outcome == Outcome::kOk && a.completed < b.invoked;
  };
  for (int chosen = 0; chosen < 1 << unknown.size(); ++chosen) {
    std::vector<int> serial = certain;
    for (size_t i = 0; i < unknown.size(); ++i) {
      if ((chosen >> i & 1) != 0) serial.push_back(unknown[i]);
    }
    std::sort(serial.begin(), serial.end());
    do {
      Database database;
      bool works = true;
      for (size_t i = 0; i < serial.size() && works; ++i) {
        for (size_t j = i + 1; j < serial.size(); ++j) {
          works = works && !before(transactions[serial[j]], transactions[serial[i]]);
        }
        works = works && Run(workload, transactions[serial[i]], &database);
      }
      if (works) return true;
    } while (std::next_permutation(serial.begin(), serial.end()));
  }
  return false;
}

class Generator {
 public:
  Generator(uint32_t seed, Workload workload) : random_(seed), workload_(workload) {}

  // What was written is written in some order; reads saw some state of the key, mostly.
  Transactions Make(bool unknown_outcomes, bool read_before_write) {
    Transactions transactions(2 + Below(4));
    for (size_t t = 0; t < transactions.size(); ++t) {
      Transaction& transaction = transactions[t];
      transaction.process = static_cast<int>(t);
      transaction.invoked = Below(12);
      transaction.completed = transaction.invoked + 1 + Below(6);
      transaction.outcome = Below(unknown_outcomes ? 6 : 12) == 0 ? Outcome::kFail : Outcome::kOk;
      if (unknown_outcomes && Below(5) == 0) transaction.outcome = Outcome::kUnknown;
      const int steps = Single() ? 1 : 1 + Below(3);
      for (int step = 0; step < steps; ++step) AddStep(&transaction, read_before_write);
    }
    for (auto& [key, elements] : written_) std::shuffle(elements.begin(), elements.end(), random_);
    for (Transaction& transaction : transactions) FillReads(&transaction);
    if (workload_ == Workload::kListAppend) CompleteOwn(&transactions);
    return transactions;
  }

 private:
  int Below(int bound) { return static_cast<int>(random_() % static_cast<uint32_t>(bound)); }
  bool Single() const { return workload_ == Workload::kSet || workload_ == Workload::kCounter; }

  void AddStep(Transaction* transaction, bool read_before_write) {
    MicroOp op;
    op.key = Single() ? "it" : std::string(1, static_cast<char>('x' + Below(2)));
    if (Below(2) == 0) {
      transaction->ops.push_back(op);
      return;
    }
    if (read_before_write) transaction->ops.push_back(op);
    op.element = workload_ == Workload::kCounter ? 1 : ++element_;
    op.kind = workload_ == Workload::kRwRegister ? Kind::kWrite
              : workload_ == Workload::kCounter  ? Kind::kAdd
                                                 : Kind::kAppend;
    written_[op.key].push_back(op.element);
    transaction->ops.push_back(op);
  }

  void FillReads(Transaction* transaction) {
    for (MicroOp& op : transaction->ops) {
      if (op.kind != Kind::kRead) continue;
      const auto& elements = written_[op.key];
      const int seen = Below(static_cast<int>(elements.size()) + 1);
      if (workload_ == Workload::kRwRegister) {
        if (seen > 0) op.value = elements[seen - 1];
      } else if (workload_ == Workload::kCounter) {
        op.value = seen;
      } else {
        op.list.assign(elements.begin(), elements.begin() + seen);
        if (workload_ == Workload::kSet) std::sort(op.list.begin(), op.list.end());
      }
    }
  }

  // A read after an own append mostly ends with it: or nearly all histories would be "internal".
  void CompleteOwn(Transactions* transactions) {
    for (Transaction& transaction : *transactions) {
      std::map<std::string, std::vector<int64_t>> known;
      for (MicroOp& op : transaction.ops) {
        auto& list = known[op.key];
        if (op.kind == Kind::kAppend) {
          list.push_back(op.element);
        } else if (!list.empty() && Below(8) != 0) {
          std::vector<int64_t> whole;
          for (const int64_t element : op.list) {
            if (std::find(list.begin(), list.end(), element) != list.end()) break;
            whole.push_back(element);
          }
          whole.insert(whole.end(), list.begin(), list.end());
          op.list = list = whole;
        } else {
          list = op.list;
        }
      }
    }
  }

  std::mt19937 random_;
  const Workload workload_;
  int64_t element_ = 0;
  std::map<std::string, std::vector<int64_t>> written_;
};

struct Tally {
  int valid = 0;
  int invalid = 0;
  int overlooked = 0;  // no serial order exists, and the checker says nothing
};

Tally Compare(Workload workload, bool unknown_outcomes, bool read_before_write, int rounds) {
  Tally tally;
  for (int round = 0; round < rounds; ++round) {
    Generator generator(static_cast<uint32_t>(round), workload);
    const Transactions transactions = generator.Make(unknown_outcomes, read_before_write);
    for (const char* name : {"serializable", "strict-serializable"}) {
      const Model model = ModelNamed(name).value();
      const bool exists = HasSerialOrder(workload, transactions, model.order);
      const Verdict verdict = Check(workload, transactions, {model, std::nullopt});
      if (exists && !verdict.anomalies.empty()) {
        ADD_FAILURE() << "round " << round << ", " << name << ": " << verdict.anomalies[0].name
                      << " " << verdict.anomalies[0].explanation << "\n"
                      << PrintJepsen(workload, transactions);
        return tally;
      }
      ++(exists ? tally.valid : tally.invalid);
      if (exists || !verdict.anomalies.empty()) continue;
      if (tally.overlooked++ == 0 && std::getenv("SHOW_OVERLOOKED") != nullptr) {
        std::cout << "overlooked, " << name << ":\n" << PrintJepsen(workload, transactions);
      }
    }
  }
  return tally;
}

TEST(Random, ListAppendAgreesWithAllSerialOrders) {
  const Tally tally = Compare(Workload::kListAppend, true, false, 20000);
  EXPECT_GT(tally.valid, 2000);
  EXPECT_GT(tally.invalid, 2000);
  EXPECT_EQ(tally.overlooked, 0);
}

TEST(Random, RegistersWithReadModifyWritesAgreeWithAllSerialOrders) {
  const Tally tally = Compare(Workload::kRwRegister, false, true, 20000);
  EXPECT_GT(tally.valid, 1000);
  EXPECT_GT(tally.invalid, 2000);
  EXPECT_EQ(tally.overlooked, 0);
}

TEST(Random, RegistersWithBlindWritesAreNeverBlamedWrongly) {
  const Tally tally = Compare(Workload::kRwRegister, true, false, 20000);
  EXPECT_GT(tally.valid, 1000);
  EXPECT_GT(tally.invalid, 2000);
  EXPECT_LT(tally.overlooked, tally.invalid / 20);
}

TEST(Random, SetsAgreeWithAllSerialOrders) {
  const Tally tally = Compare(Workload::kSet, true, false, 20000);
  EXPECT_GT(tally.valid, 2000);
  EXPECT_GT(tally.invalid, 2000);
  EXPECT_EQ(tally.overlooked, 0);
}

TEST(Random, CountersAreNeverBlamedWrongly) {
  const Tally tally = Compare(Workload::kCounter, true, false, 20000);
  EXPECT_GT(tally.valid, 2000);
  EXPECT_GT(tally.invalid, 2000);
  EXPECT_LT(tally.overlooked, tally.invalid / 20);
}

}  // namespace
}  // namespace quorate::history
