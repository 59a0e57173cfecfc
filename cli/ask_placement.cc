#include "cli/ask_placement.h"

#include <utility>

#include "base/status_macros.h"
#include "cli/admin.h"
#include "quorate/v1/node.pb.h"

namespace quorate::cli {

Result<v1::PlacementResponse> AskPlacement(Admin& admin, const std::vector<std::string>& addresses,
                                           Duration timeout, v1::PlacementRequest ask) {
  v1::NodeRequest hello;
  hello.mutable_hello();
  ASSIGN_OR_RETURN(const auto known, admin.CallUntilAvailable(addresses, hello, timeout));
  if (known.hello().cluster_id().empty()) {
    return Status(Code::kUninitialized, "this node belongs to no cluster: run quorate init");
  }
  admin.SetCluster(known.hello().cluster_id());
  v1::NodeRequest request;
  *request.mutable_placement() = std::move(ask);
  ASSIGN_OR_RETURN(auto response, admin.CallUntilAvailable(addresses, request, timeout));
  return std::move(*response.mutable_placement());
}

}  // namespace quorate::cli
