// Collects anomalies while a history is judged.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "tests/history/check.h"

namespace quorate::history {

class Findings {
 public:
  explicit Findings(const Model& model) : model_(model) {}

  // Of one name, only the first few are kept: one cause shows up all over a history.
  void Add(std::string name, std::string explanation) {
    constexpr size_t kPerNameMax = 8;
    if (++counts_[name] > kPerNameMax) return;
    auto& to = model_.Forbids(name) ? verdict_.anomalies : verdict_.allowed;
    to.push_back({std::move(name), std::move(explanation)});
  }
  const Model& model() const { return model_; }
  Verdict Take() && { return std::move(verdict_); }

 private:
  const Model model_;
  Verdict verdict_;
  std::map<std::string, size_t> counts_;
};

}  // namespace quorate::history
