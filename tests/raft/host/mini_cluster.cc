#include "tests/raft/host/mini_cluster.h"

#include "base/check.h"
#include "base/coding.h"
#include "quorate/v1/raft.pb.h"
#include "raft/core/membership.h"
#include "raft/host/wire.h"

namespace quorate::raft {

ApplyResult KvMachine::Apply(LogIndex index, Term term, std::string_view payload,
                             storage::WriteBatch* batch) {
  const size_t equals = payload.find('=');
  CHECK(equals != std::string_view::npos, "payload {}", payload);
  if (!waits.empty()) {
    ApplyResult result;
    result.waits = waits;
    return result;
  }
  CHECK(applied.empty() || applied.back() < index);
  applied.push_back(index);
  const bool append = equals > 0 && payload[equals - 1] == '+';
  const std::string key =
      storage::MakeKey(Prefix() + std::string(payload.substr(0, equals - (append ? 1 : 0))));
  std::string value(payload.substr(equals + 1));
  if (append) {
    const auto old = store_.Get(key);
    CHECK(old.ok());
    if (*old) value = **old + value;
  }
  batch->Put(key, std::move(value));
  return {Status::Ok(), fmt::format("{}@{}", payload, index)};
}

std::string KvMachine::Prefix() const {
  std::string prefix = "k";
  PutOrdered64(&prefix, group_.value());
  return prefix;
}

std::vector<std::pair<std::string, std::string>> KvMachine::Spans() const {
  std::string end = "k";
  PutOrdered64(&end, group_.value() + 1);
  return {{storage::MakeKey(Prefix()), storage::MakeKey(end)}};
}

std::map<std::string, std::string> KvMachine::Dump() const {
  std::map<std::string, std::string> out;
  for (const auto& [from, to] : Spans()) {
    const Status status = store_.Scan(from, to, [&](std::string_view key, std::string_view value) {
      out.emplace(storage::KeyBody(key).substr(Prefix().size()), value);
      return true;
    });
    CHECK(status.ok());
  }
  return out;
}

class MiniCluster::MiniTransport final : public Transport {
 public:
  MiniTransport(MiniCluster& cluster, int self) : cluster_(cluster), self_(self) {}

  void SetReceiver(TransportReceiver* receiver) override { receiver_ = receiver; }
  void SetIdentity(const std::string&, NodeId, const storage::Incarnation&) override {}
  void SetAddress(NodeId, const std::string&) override {}
  void Send(NodeId to, GroupMessage message) override {
    Transmit(to, [&](v1::PeerBatch* batch) { AddMessage(std::move(message), batch); });
  }
  void SendAlive(NodeId to, Alive alive) override {
    Transmit(to, [&](v1::PeerBatch* batch) { AddAlive(alive, batch); });
  }
  void SendChunk(NodeId to, SnapshotChunk chunk) override {
    Transmit(to, [&](v1::PeerBatch* batch) { AddChunk(std::move(chunk), batch); });
  }
  void SendAck(NodeId to, SnapshotAck ack) override {
    Transmit(to, [&](v1::PeerBatch* batch) { AddAck(ack, batch); });
  }
  TransportReceiver* receiver() { return receiver_; }

 private:
  template <class Fill>
  void Transmit(NodeId to, Fill fill) {
    v1::PeerBatch batch;
    StartBatch("mini", NodeId(self_), {}, to, &batch);
    fill(&batch);
    cluster_.Deliver(self_, static_cast<int>(to.value()), batch.SerializeAsString());
  }

