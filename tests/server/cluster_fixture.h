// A few nodes over the simulated world without faults, for tests of one node's behaviour. What
// faults do to a cluster is tests/sim's subject.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "quorate/v1/node.pb.h"
#include "tests/sim/cluster.h"

namespace quorate::server {

class ClusterFixture {
 public:
  explicit ClusterFixture(int nodes, uint64_t seed = 1)
      : options_(MakeOptions(nodes, seed)), world_(seed), network_(world_, sim::NetworkOptions()) {
    for (int i = 0; i < nodes; ++i) {
      nodes_.push_back(std::make_unique<sim::SimNode>(world_, network_, options_, i, false));
    }
    client_ = std::make_unique<sim::SimClient>(world_, network_, "client", addresses(), false);
  }

  sim::World& world() { return world_; }
  sim::SimNetwork& network() { return network_; }
  sim::SimNode& at(size_t node) { return *nodes_[node - 1]; }
  Node& node(size_t node) { return *nodes_[node - 1]->node(); }
  size_t size() const { return nodes_.size(); }
  sim::SimClient& client() { return *client_; }
  client::Database& database() { return client_->database(); }
  std::vector<std::string> addresses() const {
    std::vector<std::string> addresses;
    for (const auto& node : nodes_) addresses.push_back(node->address());
    return addresses;
  }

  // A machine that is none of the cluster's.
  std::unique_ptr<sim::SimNode> Machine(int index) {
    return std::make_unique<sim::SimNode>(world_, network_, options_, index, false);
  }
  // Boots the nodes; each joins all others.
  void StartAll() {
    for (auto& node : nodes_) {
      if (!node->up()) ASSERT_TRUE(node->Start(addresses()).ok());
    }
  }
  bool RunUntil(const std::function<bool()>& done, Duration within = 30s) {
    world_.RunUntil(world_.now() + within, done);
    return done();
  }
  void RunFor(Duration duration) { world_.RunUntil(world_.now() + duration); }
  bool AllReady(Duration within = 30s) {
    return RunUntil(
        [this] {
          for (const auto& node : nodes_) {
            if (!node->up() || !node->node()->ready()) return false;
          }
          return true;
        },
        within);
  }
  void StartAndInit(int shards) {
    StartAll();
    const v1::InitResponse response = Init(1, shards);
    ASSERT_EQ(response.error().code(), v1::OK) << response.error().message();
    ASSERT_TRUE(AllReady());
    // What a leader holds for sessions would go with a leadership that is moved in the middle.
    client_->channel().SetClusterId(node(1).cluster_id());
    v1::NodeRequest pause;
    v1::ChangeSetting* setting = pause.mutable_placement()->mutable_change_setting();
    setting->set_name("placement.pause");
    setting->set_value("balance-replicas,balance-leaders");
    // A leader answers heartbeats before it can be asked.
    v1::ErrorCode paused = v1::NOT_LEADER;
    for (int i = 0; i < 100 && paused == v1::NOT_LEADER; ++i) {
      const Result<v1::NodeResponse> answer = Call(PlacementLeader(), pause);
      ASSERT_TRUE(answer.ok()) << answer.status().ToString();
      ASSERT_EQ(answer->error().code(), v1::OK) << answer->error().message();
      paused = answer->placement().error().code();
      if (paused == v1::NOT_LEADER) RunFor(10ms);
    }
    ASSERT_EQ(paused, v1::OK);
    RunFor(2s);  // for what was begun before
  }

  // Runs a task of the client to its end.
  template <class T>
  T Await(Task<T> task, Duration within = 60s) {
    auto result = std::make_shared<std::optional<T>>();
    client_->scope().Spawn(Keep<T>(std::move(task), result));
    EXPECT_TRUE(RunUntil([result] { return result->has_value(); }, within));
    return result->has_value() ? std::move(**result) : T(Unavailable("the test gave up"));
  }

  Result<v1::NodeResponse> Call(size_t node, v1::NodeRequest request, Duration timeout = 10s) {
    return Await(client_->channel().Call(at(node).address(), std::move(request), timeout));
  }
  v1::InitResponse Init(size_t node, int shards, Duration timeout = 10s) {
    v1::NodeRequest request;
    request.mutable_init()->set_shards(static_cast<uint32_t>(shards));
    if (size() < 3) request.mutable_init()->set_replication_factor(1);
    Result<v1::NodeResponse> response = Call(node, std::move(request), timeout);
    v1::InitResponse init;
    if (!response.ok()) {
      init.mutable_error()->set_code(static_cast<v1::ErrorCode>(response.status().code()));
      init.mutable_error()->set_message(response.status().message());
      return init;
    }
    init = response->init();
    if (response->error().code() != v1::OK) *init.mutable_error() = response->error();
    return init;
  }

  Status Put(const std::string& key, const std::string& value) {
    return Await(PutTask(&database(), key, value));
  }
  Result<std::optional<std::string>> Get(const std::string& key) {
    return Await(database().GetAsync(key, 10s));
  }
  // The node that leads the placement group, as the nodes themselves see it; 0: none does.
  size_t PlacementLeader() {
    for (size_t i = 1; i <= size(); ++i) {
      if (!at(i).up()) continue;
      const v1::StatusResponse status = node(i).Status();
      for (const v1::ReplicaStatus& replica : status.replicas()) {
        if (replica.group_id() == 1 && replica.role() == "leader") return i;
      }
    }
    return 0;
  }

 private:
  static sim::Options MakeOptions(int nodes, uint64_t seed) {
    sim::Options options;
    options.seed = seed;
    options.nodes = nodes;
    return options;
  }
  template <class T>
  static Task<void> Keep(Task<T> task, std::shared_ptr<std::optional<T>> result) {
    result->emplace(co_await std::move(task));
  }
  static Task<Status> PutTask(client::Database* database, std::string key, std::string value) {
    const client::CommitResult result =
        co_await database->PutAsync(std::move(key), std::move(value), 10s);
    co_return result.status;
  }

  const sim::Options options_;
  sim::World world_;
  sim::SimNetwork network_;
  std::vector<std::unique_ptr<sim::SimNode>> nodes_;
  std::unique_ptr<sim::SimClient> client_;
};

}  // namespace quorate::server
