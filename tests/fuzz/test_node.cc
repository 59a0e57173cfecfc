#include "tests/fuzz/test_node.h"

#include "base/check.h"

namespace quorate::fuzz {

Task<Result<v1::NodeResponse>> NoChannel::Call(std::string, v1::NodeRequest, Duration) {
  co_return Unavailable("there is no other node");
}

void TestNode::Start() {
  const auto open = [this](const std::string&) -> Result<std::unique_ptr<storage::KvStore>> {
    return std::unique_ptr<storage::KvStore>(
        std::make_unique<storage::MemoryStore>(world_.env, store_));
  };
  server::NodeOptions options;
  options.data_dir = "data";
  options.address = "n1:7400";
  options.wal_segment_bytes = 64 << 10;
  auto node = server::Node::Open({world_.env, files_, open, transport_, channel_}, options);
  CHECK(node.ok(), "{}", node.status().ToString());
  node_ = std::move(*node);
  api_ = std::make_unique<server::PublicApi>(world_.env, *node_);
  node_->OnFatal([](Status status) { CHECK(false, "fatal: {}", status.ToString()); });
  node_->Start();
}

void TestNode::Restart() {
  scope_.Clear();
  api_.reset();
  node_.reset();
  // What the process had under way is lost with it: of the flush, any beginning stays.
  store_.Crash(world_.random);
  disk_.Kill();
  Start();
  world_.executor.RunFor(5s);
  CHECK(node_->ready(), "a node that does not come back");
}

TestNode::TestNode() {
  Start();
  v1::InitRequest init;
  init.set_shards(2);
  init.set_replication_factor(1);
  const v1::InitResponse response = Await(api_->Init(init, 30s));
  CHECK(response.error().code() == v1::OK, "{}", response.error().message());
  world_.executor.RunFor(2s);
  CHECK(node_->ready());
}

TestNode::~TestNode() {
  scope_.Clear();
  api_.reset();
  node_.reset();
}

void TestNode::CheckServes() {
  v1::ExecuteRequest request;
  auto* put = request.add_operations()->mutable_put();
  put->set_key("a key of its own");
  put->set_value("value");
  const v1::ExecuteResponse response = Await(api_->Execute(request, 30s));
  CHECK(response.error().code() == v1::OK, "{}", response.error().message());
}

}  // namespace quorate::fuzz
