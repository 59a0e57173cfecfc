// Small random histories under every model without a clock, judged a second time by its definition:
// some order of the versions of each key, taken by trial, must give a graph of dependencies without
// the cycles that the model forbids (Adya). Nothing is inferred here, and nothing shared with the
// checker but the names of the models.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>
#include <random>
#include <set>

#include "tests/history/check.h"
#include "tests/history/jepsen.h"

namespace quorate::history {
namespace {

using Kind = MicroOp::Kind;
using Transactions = std::vector<Transaction>;
using Versions = std::vector<int64_t>;  // of one key, in their order
constexpr int kMax = 8;

struct Edges {
  bool ww_wr[kMax][kMax] = {};
  bool rw[kMax][kMax] = {};
};

// By trial, whether a history has some order of versions that a model allows.
class ByDefinition {
 public:
  ByDefinition(Workload workload, const Transactions& transactions, const Model& model)
      : lists_(workload == Workload::kListAppend), transactions_(transactions), model_(model) {
    for (size_t t = 0; t < transactions.size(); ++t) {
      for (const MicroOp& op : transactions[t].ops) {
        if (op.kind == Kind::kRead) continue;
        writer_[op.element] = static_cast<int>(t);
        writes_[op.key].emplace_back(op.element, static_cast<int>(t));
      }
    }
  }

  bool Allowed() {
    std::vector<int> unknown;
    for (size_t t = 0; t < transactions_.size(); ++t) {
      if (transactions_[t].outcome == Outcome::kUnknown) unknown.push_back(static_cast<int>(t));
    }
    for (int chosen = 0; chosen < 1 << unknown.size(); ++chosen) {
      for (size_t t = 0; t < transactions_.size(); ++t) {
        committed_[t] = transactions_[t].outcome == Outcome::kOk;
      }
      for (size_t i = 0; i < unknown.size(); ++i) committed_[unknown[i]] = (chosen >> i & 1) != 0;
      if (ReadsAreOfCommitted() && (!model_.g_single || FollowsOwnSteps()) && TryOrders()) {
        return true;
      }
    }
    return false;
  }

 private:
  static bool Sees(const MicroOp& op) { return op.kind == Kind::kRead; }
  bool Ok(size_t t) const { return transactions_[t].outcome == Outcome::kOk; }

  // No garbage, nothing of failed transactions, no intermediate versions: all models here want it.
  bool ReadsAreOfCommitted() const {
    for (size_t t = 0; t < transactions_.size(); ++t) {
      if (!Ok(t)) continue;
      for (const MicroOp& op : transactions_[t].ops) {
        if (!Sees(op)) continue;
        Versions seen = op.list;
        if (op.value) seen = {*op.value};
        for (const int64_t element : seen) {
          if (!writer_.contains(element) || !committed_[writer_.at(element)]) return false;
        }
        const bool foreign = !seen.empty() && writer_.at(seen.back()) != static_cast<int>(t);
        if (foreign && !IsLast(op.key, seen.back())) return false;
      }
    }
    return true;
  }
  bool IsLast(const std::string& key, int64_t element) const {
    for (const auto& [other, t] : writes_.at(key)) {
      if (t == writer_.at(element) && other > element) return false;  // elements count upward
    }
    return true;
  }

  // Within a transaction: a read sees what the last step on the key left.
  bool FollowsOwnSteps() const {
    for (size_t t = 0; t < transactions_.size(); ++t) {
      if (!Ok(t)) continue;
      std::map<std::string, MicroOp> state;    // as a read would see it
      std::map<std::string, Versions> behind;  // lists: own appends before any read
      for (const MicroOp& op : transactions_[t].ops) {
        const auto known = state.find(op.key);
        if (Sees(op) && known != state.end()) {
          if (op.list != known->second.list || op.value != known->second.value) return false;
        } else if (Sees(op)) {
          const Versions& own = behind[op.key];
          if (op.list.size() < own.size() ||
              !std::equal(own.begin(), own.end(), op.list.end() - own.size())) {
            return false;
          }
          const size_t others = op.list.size() - own.size();
          for (size_t i = 0; i < others; ++i) {
            if (writer_.at(op.list[i]) == static_cast<int>(t)) return false;
          }
          if (op.value && writer_.at(*op.value) == static_cast<int>(t)) return false;
          state[op.key] = op;
        } else if (op.kind == Kind::kWrite) {
          state[op.key].value = op.element;
        } else if (known != state.end()) {
          known->second.list.push_back(op.element);
        } else {
          behind[op.key].push_back(op.element);
        }
      }
    }
    return true;
  }

