// A directed graph of transactions with labelled edges, in compressed rows: memory is linear in the
// edges, which are linear in the history.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace quorate::history {

enum class EdgeKind : uint8_t {
  kWw,        // wrote the version before the other's
  kWr,        // wrote what the other read
  kRw,        // read a version before the other's write
  kProcess,   // the client's transaction before
  kRealtime,  // completed before the other was invoked
  // The same, where the order of the versions is known through the client's or real time only.
  kWwProcess,
  kRwProcess,
  kWwRealtime,
  kRwRealtime,
  kThrough,  // from a gap between versions to a write behind it; the rest of a read-write edge
};

// Why an edge: the key (an index into the names), and the values on both sides.
struct Reason {
  static constexpr int64_t kInitial = INT64_MIN;  // before any write
  uint32_t key = 0;
  int64_t from = kInitial;
  int64_t to = kInitial;
};

struct Edge {
  uint32_t from;
  uint32_t to;
  uint32_t reason;  // an index, see Graph::reason; meaningless for kProcess and kRealtime
  EdgeKind kind;
};

using EdgeKinds = uint16_t;  // a bit set
constexpr EdgeKinds Bit(EdgeKind kind) { return EdgeKinds(1u << static_cast<int>(kind)); }
constexpr EdgeKinds kAllRw =
    Bit(EdgeKind::kRw) | Bit(EdgeKind::kRwProcess) | Bit(EdgeKind::kRwRealtime);
constexpr bool IsRw(EdgeKind kind) { return (Bit(kind) & kAllRw) != 0; }

class Graph {
 public:
  explicit Graph(uint32_t transactions) : transactions_(transactions), nodes_(transactions) {}

  void Add(uint32_t from, uint32_t to, EdgeKind kind, const Reason& reason = {});
  // Each of `readers` read `version` of the key, and each of `writers` wrote a version behind it
  // (reason.to per writer). Linear in both, with gap nodes where the pairs would be too many.
  struct Write {
    uint32_t writer;
    int64_t value;
  };
  void AddReadsBefore(const std::vector<uint32_t>& readers, const std::vector<Write>& writers,
                      EdgeKind kind, uint32_t key, int64_t version);
  // Ends building; the rest may be called only after it.
  void Freeze();

  uint32_t size() const { return nodes_; }
  bool is_transaction(uint32_t node) const { return node < transactions_; }
  std::span<const Edge> From(uint32_t node) const {
    return {edges_.data() + row_[node], edges_.data() + row_[node + 1]};
  }
  const Reason& reason(const Edge& edge) const { return reasons_[edge.reason]; }

  // Strongly connected components with more than one node, over the edges of these kinds.
  std::vector<std::vector<uint32_t>> Components(EdgeKinds kinds) const;

 private:
  const uint32_t transactions_;
  uint32_t nodes_;  // transactions first, then gaps
  std::vector<Edge> edges_;
  std::vector<Reason> reasons_;
  std::vector<size_t> row_;
};

}  // namespace quorate::history
