// Locality: how far apart replicas stand. A node's labels place it in a zone, in a rack of that
// zone and on a host. Pure.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/strong_type.h"

namespace quorate::placement {

// Numbers for names. Racks lie within zones and hosts within racks: the same name in two zones is
// two places, whoever wrote it knew. Nodes without a zone share one, and nodes of a zone without a
// rack share one; a node without a host is a host of its own.
struct Domains {
  uint32_t zone = 0;
  uint32_t rack = 0;
  uint32_t host = 0;
  friend bool operator==(const Domains&, const Domains&) = default;
};

class DomainNames {
 public:
  Domains Of(NodeId node, const std::map<std::string, std::string>& locality);
  size_t size() const { return numbers_.size(); }
  void Clear() { numbers_.clear(); }

 private:
  uint32_t NumberOf(std::string name);
  std::map<std::string, uint32_t, std::less<>> numbers_;
};

// How replicas stand: the less the better, in this order. Where rules want none, where they rather
// want none, and pairs of them that share a host, a zone, a rack: two on one host are one machine's
// to lose, however many zones there are. Counting pairs tells 3+1+1 from 2+2+1, where the loss of
// one zone costs the quorum or does not.
struct Standing {
  uint32_t outside = 0;      // replicas where Rule::require does not let them be
  uint32_t unpreferred = 0;  // and where Rule::prefer has none
  uint32_t host = 0;
  uint32_t zone = 0;
  uint32_t rack = 0;
  friend auto operator<=>(const Standing&, const Standing&) = default;
};

// The pairs that one more replica in `place` adds to those in [begin, end).
Standing Added(const Domains* begin, const Domains* end, const Domains& place);
inline Standing operator+(Standing a, Standing b) {
  return {a.outside + b.outside, a.unpreferred + b.unpreferred, a.host + b.host, a.zone + b.zone,
          a.rack + b.rack};
}

// "pairs of replicas that share a zone: 2, ...", or "no two replicas share a zone, rack or host".
std::string ToString(const Standing& standing);

}  // namespace quorate::placement
