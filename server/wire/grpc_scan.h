// Quorate.ScanAll: a stream of pages, the next one made when the last has left. See
// grpc_services.h.
#pragma once

#include <memory>

#include "server/node/public_api.h"
#include "server/wire/grpc_methods.h"
#include "server/wire/grpc_streams.h"

namespace quorate::server {

// Serves it until the server shuts down.
void ServeScanAll(std::shared_ptr<GrpcCore> core, PublicApi& api, GrpcMethods* service);

}  // namespace quorate::server
