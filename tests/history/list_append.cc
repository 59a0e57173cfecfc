// List-append: each read shows the order of all writes before it, so the order of versions is
// known, not guessed. What was appended and never read lies behind everything that was read. That
// holds of every read, also of one behind the transaction's own appends: it shows where those lie.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <span>
#include <unordered_map>
#include <unordered_set>

#include "tests/history/dependencies.h"
#include "tests/history/workloads.h"

namespace quorate::history {
namespace {

struct Writer {
  uint32_t transaction = 0;
  uint32_t position = 0;  // among the transaction's appends to the key
  uint32_t of = 0;        // how many appends to the key the transaction made
};

struct Read {
  uint32_t transaction;
  std::span<const int64_t> list;
  bool first;  // of the transaction and key, no append of its own before it
};

struct Key {
  std::unordered_map<int64_t, Writer> writers;
  std::vector<std::pair<int64_t, uint32_t>> appends;  // (element, transaction), as in the history
  std::vector<Read> reads;
  std::span<const int64_t> order;  // the longest list read
};

// What a transaction knows of a key while it runs.
struct Known {
  const std::vector<int64_t>* read = nullptr;
  std::vector<int64_t> appended;  // since then
};

size_t CommonPrefix(std::span<const int64_t> a, std::span<const int64_t> b) {
  return static_cast<size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

class Judge {
 public:
  Judge(const std::vector<Transaction>& transactions, Findings* findings)
      : transactions_(transactions),
        findings_(findings),
        dependencies_(transactions),
        seen_(transactions.size()) {}

  void Run() {
    for (uint32_t t = 0; t < transactions_.size(); ++t) CollectAppends(t);
    for (uint32_t t = 0; t < transactions_.size(); ++t) {
      if (transactions_[t].outcome == Outcome::kOk) CollectReads(t);
    }
    for (uint32_t k = 0; k < keys_.size(); ++k) InferOrder(k);
    for (uint32_t k = 0; k < keys_.size(); ++k) {
      JudgeElements(k);
      JudgeReads(k);
      JudgeUpdates(k);
      JudgeOwnOrder(k);
      AddDependencies(k);
      AddTail(k);
    }
    AddOrders(findings_->model(), &dependencies_);
    ReportCycles(Workload::kListAppend, &dependencies_, findings_);
  }

 private:
  uint32_t KeyOf(const std::string& name) {
    const uint32_t number = dependencies_.keys.Number(name);
    if (number == keys_.size()) keys_.emplace_back();
    return number;
  }
  const std::string& NameOf(uint32_t key) const { return dependencies_.keys[key]; }
  Outcome OutcomeOf(uint32_t t) const { return transactions_[t].outcome; }
  const Writer* WriterOf(const Key& key, int64_t element) const {
    const auto it = key.writers.find(element);
    return it == key.writers.end() ? nullptr : &it->second;
  }
  std::string Say(uint32_t t) const { return Describe(Workload::kListAppend, transactions_, t); }

  void CollectAppends(uint32_t t) {
    std::map<uint32_t, std::vector<int64_t>> mine;
    for (const MicroOp& op : transactions_[t].ops) {
      if (op.kind != MicroOp::Kind::kAppend) continue;
      const uint32_t k = KeyOf(op.key);
      auto& elements = mine[k];
      const Writer writer{t, static_cast<uint32_t>(elements.size()), 0};
      if (!keys_[k].writers.try_emplace(op.element, writer).second) {
        findings_->Add("ambiguous-write", fmt::format("{} was appended to {} twice; once by\n  {}",
                                                      Text(op.element), op.key, Say(t)));
        continue;
      }
      elements.push_back(op.element);
      keys_[k].appends.emplace_back(op.element, t);
    }
    for (const auto& [k, elements] : mine) {
      for (const int64_t element : elements) {
        keys_[k].writers[element].of = static_cast<uint32_t>(elements.size());
      }
    }
  }

  void CollectReads(uint32_t t) {
    std::map<uint32_t, Known> known_by_key;
    for (const MicroOp& op : transactions_[t].ops) {
      const uint32_t k = KeyOf(op.key);
      Known& known = known_by_key[k];
      if (op.kind == MicroOp::Kind::kAppend) {
        known.appended.push_back(op.element);
        continue;
      }
      std::span<const int64_t> before(op.list);
      const auto& mine = known.appended;
      bool agrees = before.size() >= mine.size() &&
                    std::equal(mine.begin(), mine.end(), before.end() - mine.size());
      if (agrees) {
        before = before.first(before.size() - mine.size());
        const Writer* last = before.empty() ? nullptr : WriterOf(keys_[k], before.back());
        agrees = known.read != nullptr ? std::ranges::equal(before, *known.read)
                                       : last == nullptr || last->transaction != t;
      }
      if (!agrees) {
        findings_->Add("internal", fmt::format("what it read of {} does not follow from its own "
                                               "steps before\n  {}",
                                               op.key, Say(t)));
      }
      keys_[k].reads.push_back({t, op.list, known.read == nullptr && mine.empty()});
      known = {&op.list, {}};
    }
  }

  void InferOrder(uint32_t k) {
    Key& key = keys_[k];
    for (const Read& read : key.reads) {
      if (read.list.size() > key.order.size()) key.order = read.list;
    }
    for (const int64_t element : key.order) {
      if (const Writer* writer = WriterOf(key, element)) seen_[writer->transaction] = true;
    }
    JudgeDistinct(k, key.order);
    for (const Read& read : key.reads) {
      if (CommonPrefix(read.list, key.order) == read.list.size()) continue;
      JudgeDistinct(k, read.list);
      findings_->Add(
          "incompatible-order",
          fmt::format("{} was read as [{}] by\n  {}\n  and as [{}] by another", NameOf(k),
                      Text(read.list), Say(read.transaction), Text(key.order)));
    }
  }

  void JudgeDistinct(uint32_t k, std::span<const int64_t> list) {
    const std::unordered_set<int64_t> distinct(list.begin(), list.end());
    if (distinct.size() == list.size()) return;
    findings_->Add("duplicate-elements", fmt::format("{} was read as {}", NameOf(k), Text(list)));
  }

  void JudgeElements(uint32_t k) {
    const Key& key = keys_[k];
    const auto judge = [&](int64_t element, uint32_t reader) {
      const Writer* writer = WriterOf(key, element);
      if (writer == nullptr) {
        findings_->Add("garbage-read",
                       fmt::format("nobody appended {} to {}, but it was read by\n  {}",
                                   Text(element), NameOf(k), Say(reader)));
      } else if (OutcomeOf(writer->transaction) == Outcome::kFail) {
        findings_->Add(
            "G1a", fmt::format("(aborted read) {} of {} was appended by\n  {}\n  and "
                               "read by\n  {}",
                               Text(element), NameOf(k), Say(writer->transaction), Say(reader)));
      }
    };
    // What lies in the order and was judged with an earlier read is nothing new.
    size_t judged = 0;
    for (const Read& read : key.reads) {
      const size_t in_order = CommonPrefix(read.list, key.order);
      for (size_t i = std::min(judged, in_order); i < read.list.size(); ++i) {
        judge(read.list[i], read.transaction);
      }
      judged = std::max(judged, in_order);
    }
    uint32_t failed = UINT32_MAX;
    int64_t failed_element = 0;
    for (const int64_t element : key.order) {
      const Writer* writer = WriterOf(key, element);
      if (writer == nullptr) continue;
      if (OutcomeOf(writer->transaction) == Outcome::kFail) {
        failed = writer->transaction;
        failed_element = element;
      } else if (failed != UINT32_MAX && OutcomeOf(writer->transaction) == Outcome::kOk) {
        findings_->Add("dirty-update",
                       fmt::format("{} of {} lies below {}, which was acknowledged\n  {}\n  {}",
                                   Text(failed_element), NameOf(k), Text(element), Say(failed),
                                   Say(writer->transaction)));
        failed = UINT32_MAX;
      }
    }
  }

  void JudgeReads(uint32_t k) {
    const Key& key = keys_[k];
    for (const Read& read : key.reads) {
      const Writer* writer = read.list.empty() ? nullptr : WriterOf(key, read.list.back());
      if (writer == nullptr || writer->transaction == read.transaction) continue;
      if (writer->position + 1 == writer->of) continue;
      findings_->Add("G1b", fmt::format("(intermediate read) {} of {} is not the last append of\n"
                                        "  {}\n  but the last that is seen by\n  {}",
                                        Text(read.list.back()), NameOf(k), Say(writer->transaction),
                                        Say(read.transaction)));
    }
  }

  // Transactions that read the same list and appended to it: all but one overlooked another.
  void JudgeUpdates(uint32_t k) {
    const Key& key = keys_[k];
    std::map<size_t, uint32_t> updater;  // by the length read
    std::unordered_set<uint32_t> appended;
    for (const auto& [element, t] : key.appends) appended.insert(t);
    for (const Read& read : key.reads) {
      if (!read.first || !appended.contains(read.transaction)) continue;
      const auto [it, first] = updater.try_emplace(read.list.size(), read.transaction);
      if (first || it->second == read.transaction) continue;
      findings_->Add("lost-update",
                     fmt::format("both read {} {} long and appended to it\n  {}\n  {}", NameOf(k),
                                 read.list.size(), Say(it->second), Say(read.transaction)));
    }
  }

  // A transaction's appends lie in the order in which it made them, without a gap.
  void JudgeOwnOrder(uint32_t k) {
    const Key& key = keys_[k];
    std::unordered_map<uint32_t, uint32_t> passed;  // by transaction, how many of its appends
    for (const int64_t element : key.order) {
      const Writer* writer = WriterOf(key, element);
      if (writer == nullptr) continue;
      uint32_t& appends = passed[writer->transaction];
      if (writer->position > appends) {
        findings_->Add("incompatible-order",
                       fmt::format("{} stands in {} without what was appended before it by\n  {}",
                                   Text(element), NameOf(k), Say(writer->transaction)));
      }
      appends = std::max(appends, writer->position + 1);
    }
  }

  void AddDependencies(uint32_t k) {
    const Key& key = keys_[k];
    for (size_t i = 1; i < key.order.size(); ++i) {
      const Writer *a = WriterOf(key, key.order[i - 1]), *b = WriterOf(key, key.order[i]);
      if (a == nullptr || b == nullptr) continue;
      dependencies_.graph.Add(a->transaction, b->transaction, EdgeKind::kWw,
                              {k, key.order[i - 1], key.order[i]});
    }
    for (const Read& read : key.reads) {
      const Writer* writer = read.list.empty() ? nullptr : WriterOf(key, read.list.back());
      // Its own version: the order of the writes says all that there is to say.
      if (writer != nullptr && writer->transaction == read.transaction) continue;
      const int64_t last = read.list.empty() ? Reason::kInitial : read.list.back();
      if (writer != nullptr) {
        dependencies_.graph.Add(writer->transaction, read.transaction, EdgeKind::kWr,
                                {k, last, last});
      }
      if (CommonPrefix(read.list, key.order) < read.list.size()) continue;  // has no place in it
      if (read.list.size() == key.order.size()) continue;
      const int64_t next = key.order[read.list.size()];
      if (const Writer* next_writer = WriterOf(key, next)) {
        dependencies_.graph.Add(read.transaction, next_writer->transaction, EdgeKind::kRw,
                                {k, last, next});
      }
    }
  }

  // Appends that certainly happened and that nobody read come after all that was read.
  void AddTail(uint32_t k) {
    const Key& key = keys_[k];
    const std::unordered_set<int64_t> seen(key.order.begin(), key.order.end());
    std::vector<Graph::Write> tail;
    for (const auto& [element, t] : key.appends) {
      const bool happened = OutcomeOf(t) == Outcome::kOk || seen_[t];
      if (!happened || seen.contains(element)) continue;
      if (tail.empty() || tail.back().writer != t) tail.push_back({t, element});
    }
    if (tail.empty()) return;
    const Writer* writer = key.order.empty() ? nullptr : WriterOf(key, key.order.back());
    std::vector<uint32_t> readers;
    for (const Read& read : key.reads) {
      const bool own = writer != nullptr && writer->transaction == read.transaction;
      if (!own && std::ranges::equal(read.list, key.order)) readers.push_back(read.transaction);
    }
    const int64_t last = key.order.empty() ? Reason::kInitial : key.order.back();
    dependencies_.graph.AddReadsBefore(readers, tail, EdgeKind::kRw, k, last);
    if (writer == nullptr) return;
    for (const Graph::Write& write : tail) {
      dependencies_.graph.Add(writer->transaction, write.writer, EdgeKind::kWw,
                              {k, last, write.value});
    }
  }

  const std::vector<Transaction>& transactions_;
  Findings* const findings_;
  Dependencies dependencies_;
  std::vector<Key> keys_;
  std::vector<bool> seen_;  // by transaction: something that it appended was read
};

}  // namespace

void CheckListAppend(const std::vector<Transaction>& transactions, Findings* findings) {
  Judge(transactions, findings).Run();
}

}  // namespace quorate::history
