// Orders: steps of operators on their way to a shard's leader, and what it does about them.
#pragma once

#include "base/status.h"
#include "placement/schedule/cluster_view.h"
#include "placement/schedule/operator_table.h"
#include "quorate/v1/placement.pb.h"
#include "raft/host/host.h"

namespace quorate::placement {

// `child`: the id of the shard that a split makes.
v1::ShardOrder ToProto(const Order& order, ShardId child = {});
// The shard as its leader reports it.
ShardView ViewOf(const v1::ShardReport& report);

// Proposes the step in the group that this node leads. `membership_version`: of the group here. OK:
// it is under way or has been done; what becomes of it shows in later reports. Otherwise nothing
// happened: FAILED_PRECONDITION if the members are not those that the order was made for, if this
// leader would remove itself, or if those that are up and have caught up are no majority before and
// after; INVALID_ARGUMENT for a step that is not known; and as ChangeMembers and
// TransferLeadership. Splits and merges are the shard's own (shard/shard.h).
Status CarryOut(raft::GroupHandle& group, uint64_t membership_version, const v1::ShardOrder& order);

}  // namespace quorate::placement
