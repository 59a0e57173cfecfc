// GrpcHub: the one completion queue of a node, for its server and its connections to others, and
// the builder that the queue has to come from.
#pragma once

#include <grpcpp/server_builder.h>

#include <utility>

#include "client/route/grpc_loop.h"

namespace quorate::server {

struct GrpcHub {
  grpc::ServerBuilder builder;  // used up when the server starts
  grpc::ServerCompletionQueue* queue = nullptr;
  client::GrpcLoop loop{MakeQueue()};

 private:
  std::unique_ptr<grpc::CompletionQueue> MakeQueue() {
    auto made = builder.AddCompletionQueue();
    queue = made.get();
    return made;
  }
};

}  // namespace quorate::server
