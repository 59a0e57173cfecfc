#include "tests/history/cycles.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace quorate::history {
namespace {

enum class Shape { kNoRw, kOneRw, kNonadjacentRw, kAnyRw };

struct Class {
  const char* name;
  EdgeKinds kinds;  // data only; the order's come on top
  Shape shape;
};

constexpr EdgeKinds kWwOnly = Bit(EdgeKind::kWw);
constexpr EdgeKinds kWwWr = kWwOnly | Bit(EdgeKind::kWr);
constexpr EdgeKinds kData = kWwWr | Bit(EdgeKind::kRw) | Bit(EdgeKind::kThrough);

// From the worst to the mildest. A class is searched where those before it found nothing, so that
// its cycles need what is new in it.
constexpr Class kClasses[] = {
    {"G0", kWwOnly, Shape::kNoRw},      {"G1c", kWwWr, Shape::kNoRw},
    {"G-single", kData, Shape::kOneRw}, {"G-nonadjacent", kData, Shape::kNonadjacentRw},
    {"G2-item", kData, Shape::kAnyRw},
};

EdgeKinds KindsOf(const Class& a_class, Order order) {
  EdgeKinds kinds = a_class.kinds;
  if (order == Order::kNone) return kinds;
  kinds |= Bit(EdgeKind::kProcess) | Bit(EdgeKind::kWwProcess);
  if (a_class.shape != Shape::kNoRw) kinds |= Bit(EdgeKind::kRwProcess);
  if (order == Order::kProcess) return kinds;
  kinds |= Bit(EdgeKind::kRealtime) | Bit(EdgeKind::kWwRealtime);
  if (a_class.shape != Shape::kNoRw) kinds |= Bit(EdgeKind::kRwRealtime);
  return kinds;
}

std::string Suffix(Order order) {
  switch (order) {
    case Order::kNone:
      return "";
    case Order::kProcess:
      return "-process";
    case Order::kRealtime:
      return "-realtime";
  }
  return "";
}

std::vector<uint32_t> ComponentOf(const std::vector<std::vector<uint32_t>>& components,
                                  uint32_t nodes) {
  std::vector<uint32_t> of(nodes, 0);  // 0: alone
  for (uint32_t c = 0; c < components.size(); ++c) {
    for (const uint32_t node : components[c]) of[node] = c + 1;
  }
  return of;
}

// Each node twice, by whether a read-write edge led to it: a cycle here is one of the graph in
// which no two read-write edges follow each other, and the other way around.
std::vector<uint32_t> NonadjacentComponents(const Graph& graph, EdgeKinds kinds) {
  const uint32_t n = graph.size();
  Graph doubled(2 * n);
  for (uint32_t node = 0; node < n; ++node) {
    for (const Edge& edge : graph.From(node)) {
      if ((kinds & Bit(edge.kind)) == 0) continue;
      if (IsRw(edge.kind)) {
        doubled.Add(node, edge.to + n, EdgeKind::kProcess);
      } else if (edge.kind == EdgeKind::kThrough) {
        doubled.Add(node + n, edge.to + n, EdgeKind::kProcess);
      } else {
        doubled.Add(node, edge.to, EdgeKind::kProcess);
        doubled.Add(node + n, edge.to, EdgeKind::kProcess);
      }
    }
  }
  doubled.Freeze();
  return ComponentOf(doubled.Components(Bit(EdgeKind::kProcess)), 2 * n);
}

// The shortest cycle that begins with a given edge, breadth first over (node, did a read-write
// edge lead here).
class Search {
 public:
  Search(const Graph& graph, EdgeKinds kinds, Shape shape, std::vector<uint32_t> component)
      : graph_(graph),
        kinds_(kinds),
        shape_(shape),
        component_(std::move(component)),
        seen_(2 * graph.size(), 0) {}

  // Shorter than `shorter_than` edges, or none. Takes what it costs off the budget.
  std::optional<std::vector<Edge>> From(const Edge& first, size_t shorter_than, int64_t* budget) {
    ++round_;
    visits_.clear();
    visits_.push_back({first.to, -1, 1, IsRw(first.kind), &first});
    Mark(first.to, IsRw(first.kind));
    for (size_t head = 0; head < visits_.size() && *budget > 0; ++head) {
      const Visit visit = visits_[head];
      if (visit.length + 1 >= shorter_than) return std::nullopt;
      for (const Edge& edge : graph_.From(visit.node)) {
        --*budget;
        if (!MayFollow(visit, edge)) continue;
        const bool rw = shape_ == Shape::kNonadjacentRw &&
                        (IsRw(edge.kind) || (edge.kind == EdgeKind::kThrough && visit.after_rw));
        if (edge.to == first.from && !rw) return PathTo(static_cast<int>(head), edge);
        if (edge.to == first.from || !Mark(edge.to, rw)) continue;
        visits_.push_back({edge.to, static_cast<int>(head), visit.length + 1, rw, &edge});
      }
    }
    return std::nullopt;
  }

