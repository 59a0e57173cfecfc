// Bank: transfers move money between accounts, so all balances together always make the same sum.
#include <fmt/format.h>

#include <algorithm>

#include "tests/history/dependencies.h"
#include "tests/history/workloads.h"

namespace quorate::history {

void CheckBank(const std::vector<Transaction>& transactions, std::optional<int64_t> total,
               Findings* findings) {
  size_t accounts = 0;
  const auto is_read = [](const Transaction& t) {
    return t.outcome == Outcome::kOk && !t.ops.empty() &&
           std::ranges::all_of(t.ops, [](auto& op) { return op.kind == MicroOp::Kind::kRead; });
  };
  for (const Transaction& t : transactions) {
    if (is_read(t)) accounts = std::max(accounts, t.ops.size());
  }
  for (uint32_t i = 0; i < transactions.size(); ++i) {
    const Transaction& t = transactions[i];
    if (!is_read(t)) continue;
    const auto say = [&] { return "\n  " + Describe(Workload::kBank, transactions, i); };
    int64_t sum = 0;
    bool whole = t.ops.size() == accounts;
    for (const MicroOp& op : t.ops) {
      whole = whole && op.value.has_value();
      sum += op.value.value_or(0);
      if (op.value.value_or(0) < 0) {
        findings->Add("negative-balance", fmt::format("{} has {}{}", op.key, *op.value, say()));
      }
    }
    if (!whole) {
      findings->Add("missing-account", fmt::format("a read without a balance of each of the {} "
                                                   "accounts{}",
                                                   accounts, say()));
      continue;
    }
    if (!total) total = sum;
    if (sum != *total) {
      findings->Add("wrong-total",
                    fmt::format("all balances make {}, not {}{}", sum, *total, say()));
    }
  }
}

}  // namespace quorate::history
