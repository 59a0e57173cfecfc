// What a new cluster looks like: a pure function of its members and of what `init` asked for.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "quorate/v1/placement.pb.h"

namespace quorate::server {

inline constexpr uint32_t kReplicationFactorDefault = 3;
// Shard ids are group ids; group 1 is the placement group.
inline constexpr uint64_t kFirstShardId = 2;

// The first keys of all shards but the first one: as asked, or so that the two leading bytes are
// spread evenly. INVALID_ARGUMENT names what is wrong with the request.
Result<std::vector<std::string>> SplitKeys(const v1::InitRequest& request);

// How many replicas of each shard `init` asks for: what it says, else the default.
uint32_t WantedReplicas(const v1::InitRequest& request);

// The message that every member is sent (with `node_id` its own). Node ids are 1..n in the order of
// the addresses; replicas are dealt out in turn; the placement group has the first 1, 3 or 5 nodes.
// FAILED_PRECONDITION: fewer members than replicas wanted. A cluster with less fault tolerance than
// its operator counts on must have been asked for in so many words.
Result<v1::BootstrapRequest> PlanBootstrap(const std::string& cluster_id,
                                           std::vector<v1::NodeInfo> members,
                                           const v1::InitRequest& request);

// INVALID_ARGUMENT unless the message is one that PlanBootstrap makes: ids, tiling, members.
Status CheckBootstrap(const v1::BootstrapRequest& bootstrap);

}  // namespace quorate::server
