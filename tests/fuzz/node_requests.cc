// server/node: what other nodes and client libraries send, as bytes: each frame a NodeRequest. The
// horizon passes what they left behind, which is collected, and the node starts again on its log.
#include "base/check.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/test_node.h"

namespace quorate::fuzz {
namespace {

Task<void> Send(server::Node* node, std::string cluster_id, v1::NodeRequest request) {
  co_await node->Handle(std::move(cluster_id), 0, std::move(request));
}

}  // namespace

void Run(std::string_view input) {
  std::vector<v1::NodeRequest> requests;
  while (!input.empty() && requests.size() < 8) {
    const std::string_view frame = TakeFrame(&input);
    if (!requests.emplace_back().ParseFromArray(frame.data(), static_cast<int>(frame.size()))) {
      return;
    }
  }
  if (requests.empty()) return;
  TestNode node;
  for (v1::NodeRequest& request : requests) {
    node.scope().Spawn(Send(&node.node(), node.node().cluster_id(), std::move(request)));
    node.world().executor.RunFor(5ms);
  }
  node.world().executor.RunFor(30s);
  node.CheckServes();
  node.world().executor.RunFor(80s);
  node.Restart();
  node.CheckServes();
}

std::vector<std::string> Seeds() {
  const std::string id = "0123456789abcdef";
  std::string whole;
  std::vector<std::string> seeds;
  const auto add = [&](auto fill) {
    v1::NodeRequest request;
    request.set_timeout_ms(5000);
    fill(&request);
    std::string one;
    PutFrame(&one, request.SerializeAsString());
    whole += one;
    seeds.push_back(one);
  };
  const auto route = [](auto* request) {
    request->mutable_route()->set_shard_id(1);
    request->mutable_route()->set_version(1);
  };
  const auto write = [](auto* writes) {
    auto* write = writes->Add();
    write->set_key("key");
    write->set_value("value");
  };
  add([&](v1::NodeRequest* r) {
    auto* read = r->mutable_read();
    route(read);
    read->add_keys("key");
    read->add_scans()->mutable_span()->set_to("z");
  });
  add([&](v1::NodeRequest* r) {
    auto* read = r->mutable_read();
    route(read);
    read->add_keys("key");
    read->mutable_stale()->set_max_age_ms(1000);
    read->mutable_stale()->set_not_before(1);
  });
  add([&](v1::NodeRequest* r) {
    auto* lock = r->mutable_lock();
    route(lock);
    lock->set_txn_id(id);
    lock->mutable_priority()->set_txn_id(id);
    lock->add_keys("key");
    lock->set_ttl_ms(1000);
  });
  add([&](v1::NodeRequest* r) {
    auto* prepare = r->mutable_prepare();
    route(prepare);
    prepare->set_txn_id(id);
    prepare->mutable_priority()->set_txn_id(id);
    write(prepare->mutable_writes());
  });
  add([&](v1::NodeRequest* r) { r->mutable_commit(); });
  add([&](v1::NodeRequest* r) { r->mutable_resolve(); });
  add([&](v1::NodeRequest* r) { r->mutable_early_outcome(); });
  add([&](v1::NodeRequest* r) { r->mutable_query_prepare(); });
  add([&](v1::NodeRequest* r) { r->mutable_push(); });
  add([&](v1::NodeRequest* r) { r->mutable_slot(); });
  add([&](v1::NodeRequest* r) { r->mutable_routes(); });
  add([&](v1::NodeRequest* r) { r->mutable_register_node(); });
  add([&](v1::NodeRequest* r) { r->mutable_heartbeat(); });
  add([&](v1::NodeRequest* r) { r->mutable_hello(); });
  add([&](v1::NodeRequest* r) { r->mutable_init()->set_shards(3); });
  add([&](v1::NodeRequest* r) { r->mutable_bootstrap(); });
  add([&](v1::NodeRequest* r) { r->mutable_status(); });
  const auto merge = [&](v1::NodeRequest* r) {
    route(r->mutable_merge());
    r->mutable_merge()->set_asked_by(1);
    return r->mutable_merge();
  };
  add([&](v1::NodeRequest* r) {
    auto* frozen = merge(r)->mutable_absorb();
    frozen->mutable_state()->set_frozen_into(1);
    frozen->mutable_state()->mutable_shard()->set_shard_id(2);
    frozen->mutable_state()->mutable_shard()->set_version(1);
    frozen->mutable_state()->mutable_shard()->set_from("k");
  });
  add([&](v1::NodeRequest* r) {
    auto* abandon = merge(r)->mutable_abandon();
    abandon->set_shard_id(2);
    abandon->set_version(1);
    abandon->set_from("k");
  });
  add([&](v1::NodeRequest* r) {
    auto* free = r->mutable_merge()->mutable_free();
    free->set_shard_id(2);
    free->set_into_shard_id(1);
    free->mutable_span()->set_from("k");
  });
  add([&](v1::NodeRequest* r) {
    auto* confirm = r->mutable_merge()->mutable_confirm();
    confirm->set_shard_id(1);
    confirm->set_version(1);
    confirm->set_from("m");
    confirm->set_seed(7);
  });
  seeds.push_back(whole);
  return seeds;
}

}  // namespace quorate::fuzz
