#include "tests/history/list_append.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <set>
#include <unordered_map>

#include "tests/history/graph.h"

namespace quorate::history {
namespace {

struct Writer {
  uint32_t transaction = 0;
  size_t position = 0;  // among the transaction's appends to the key
  size_t of = 0;        // how many appends to the key the transaction made
};

struct KeyState {
  std::unordered_map<int64_t, Writer> writers;
  std::vector<int64_t> order;  // longest list read
  struct Read {
    uint32_t transaction;
    std::vector<int64_t> list;  // without the transaction's own appends before it
  };
  std::vector<Read> reads;
};

class Checker {
 public:
  explicit Checker(const std::vector<Transaction>& transactions)
      : transactions_(transactions), graph_(transactions.size()) {}

  std::vector<Anomaly> Run() {
    CollectAppends();
    for (uint32_t t = 0; t < transactions_.size(); ++t) CollectReads(t);
    for (auto& [name, key] : keys_) {
      InferOrder(name, key);
      JudgeReads(name, key);
      AddDependencies(name, key);
    }
    AddRealtime();
    FindCycles();
    return std::move(anomalies_);
  }

 private:
  std::string Name(uint32_t t) const { return fmt::format("T{}", t); }
  void Report(std::string name, std::string explanation) {
    if (anomalies_.size() < 50) anomalies_.push_back({std::move(name), std::move(explanation)});
  }

  void CollectAppends() {
    for (uint32_t t = 0; t < transactions_.size(); ++t) {
      std::map<std::string, size_t> count;
      for (const MicroOp& op : transactions_[t].ops) {
        if (op.kind != MicroOp::Kind::kAppend) continue;
        keys_[op.key].writers[op.element] = {t, count[op.key]++, 0};
      }
      for (const MicroOp& op : transactions_[t].ops) {
        if (op.kind == MicroOp::Kind::kAppend) {
          keys_[op.key].writers[op.element].of = count[op.key];
        }
      }
    }
  }

  // Only what acknowledged transactions saw counts as seen.
  void CollectReads(uint32_t t) {
    const Transaction& transaction = transactions_[t];
    if (transaction.outcome != Outcome::kOk) return;
    std::map<std::string, std::vector<int64_t>> own;
    for (const MicroOp& op : transaction.ops) {
      if (op.kind == MicroOp::Kind::kAppend) {
        own[op.key].push_back(op.element);
        continue;
      }
      const auto& mine = own[op.key];
      std::vector<int64_t> list = op.list;
      if (list.size() < mine.size() ||
          !std::equal(mine.begin(), mine.end(), list.end() - static_cast<long>(mine.size()))) {
        Report("internal", fmt::format("{} appended {} to {} and then read {}", Name(t), mine,
                                       op.key, op.list));
        continue;
      }
      list.resize(list.size() - mine.size());
      keys_[op.key].reads.push_back({t, std::move(list)});
    }
  }

  void InferOrder(const std::string& name, KeyState& key) {
    for (const auto& read : key.reads) {
      if (read.list.size() > key.order.size()) key.order = read.list;
    }
    const std::set<int64_t> distinct(key.order.begin(), key.order.end());
    if (distinct.size() != key.order.size()) {
      Report("duplicate-element", fmt::format("{} holds an element twice: {}", name, key.order));
    }
    for (const auto& read : key.reads) {
      if (!std::equal(read.list.begin(), read.list.end(), key.order.begin())) {
        Report("incompatible-order",
               fmt::format("{} read {} as {}, another read saw {}", Name(read.transaction), name,
                           read.list, key.order));
      }
    }
  }

  void JudgeReads(const std::string& name, const KeyState& key) {
    for (const int64_t element : key.order) {
      const auto writer = key.writers.find(element);
      if (writer == key.writers.end()) {
        Report("garbage-read", fmt::format("{} holds {}, which nobody appended", name, element));
      } else if (transactions_[writer->second.transaction].outcome == Outcome::kFail) {
        Report("G1a", fmt::format("{} holds {} of {}, which failed", name, element,
                                  Name(writer->second.transaction)));
      }
    }
    for (const auto& read : key.reads) {
      if (read.list.empty()) continue;
      const auto writer = key.writers.find(read.list.back());
      if (writer == key.writers.end()) continue;
      const Writer& w = writer->second;
      if (w.position + 1 != w.of && w.transaction != read.transaction) {
        Report("G1b", fmt::format("{} read {} as {}, a state inside {}", Name(read.transaction),
                                  name, read.list, Name(w.transaction)));
      }
    }
    // An append acknowledged before a read was invoked must be in it.
    const std::set<int64_t> present(key.order.begin(), key.order.end());
    int64_t last_read_invoked = INT64_MIN;
    for (const auto& read : key.reads) {
      last_read_invoked = std::max(last_read_invoked, transactions_[read.transaction].invoked);
    }
    for (const auto& [element, writer] :
         std::map<int64_t, Writer>(key.writers.begin(), key.writers.end())) {
      const Transaction& t = transactions_[writer.transaction];
      if (t.outcome == Outcome::kOk && t.completed < last_read_invoked &&
          !present.contains(element)) {
        Report("lost-append", fmt::format("{} acknowledged appending {} to {}, and a later read "
                                          "does not see it",
                                          Name(writer.transaction), element, name));
      }
    }
  }

