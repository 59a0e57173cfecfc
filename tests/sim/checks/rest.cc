#include "tests/sim/checks/rest.h"

#include <fmt/format.h>

#include "server/node/member.h"
#include "tests/sim/cluster.h"

namespace quorate::sim {

std::vector<LeftOver> LeftOvers(SimNode& node) {
  std::vector<LeftOver> left;
  const server::Member* member = node.up() ? node.node()->member() : nullptr;
  if (member == nullptr) return left;
  for (const auto& [id, shard] : member->shards()) {
    const shard::Shard::InMemory memory = shard->in_memory();
    left.push_back({fmt::format("PREPARED records of shard {}", id), shard->prepared_count()});
    left.push_back({fmt::format("locks of shard {}", id), memory.locks});
    left.push_back({fmt::format("waiters in shard {}", id), memory.waiting});
    left.push_back({fmt::format("pushes of shard {}", id), memory.pushes});
  }
  left.push_back({"live coordinators", member->coordinator().live()});
  left.push_back({"registered commits and recoveries", member->coordinator().registered()});
  return left;
}

std::vector<std::string> JudgeRest(const std::string& node, const std::vector<LeftOver>& left) {
  std::vector<std::string> found;
  for (const LeftOver& each : left) {
    if (each.count == 0) continue;
    found.push_back(
        fmt::format("L1: {} still holds {} {}, though nobody asks for anything any more", node,
                    each.count, each.what));
  }
  return found;
}

}  // namespace quorate::sim
