#include "tests/history/check.h"

#include <array>

#include "tests/history/findings.h"
#include "tests/history/workloads.h"

namespace quorate::history {
namespace {

constexpr std::array<std::pair<Workload, std::string_view>, 6> kNames = {{
    {Workload::kListAppend, "list-append"},
    {Workload::kRwRegister, "rw-register"},
    {Workload::kBank, "bank"},
    {Workload::kSet, "set"},
    {Workload::kCounter, "counter"},
    {Workload::kLongFork, "long-fork"},
}};

}  // namespace

std::string_view Name(Workload workload) {
  for (const auto& [value, name] : kNames) {
    if (value == workload) return name;
  }
  return "?";
}

std::optional<Workload> WorkloadNamed(std::string_view name) {
  for (const auto& [value, known] : kNames) {
    if (known == name) return value;
  }
  return std::nullopt;
}

Verdict Check(Workload workload, const std::vector<Transaction>& transactions,
              const Options& options) {
  Findings findings(options.model);
  switch (workload) {
    case Workload::kListAppend:
      CheckListAppend(transactions, &findings);
      break;
    case Workload::kRwRegister:
      CheckRwRegister(transactions, &findings);
      break;
    case Workload::kBank:
      CheckBank(transactions, options.bank_total, &findings);
      break;
    case Workload::kSet:
      CheckSet(transactions, &findings);
      break;
    case Workload::kCounter:
      CheckCounter(transactions, &findings);
      break;
    case Workload::kLongFork:
      CheckLongFork(transactions, &findings);
      break;
  }
  return std::move(findings).Take();
}

}  // namespace quorate::history
