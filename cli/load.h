// Load: what a cluster has done between two looks at it. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "base/clock.h"
#include "cli/cluster_view.h"

namespace quorate::cli {

// A look: counters as the nodes reported them.
struct LoadSample {
  struct Node {
    uint64_t cpu_us = 0;  // of the process
    // By shard, of the replica there.
    std::map<uint64_t, uint64_t> reads;
    std::map<uint64_t, uint64_t> prepares;
  };
  Instant at;
  std::map<uint64_t, Node> nodes;  // that answered
};

LoadSample SampleOf(const ClusterView& view, Instant at);

struct Rates {
  double reads = 0;     // per second
  double prepares = 0;  // per second, one-phase commits included
  double both() const { return reads + prepares; }
};

struct Load {
  struct Node {
    Rates rates;
    double cpu = 0;  // of one core: 1.5 is one and a half
  };
  std::map<uint64_t, Node> nodes;    // that answered both times
  std::map<uint64_t, Rates> shards;  // wherever they were led meanwhile

  // Ids of the shards with most requests, those with none left out.
  std::vector<uint64_t> Hottest(size_t count) const;
  // As Hottest, for people who watch: shards keep the order that they were shown in, unless one has
  // a quarter more requests than the one before it.
  std::vector<uint64_t> Hottest(size_t count, const std::vector<uint64_t>& shown) const;
};

// A counter that went back is one that began anew: its node was restarted, or the replica came
// anew.
Load LoadBetween(const LoadSample& before, const LoadSample& after);

}  // namespace quorate::cli
