// The streaming half of a node's gRPC service: v1.Node. See grpc_services.h.
#pragma once

#include <cstddef>
#include <memory>

#include "base/env.h"
#include "base/task.h"
#include "proto/rpc.grpc.pb.h"
#include "server/grpc_transport.h"
#include "server/node.h"

namespace quorate::server {

// What all calls of one server share. Built and used on the executor's thread, but for `env`.
struct GrpcCore {
  GrpcCore(Env& env, Node& node, GrpcTransport& transport);

  Env& env;
  Node& node;
  GrpcTransport& transport;
  Counter& calls;
  Counter& overloaded;
  Counter& cut_streams;
  size_t in_flight = 0;
  bool closed = false;  // Shutdown began: nothing is handed to the node any more
  TaskScope scope;      // last: its frames use what stands above
};

class NodeService final : public v1::Node::CallbackService {
 public:
  explicit NodeService(std::shared_ptr<GrpcCore> core) : core_(std::move(core)) {}

  grpc::ServerBidiReactor<v1::CallBatch, v1::CallBatch>* Calls(
      grpc::CallbackServerContext* context) override;
  grpc::ServerBidiReactor<v1::PeerBatch, v1::PeerBatchAck>* Raft(
      grpc::CallbackServerContext* context) override;
  grpc::ServerBidiReactor<v1::PeerBatch, v1::PeerBatchAck>* Bulk(
      grpc::CallbackServerContext* context) override;

 private:
  std::shared_ptr<GrpcCore> core_;
};

}  // namespace quorate::server
