// Rest: what may be left in a cluster's memory when all clients are done and everything has
// converged: nothing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace quorate::sim {

class Cluster;
class SimNode;

struct LeftOver {
  std::string what;  // "prepared locks of shard 3"
  uint64_t count = 0;
};

// What a node holds that belongs to requests or transactions: none of it may stay.
std::vector<LeftOver> LeftOvers(SimNode& node);
// "n1:7400 still holds 2 prepared locks of shard 3", for those that are not zero.
std::vector<std::string> JudgeRest(const std::string& node, const std::vector<LeftOver>& left);
// Where the placement leader's map is not what the shards' leaders serve, and where a node's is not
// the placement leader's: empty once what was changed has been told.
std::vector<std::string> JudgeMaps(Cluster& cluster);

// Where a shard is not as its rule says, or the settings if it is under none, although there are
// nodes enough: another number of voters, one where the rule lets none be, or two rules in one
// shard. Empty once placement has moved what there was to move.
std::vector<std::string> JudgeRules(Cluster& cluster);

}  // namespace quorate::sim
