// Rule check: whether a rule can be kept, before it is made; and where one is not kept. Pure.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "placement/schedule/cluster_view.h"
#include "placement/schedule/rule.h"
#include "placement/schedule/settings.h"

namespace quorate::placement {

// What a rule would change, as sentences; FAILED_PRECONDITION if it could not be kept up: for what
// is not there yet too few nodes that are up, to stay and where it lets replicas be, or no room;
// labels that no node has; or a shard of it without a quorum, whose members nobody can change.
// A replica is there if it is where the rule lets it be, on a node that stays and is not lost,
// whether that one could be given another or not.
// `shards`: those that have keys in its range. One that says nothing stands for the settings, as
// when a rule is taken away.
Result<std::vector<std::string>> ProveRule(const ClusterView& view, const Settings& settings,
                                           Instant now, const Rule& rule,
                                           const std::vector<ShardId>& shards);

// Where `shard` is not as its rule says, or the settings if it is under none; sentences. Replicas
// that are lost do not count.
std::vector<std::string> Breaches(const ClusterView& view, const Settings& settings, Instant now,
                                  const ShardView& shard);

}  // namespace quorate::placement
