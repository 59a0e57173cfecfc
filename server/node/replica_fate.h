// When a replica goes: a pure function of what its log and the map say.
//
// Its own log is enough once the configuration without it is applied: that is committed (thesis
// 4.2.2). One that was cut off never hears of that; it asks the map. The map has what a leader had
// applied, with the index of that configuration: if this is not below the index of the newest
// configuration that the replica knows of, it has acknowledged nothing in a later one of which it
// might be a member again. Else the map is the older of the two, and nothing happens. Nor does it
// while the replica leads or hears its leader: the map may have been told lies.
#pragma once

#include <cstdint>
#include <string>

#include "base/strong_type.h"
#include "raft/core/types.h"

namespace quorate::server {

struct ReplicaStanding {
  NodeId self;
  raft::Configuration newest;  // of its log, whether committed or not
  raft::LogIndex newest_index;
  raft::LogIndex applied_index;
  bool led = false;        // it leads, or hears its leader
  bool in_map = false;     // the map has this node among the group's members,
  uint64_t map_index = 0;  // as of this entry of the group's log; 0: it does not know the group
};

struct Fate {
  std::string gone;         // why it goes; empty: it stays
  bool look_again = false;  // it stays only as long as it is led
};
Fate FateOf(const ReplicaStanding& replica);

}  // namespace quorate::server