  std::optional<uint32_t> WriterOf(const KeyState& key, int64_t element) const {
    const auto it = key.writers.find(element);
    if (it == key.writers.end()) return std::nullopt;
    return it->second.transaction;
  }

  void AddDependencies(const std::string& name, const KeyState& key) {
    for (size_t i = 1; i < key.order.size(); ++i) {
      const auto a = WriterOf(key, key.order[i - 1]), b = WriterOf(key, key.order[i]);
      if (a && b) {
        graph_.Add(*a, {*b, EdgeKind::kWw,
                        fmt::format("{} put {} behind its {} in {}", Name(*b), key.order[i],
                                    key.order[i - 1], name)});
      }
    }
    for (const auto& read : key.reads) {
      if (!read.list.empty()) {
        if (const auto w = WriterOf(key, read.list.back())) {
          graph_.Add(*w, {read.transaction, EdgeKind::kWr,
                          fmt::format("{} read its {} in {}", Name(read.transaction),
                                      read.list.back(), name)});
        }
      }
      if (read.list.size() < key.order.size()) {
        const int64_t next = key.order[read.list.size()];
        if (const auto w = WriterOf(key, next)) {
          graph_.Add(read.transaction, {*w, EdgeKind::kRw,
                                        fmt::format("{} appended {} to {}, which it did not see",
                                                    Name(*w), next, name)});
        }
      }
    }
  }

  // Completed before invoked. Only the edges to the next "frontier" are added: the rest follow.
  void AddRealtime() {
    std::vector<uint32_t> by_invoked;
    for (uint32_t t = 0; t < transactions_.size(); ++t) {
      if (transactions_[t].outcome != Outcome::kFail) by_invoked.push_back(t);
    }
    std::vector<uint32_t> by_completed;
    for (const uint32_t t : by_invoked) {
      if (transactions_[t].outcome == Outcome::kOk) by_completed.push_back(t);
    }
    std::sort(by_invoked.begin(), by_invoked.end(), [&](uint32_t a, uint32_t b) {
      return std::pair(transactions_[a].invoked, a) < std::pair(transactions_[b].invoked, b);
    });
    std::sort(by_completed.begin(), by_completed.end(), [&](uint32_t a, uint32_t b) {
      return std::pair(transactions_[a].completed, a) < std::pair(transactions_[b].completed, b);
    });
    std::vector<uint32_t> frontier;  // completed, not yet covered by a later completed one
    size_t next = 0;
    for (const uint32_t t : by_invoked) {
      while (next < by_completed.size() &&
             transactions_[by_completed[next]].completed < transactions_[t].invoked) {
        const uint32_t done = by_completed[next++];
        std::erase_if(frontier, [&](uint32_t f) {
          return transactions_[f].completed < transactions_[done].invoked;
        });
        frontier.push_back(done);
      }
      for (const uint32_t f : frontier) {
        graph_.Add(
            f, {t, EdgeKind::kRealtime, fmt::format("{} was invoked after it completed", Name(t))});
      }
    }
  }

  bool ReportCycle(const std::string& name, uint8_t kinds, int rw_min, int rw_max) {
    for (const auto& component : graph_.Components(kinds)) {
      const auto cycle = graph_.FindCycle(component, kinds, rw_min, rw_max);
      if (!cycle) continue;
      std::string text;
      for (const auto& step : *cycle) {
        if (!text.empty()) text += "; ";
        text += fmt::format("{} comes before {}: {}", Name(step.from), Name(step.edge->to),
                            step.edge->why);
      }
      Report(name, text);
      return true;
    }
    return false;
  }

  void FindCycles() {
    constexpr uint8_t ww = Graph::Bit(EdgeKind::kWw), wr = Graph::Bit(EdgeKind::kWr),
                      rw = Graph::Bit(EdgeKind::kRw), rt = Graph::Bit(EdgeKind::kRealtime);
    for (const uint8_t realtime : {uint8_t{0}, rt}) {
      const std::string suffix = realtime != 0 ? "-realtime" : "";
      if (ReportCycle("G0" + suffix, ww | realtime, 0, 0)) return;
      if (ReportCycle("G1c" + suffix, ww | wr | realtime, 0, 0)) return;
      if (ReportCycle("G-single" + suffix, ww | wr | rw | realtime, 1, 1)) return;
      if (ReportCycle("G2" + suffix, ww | wr | rw | realtime, 2, -1)) return;
    }
  }

  const std::vector<Transaction>& transactions_;
  Graph graph_;
  std::map<std::string, KeyState> keys_;
  std::vector<Anomaly> anomalies_;
};

}  // namespace

std::vector<Anomaly> CheckListAppend(const std::vector<Transaction>& transactions) {
  return Checker(transactions).Run();
}

}  // namespace quorate::history
