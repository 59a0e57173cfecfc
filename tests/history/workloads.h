// One judge per workload; check.h chooses.
#pragma once

#include <vector>

#include "tests/history/findings.h"

namespace quorate::history {

void CheckListAppend(const std::vector<Transaction>& transactions, Findings* findings);
void CheckRwRegister(const std::vector<Transaction>& transactions, Findings* findings);
void CheckBank(const std::vector<Transaction>& transactions, std::optional<int64_t> total,
               Findings* findings);
void CheckSet(const std::vector<Transaction>& transactions, Findings* findings);
void CheckCounter(const std::vector<Transaction>& transactions, Findings* findings);
void CheckLongFork(const std::vector<Transaction>& transactions, Findings* findings);

}  // namespace quorate::history