  bool TryOrders() {
    std::map<std::string, Versions> orders;
    for (const auto& [key, writes] : writes_) {
      for (const auto& [element, t] : writes) {
        if (committed_[t]) orders[key].push_back(element);
      }
      std::sort(orders[key].begin(), orders[key].end());
    }
    return TryOrders(orders.begin(), &orders);
  }
  bool TryOrders(std::map<std::string, Versions>::iterator at,
                 std::map<std::string, Versions>* all) {
    if (at == all->end()) return !HasForbiddenCycle(EdgesOf(*all)) && !LosesUpdate(*all);
    do {
      if (OwnWritesAscend(at->second) && (!lists_ || ReadsArePrefixes(at->first, at->second)) &&
          TryOrders(std::next(at), all)) {
        return true;
      }
    } while (std::next_permutation(at->second.begin(), at->second.end()));
    return false;
  }
  bool OwnWritesAscend(const Versions& order) const {
    std::map<int, int64_t> last;
    for (const int64_t element : order) {
      int64_t& before = last[writer_.at(element)];
      if (element < before) return false;
      before = element;
    }
    return true;
  }
  bool ReadsArePrefixes(const std::string& key, const Versions& order) const {
    for (size_t t = 0; t < transactions_.size(); ++t) {
      if (!Ok(t)) continue;
      for (const MicroOp& op : transactions_[t].ops) {
        if (!Sees(op) || op.key != key) continue;
        if (op.list.size() > order.size() ||
            !std::equal(op.list.begin(), op.list.end(), order.begin())) {
          return false;
        }
      }
    }
    return true;
  }

  // The place of what was read: 0 is the initial version.
  size_t PlaceRead(const MicroOp& op, const Versions& order) const {
    if (lists_) return op.list.size();
    if (!op.value) return 0;
    return static_cast<size_t>(std::ranges::find(order, *op.value) - order.begin()) + 1;
  }

  Edges EdgesOf(const std::map<std::string, Versions>& orders) const {
    Edges edges;
    for (const auto& [key, order] : orders) {
      for (size_t i = 0; i < order.size(); ++i) {
        for (size_t j = i + 1; j < order.size(); ++j) {
          edges.ww_wr[writer_.at(order[i])][writer_.at(order[j])] = true;
        }
      }
    }
    for (size_t t = 0; t < transactions_.size(); ++t) {
      if (!Ok(t)) continue;
      for (const MicroOp& op : transactions_[t].ops) {
        if (!Sees(op)) continue;
        const auto found = orders.find(op.key);
        const Versions order = found == orders.end() ? Versions{} : found->second;
        const size_t place = PlaceRead(op, order);
        const int source = place == 0 ? -1 : writer_.at(order[place - 1]);
        if (source == static_cast<int>(t)) continue;  // its own version
        if (source >= 0) edges.ww_wr[source][t] = true;
        for (size_t i = place; i < order.size(); ++i) edges.rw[t][writer_.at(order[i])] = true;
      }
    }
    return edges;
  }

  // Two transactions read one version of a key before they wrote it.
  bool LosesUpdate(const std::map<std::string, Versions>& orders) const {
    if (!model_.g_single) return false;
    for (const auto& [key, order] : orders) {
      std::set<size_t> places;
      for (size_t t = 0; t < transactions_.size(); ++t) {
        if (!Ok(t)) continue;
        const MicroOp* first = nullptr;
        bool wrote = false;
        for (const MicroOp& op : transactions_[t].ops) {
          if (op.key != key) continue;
          if (first == nullptr) first = &op;
          wrote = wrote || !Sees(op);
        }
        if (wrote && Sees(*first) && !places.insert(PlaceRead(*first, order)).second) return true;
      }
    }
    return false;
  }

