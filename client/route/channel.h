// Channel: how a process sends one request to one node. gRPC in the program (grpc_channel: one
// stream per node, batched both ways), memory in the simulation.
#pragma once

#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "base/task.h"

namespace quorate::v1 {
class NodeRequest;
class NodeResponse;
}  // namespace quorate::v1

namespace quorate::client {

class Channel {
 public:
  virtual ~Channel() = default;
  // Sends `request` to whoever listens at `address` ("host:port") and waits for its answer.
  //   UNAVAILABLE        no connection, or it broke: the other side may have acted
  //   DEADLINE_EXCEEDED  no answer within `timeout`: may have acted
  //   WRONG_CLUSTER      the other side refused: nothing happened
  // `request` is taken; requests to one address leave in one batch per turn.
  virtual Task<Result<v1::NodeResponse>> Call(std::string address, v1::NodeRequest request,
                                              Duration timeout) = 0;
  // The cluster whose id every batch carries; empty until it is known.
  virtual void SetClusterId(const std::string& cluster_id) = 0;
};

}  // namespace quorate::client
