#include "tests/sim/workloads/thin_client.h"

#include "base/check.h"
#include "server/node/public_api.h"

namespace quorate::sim {

namespace {

template <typename Request, typename Response>
Task<std::string> Serve(server::PublicApi* api,
                        Task<Response> (server::PublicApi::*method)(Request, server::PublicCall),
                        std::string bytes, Duration timeout) {
  Request request;
  CHECK(request.ParseFromString(bytes), "a public request does not parse");
  const Response response = co_await (api->*method)(std::move(request), timeout);
  co_return response.SerializeAsString();
}

// All pages, as one message with every row and the last page's end: the network has no streams.
class Pages final : public server::PageSink {
 public:
  Task<bool> Write(v1::ScanAllResponse page) override {
    all_.MergeFrom(page);
    // The last page may have none.
    all_.set_resume_key(page.resume_key());
    co_return true;
  }
  const v1::ScanAllResponse& all() const { return all_; }

 private:
  v1::ScanAllResponse all_;
};

Task<std::string> ServeScanAll(server::PublicApi* api, std::string bytes, Duration timeout) {
  v1::ScanAllRequest request;
  CHECK(request.ParseFromString(bytes), "a public request does not parse");
  Pages pages;
  co_await api->ScanAll(std::move(request), timeout, &pages);
  co_return pages.all().SerializeAsString();
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
  if (method == "ScanAll") co_return co_await ServeScanAll(api, bytes, timeout);
  CHECK(method == "GetOutcome", "no such method: {}", method);
  co_return co_await Serve(api, &Api::GetOutcome, bytes, timeout);
}

}  // namespace quorate::sim