  bool HasForbiddenCycle(const Edges& edges) const {
    const int n = static_cast<int>(transactions_.size());
    for (int start = 0; start < n; ++start) {
      // rw edges allowed in a forbidden cycle: none, one, none next to each other, any.
      const bool any = model_.g2_item, apart = model_.g_nonadjacent, one = model_.g_single;
      if (Returns(edges, start, 0, false)) return true;  // G0, G1c
      if (one && Returns(edges, start, 1, false)) return true;
      if (apart && Returns(edges, start, kMax, true)) return true;
      if (any && Returns(edges, start, kMax, false)) return true;
    }
    return false;
  }
  // Whether a walk over (transaction, came by a read-write edge?, how many so far) comes back. If
  // read-write edges must stand apart, it begins with another kind.
  bool Returns(const Edges& edges, int start, int rw_max, bool apart) const {
    std::set<std::tuple<int, bool, int>> seen;
    std::vector<std::tuple<int, bool, int>> queue{{start, false, 0}};
    bool first_step = true;
    while (!queue.empty()) {
      const auto [at, by_rw, rws] = queue.back();
      queue.pop_back();
      for (int to = 0; to < static_cast<int>(transactions_.size()); ++to) {
        if (to == at) continue;
        for (const bool rw : {false, true}) {
          if (!(rw ? edges.rw : edges.ww_wr)[at][to]) continue;
          if (rw && (rws == rw_max || (apart && by_rw))) continue;
          if (apart && first_step && rw) continue;  // some other start of the cycle finds it
          if (to == start) return true;
          const std::tuple next{to, rw, rw_max == kMax ? 0 : rws + rw};
          if (seen.insert(next).second) queue.push_back(next);
        }
      }
      first_step = false;
    }
    return false;
  }

  const bool lists_;
  const Transactions& transactions_;
  const Model& model_;
  std::map<int64_t, int> writer_;
  std::map<std::string, std::vector<std::pair<int64_t, int>>> writes_;
  bool committed_[kMax] = {};
};

// Some order of all writes is drawn first; reads see a beginning of it, mostly one that fits their
// own writes; some reads come twice, some see what they should not.
class Generator {
 public:
  Generator(uint32_t seed, bool lists) : random_(seed), lists_(lists) {}

  // With `complete`, a last transaction reads all: then nothing is left to be guessed of lists.
  Transactions Make(bool complete) {
    Transactions transactions(2 + Below(3));
    for (size_t t = 0; t < transactions.size(); ++t) {
      Transaction& transaction = transactions[t];
      transaction = {static_cast<int>(t), static_cast<int64_t>(t), 100, Outcome::kOk, {}};
      if (Below(8) == 0) transaction.outcome = Outcome::kFail;
      if (Below(8) == 0) transaction.outcome = Outcome::kUnknown;
      for (int step = 1 + Below(4); step > 0; --step) AddStep(&transaction, static_cast<int>(t));
    }
    for (auto& [key, elements] : order_) Shuffle(&elements, transactions);
    for (Transaction& transaction : transactions) FillReads(&transaction);
    if (!complete) return transactions;
    Transaction last{kMax, 200, 201, Outcome::kOk, {}};
    for (const auto& [key, elements] : order_) {
      MicroOp op;
      op.key = key;
      for (const int64_t element : elements) {
        if (transactions[writer_[element]].outcome == Outcome::kOk) op.list.push_back(element);
      }
      last.ops.push_back(op);
    }
    transactions.push_back(last);
    return transactions;
  }

 private:
  int Below(int bound) { return static_cast<int>(random_() % static_cast<uint32_t>(bound)); }

  void AddStep(Transaction* transaction, int t) {
    MicroOp op;
    op.key = std::string(1, static_cast<char>('x' + Below(2)));
    if (Below(2) == 0) {
      if (!lists_) transaction->ops.push_back(op);
      op.kind = lists_ ? Kind::kAppend : Kind::kWrite;
      op.element = ++element_;
      writer_[op.element] = t;
      order_[op.key].push_back(op.element);
    }
    transaction->ops.push_back(op);
  }

  // Mostly with the writes of a transaction in their order, and those of failed ones last.
  void Shuffle(Versions* elements, const Transactions& transactions) {
    std::shuffle(elements->begin(), elements->end(), random_);
    if (Below(6) == 0) return;
    std::map<int, Versions> own;
    for (const int64_t element : *elements) own[writer_[element]].push_back(element);
    for (auto& [t, list] : own) std::sort(list.begin(), list.end(), std::greater<>());
    for (int64_t& element : *elements) {
      Versions& left = own[writer_[element]];
      element = left.back();
      left.pop_back();
    }
    std::ranges::stable_partition(*elements, [&](int64_t element) {
      return transactions[writer_[element]].outcome == Outcome::kOk;
    });
  }

