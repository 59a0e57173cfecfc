// The streaming half of a node's gRPC service: v1.Node. See grpc_services.h.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

#include "base/env.h"
#include "base/limits.h"
#include "base/task.h"
#include "client/route/grpc_stream.h"
#include "quorate/v1/rpc.grpc.pb.h"
#include "server/node/node.h"
#include "server/node/shared_bound.h"
#include "server/wire/arriving.h"
#include "server/wire/connections.h"
#include "server/wire/grpc_hub.h"
#include "server/wire/grpc_transport.h"
#include "server/wire/unread.h"

namespace quorate::server {

// What all calls of one server share. Executor's thread.
struct GrpcCore {
  GrpcCore(Env& env, GrpcHub& hub, Node& node, GrpcTransport& transport);

  Env& env;
  GrpcHub& hub;
  Node& node;
  GrpcTransport& transport;
  Counter& calls;
  Counter& overloaded;
  Counter& cut_streams;
  Counter& cut_requests;
  // Of unary calls and scans, shared by clients.
  std::shared_ptr<SharedBound> places = std::make_shared<SharedBound>(limits::kPublicCallsMax);
  std::function<bool()> short_of_memory = [] { return false; };  // for what clients hold
  UnreadAnswers unread;
  Connections connections;
  ArrivingRequests arriving;
  bool closed = false;  // Shutdown began: nothing is handed to the node any more
  std::shared_ptr<void> alive = std::make_shared<int>();  // held by what gRPC still has of ours
  TaskScope scope;                                        // last: its frames use what stands above
};

// Accepts streams of a method, one after the other, until the server shuts down. `request` asks the
// service for the next one, `begin` makes its user.
template <class In, class Out, class Request, class Begin>
void AcceptStreams(std::shared_ptr<GrpcCore> core, Request request, Begin begin) {
  if (core->closed) return;
  using Stream = client::ServerStream<In, Out>;
  auto* stream = new Stream(core->alive);
  stream->Accept([core, request](auto* context, auto* rpc,
                                 void* tag) { request(context, rpc, core->hub.queue, tag); },
                 [core, request, begin](Stream* accepted) -> client::GrpcStreamUser<In>* {
                   AcceptStreams<In, Out>(core, request, begin);
                   return begin(core, accepted);
                 });
}

// Serves v1.Node until the server shuts down.
void ServeNode(std::shared_ptr<GrpcCore> core, v1::Node::AsyncService* service);

}  // namespace quorate::server
