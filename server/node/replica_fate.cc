#include "server/node/replica_fate.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/mutant.h"

namespace quorate::server {

namespace {

bool IsMember(const raft::Configuration& configuration, NodeId node) {
  const auto has = [node](const std::vector<NodeId>& ids) {
    return std::find(ids.begin(), ids.end(), node) != ids.end();
  };
  return has(configuration.voters) || has(configuration.voters_outgoing) ||
         has(configuration.learners);
}

}  // namespace

Fate FateOf(const ReplicaStanding& replica) {
  const bool out = !IsMember(replica.newest, replica.self) && !replica.newest.voters.empty() &&
                   !replica.newest.joint();
  const bool committed = replica.newest_index <= replica.applied_index ||
                         MUTANT("replica-destroyed-before-its-removal-is-committed");
  // Its log may be a snapshot from before it became a member, with the rest on its way.
  const bool comes = replica.in_map && replica.map_index > replica.newest_index.value();
  if (out && committed && !comes)
    return {fmt::format("its log says so at {}", replica.newest_index)};
  // Equal: its log has the entry, and nobody tells it any more that it is committed.
  const bool newer = replica.map_index != 0 && replica.map_index >= replica.newest_index.value();
  if (!newer || replica.in_map) return {};
  if (replica.led) return {.look_again = true};
  return {fmt::format("the map says so as of its log's entry {}", replica.map_index)};
}

}  // namespace quorate::server
