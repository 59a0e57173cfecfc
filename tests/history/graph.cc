#include "tests/history/graph.h"

#include <algorithm>
#include <deque>

namespace quorate::history {

void Graph::Add(uint32_t from, Edge edge) {
  if (from == edge.to) return;
  for (const Edge& old : edges_[from]) {
    if (old.to == edge.to && old.kind == edge.kind) return;
  }
  edges_[from].push_back(std::move(edge));
}

std::vector<std::vector<uint32_t>> Graph::Components(uint8_t kinds) const {
  // Tarjan, without recursion: histories are long.
  const size_t n = edges_.size();
  std::vector<uint32_t> index(n, 0), low(n, 0), stack;
  std::vector<bool> on_stack(n, false);
  std::vector<std::vector<uint32_t>> components;
  uint32_t next_index = 0;
  struct Frame {
    uint32_t node;
    size_t edge;
  };
  for (uint32_t root = 0; root < n; ++root) {
    if (index[root] != 0) continue;
    std::vector<Frame> frames{{root, 0}};
    while (!frames.empty()) {
      auto& [node, at] = frames.back();
      if (at == 0) {
        index[node] = low[node] = ++next_index;
        stack.push_back(node);
        on_stack[node] = true;
      }
      bool descended = false;
      while (at < edges_[node].size()) {
        const Edge& edge = edges_[node][at++];
        if ((kinds & Bit(edge.kind)) == 0) continue;
        if (index[edge.to] == 0) {
          frames.push_back({edge.to, 0});
          descended = true;
          break;
        }
        if (on_stack[edge.to]) low[node] = std::min(low[node], index[edge.to]);
      }
      if (descended) continue;
      const uint32_t done = node;
      if (low[done] == index[done]) {
        std::vector<uint32_t> component;
        uint32_t member = 0;
        do {
          member = stack.back();
          stack.pop_back();
          on_stack[member] = false;
          component.push_back(member);
        } while (member != done);
        if (component.size() > 1) {
          std::sort(component.begin(), component.end());
          components.push_back(std::move(component));
        }
      }
      frames.pop_back();
      if (!frames.empty()) low[frames.back().node] = std::min(low[frames.back().node], low[done]);
    }
  }
  return components;
}

std::optional<std::vector<Graph::Step>> Graph::FindCycle(const std::vector<uint32_t>& component,
                                                         uint8_t kinds, int rw_min,
                                                         int rw_max) const {
  // Breadth first over (node, read-write edges so far, capped), from each start in turn.
  const int cap = rw_max >= 0 ? rw_max : std::max(rw_min, 0);
  const auto in_component = [&](uint32_t node) {
    return std::binary_search(component.begin(), component.end(), node);
  };
  std::optional<std::vector<Step>> best;
  for (const uint32_t start : component) {
    struct Visit {
      uint32_t node;
      int rw;
      int parent;
      const Edge* edge;
    };
    std::vector<Visit> visits{{start, 0, -1, nullptr}};
    std::vector<std::vector<bool>> seen(cap + 1, std::vector<bool>(edges_.size(), false));
    seen[0][start] = true;
    for (size_t head = 0; head < visits.size(); ++head) {
      const Visit visit = visits[head];
      for (const Edge& edge : edges_[visit.node]) {
        if ((kinds & Bit(edge.kind)) == 0 || !in_component(edge.to)) continue;
        int rw = visit.rw + (edge.kind == EdgeKind::kRw ? 1 : 0);
        if (rw_max >= 0 && rw > rw_max) continue;
        rw = std::min(rw, cap);
        if (edge.to == start && rw >= rw_min) {
          std::vector<Step> cycle{{visit.node, &edge}};
          for (int at = static_cast<int>(head); visits[at].parent >= 0; at = visits[at].parent) {
            cycle.push_back({visits[visits[at].parent].node, visits[at].edge});
          }
          std::reverse(cycle.begin(), cycle.end());
          if (!best || cycle.size() < best->size()) best = std::move(cycle);
          head = visits.size();
          break;
        }
        if (seen[rw][edge.to]) continue;
        seen[rw][edge.to] = true;
        visits.push_back({edge.to, rw, static_cast<int>(head), &edge});
      }
    }
    if (best && best->size() <= 2) break;
  }
  return best;
}

}  // namespace quorate::history
