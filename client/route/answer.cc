#include "client/route/answer.h"

#include "quorate/v1/node.pb.h"

namespace quorate::client {

v1::Error* MutableErrorOf(v1::NodeResponse* response) {
  if (response->error().code() != v1::OK) return response->mutable_error();
  switch (response->body_case()) {
    case v1::NodeResponse::kRead:
      return response->mutable_read()->mutable_error();
    case v1::NodeResponse::kLock:
      return response->mutable_lock()->mutable_error();
    case v1::NodeResponse::kCommit:
      return response->mutable_commit()->mutable_error();
    case v1::NodeResponse::kPrepare:
      return response->mutable_prepare()->mutable_error();
    case v1::NodeResponse::kResolve:
      return response->mutable_resolve()->mutable_error();
    case v1::NodeResponse::kEarlyOutcome:
      return response->mutable_early_outcome()->mutable_error();
    case v1::NodeResponse::kQueryPrepare:
      return response->mutable_query_prepare()->mutable_error();
    case v1::NodeResponse::kPush:
      return response->mutable_push()->mutable_error();
    case v1::NodeResponse::kMerge:
      return response->mutable_merge()->mutable_error();
    case v1::NodeResponse::kSlot:
      return response->mutable_slot()->mutable_error();
    case v1::NodeResponse::kRoutes:
      return response->mutable_routes()->mutable_error();
    case v1::NodeResponse::kRegisterNode:
      return response->mutable_register_node()->mutable_error();
    case v1::NodeResponse::kHeartbeat:
      return response->mutable_heartbeat()->mutable_error();
    case v1::NodeResponse::kHello:
      return response->mutable_hello()->mutable_error();
    case v1::NodeResponse::kInit:
      return response->mutable_init()->mutable_error();
    case v1::NodeResponse::kBootstrap:
      return response->mutable_bootstrap()->mutable_error();
    case v1::NodeResponse::kStatus:
      return response->mutable_status()->mutable_error();
    case v1::NodeResponse::kPlacement:
      return response->mutable_placement()->mutable_error();
    case v1::NodeResponse::BODY_NOT_SET:
      return response->mutable_error();
  }
  return response->mutable_error();
}

const v1::Error& ErrorOf(const v1::NodeResponse& response) {
  if (response.error().code() != v1::OK) return response.error();
  switch (response.body_case()) {
    case v1::NodeResponse::kRead:
      return response.read().error();
    case v1::NodeResponse::kLock:
      return response.lock().error();
    case v1::NodeResponse::kCommit:
      return response.commit().error();
    case v1::NodeResponse::kPrepare:
      return response.prepare().error();
    case v1::NodeResponse::kResolve:
      return response.resolve().error();
    case v1::NodeResponse::kEarlyOutcome:
      return response.early_outcome().error();
    case v1::NodeResponse::kQueryPrepare:
      return response.query_prepare().error();
    case v1::NodeResponse::kPush:
      return response.push().error();
    case v1::NodeResponse::kMerge:
      return response.merge().error();
    case v1::NodeResponse::kSlot:
      return response.slot().error();
    case v1::NodeResponse::kRoutes:
      return response.routes().error();
    case v1::NodeResponse::kRegisterNode:
      return response.register_node().error();
    case v1::NodeResponse::kHeartbeat:
      return response.heartbeat().error();
    case v1::NodeResponse::kHello:
      return response.hello().error();
    case v1::NodeResponse::kInit:
      return response.init().error();
    case v1::NodeResponse::kBootstrap:
      return response.bootstrap().error();
    case v1::NodeResponse::kStatus:
      return response.status().error();
    case v1::NodeResponse::kPlacement:
      return response.placement().error();
    case v1::NodeResponse::BODY_NOT_SET:
      return response.error();
  }
  return response.error();
}

}  // namespace quorate::client
