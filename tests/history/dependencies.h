// What a workload's reader of histories hands to the search for cycles, and what comes after it.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "tests/history/findings.h"
#include "tests/history/graph.h"

namespace quorate::history {

// Numbers for keys, in the order of their first use.
class KeyNames {
 public:
  uint32_t Number(const std::string& key) {
    const auto [it, added] = numbers_.try_emplace(key, static_cast<uint32_t>(names_.size()));
    if (added) names_.push_back(key);
    return it->second;
  }
  const std::string& operator[](uint32_t number) const { return names_[number]; }
  uint32_t size() const { return static_cast<uint32_t>(names_.size()); }

 private:
  std::unordered_map<std::string, uint32_t> numbers_;
  std::vector<std::string> names_;
};

struct Dependencies {
  explicit Dependencies(const std::vector<Transaction>& history)
      : transactions(history), graph(static_cast<uint32_t>(history.size())) {}
  const std::vector<Transaction>& transactions;
  Graph graph;
  KeyNames keys;
};

// Adds process and real-time edges as far as the model has them.
void AddOrders(const Model& model, Dependencies* dependencies);

// Freezes the graph, finds its cycles, and reports each with its transactions and the reason of
// each step. Returns how many were found.
size_t ReportCycles(Workload workload, Dependencies* dependencies, Findings* findings);

// "T3"; and what it did, as in the history.
std::string TransactionName(uint32_t transaction);
std::string Describe(Workload workload, const std::vector<Transaction>& transactions,
                     uint32_t transaction);

}  // namespace quorate::history
