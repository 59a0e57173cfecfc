// Finds the cycles of a dependency graph and names them.
#pragma once

#include <string>
#include <vector>

#include "tests/history/graph.h"
#include "tests/history/model.h"

namespace quorate::history {

struct Cycle {
  std::string name;         // "" only in `Cycles::unnamed`
  std::vector<Edge> edges;  // each begins where the one before ends; may pass through gaps
};

struct Cycles {
  std::vector<Cycle> forbidden;  // by the model, in each component the one with the worst name
  std::vector<Cycle> allowed;    // in components without a forbidden one
  // A component may hold a forbidden cycle, but the search for it was given up.
  bool gave_up = false;
};

Cycles FindCycles(const Graph& graph, const Model& model);

}  // namespace quorate::history
