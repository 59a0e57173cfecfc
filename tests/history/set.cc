// Set: elements are added, never removed; so of two reads one holds the other, and a read holds
// what was acknowledged before it began.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <unordered_map>

#include "tests/history/dependencies.h"
#include "tests/history/workloads.h"

namespace quorate::history {
namespace {

struct Addition {
  uint32_t transaction;
  int64_t element;
};
struct Read {
  uint32_t transaction;
  std::vector<int64_t> elements;  // sorted
};

class Judge {
 public:
  Judge(const std::vector<Transaction>& transactions, Findings* findings)
      : transactions_(transactions), findings_(findings) {}

  void Run() {
    for (uint32_t t = 0; t < transactions_.size(); ++t) Collect(t);
    for (const Read& read : reads_) JudgeElements(read);
    JudgeForks();
    JudgeTime();
  }

 private:
  std::string Say(uint32_t t) const { return "\n  " + Describe(Workload::kSet, transactions_, t); }

  void Collect(uint32_t t) {
    const Transaction& transaction = transactions_[t];
    for (const MicroOp& op : transaction.ops) {
      if (op.kind == MicroOp::Kind::kAppend) {
        additions_.push_back({t, op.element});
        if (!adder_.try_emplace(op.element, t).second) {
          findings_->Add("ambiguous-write",
                         fmt::format("{} was added twice; once by{}", Text(op.element), Say(t)));
        }
      } else if (op.kind == MicroOp::Kind::kRead && transaction.outcome == Outcome::kOk) {
        Read read{t, op.list};
        std::sort(read.elements.begin(), read.elements.end());
        if (std::adjacent_find(read.elements.begin(), read.elements.end()) != read.elements.end()) {
          findings_->Add("duplicate-elements", "a set holds an element twice" + Say(t));
        }
        reads_.push_back(std::move(read));
      }
    }
  }

  void JudgeElements(const Read& read) {
    const Transaction& reader = transactions_[read.transaction];
    for (const int64_t element : read.elements) {
      const auto it = adder_.find(element);
      if (it == adder_.end()) {
        findings_->Add("phantom-element", fmt::format("{} was read, but nobody added it{}",
                                                      Text(element), Say(read.transaction)));
      } else if (const Transaction& adder = transactions_[it->second];
                 adder.outcome == Outcome::kFail) {
        findings_->Add("G1a", fmt::format("(aborted read) {} was read, but adding it had failed{}",
                                          Text(element), Say(it->second) + Say(read.transaction)));
      } else if (reader.completed < adder.invoked) {
        findings_->Add("future-read",
                       fmt::format("{} was read before anyone asked to add it{}", Text(element),
                                   Say(read.transaction) + Say(it->second)));
      }
    }
  }

  void JudgeForks() {
    std::vector<const Read*> by_size;
    for (const Read& read : reads_) by_size.push_back(&read);
    std::stable_sort(by_size.begin(), by_size.end(), [](const Read* a, const Read* b) {
      return a->elements.size() < b->elements.size();
    });
    for (size_t i = 1; i < by_size.size(); ++i) {
      const Read &small = *by_size[i - 1], &large = *by_size[i];
      if (std::includes(large.elements.begin(), large.elements.end(), small.elements.begin(),
                        small.elements.end())) {
        continue;
      }
      findings_->Add("long-fork", "each of two reads holds an element that the other has not" +
                                      Say(small.transaction) + Say(large.transaction));
    }
  }

  // An element is owed to every read that began after its addition was acknowledged, or after a
  // read that saw it was; and to every read that saw an element asked for after that.
  void JudgeTime() {
    struct Owed {
      int64_t since;
      bool acknowledged;  // else: seen
      uint32_t by;
      auto operator<=>(const Owed&) const = default;
    };
    std::unordered_map<int64_t, Owed> owed_by_element;
    const auto owe = [&](int64_t element, const Owed& owed) {
      const auto [it, first] = owed_by_element.try_emplace(element, owed);
      if (!first) it->second = std::min(it->second, owed);
    };
    for (const auto& [t, element] : additions_) {
      if (transactions_[t].outcome == Outcome::kOk)
        owe(element, {transactions_[t].completed, true, t});
    }
    std::unordered_map<int64_t, uint32_t> seen_last;
    for (const Read& read : reads_) {
      const Transaction& t = transactions_[read.transaction];
      for (const int64_t element : read.elements) {
        owe(element, {t.completed, false, read.transaction});
        auto& last = seen_last.try_emplace(element, read.transaction).first->second;
        if (t.invoked > transactions_[last].invoked) last = read.transaction;
      }
    }
    std::vector<std::pair<Owed, int64_t>> owed;
    for (const auto& [t, element] : additions_) {
      if (const auto it = owed_by_element.find(element); it != owed_by_element.end()) {
        owed.emplace_back(it->second, element);
      }
    }
    std::sort(owed.begin(), owed.end());
    for (const Read& read : reads_) {
      const Transaction& reader = transactions_[read.transaction];
      int64_t newest = reader.invoked;
      for (const int64_t element : read.elements) {
        if (const auto it = adder_.find(element); it != adder_.end()) {
          newest = std::max(newest, transactions_[it->second].invoked);
        }
      }
      for (const auto& [debt, element] : owed) {
        if (debt.since >= newest) break;
        if (std::binary_search(read.elements.begin(), read.elements.end(), element)) continue;
        const auto last = seen_last.find(element);
        const bool seen_later =
            last != seen_last.end() && transactions_[last->second].invoked > reader.invoked;
        findings_->Add(debt.since >= reader.invoked ? "causal-reverse"
                       : !debt.acknowledged         ? "non-monotonic-read"
                       : seen_later                 ? "stale-read"
                                                    : "lost-element",
                       fmt::format("{} was {} before {}{}{}", Text(element),
                                   debt.acknowledged ? "acknowledged" : "seen",
                                   debt.since >= reader.invoked
                                       ? "another was asked for, of which a read saw only that"
                                       : "a read that does not hold it",
                                   Say(debt.by), Say(read.transaction)));
      }
    }
  }

  const std::vector<Transaction>& transactions_;
  Findings* const findings_;
  std::unordered_map<int64_t, uint32_t> adder_;
  std::vector<Addition> additions_;
  std::vector<Read> reads_;
};

}  // namespace

void CheckSet(const std::vector<Transaction>& transactions, Findings* findings) {
  Judge(transactions, findings).Run();
}

}  // namespace quorate::history
