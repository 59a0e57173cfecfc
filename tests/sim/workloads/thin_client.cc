#include "tests/sim/workloads/thin_client.h"

#include "base/check.h"
#include "server/node/public_api.h"

namespace quorate::sim {

namespace {

template <typename Request, typename Response>
Task<std::string> Serve(server::PublicApi* api,
                        Task<Response> (server::PublicApi::*method)(Request, Duration),
                        std::string bytes, Duration timeout) {
  Request request;
  CHECK(request.ParseFromString(bytes), "a public request does not parse");
  const Response response = co_await (api->*method)(std::move(request), timeout);
  co_return response.SerializeAsString();
}

}  // namespace

Task<Result<v1::NodeResponse>> ThinClient::CallNode(std::string node, std::string cluster_id,
                                                    v1::NodeRequest request, Duration timeout) {
  const auto answer = co_await network_.Exchange(
      &process_, address_, std::move(node),
      {std::move(cluster_id), /*method=*/"", request.SerializeAsString(), timeout});
  if (!answer.ok()) co_return answer.status();
  v1::NodeResponse response;
  CHECK(response.ParseFromString(*answer), "a node's response does not parse");
  co_return response;
}

Task<std::string> ServePublic(server::PublicApi* api, SimNetwork::Request request) {
  using Api = server::PublicApi;
  const std::string& method = request.method;
  std::string bytes = std::move(request.bytes);
  const Duration timeout = request.timeout;
  if (method == "Execute") co_return co_await Serve(api, &Api::Execute, bytes, timeout);
  if (method == "Begin") co_return co_await Serve(api, &Api::Begin, bytes, timeout);
  if (method == "Read") co_return co_await Serve(api, &Api::Read, bytes, timeout);
  if (method == "Scan") co_return co_await Serve(api, &Api::Scan, bytes, timeout);
  if (method == "Write") co_return co_await Serve(api, &Api::Write, bytes, timeout);
  if (method == "Commit") co_return co_await Serve(api, &Api::Commit, bytes, timeout);
  if (method == "Rollback") co_return co_await Serve(api, &Api::Rollback, bytes, timeout);
  CHECK(method == "GetOutcome", "no such method: {}", method);
  co_return co_await Serve(api, &Api::GetOutcome, bytes, timeout);
}

}  // namespace quorate::sim
