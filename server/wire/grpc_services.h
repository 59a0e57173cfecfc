// The gRPC services of a node: thin adapters from gRPC to Node, PublicApi and GrpcTransport.
//
//   v1.Node.Calls        batches of requests in, batches of answers out: those that are ready in
//                        one turn leave together, one write outstanding
//   v1.Node.Raft, Bulk   peer batches, handed to the transport
//   v1.Quorate           the public service, handed to PublicApi
//   grpc.health.v1       SERVING while the node is ready
//   grpc.reflection      what the public services look like
//
// All on the executor's thread, which polls the hub's queue. Connections come from a Listener.
// Bounds: connections (there), those without a call (ended after minutes) or without a first frame
// (after seconds), requests in flight (beyond: OVERLOADED), unsent answers per stream (beyond: the
// stream is ended); public calls and the bytes held for them until their answers have left
// (server/node/shared_bound.h); requests that have not come whole (arriving.h).
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/env.h"
#include "base/status.h"

namespace quorate::server {

struct GrpcHub;
class GrpcTransport;
class Node;
class PublicApi;

class GrpcServer {
 public:
  // Binds `listen` (HOST:PORT) and serves. All references outlive the server; one server per hub.
  // FAILED_PRECONDITION: the address cannot be bound (in use, or not of this host).
  static Result<std::unique_ptr<GrpcServer>> Start(Env& env, GrpcHub& hub, Node& node,
                                                   PublicApi& api, GrpcTransport& transport,
                                                   const std::string& listen);
  // After `done` of Shutdown, when the executor no longer runs.
  ~GrpcServer();

  // What grpc.health.v1 answers.
  void SetServing(bool serving);
  // Since when no connection could be taken (wire/listener.h); Instant::max(): they can.
  Instant deaf_since() const;
  // Ends every call (those in flight get UNAVAILABLE: outcome unknown) and every stream, and runs
  // `done` on the executor once gRPC is through with them. The executor goes on running meanwhile.
  void Shutdown(std::function<void()> done);

 private:
  struct Rep;
  explicit GrpcServer(std::unique_ptr<Rep> rep);
  std::unique_ptr<Rep> rep_;
};

}  // namespace quorate::server
