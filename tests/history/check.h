// Judges a history against a consistency model.
//
// Limits: predicates are not modelled (G2 is found as G2-item); the order of register versions is
// inferred as far as reads, initial values and, where the model has it, real time say, so that a
// register history without read-modify-writes may pass although it has no serial order. Every
// anomaly reported is one.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "tests/history/history.h"
#include "tests/history/model.h"

namespace quorate::history {

enum class Workload : uint8_t {
  kListAppend,  // lists by key; the strongest: reads tell the order of writes
  kRwRegister,  // registers by key
  kBank,        // a read returns all balances, whose sum never changes (kAdd: transfers)
  kSet,         // elements are added to one set (kAppend) and it is read (kRead, `list`)
  kCounter,     // kAdd and kRead (`value`) of one counter per key
  kLongFork,    // each key is written once; reads of the same keys must not disagree on the order
};
std::string_view Name(Workload workload);
std::optional<Workload> WorkloadNamed(std::string_view name);

struct Options {
  Model model = StrictSerializable();
  std::optional<int64_t> bank_total;  // none: what the first acknowledged read saw
};

struct Verdict {
  std::vector<Anomaly> anomalies;  // what the model forbids; empty: the history is valid
  std::vector<Anomaly> allowed;    // found too, but the model permits it
};

Verdict Check(Workload workload, const std::vector<Transaction>& transactions,
              const Options& options = {});

}  // namespace quorate::history
