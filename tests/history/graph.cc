#include "tests/history/graph.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <tuple>

namespace quorate::history {

void Graph::Add(uint32_t from, uint32_t to, EdgeKind kind, const Reason& reason) {
  if (from == to) return;
  uint32_t index = 0;
  if (kind != EdgeKind::kProcess && kind != EdgeKind::kRealtime) {
    index = static_cast<uint32_t>(reasons_.size());
    reasons_.push_back(reason);
  }
  edges_.push_back({from, to, index, kind});
}

void Graph::AddReadsBefore(const std::vector<uint32_t>& readers, const std::vector<Write>& writers,
                           EdgeKind kind, uint32_t key, int64_t version) {
  constexpr size_t kPairsMax = 64;
  if (readers.empty() || writers.empty()) return;
  if (readers.size() == 1 || writers.size() == 1 || readers.size() * writers.size() <= kPairsMax) {
    for (const uint32_t reader : readers) {
      for (const Write& write : writers) {
        Add(reader, write.writer, kind, {key, version, write.value});
      }
    }
    return;
  }
  // A gap stands between the readers and the writes. Whoever is on both sides must not meet itself
  // through it: it gets a gap of its own kind, and those among each other a ring, which is as
  // cyclic as all their pairs.
  const std::set<uint32_t> reading(readers.begin(), readers.end());
  std::vector<Write> both, only_writers;
  for (const Write& write : writers) {
    (reading.contains(write.writer) ? both : only_writers).push_back(write);
  }
  std::set<uint32_t> on_both_sides;
  for (const Write& write : both) on_both_sides.insert(write.writer);
  for (size_t i = 0; i < both.size(); ++i) {
    const Write& next = both[(i + 1) % both.size()];
    Add(both[i].writer, next.writer, kind, {key, version, next.value});
  }
  const auto connect = [&](bool own_writers, const std::vector<Write>& to) {
    if (to.empty()) return;
    const uint32_t gap = nodes_++;
    for (const uint32_t reader : readers) {
      if (on_both_sides.contains(reader) == own_writers) {
        Add(reader, gap, kind, {key, version, Reason::kInitial});
      }
    }
    for (const Write& write : to) {
      Add(gap, write.writer, EdgeKind::kThrough, {key, version, write.value});
    }
  };
  connect(false, writers);
  if (!both.empty()) connect(true, only_writers);
}

void Graph::Freeze() {
  row_.assign(nodes_ + 1, 0);
  for (const Edge& edge : edges_) ++row_[edge.from + 1];
  for (uint32_t node = 0; node < nodes_; ++node) row_[node + 1] += row_[node];
  std::sort(edges_.begin(), edges_.end(), [](const Edge& a, const Edge& b) {
    return std::tie(a.from, a.kind, a.to, a.reason) < std::tie(b.from, b.kind, b.to, b.reason);
  });
}

std::vector<std::vector<uint32_t>> Graph::Components(EdgeKinds kinds) const {
  // Tarjan, without recursion: histories are long.
  std::vector<uint32_t> index(nodes_, 0), low(nodes_, 0), stack;
  std::vector<bool> on_stack(nodes_, false);
  std::vector<std::vector<uint32_t>> components;
  uint32_t next_index = 0;
  struct Frame {
    uint32_t node;
    size_t edge;
  };
  std::vector<Frame> frames;
  for (uint32_t root = 0; root < nodes_; ++root) {
    if (index[root] == 0) frames.push_back({root, 0});
    while (!frames.empty()) {
      auto& [node, at] = frames.back();
      if (at == 0 && index[node] == 0) {
        index[node] = low[node] = ++next_index;
        stack.push_back(node);
        on_stack[node] = true;
      }
      const auto edges = From(node);
      const uint32_t from = node;
      uint32_t unseen = from;
      while (at < edges.size() && unseen == from) {
        const Edge& edge = edges[at++];
        if ((kinds & Bit(edge.kind)) == 0) continue;
        if (index[edge.to] == 0) unseen = edge.to;
        if (on_stack[edge.to]) low[from] = std::min(low[from], index[edge.to]);
      }
      if (unseen != from) {
        frames.push_back({unseen, 0});
        continue;
      }
      if (low[from] == index[from]) {
        const auto first = std::find(stack.rbegin(), stack.rend(), from).base() - 1;
        std::vector<uint32_t> component(first, stack.end());
        stack.erase(first, stack.end());
        for (const uint32_t member : component) on_stack[member] = false;
        std::sort(component.begin(), component.end());
        if (component.size() > 1) components.push_back(std::move(component));
      }
      frames.pop_back();
      if (!frames.empty()) low[frames.back().node] = std::min(low[frames.back().node], low[from]);
    }
  }
  return components;
}

}  // namespace quorate::history
