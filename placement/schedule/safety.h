// Safety: whether a change of a shard's members, or of a node's duties, may be made. One place for
// the schedulers, for the orders that are given, and for --dry-run. Pure.
//
// A change is allowed only if, before and after it, those voters that are up and have caught up are
// a majority without anyone else: of a joint change of both sets. Nodes that were not heard of
// count as absent here, and as present where a replica would be given up for lost: not knowing
// never speaks for a change.
#pragma once

#include <optional>
#include <string>

#include "placement/schedule/cluster_view.h"
#include "placement/schedule/operator.h"
#include "placement/schedule/settings.h"

namespace quorate::placement {

// Why not, as a sentence that names shard and nodes; nothing: allowed.
using Refusal = std::optional<std::string>;

// Whether this step may be ordered now, for the shard as it was reported.
Refusal CheckChange(const ClusterView& view, const ShardView& shard, const Step& step);

// Voters that count: on nodes that are up, and caught up.
size_t LiveVoters(const ClusterView& view, const ShardView& shard);
// How many further voters may fail before the shard stands still; nothing: it has no quorum.
std::optional<uint32_t> FailuresSurvived(const ClusterView& view, const ShardView& shard);
// Gone, or down for longer than `down_after`.
bool Lost(const ClusterView& view, NodeId node, Duration down_after, Instant now);

// Whether all that `node` holds could be held by the others: enough nodes that are usable for each
// shard's replication factor, and room for the bytes. Looks at that node's shards.
Refusal CheckDrain(const ClusterView& view, NodeId node);
// Whether `node` may leave the cluster for good: it holds nothing, or (`lost`) what it holds is to
// be replaced and each of its shards has a quorum without it.
Refusal CheckRemoveNode(const ClusterView& view, NodeId node, bool lost);

}  // namespace quorate::placement
