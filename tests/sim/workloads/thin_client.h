// The public service (client.proto) over the simulated network, both ends: what a program in
// any language would do with its gRPC stub, and the dispatch that gRPC's server would do.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/random.h"
#include "base/task.h"
#include "quorate/v1/client.pb.h"
#include "quorate/v1/node.pb.h"
#include "tests/sim/sim_network.h"

namespace quorate::server {
class PublicApi;
}

namespace quorate::sim {

// The server's end: one call of `request.method`.
Task<std::string> ServePublic(server::PublicApi* api, SimNetwork::Request request);

// The client's end. A call that fails at the transport (UNAVAILABLE, DEADLINE_EXCEEDED) may have
// had its effect, as with gRPC. The network and the process outlive it.
class ThinClient {
 public:
  // A node that failed to answer is asked again only after this, if there are others.
  static constexpr Duration kAvoidFor = std::chrono::seconds(10);

  ThinClient(SimNetwork& network, Process& process, std::string address)
      : network_(network), process_(process), address_(std::move(address)) {}

  SimNetwork& network() { return network_; }

  // One of `nodes`; rather not one that failed to answer just now.
  const std::string& Pick(const std::vector<std::string>& nodes, Random& random) {
    size_t at = random.Below(nodes.size());
    for (size_t tried = 1; tried < nodes.size(); ++tried) {
      const auto avoid = avoid_until_.find(nodes[at]);
      if (avoid == avoid_until_.end() || avoid->second <= process_.Now()) break;
      at = (at + 1) % nodes.size();
    }
    return nodes[at];
  }

  // What only nodes and client libraries send, on the cluster's own stream.
  Task<Result<v1::NodeResponse>> CallNode(std::string node, std::string cluster_id,
                                          v1::NodeRequest request, Duration timeout);

  template <typename Request, typename Response>
  Task<Result<Response>> Call(std::string node, std::string method, Request request,
                              Duration timeout) {
    const std::string to = node;
    const auto answer = co_await network_.Exchange(
        &process_, address_, std::move(node),
        {/*cluster_id=*/"", std::move(method), request.SerializeAsString(), timeout});
    if (!answer.ok()) {
      avoid_until_[to] = process_.Now() + kAvoidFor;
      co_return answer.status();
    }
    Response response;
    CHECK(response.ParseFromString(*answer), "a public response does not parse");
    co_return response;
  }

 private:
  SimNetwork& network_;
  Process& process_;
  std::string address_;
  std::map<std::string, Instant> avoid_until_;
};

}  // namespace quorate::sim
