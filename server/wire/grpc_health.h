// grpc.health.v1 on the node's loop. gRPC's own implementation brings threads that would take turns
// with the node's in polling (client/route/grpc_loop.h).
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "grpc/health/v1/health.grpc.pb.h"
#include "server/wire/grpc_methods.h"
#include "server/wire/grpc_streams.h"

namespace quorate::server {

// One status for the node as a whole (service "") and for each of its services.
class HealthService {
 public:
  HealthService(std::shared_ptr<GrpcCore> core, std::vector<std::string> services)
      : core_(std::move(core)), services_(std::move(services)) {}
  HealthService(const HealthService&) = delete;

  // For the builder.
  grpc::Service* service() { return &service_; }
  // Serves until the server shuts down.
  void Serve();
  // What Check answers from now on, and all Watch streams are told.
  void SetServing(bool serving);

 private:
  class Watcher;
  using Response = grpc::health::v1::HealthCheckResponse;

  Response::ServingStatus StatusOf(const std::string& service) const;

  const std::shared_ptr<GrpcCore> core_;
  const std::vector<std::string> services_;
  GrpcMethods service_{grpc::health::v1::Health::service_full_name()};
  bool serving_ = false;
  std::vector<Watcher*> watchers_;
};

}  // namespace quorate::server
