// Long fork: each key is written once. Reads of the same keys are states of one history, so of two
// of them one saw all that the other saw.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "tests/history/dependencies.h"
#include "tests/history/workloads.h"

namespace quorate::history {
namespace {

struct Read {
  uint32_t transaction;
  std::vector<bool> seen;  // by key, in the order of the group's keys
};

}  // namespace

void CheckLongFork(const std::vector<Transaction>& transactions, Findings* findings) {
  const auto say = [&](uint32_t t) {
    return "\n  " + Describe(Workload::kLongFork, transactions, t);
  };
  std::map<std::string, std::pair<int64_t, uint32_t>> written;
  for (uint32_t i = 0; i < transactions.size(); ++i) {
    for (const MicroOp& op : transactions[i].ops) {
      if (op.kind != MicroOp::Kind::kWrite) continue;
      if (!written.try_emplace(op.key, op.element, i).second) {
        findings->Add("ambiguous-write",
                      fmt::format("{} was written twice; once by{}", op.key, say(i)));
      }
    }
  }
  std::map<std::vector<std::string>, std::vector<Read>> groups;
  for (uint32_t i = 0; i < transactions.size(); ++i) {
    if (transactions[i].outcome != Outcome::kOk) continue;
    std::map<std::string, std::optional<int64_t>> reads;
    for (const MicroOp& op : transactions[i].ops) {
      if (op.kind == MicroOp::Kind::kRead) reads[op.key] = op.value;
    }
    if (reads.empty()) continue;
    std::vector<std::string> keys;
    Read read{i, {}};
    for (const auto& [key, value] : reads) {
      keys.push_back(key);
      read.seen.push_back(value.has_value());
      if (!value) continue;
      const auto it = written.find(key);
      if (it == written.end() || it->second.first != *value) {
        findings->Add("garbage-read",
                      fmt::format("nobody wrote {} to {}{}", Text(*value), key, say(i)));
      } else if (transactions[it->second.second].outcome == Outcome::kFail) {
        findings->Add("G1a", fmt::format("(aborted read) the write of {} had failed{}", key,
                                         say(it->second.second) + say(i)));
      }
    }
    groups[keys].push_back(std::move(read));
  }
  for (auto& [keys, reads] : groups) {
    std::stable_sort(reads.begin(), reads.end(), [](const Read& a, const Read& b) {
      return std::ranges::count(a.seen, true) < std::ranges::count(b.seen, true);
    });
    for (size_t i = 1; i < reads.size(); ++i) {
      for (size_t k = 0; k < keys.size(); ++k) {
        if (!reads[i - 1].seen[k] || reads[i].seen[k]) continue;
        findings->Add("long-fork", "each of two reads saw a write that the other did not see" +
                                       say(reads[i - 1].transaction) + say(reads[i].transaction));
        break;
      }
    }
  }
}

}  // namespace quorate::history
