// Server reflection: what services and messages a node knows, for clients that have no .proto files
// (grpcurl, generic tools). gRPC's own implementation brings a synchronous service with threads of
// its own, which would take turns with the node's in polling (client/route/grpc_loop.h).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "grpc/reflection/v1alpha/reflection.grpc.pb.h"
#include "server/wire/grpc_streams.h"

namespace quorate::server {

// The answer to one request, out of the descriptors that are linked into the program. Files are
// given with all files that they import.
grpc::reflection::v1alpha::ServerReflectionResponse Reflect(
    const grpc::reflection::v1alpha::ServerReflectionRequest& request,
    const std::vector<std::string>& services);

// Serves reflection on `services` until the server shuts down.
void ServeReflection(std::shared_ptr<GrpcCore> core,
                     grpc::reflection::v1alpha::ServerReflection::AsyncService* service,
                     std::vector<std::string> services);

}  // namespace quorate::server