  MiniCluster& cluster_;
  const int self_;
  TransportReceiver* receiver_ = nullptr;
};

MiniCluster::MiniCluster(Options options) : options_(options), world_(options.seed) {
  for (int node = 1; node <= options.nodes; ++node) {
    nodes_[node] = std::make_unique<Node>(world_);
    Start(node);
  }
}

MiniCluster::~MiniCluster() {
  for (auto& [id, node] : nodes_) {
    if (node->process != nullptr) Crash(id, Loss::kProcess);
  }
}

Configuration MiniCluster::Everyone() const {
  Configuration configuration;
  const int founders = options_.founders == 0 ? options_.nodes : options_.founders;
  for (int node = 1; node <= founders; ++node) configuration.voters.push_back(NodeId(node));
  return configuration;
}

MiniCluster::Node::Node(sim::World& world) : clock(world) {}

void MiniCluster::StartReplica(int id, GroupId group) {
  Node& node = *nodes_.at(id);
  if (node.store->Dropping(group)) return;
  node.machines[group] = std::make_unique<KvMachine>(group, *node.store);
  const Configuration founders = Everyone();
  std::optional<Configuration> first;
  if (IsVoter(founders, NodeId(id)) && id != options_.blank) first = founders;
  auto started = node.host->StartGroup(group, *node.machines[group], first);
  CHECK(started.ok(), "{}", started.status().ToString());
}

void MiniCluster::ChangeMembers(std::vector<int> voters, std::vector<int> learners) {
  const std::vector<NodeId> in(voters.begin(), voters.end());
  const std::vector<NodeId> told(learners.begin(), learners.end());
  const bool changed = RunUntil([&] {
    const int leader = Leader();
    if (leader == 0) return false;
    const Configuration now = group(leader)->configuration();
    if (now.voters == in && now.learners == told && !now.joint() &&
        group(leader)->configuration_index() <= group(leader)->applied_index()) {
      return true;
    }
    (void)group(leader)->ChangeMembers(in, told);
    return false;
  });
  CHECK(changed, "the members did not change");
}

void MiniCluster::Destroy(int id, GroupId group) {
  Node& node = *nodes_.at(id);
  node.destroyed = false;
  node.retired.push_back(node.host->DestroyReplica(group, [&node] { node.destroyed = true; }));
  node.retired_machines.push_back(std::move(node.machines.extract(group).mapped()));
}

void MiniCluster::Start(int id) {
  Node& node = *nodes_.at(id);
  CHECK(node.process == nullptr);
  node.process = std::make_unique<sim::Process>(
      world_, fmt::format("node{}.{}", id, ++node.incarnation), &node.clock, log_);
  Env& env = node.process->env();
  node.file_system = std::make_unique<storage::RamFiles>(*node.process, node.files);
  storage::Wal::Options wal_options;
  wal_options.directory = "wal";
  wal_options.segment_bytes = options_.wal_segment_bytes;
  auto wal = storage::Wal::Open(env, *node.file_system, wal_options);
  CHECK(wal.ok(), "{}", wal.status().ToString());
  node.wal = std::move(*wal);
  node.kv = std::make_unique<storage::MemoryStore>(
      env, node.store_disk, id == options_.slow ? options_.slow_kv : options_.kv);
  node.store = std::make_unique<storage::OrderedStore>(env, *node.kv, options_.store);
  node.transport = std::make_unique<MiniTransport>(*this, id);
  Host::Options host_options = options_.host;
  host_options.self = NodeId(id);
  node.fatal.reset();
  node.host = std::make_unique<Host>(env, host_options, *node.wal, *node.store, *node.transport);
  node.host->OnFatal([&node](const Status& status) {
    CHECK(!node.fatal, "reported twice");
    node.fatal = status;
  });
  node.stored_at_start = node.host->StoredGroups();
  for (int group = 1; group <= options_.groups; ++group) {
    StartReplica(id, GroupId(group));
  }
  node.host->SettleDamage();
  node.host->Start();
}

void MiniCluster::Crash(int id, Loss loss) {
  Node& node = *nodes_.at(id);
  CHECK(node.process != nullptr);
  node.retired.clear();
  node.retired_machines.clear();
  node.host.reset();
  node.machines.clear();
  node.transport.reset();
  node.store.reset();
  node.kv.reset();
  node.wal.reset();
  node.file_system.reset();
  node.process.reset();
  if (loss == Loss::kPower) {
    node.files.Crash(world_.fault_random());
  } else {
    node.files.Kill();
  }
  node.store_disk.Crash(world_.fault_random());
}

GroupHandle* MiniCluster::group(int node, GroupId id) { return nodes_.at(node)->host->Find(id); }
KvMachine& MiniCluster::machine(int node, GroupId id) { return *nodes_.at(node)->machines.at(id); }
Transport& MiniCluster::transport(int node) { return *nodes_.at(node)->transport; }

uint64_t MiniCluster::Count(int node, std::string_view counter) {
  return metrics(node).GetCounter(counter, "").Value();
}

void MiniCluster::Deliver(int from, int to, std::string bytes) {
  Random& random = world_.network_random();
  if (isolated_.contains(from) || isolated_.contains(to)) return;
  if (random.Chance(options_.loss)) return;
  const int copies = random.Chance(options_.duplicate) ? 2 : 1;
  for (int copy = 0; copy < copies; ++copy) {
    const auto latency = Duration(std::chrono::microseconds(random.Between(100, 900)));
    world_.At(latency * (1 + 20 * copy), [this, from, to, bytes] {
      const auto node = nodes_.find(to);
      if (node == nodes_.end() || node->second->process == nullptr) return;
      if (isolated_.contains(from) || isolated_.contains(to)) return;
      // As the transport of the program does: only posts to the executor.
      node->second->process->Post([this, to, bytes] {
        v1::PeerBatch batch;
        PeerParts parts;
        CHECK(batch.ParseFromString(bytes));
        const BatchCheck check = TakeParts("mini", NodeId(to), &batch, &parts);
        if (check != BatchCheck::kOk) ++malformed_;
        TransportReceiver* receiver = nodes_.at(to)->transport->receiver();
        if (receiver == nullptr || check != BatchCheck::kOk) return;
        if (!parts.messages.empty()) receiver->OnMessages(std::move(parts.messages));
        if (parts.alive) receiver->OnAlive(parts.from, *parts.alive);
        for (auto& chunk : parts.chunks) receiver->OnSnapshotChunk(std::move(chunk));
        for (auto& ack : parts.acks) receiver->OnSnapshotAck(ack);
      });
    });
  }
}

void MiniCluster::RunFor(Duration duration) { world_.RunUntil(world_.now() + duration); }

bool MiniCluster::RunUntil(const std::function<bool()>& done, Duration limit) {
  if (!done()) world_.RunUntil(world_.now() + limit, done);
  return done();
}

std::shared_ptr<Outcome> MiniCluster::Propose(int node, std::string payload, GroupId id,
                                              std::optional<Term> term) {
  auto outcome = std::make_shared<Outcome>();
  outcome->payload = payload;
  group(node, id)->Propose(std::move(payload), term, [outcome](Result<Proposed> result) {
    ++outcome->answers;
    outcome->status = result.ok() ? result->result.status : result.status();
    if (!result.ok()) return;
    outcome->index = result->index;
    outcome->result = result->result.payload;
  });
  return outcome;
}

int MiniCluster::Leader(GroupId id) {
  int leader = 0;
  Term term;
  for (auto& [node_id, node] : nodes_) {
    if (!runs(node_id, id) || !group(node_id, id)->leader_ready()) continue;
    // An old leader may not have heard of its successor yet.
    const Term its_term = group(node_id, id)->soft_state().term;
    if (its_term > term) leader = node_id;
    term = std::max(term, its_term);
  }
  return leader;
}

int MiniCluster::WaitForLeader(GroupId id) {
  CHECK(RunUntil([&] { return Leader(id) != 0; }), "no leader of group {}", id);
  return Leader(id);
}

bool MiniCluster::Agree(GroupId id) {
  const int leader = Leader(id);
  if (leader == 0) return false;
  const LogIndex applied = group(leader, id)->applied_index();
  for (auto& [node_id, node] : nodes_) {
    if (runs(node_id, id) && group(node_id, id)->applied_index() != applied) return false;
  }
  const auto state = machine(leader, id).Dump();
  for (auto& [node_id, node] : nodes_) {
    if (runs(node_id, id) && machine(node_id, id).Dump() != state) return false;
  }
  return true;
}

}  // namespace quorate::raft
