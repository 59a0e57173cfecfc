// A whole node, the only one of its cluster, in virtual time and memory: for targets that send it
// requests.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/check.h"
#include "base/env.h"
#include "base/task.h"
#include "client/route/channel.h"
#include "quorate/v1/node.pb.h"
#include "raft/host/transport.h"
#include "server/node/node.h"
#include "server/node/public_api.h"
#include "storage/memory_store.h"
#include "tests/support/ram_files.h"
#include "tests/support/test_env.h"

namespace quorate::fuzz {

class NoTransport final : public raft::Transport {
 public:
  void SetReceiver(raft::TransportReceiver*) override {}
  void SetIdentity(const std::string&, NodeId, const storage::Incarnation&) override {}
  void SetAddress(NodeId, const std::string&) override {}
  void Send(NodeId, raft::GroupMessage) override {}
  void SendAlive(NodeId, raft::Alive) override {}
  void SendChunk(NodeId, raft::SnapshotChunk) override {}
  void SendAck(NodeId, raft::SnapshotAck) override {}
};

class NoChannel final : public client::Channel {
 public:
  Task<Result<v1::NodeResponse>> Call(std::string, v1::NodeRequest, Duration) override;
  void SetClusterId(const std::string&) override {}
};

class TestNode {
 public:
  // Started, and the cluster initialised with two shards.
  TestNode();
  ~TestNode();

  server::Node& node() { return *node_; }
  server::PublicApi& api() { return *api_; }
  TaskScope& scope() { return scope_; }
  TestEnv& world() { return world_; }

  // Runs a task to its end; it must come within `limit` of virtual time.
  template <class T>
  T Await(Task<T> task, Duration limit = 60s) {
    auto result = std::make_shared<std::optional<T>>();
    scope_.Spawn(Keep<T>(std::move(task), result));
    const Instant end = world_.executor.Now() + limit;
    while (!result->has_value() && world_.executor.Step(end)) {
    }
    CHECK(result->has_value(), "a request without an answer");
    return std::move(**result);
  }
  // Ends the node as a kill does, with a flush under way or not, and starts it on what is left.
  void Restart();
  // A write through the public service: what was sent before must not have spoilt it.
  void CheckServes();

 private:
  void Start();

  template <class T>
  static Task<void> Keep(Task<T> task, std::shared_ptr<std::optional<T>> result) {
    result->emplace(co_await std::move(task));
  }

  TestEnv world_;
  storage::RamDisk disk_;
  storage::RamFiles files_{world_.executor, disk_};
  storage::MemoryDisk store_;
  NoTransport transport_;
  NoChannel channel_;
  std::unique_ptr<server::Node> node_;
  std::unique_ptr<server::PublicApi> api_;
  TaskScope scope_{world_.executor};
};

}  // namespace quorate::fuzz
