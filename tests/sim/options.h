// What one seed draws: topology, rates, which faults are allowed. Printed first, so that a run can
// be understood; a function of the seed alone.
#pragma once

#include <cstdint>
#include <string>

#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_network.h"

namespace quorate::sim {

struct Options {
  uint64_t seed = 1;
  Duration chaos = std::chrono::seconds(60);

  int nodes = 3;
  int shards = 4;
  int clients = 4;
  int accounts = 20;  // bank
  int lists = 8;      // list-append
  NetworkOptions network;
  DiskOptions disk;
  bool quorum_reads = false;
  Duration txn_lifetime = std::chrono::seconds(60);

  // Mean time between faults of each kind over the whole cluster; zero: never.
  Duration kill_every{0};
  Duration power_loss_every{0};  // of one node
  Duration power_loss_all_every{0};
  Duration partition_every{0};  // symmetric, a random side cut off
  Duration one_way_every{0};    // one direction of one pair
  Duration isolate_leader_every{0};
  Duration pause_every{0};
  Duration clock_jump_every{0};  // wall clocks
  Duration client_death_every{0};
  double drift_max = 0;  // of boot clocks, either way
  Duration down_max = std::chrono::seconds(5);
  Duration partition_max = std::chrono::seconds(8);
  Duration pause_max = std::chrono::seconds(4);

  static Options Draw(uint64_t seed, Duration chaos);
  // The same topology without any fault: what fails then is not about faults.
  Options Calm() const;
  std::string ToString() const;
};

}  // namespace quorate::sim