  void FillReads(Transaction* transaction) {
    std::map<std::string, int64_t> own;   // the last own write of each key so far
    std::map<std::string, MicroOp> last;  // the last read
    for (MicroOp& op : transaction->ops) {
      if (op.kind != Kind::kRead) {
        own[op.key] = op.element;
        continue;
      }
      const Versions& order = order_[op.key];
      size_t seen = static_cast<size_t>(Below(static_cast<int>(order.size()) + 1));
      if (own.contains(op.key) && Below(6) != 0) {
        seen = static_cast<size_t>(std::ranges::find(order, own[op.key]) - order.begin()) + 1;
      } else if (last.contains(op.key) && Below(3) != 0) {
        seen = lists_ ? last[op.key].list.size()
                      : static_cast<size_t>(std::ranges::find(order, last[op.key].value) -
                                            order.begin()) +
                            1;
        if (!lists_ && !last[op.key].value) seen = 0;
      }
      if (lists_) {
        op.list.assign(order.begin(), order.begin() + static_cast<ptrdiff_t>(seen));
        if (!op.list.empty() && Below(20) == 0) op.list.erase(op.list.begin());
      } else if (seen > 0) {
        op.value = order[seen - 1];
      }
      last[op.key] = op;
      own.erase(op.key);
    }
  }

  std::mt19937 random_;
  const bool lists_;
  int64_t element_ = 0;
  std::map<int64_t, int> writer_;
  std::map<std::string, Versions> order_;
};

struct Tally {
  int allowed = 0;
  int forbidden = 0;
  int overlooked = 0;
};

Tally Compare(Workload workload, const std::string& name, bool complete, int rounds) {
  const Model model = ModelNamed(name).value();
  Tally tally;
  for (int round = 0; round < rounds; ++round) {
    Generator generator(static_cast<uint32_t>(round), workload == Workload::kListAppend);
    const Transactions transactions = generator.Make(complete);
    const bool allowed = ByDefinition(workload, transactions, model).Allowed();
    const Verdict verdict = Check(workload, transactions, {model, std::nullopt});
    if (allowed && !verdict.anomalies.empty()) {
      ADD_FAILURE() << "round " << round << ", " << name << ": " << verdict.anomalies[0].name << " "
                    << verdict.anomalies[0].explanation << "\n"
                    << PrintJepsen(workload, transactions);
      return tally;
    }
    ++(allowed ? tally.allowed : tally.forbidden);
    if (allowed || !verdict.anomalies.empty()) continue;
    if (tally.overlooked++ == 0 && std::getenv("SHOW_OVERLOOKED") != nullptr) {
      std::cout << "overlooked, " << name << ", round " << round << ":\n"
                << PrintJepsen(workload, transactions);
    }
  }
  return tally;
}

const char* const kModels[] = {"read-committed", "parallel-snapshot-isolation",
                               "snapshot-isolation", "repeatable-read"};

TEST(WeakerModels, ListsReadToTheirEndsAreJudgedExactly) {
  for (const char* name : kModels) {
    const Tally tally = Compare(Workload::kListAppend, name, true, 10000);
    EXPECT_GT(tally.allowed, 500) << name;
    EXPECT_GT(tally.forbidden, 500) << name;
    EXPECT_EQ(tally.overlooked, 0) << name;
  }
}

// What nobody read may have come in any order, and the checker does not try all.
TEST(WeakerModels, ListsAreNeverBlamedWrongly) {
  for (const char* name : kModels) {
    const Tally tally = Compare(Workload::kListAppend, name, false, 10000);
    EXPECT_GT(tally.allowed, 500) << name;
    EXPECT_GT(tally.forbidden, 500) << name;
    EXPECT_LT(tally.overlooked, tally.forbidden / 20) << name;
  }
}

// Every write follows a read of the key. Which version a failed or foreign write came behind is
// inferred, not known, hence the remainder.
TEST(WeakerModels, RegistersAreNeverBlamedWrongly) {
  for (const char* name : kModels) {
    const Tally tally = Compare(Workload::kRwRegister, name, false, 10000);
    EXPECT_GT(tally.allowed, 500) << name;
    EXPECT_GT(tally.forbidden, 500) << name;
    EXPECT_LT(tally.overlooked, tally.forbidden / 20) << name;
  }
}

}  // namespace
}  // namespace quorate::history
