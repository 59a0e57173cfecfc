// What several tests ask of a MiniCluster.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "base/probe.h"
#include "tests/raft/host/mini_cluster.h"

namespace quorate::raft {

inline constexpr GroupId kGroup = MiniCluster::kGroup;
using Loss = MiniCluster::Loss;

inline uint64_t Hits(const std::string& probe) {
  const auto report = Probe::Report();
  const auto it = report.find(probe);
  return it == report.end() ? 0 : it->second;
}

inline int Other(int node) { return node % 3 + 1; }

inline int64_t Quarantined(MiniCluster* cluster, int node) {
  return cluster->metrics(node).GetGauge("quorate_raft_quarantined_groups", "").Value();
}

// Proposes until `count` are acknowledged, whoever leads.
inline void Write(MiniCluster* cluster, int count, const std::string& prefix,
                  size_t value_bytes = 10) {
  for (int i = 0; i < count; ++i) {
    const std::string payload = fmt::format(
        "{}{}={}", prefix, i, std::string(value_bytes, static_cast<char>('a' + i % 26)));
    std::shared_ptr<Outcome> outcome;
    ASSERT_TRUE(cluster->RunUntil([&] {
      if (outcome != nullptr && outcome->ok()) return true;
      if (outcome != nullptr && !outcome->status) return false;
      const int leader = cluster->Leader();
      if (leader != 0) outcome = cluster->Propose(leader, payload);
      return false;
    })) << payload;
  }
}

// A log that keeps little, so that who was away needs a snapshot: once it is not heard of any more,
// as what it lacks is kept until then.
inline constexpr Duration kUnheard = std::chrono::seconds(1);

inline void LeaveBehind(MiniCluster* cluster, int node) {
  cluster->Isolate(node);
  cluster->RunFor(kUnheard);
}

inline MiniCluster::Options ShortLog(uint64_t seed = 1) {
  MiniCluster::Options options;
  options.seed = seed;
  options.host.log_keep_entries = 8;
  options.host.wal_keep_entries = 4;
  options.store.flush_interval = 20ms;
  return options;
}

}  // namespace quorate::raft
