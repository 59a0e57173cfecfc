// A placement group without Raft: replicas over one ordered log, whose leader, lease and quorum the
// test decides. Entries are applied everywhere a little after they were proposed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "placement/service.h"
#include "storage/memory_store.h"
#include "tests/support/test_env.h"

namespace quorate::placement {

inline constexpr int64_t kWallBase = 1'700'000'000'000;

inline v1::NodeInfo MakeNode(uint64_t id) {
  v1::NodeInfo node;
  node.set_node_id(id);
  node.set_address("n" + std::to_string(id) + ":7400");
  node.set_storage_id(std::string(31, '0') + static_cast<char>('a' + id % 6));
  return node;
}

inline v1::BootstrapRequest MakeSeed(int nodes) {
  v1::BootstrapRequest seed;
  seed.set_cluster_id(std::string(32, 'c'));
  for (int i = 1; i <= nodes; ++i) {
    *seed.add_nodes() = MakeNode(static_cast<uint64_t>(i));
    seed.add_placement_nodes(static_cast<uint64_t>(i));
  }
  v1::ShardDescriptor* left = seed.add_shards();
  left->set_shard_id(2);
  left->set_to("m");
  v1::ShardDescriptor* right = seed.add_shards();
  right->set_shard_id(3);
  right->set_from("m");
  for (v1::ShardDescriptor* shard : {left, right}) {
    shard->set_version(1);
    shard->set_membership_version(1);
  }
  return seed;
}

class FakeCluster {
 public:
  explicit FakeCluster(int nodes, uint64_t seed = 1) : world_(seed), tasks_(world_.executor) {
    const v1::BootstrapRequest bootstrap = MakeSeed(nodes);
    for (int i = 1; i <= nodes; ++i) {
      replicas_.push_back(
          std::make_unique<Replica>(*this, NodeId(static_cast<uint64_t>(i)), bootstrap));
    }
  }

  TestExecutor& executor() { return world_.executor; }
  Placement& at(int node) { return replicas_[static_cast<size_t>(node) - 1]->placement; }
  storage::OrderedStore& store(int node) { return replicas_[static_cast<size_t>(node) - 1]->store; }
  void SetWallOffset(int node, int64_t ms) {
    replicas_[static_cast<size_t>(node) - 1]->clock.offset_ms = ms;
  }

  // Who the group says its voters are; nobody, unless told. They do not change.
  void SetVoters(std::vector<raft::ReplicaId> voters) { members_.voters = std::move(voters); }

  // `node` wins an election. The old leader hears of it, unless it is `deaf`.
  void Elect(int node, int deaf = 0) {
    ++term_;
    leader_ = NodeId(static_cast<uint64_t>(node));
    for (auto& replica : replicas_) {
      if (replica->group.self == NodeId(static_cast<uint64_t>(deaf))) continue;
      const bool leads = replica->group.self == leader_;
      const raft::SoftState state{leads ? raft::Role::kLeader : raft::Role::kFollower,
                                  raft::Term(term_), leader_};
      replica->group.state = state;
      replica->group.lease = leads ? Instant::max() : Instant::min();
      replica->placement.machine().OnSoftState(state);
    }
  }
  void SetLease(int node, Instant until) {
    replicas_[static_cast<size_t>(node) - 1]->group.lease = until;
  }
  // Without a quorum nothing is applied and no ReadIndex round ends.
  void SetQuorum(bool up) { quorum_ = up; }
  size_t log_size() const { return index_; }

  v1::SlotResponse Slot(int node, Duration timeout = 5s) {
    v1::SlotResponse response;
    bool done = false;
    tasks_.Spawn(FetchSlot(&at(node), executor().Now() + timeout, &response, &done));
    EXPECT_TRUE(executor().RunUntil([&] { return done; }));
    return response;
  }
  v1::RegisterNodeResponse Register(int node, v1::NodeInfo info) {
    v1::RegisterNodeRequest request;
    *request.mutable_node() = std::move(info);
    v1::RegisterNodeResponse response;
    bool done = false;
    tasks_.Spawn(FetchId(&at(node), request, executor().Now() + 5s, &response, &done));
    EXPECT_TRUE(executor().RunUntil([&] { return done; }));
    return response;
  }
  v1::PlacementResponse Ask(int node, v1::PlacementRequest request) {
    v1::PlacementResponse response;
    bool done = false;
    tasks_.Spawn(FetchAnswer(&at(node), request, executor().Now() + 5s, &response, &done));
    EXPECT_TRUE(executor().RunUntil([&] { return done; }));
    return response;
  }
  v1::HeartbeatResponse Beat(int node, v1::HeartbeatRequest heartbeat) {
    return at(node).Heartbeat(heartbeat);
  }

 private:
  struct OffsetClock final : Clock {
    explicit OffsetClock(TestExecutor& e) : executor(e) {}
    Instant Now() const override { return executor.Now(); }
    int64_t WallMillis() const override {
      return kWallBase + ToMillis(executor.Now().time_since_epoch()) + offset_ms;
    }
    TestExecutor& executor;
    int64_t offset_ms = 0;
  };