  bool Within(const Edge& edge) const {
    if ((kinds_ & Bit(edge.kind)) == 0) return false;
    const uint32_t from = component_[edge.from];
    if (shape_ != Shape::kNonadjacentRw) return from != 0 && from == component_[edge.to];
    const uint32_t n = graph_.size();
    return from != 0 && IsRw(edge.kind) && from == component_[edge.to + n];
  }

 private:
  struct Visit {
    uint32_t node;
    int parent;
    size_t length;
    bool after_rw;
    const Edge* edge;
  };

  bool MayFollow(const Visit& visit, const Edge& edge) const {
    if ((kinds_ & Bit(edge.kind)) == 0) return false;
    if (!IsRw(edge.kind)) return true;
    return shape_ == Shape::kAnyRw || (shape_ == Shape::kNonadjacentRw && !visit.after_rw);
  }
  bool Mark(uint32_t node, bool rw) {
    uint32_t& mark = seen_[2 * size_t{node} + (rw && shape_ == Shape::kNonadjacentRw)];
    return std::exchange(mark, round_) != round_;
  }
  std::vector<Edge> PathTo(int at, const Edge& last) const {
    std::vector<Edge> cycle{last};
    for (; at >= 0; at = visits_[at].parent) cycle.push_back(*visits_[at].edge);
    std::reverse(cycle.begin(), cycle.end());
    return cycle;
  }

  const Graph& graph_;
  const EdgeKinds kinds_;
  const Shape shape_;
  const std::vector<uint32_t> component_;
  std::vector<uint32_t> seen_;
  uint32_t round_ = 0;
  std::vector<Visit> visits_;
};

class Finder {
 public:
  Finder(const Graph& graph, const Model& model) : graph_(graph), model_(model) {}

  Cycles Run() {
    const EdgeKinds all = KindsOf(kClasses[4], model_.order);
    const auto components = graph_.Components(all);
    if (components.empty()) return {};
    component_ = ComponentOf(components, graph_.size());
    found_.assign(components.size() + 1, false);
    for (const bool forbidden : {true, false}) {
      for (const Order order : {Order::kNone, Order::kProcess, Order::kRealtime}) {
        if (order > model_.order) continue;
        for (const Class& a_class : kClasses) {
          const std::string name = a_class.name + Suffix(order);
          if (model_.Forbids(name) != forbidden) continue;
          SearchClass(a_class, order, name, forbidden ? &cycles_.forbidden : &cycles_.allowed);
        }
      }
      // What was looked for in vain and is a violation wherever it is.
      if (forbidden && exhausted_) {
        cycles_.gave_up = std::count(found_.begin() + 1, found_.end(), false) > 0;
      }
    }
    return std::move(cycles_);
  }

 private:
  // The shortest cycle of this class in each component that has none yet.
  void SearchClass(const Class& a_class, Order order, const std::string& name,
                   std::vector<Cycle>* to) {
    constexpr int64_t kBudget = 20'000'000;  // edges looked at: a second or less
    const EdgeKinds kinds = KindsOf(a_class, order);
    Search search(graph_, kinds, a_class.shape,
                  a_class.shape == Shape::kNonadjacentRw
                      ? NonadjacentComponents(graph_, kinds)
                      : ComponentOf(graph_.Components(kinds), graph_.size()));
    std::vector<std::vector<Edge>> best(found_.size());
    std::vector<int64_t> budget(found_.size(), kBudget);
    for (uint32_t node = 0; node < graph_.size(); ++node) {
      const uint32_t component = component_[node];
      if (component == 0 || found_[component]) continue;
      for (const Edge& edge : graph_.From(node)) {
        if (!search.Within(edge) || !graph_.is_transaction(edge.from)) continue;
        if (a_class.shape != Shape::kNoRw && !IsRw(edge.kind)) continue;
        const size_t limit = best[component].empty() ? SIZE_MAX : best[component].size();
        if (limit <= 2) break;
        if (budget[component] <= 0) {
          exhausted_ = exhausted_ || best[component].empty();
          break;
        }
        if (auto cycle = search.From(edge, limit, &budget[component])) {
          best[component] = std::move(*cycle);
        }
      }
    }
    for (uint32_t component = 1; component < best.size(); ++component) {
      if (best[component].empty()) continue;
      found_[component] = true;
      to->push_back({name, std::move(best[component])});
    }
  }

  const Graph& graph_;
  const Model model_;
  std::vector<uint32_t> component_;  // by node, over all edges of the model; 0: on no cycle
  std::vector<bool> found_;          // by component: has a named cycle
  bool exhausted_ = false;
  Cycles cycles_;
};

}  // namespace

Cycles FindCycles(const Graph& graph, const Model& model) { return Finder(graph, model).Run(); }

}  // namespace quorate::history
