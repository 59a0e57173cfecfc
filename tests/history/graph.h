// A directed graph of transactions with labelled edges, and its shortest cycles.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace quorate::history {

enum class EdgeKind : uint8_t {
  kWw,        // wrote the version before the other's
  kWr,        // wrote what the other read
  kRw,        // read the version before the other's write
  kRealtime,  // completed before the other was invoked
};

struct Edge {
  uint32_t to;
  EdgeKind kind;
  std::string why;
};

class Graph {
 public:
  explicit Graph(size_t nodes) : edges_(nodes) {}
  void Add(uint32_t from, Edge edge);
  size_t size() const { return edges_.size(); }
  const std::vector<Edge>& From(uint32_t node) const { return edges_[node]; }

  // Strongly connected components with more than one node, over edges whose kind is in `kinds`
  // (a bit set, see Bit).
  static constexpr uint8_t Bit(EdgeKind kind) { return uint8_t(1u << static_cast<int>(kind)); }
  std::vector<std::vector<uint32_t>> Components(uint8_t kinds) const;

  struct Step {
    uint32_t from;
    const Edge* edge;
  };
  // A shortest cycle through a node of `component`, using edges in `kinds`, with at most `rw_max`
  // read-write edges (-1: any) and at least `rw_min`.
  std::optional<std::vector<Step>> FindCycle(const std::vector<uint32_t>& component, uint8_t kinds,
                                             int rw_min, int rw_max) const;

 private:
  std::vector<std::vector<Edge>> edges_;
};

}  // namespace quorate::history