  struct Group final : raft::GroupHandle {
    Group(FakeCluster& c, NodeId id) : cluster(c), self(id) {}
    GroupId id() const override { return kPlacementGroup; }
    Task<Result<raft::Proposed>> Propose(std::string payload,
                                         std::optional<raft::Term> expected) override {
      return cluster.Run(self, std::move(payload), state.term, expected);
    }
    void Propose(std::string, std::optional<raft::Term>, ProposeDone) override {
      ADD_FAILURE() << "placement does not use this form";
    }
    Task<Status> ReadBarrier() override { return cluster.Confirm(self, state.term); }
    raft::SoftState soft_state() const override { return state; }
    bool leader_in_doubt() const override { return !state.leader; }
    Task<void> WaitForLeader(Instant) override { co_return; }
    bool leader_ready() const override { return state.role == raft::Role::kLeader; }
    Instant lease_until() const override { return lease; }
    raft::LogIndex applied_index() const override { return raft::LogIndex(cluster.index_); }
    raft::Configuration configuration() const override { return cluster.members_; }
    bool CaughtUp(const raft::ProgressView&) const override { return true; }
    raft::LogIndex configuration_index() const override { return {}; }
    Status ChangeMembers(const std::vector<raft::ReplicaId>&,
                         const std::vector<raft::ReplicaId>&) override {
      return Internal("not in this fake");
    }
    Status TransferLeadership(raft::ReplicaId) override { return Status::Ok(); }
    void Campaign() override {}
    std::vector<raft::ProgressView> progress() const override {
      std::vector<raft::ProgressView> peers;
      for (const raft::ReplicaId id : cluster.members_.voters) {
        if (id != self) peers.emplace_back().id = id;
      }
      return peers;
    }
    Status CheckRoom(raft::Growth) const override { return Status::Ok(); }

    FakeCluster& cluster;
    const NodeId self;
    raft::SoftState state;
    Instant lease = Instant::min();
  };

  struct Replica {
    Replica(FakeCluster& cluster, NodeId id, const v1::BootstrapRequest& seed)
        : clock(cluster.world_.executor),
          env{cluster.world_.executor, clock, cluster.world_.random, cluster.world_.log, metrics},
          kv(env, disk),
          store(env, kv, {}),
          group(cluster, id),
          placement(env, store, id, &seed) {
      placement.Attach(&group);
    }
    OffsetClock clock;
    Metrics metrics;
    Env env;
    storage::MemoryDisk disk;
    storage::MemoryStore kv;
    storage::OrderedStore store;
    Group group;
    Placement placement;
  };

  Task<Result<raft::Proposed>> Run(NodeId self, std::string payload, raft::Term term,
                                   std::optional<raft::Term> expected) {
    const Status lost(Code::kNotLeader, "lost");
    if (self != leader_ || term.value() != term_ || expected.value_or(term) != term) co_return lost;
    do {
      co_await Sleep(world_.executor, 1ms);
    } while (!quorum_);
    if (term.value() != term_) co_return lost;
    ++index_;
    raft::ApplyResult result;
    for (auto& replica : replicas_) {
      storage::WriteBatch batch;
      raft::ApplyResult applied =
          replica->placement.machine().Apply(raft::LogIndex(index_), term, payload, &batch);
      replica->store.Apply(kPlacementGroup, index_, std::move(batch));
      if (replica->group.self == self) result = std::move(applied);
    }
    co_return raft::Proposed{raft::LogIndex(index_), term, std::move(result)};
  }

  Task<Status> Confirm(NodeId self, raft::Term term) {
    do {
      co_await Sleep(world_.executor, 1ms);
    } while (!quorum_);
    if (self != leader_ || term.value() != term_) co_return Status(Code::kNotLeader, "deposed");
    co_return Status::Ok();
  }

  static Task<void> FetchSlot(Placement* placement, Instant deadline, v1::SlotResponse* out,
                              bool* done) {
    *out = co_await placement->Slot(deadline);
    *done = true;
  }
  static Task<void> FetchAnswer(Placement* placement, v1::PlacementRequest request,
                                Instant deadline, v1::PlacementResponse* response, bool* done) {
    *response = co_await placement->Ask(std::move(request), deadline);
    *done = true;
  }
  static Task<void> FetchId(Placement* placement, v1::RegisterNodeRequest request, Instant deadline,
                            v1::RegisterNodeResponse* out, bool* done) {
    *out = co_await placement->RegisterNode(std::move(request), deadline);
    *done = true;
  }

  TestEnv world_;
  std::vector<std::unique_ptr<Replica>> replicas_;
  raft::Configuration members_;
  NodeId leader_;
  uint64_t term_ = 0;
  uint64_t index_ = 0;
  bool quorum_ = true;
  TaskScope tasks_;
};

}  // namespace quorate::placement
