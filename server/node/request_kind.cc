#include "server/node/request_kind.h"

namespace quorate::server {

RequestKind KindOf(const v1::NodeRequest& request) {
  using Leader = RequestKind::Leader;
  const auto on_shard = [](const v1::ShardRoute& route) {
    return RequestKind{.members = true, .leader = Leader::kShards, .route = &route};
  };
  switch (request.body_case()) {
    case v1::NodeRequest::kHello:
    case v1::NodeRequest::kStatus:
      return {.strangers = true};
    case v1::NodeRequest::kInit:
    case v1::NodeRequest::kBootstrap:
    case v1::NodeRequest::kRegisterNode:
      return {.strangers = true, .begins = true};
    case v1::NodeRequest::kRoutes:
      return {.strangers = true, .members = true};
    case v1::NodeRequest::kPlacement:
      return {.begins = true, .members = true};
    case v1::NodeRequest::kSlot:
    case v1::NodeRequest::kHeartbeat:
      return {.members = true, .leader = Leader::kPlacements};
    case v1::NodeRequest::kCommit:
      return {.begins = true,
              .members = true,
              .leader = Leader::kOwners,
              .key = request.commit().anchor_key()};
    case v1::NodeRequest::kPush:
      return {.members = true,
              .leader = Leader::kOwners,
              .key = request.push().name().empty() ? request.push().txn().anchor_key()
                                                   : request.push().key()};
    case v1::NodeRequest::kRead:
      if (request.read().has_stale()) {
        // Whoever has a replica; and who cannot sends it on at once, since others may.
        return {.members = true, .leader = Leader::kNobodys, .route = &request.read().route()};
      }
      return on_shard(request.read().route());
    case v1::NodeRequest::kLock:
      return on_shard(request.lock().route());
    case v1::NodeRequest::kPrepare:
      return on_shard(request.prepare().route());
    case v1::NodeRequest::kResolve:
      return on_shard(request.resolve().route());
    case v1::NodeRequest::kEarlyOutcome:
      return on_shard(request.early_outcome().route());
    case v1::NodeRequest::kQueryPrepare:
      return on_shard(request.query_prepare().route());
    case v1::NodeRequest::kMerge:
      return on_shard(request.merge().route());
    case v1::NodeRequest::BODY_NOT_SET:
      return {.members = true};  // of a later version
  }
  return {.members = true};
}

}  // namespace quorate::server
