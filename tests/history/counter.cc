// Counter: a read lies between the sum of what was acknowledged before it began and the sum of what
// was asked for before it ended; what takes away counts the other way around.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "tests/history/dependencies.h"
#include "tests/history/workloads.h"

namespace quorate::history {
namespace {

struct Addition {
  int64_t asked;
  int64_t acknowledged;  // INT64_MAX: perhaps never
  int64_t amount;
};
struct Read {
  uint32_t transaction;
  int64_t value;
};
struct Counter {
  std::vector<Addition> additions;
  std::vector<Read> reads;
};

// Sums of additions by time.
class Sums {
 public:
  void Add(int64_t time, int64_t amount) { steps_.emplace_back(time, amount); }
  void Freeze() {
    std::sort(steps_.begin(), steps_.end());
    for (size_t i = 1; i < steps_.size(); ++i) steps_[i].second += steps_[i - 1].second;
  }
  int64_t Before(int64_t time) const {
    const auto it = std::lower_bound(steps_.begin(), steps_.end(), std::pair(time, INT64_MIN));
    return it == steps_.begin() ? 0 : std::prev(it)->second;
  }

 private:
  std::vector<std::pair<int64_t, int64_t>> steps_;
};

void JudgeCounter(const std::string& name, const Counter& counter,
                  const std::vector<Transaction>& transactions, Findings* findings) {
  // The least and the most that a read may see: by when an addition must or may count.
  const bool realtime = findings->model().order == Order::kRealtime;
  Sums must_up, may_up, must_down, may_down;
  bool grows = true;
  for (const Addition& addition : counter.additions) {
    const int64_t may = realtime ? addition.asked : INT64_MIN;
    (addition.amount < 0 ? may_down : may_up).Add(may, addition.amount);
    grows = grows && addition.amount >= 0;
    if (addition.acknowledged == INT64_MAX || !realtime) continue;
    (addition.amount < 0 ? must_down : must_up).Add(addition.acknowledged, addition.amount);
  }
  for (Sums* sums : {&must_up, &may_up, &must_down, &may_down}) sums->Freeze();
  std::vector<Read> by_invoked = counter.reads, by_completed = counter.reads;
  std::sort(by_invoked.begin(), by_invoked.end(), [&](const Read& a, const Read& b) {
    return transactions[a.transaction].invoked < transactions[b.transaction].invoked;
  });
  std::sort(by_completed.begin(), by_completed.end(), [&](const Read& a, const Read& b) {
    return transactions[a.transaction].completed < transactions[b.transaction].completed;
  });
  const Read* highest = nullptr;  // of those that completed before
  size_t done = 0;
  for (const Read& read : by_invoked) {
    const Transaction& t = transactions[read.transaction];
    const auto say = [&](uint32_t i) {
      return "\n  " + Describe(Workload::kCounter, transactions, i);
    };
    // Equal times are concurrent: what was asked for when the read ended may count.
    const int64_t least = must_up.Before(t.invoked) + may_down.Before(t.completed + 1);
    const int64_t most = may_up.Before(t.completed + 1) + must_down.Before(t.invoked);
    if (read.value < least || read.value > most) {
      findings->Add(read.value < least ? "lost-increment" : "phantom-increment",
                    fmt::format("{} was read as {}, but must be between {} and {}{}", name,
                                read.value, least, most, say(read.transaction)));
    }
    for (; done < by_completed.size() &&
           transactions[by_completed[done].transaction].completed < t.invoked;
         ++done) {
      if (!highest || by_completed[done].value > highest->value) highest = &by_completed[done];
    }
    if (grows && highest != nullptr && read.value < highest->value) {
      findings->Add("non-monotonic-read",
                    fmt::format("{} was read as {} after it had been read as {}, and nothing takes "
                                "away{}{}",
                                name, read.value, highest->value, say(highest->transaction),
                                say(read.transaction)));
    }
  }
}

}  // namespace

void CheckCounter(const std::vector<Transaction>& transactions, Findings* findings) {
  std::map<std::string, Counter> counters;
  for (uint32_t i = 0; i < transactions.size(); ++i) {
    const Transaction& t = transactions[i];
    if (t.outcome == Outcome::kFail) continue;
    const bool ok = t.outcome == Outcome::kOk;
    for (const MicroOp& op : t.ops) {
      if (op.kind == MicroOp::Kind::kAdd) {
        counters[op.key].additions.push_back({t.invoked, ok ? t.completed : INT64_MAX, op.element});
      } else if (op.kind == MicroOp::Kind::kRead && ok) {
        counters[op.key].reads.push_back({i, op.value.value_or(0)});
      }
    }
  }
  for (const auto& [name, counter] : counters) {
    JudgeCounter(name, counter, transactions, findings);
  }
}

}  // namespace quorate::history
