// Judges list-append histories against strict serializability.
#pragma once

#include <vector>

#include "tests/history/check.h"

namespace quorate::history {

inline std::vector<Anomaly> CheckListAppend(const std::vector<Transaction>& transactions) {
  return Check(Workload::kListAppend, transactions).anomalies;
}

}  // namespace quorate::history
