// What one seed draws: topology, timing, knobs. Printed first, so that a run can be understood, and
// readable again, so that a script can state it. Faults are drawn apart (faults.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace quorate::sim {

struct Options {
  uint64_t seed = 1;
  Duration chaos = std::chrono::seconds(60);

  int nodes = 3;
  int shards = 4;
  int clients = 4;
  int accounts = 20;                                   // bank
  int lists = 8;                                       // list-append
  Duration think_max = std::chrono::milliseconds(20);  // of a client between two operations
  Duration latency_min = std::chrono::microseconds(50);
  Duration latency_max = std::chrono::milliseconds(2);
  Duration sync_min = std::chrono::microseconds(150);
  Duration sync_max = std::chrono::milliseconds(2);
  bool quorum_reads = false;
  double drift_max = 0;  // of boot clocks, either way
  bool moves = false;    // placement moves replicas and leaders, and members of its own group
  Duration down_after = std::chrono::seconds(60);  // replicas of a node are replaced
  int zones = 0;                   // that nodes say they are in, in turn; 0: they say nothing
  uint64_t split_requests = 2000;  // per second: a shard that serves so many may be split

  // Knobs: half of the seeds keep the defaults, the others draw extremes.
  Duration txn_lifetime = std::chrono::seconds(60);
  Duration name_retention = std::chrono::minutes(65);
  Duration push_after = std::chrono::milliseconds(500);
  Duration prepared_push_after = std::chrono::seconds(3);
  uint64_t wal_segment_bytes = 256 << 10;
  uint64_t wal_copy_step_bytes = 1 << 20;
  Duration store_latency_max = std::chrono::milliseconds(4);
  uint64_t overlay_flush_bytes = 32 << 20;
  Duration flush_interval = std::chrono::seconds(2);
  uint64_t log_keep_entries = 65536;  // in memory; a follower further behind needs a snapshot
  uint64_t wal_keep_entries = 4096;
  uint64_t node_log_bytes = 32 << 20;      // of all groups of a node, in memory and in the WAL
  uint64_t overlay_bytes_max = 256 << 20;  // then a node takes no more
  uint64_t snapshot_turn_bytes = 1 << 20;
  uint64_t snapshot_bytes_per_second = 64 << 20;
  uint64_t quiesce_ticks = 60;          // without work, until a group falls silent,
  uint64_t awake_max = 1000;            // if no more are awake on its node
  uint64_t append_bytes_max = 1 << 20;  // 1: every entry in a message of its own
  uint64_t step_versions = 4'000;
  uint64_t client_bytes_max = 128 << 20;  // held by a node for thin clients
  uint64_t part_bytes_max = 1 << 20;      // of a transaction, in one entry of a shard's log

  static Options Draw(uint64_t seed, Duration chaos);
  // Also of the overlay, the logs' tails and the snapshots: bounds that make rare paths common.
  void DrawExtremes();
  // The largest cluster of the acceptance line, for measuring.
  void FixSize();

  // "name=value" separated by blanks; durations in nanoseconds.
  std::string ToString() const;
  bool Set(std::string_view name, std::string_view value);

 private:
  template <class Self, class Visitor>
  static void VisitFields(Self& self, Visitor visit);
};

}  // namespace quorate::sim
