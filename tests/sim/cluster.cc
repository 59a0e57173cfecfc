#include "tests/sim/cluster.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/status_macros.h"
#include "placement/service.h"
#include "quorate/v1/node.pb.h"
#include "server/node/public_api.h"
#include "tests/sim/workloads/thin_client.h"

namespace quorate::sim {

void SimLogger::Write(LogLevel level, std::string_view line) {
  static constexpr const char* kNames[] = {"D", "I", "W", "E"};
  fmt::print(
      stderr, "{:10.6f} {} {:<8} {}\n",
      static_cast<double>((world_.now().time_since_epoch() - std::chrono::hours(1)).count()) / 1e9,
      kNames[static_cast<int>(level)], name_, line);
}

// ---- nodes --------------------------------------------------------------------------------------

struct SimNode::Incarnation {
  explicit Incarnation(SimNode& owner)
      : process(owner.world_, fmt::format("{}.{}", owner.name_, owner.incarnations_), &owner.clock_,
                owner.log_),
        files(owner.disk_.Mount(process)),
        scope(process) {}

  Process process;
  std::unique_ptr<storage::FileSystem> files;
  std::unique_ptr<raft::Transport> transport;
  std::unique_ptr<client::Channel> channel;
  std::unique_ptr<server::Node> node;
  std::unique_ptr<server::PublicApi> api;
  TaskScope scope;  // requests being served; destroyed before the node they use
};

SimNode::SimNode(World& world, SimNetwork& network, const Options& options, int index, bool trace)
    : world_(world),
      network_(network),
      options_(options),
      index_(index),
      name_(fmt::format("n{}", index + 1)),
      address_(fmt::format("{}:7400", name_)),
      log_(world, name_, trace),
      clock_(world),
      disk_(world, name_, {options.sync_min, options.sync_max}),
      crash_random_(world.Fork("crash" + name_)) {
  Random random = world.Fork("clock" + name_);
  clock_.SetDrift((random.Unit() * 2 - 1) * options.drift_max);
  clock_.OffsetBoot(Duration(random.Below(Duration(10min).count())));
  clock_.JumpWall(random.Between(-200, 200));
}

SimNode::~SimNode() { Crash(); }

namespace {

Task<void> ServeOne(Observer* observer, server::Node* node, server::PublicApi* api,
                    SimNetwork::Request request, SimNetwork::Reply reply) {
  if (!request.method.empty()) {
    reply(co_await ServePublic(api, std::move(request)));
    CHECK(api->held() <= api->held_max(), "a node holds more for its clients than its bound");
    co_return;
  }
  v1::NodeRequest parsed;
  CHECK(parsed.ParseFromString(request.bytes), "a request does not parse");
  const std::string committing = parsed.commit().txn_id();
  const v1::NodeResponse response =
      co_await node->Handle(std::move(request.cluster_id), 0, std::move(parsed));
  // (What another attempt of the name committed was judged when that one was answered.)
  if (observer != nullptr && response.has_commit() && response.commit().error().code() == v1::OK &&
      !response.commit().earlier()) {
    observer->OnCommitted(committing);
  }
  reply(response.SerializeAsString());
}

}  // namespace

// The in-memory model, with the moments of a checkpoint made visible.
class SimNode::HookedStore final : public storage::KvStore {
 public:
  HookedStore(SimNode& owner, Env& env)
      : owner_(owner),
        store_(env, owner.store_disk_,
               {.latency_min = std::min(Duration(1ms), owner.options_.store_latency_max),
                .latency_max = owner.options_.store_latency_max}) {}

  Result<std::optional<std::string>> Get(std::string_view key) const override {
    return store_.Get(key);
  }
  Status Scan(std::string_view from, std::string_view to,
              storage::ScanVisitor visit) const override {
    return store_.Scan(from, to, visit);
  }
  Status ScanBack(std::string_view from, std::string_view to,
                  storage::ScanVisitor visit) const override {
    return store_.ScanBack(from, to, visit);
  }
  void CommitOverlay(std::shared_ptr<const storage::Overlay> ops,
                     storage::CommitCallback done) override {
    store_.CommitOverlay(std::move(ops), [this, done = std::move(done)](Status status) mutable {
      Reached(StorePoint::kCommitted);
      done(std::move(status));
    });
    Reached(StorePoint::kCommitBegun);
  }
  Result<std::unique_ptr<storage::KvView>> Pin() override { return store_.Pin(); }
  uint64_t SizeBytes() const override { return store_.SizeBytes(); }
  std::vector<Range> Damaged() const override { return store_.Damaged(); }
  void ForgetDamage() override { store_.ForgetDamage(); }

 private:
  void Reached(StorePoint point) {
    // It may replace itself.
    const auto hook = owner_.store_hook_;
    if (hook) hook(point);
  }

  SimNode& owner_;
  storage::MemoryStore store_;
};

Result<std::unique_ptr<storage::KvStore>> SimNode::OpenStore(Env& env) {
  if (!store_failure_.ok()) return store_failure_;
  return std::unique_ptr<storage::KvStore>(std::make_unique<HookedStore>(*this, env));
}

server::NodeOptions SimNode::MakeNodeOptions(std::vector<std::string> join) const {
  server::NodeOptions options;
  options.data_dir = "data";
  options.address = address_;
  options.join = std::move(join);
  options.wal_segment_bytes = options_.wal_segment_bytes;
  options.wal_copy_step_bytes = options_.wal_copy_step_bytes;
  options.reserve_bytes = 64 << 10;  // a simulated disk is in memory
  options.raft.read_mode = options_.quorum_reads ? raft::ReadMode::kQuorum : raft::ReadMode::kLease;
  options.shard.txn_lifetime = options_.txn_lifetime;
  options.shard.horizon_interval = std::min(options_.txn_lifetime, options_.name_retention) / 6;
  options.shard.name_retention = options_.name_retention;
  options.shard.push_after = options_.push_after;
  options.shard.step_versions = options_.step_versions;
  options.shard.read_versions_max = 25 * options_.step_versions;
  options.shard.prepared_push_after = options_.prepared_push_after;
  options.store.flush_bytes = options_.overlay_flush_bytes;
  // Whole states go and come in steps of the same order as they travel.
  options.store.bulk_bytes = options_.overlay_flush_bytes / 2;
  options.store.erase_bytes = std::min<size_t>(options_.snapshot_turn_bytes, 64 << 10);
  options.store.flush_interval = options_.flush_interval;
  options.raft.log_keep_entries = options_.log_keep_entries;
  options.raft.wal_keep_entries = options_.wal_keep_entries;
  options.raft.log_bytes_max = options_.node_log_bytes;
  options.raft.log_lacking_bytes_max = 2 * options_.node_log_bytes;
  options.raft.wal_kept_bytes_max = options_.node_log_bytes;
  options.store.bytes_max = options_.overlay_bytes_max;
  options.raft.snapshot_turn_bytes = options_.snapshot_turn_bytes;
  options.raft.snapshot_bytes_per_second = options_.snapshot_bytes_per_second;
  options.raft.append_bytes_max = options_.append_bytes_max;
  options.raft.awake_max = options_.awake_max;
  options.raft.quiesce_ticks = static_cast<int>(options_.quiesce_ticks);
  options.part_bytes_max = options_.part_bytes_max;
  if (options_.zones > 0) {
    options.locality["zone"] = fmt::format("z{}", 1 + index_ % options_.zones);
  }
  return options;
}

Status SimNode::Start(std::vector<std::string> join) {
  if (dying_) Crash();
  CHECK(!up());
  clock_.WakeBoot();
  ++incarnations_;
  incarnation_ = std::make_unique<Incarnation>(*this);
  Incarnation& now = *incarnation_;
  network_.Listen(address_, now.process,
                  [this, &now](SimNetwork::Request request, SimNetwork::Reply reply) {
                    if (now.node == nullptr) return;
                    now.scope.Spawn(ServeOne(observer_, now.node.get(), now.api.get(),
                                             std::move(request), std::move(reply)));
                  });
  now.transport = network_.MakeTransport(now.process, address_);
  now.channel = network_.MakeChannel(now.process, address_);
  server::World world{now.process.env(), *now.files,
                      [this, &now](const std::string&) { return OpenStore(now.process.env()); },
                      *now.transport, *now.channel};
  auto node = server::Node::Open(world, MakeNodeOptions(std::move(join)));
  if (dying_) return Status::Ok();  // killed in the middle of it
  if (!node.ok()) {
    const Status status = node.status();
    End(SimNetwork::Ending::kConnectionsClosed);
    return status;
  }
  now.node = std::move(*node);
  now.api =
      std::make_unique<server::PublicApi>(now.process.env(), *now.node, options_.client_bytes_max);
  now.node->OnFatal([this](Status status) {
    log_.Error("fatal: {}", status.ToString());
    DieHere([this, status] {
      if (on_fatal_) on_fatal_(status);
    });
  });
  now.node->Start();
  return Status::Ok();
}

Status SimNode::StartCopy() {
  ClockModel clock(world_);
  Process process(world_, fmt::format("{}.copy{}", name_, ++copies_), &clock, log_);
  const auto files = disk_.Mount(process);
  const auto channel = network_.MakeChannel(process, address_);
  const auto transport = network_.MakeTransport(process, address_);
  server::World world{process.env(), *files,
                      [](const std::string&) -> Result<std::unique_ptr<storage::KvStore>> {
                        return Internal("the store must not be opened twice");
                      },
                      *transport, *channel};
  return server::Node::Open(world, MakeNodeOptions({})).status();
}

namespace {

Task<void> StopThen(server::Node* node, Duration timeout, std::function<void()> then) {
  co_await node->Stop(timeout);
  then();
}

}  // namespace

void SimNode::HandOver(Duration timeout) {
  if (up() && !node()->stopping()) incarnation_->scope.Spawn(node()->HandOver(timeout));
}

void SimNode::Stop(Duration timeout, std::function<void()> stopped) {
  if (!up() || node()->stopping()) return;
  incarnation_->scope.Spawn(
      StopThen(node(), timeout, [this, stopped = std::move(stopped)] { DieHere(stopped); }));
}

void SimNode::End(SimNetwork::Ending ending) {
  if (incarnation_ == nullptr) return;
  dying_ = false;
  network_.Close(address_, ending);
  disk_.Detach();
  incarnation_->scope.Clear();
  incarnation_->api.reset();
  incarnation_->node.reset();
  incarnation_.reset();
  store_disk_.Crash(crash_random_);
}

void SimNode::Crash() { End(SimNetwork::Ending::kConnectionsClosed); }

void SimNode::PowerLoss(PowerLossMode mode) {
  End(SimNetwork::Ending::kSilent);
  disk_.PowerLoss(mode);
}

void SimNode::DieHere(std::function<void()> when_down) {
  if (!up()) return;
  dying_ = true;
  network_.Close(address_, SimNetwork::Ending::kConnectionsClosed);
  disk_.Detach();
  incarnation_->process.Pause(Instant::max());
  world_.At(Duration(0), [this, incarnation = incarnations_, when_down = std::move(when_down)] {
    if (!dying_ || incarnations_ != incarnation) return;
    Crash();
    when_down();
  });
}

int64_t SimNode::quarantined() {
  if (!up()) return 0;
  return incarnation_->process.metrics().GetGauge("quorate_raft_quarantined_groups", "").Value();
}

SimNode::Image SimNode::TakeImage() {
  Image image{disk_.TakeImage(), store_disk_};
  image.store.Crash(crash_random_);
  return image;
}

void SimNode::Restore(const Image& image) {
  CHECK(!up());
  disk_.Restore(image.disk);
  store_disk_ = image.store;
}

Process* SimNode::process() { return up() ? &incarnation_->process : nullptr; }
server::Node* SimNode::node() { return up() ? incarnation_->node.get() : nullptr; }
server::PublicApi* SimNode::api() { return up() ? incarnation_->api.get() : nullptr; }

// ---- clients ------------------------------------------------------------------------------------

SimClient::SimClient(World& world, SimNetwork& network, const std::string& name,
                     std::vector<std::string> cluster, bool trace)
    : network_(network),
      address_(name + ":1"),
      cluster_(std::move(cluster)),
      log_(world, name, trace),
      clock_(world),
      process_(std::make_unique<Process>(world, name, &clock_, log_)) {
  network_.Listen(address_, *process_, nullptr);
  channel_ = network_.MakeChannel(*process_, address_);
  database_ = client::Database::Create(process_->env(), *channel_, {.cluster = cluster_});
  scope_ = std::make_unique<TaskScope>(*process_);
}

SimClient::~SimClient() {
  network_.Close(address_, SimNetwork::Ending::kConnectionsClosed);
  scope_.reset();
  database_.reset();
}

// ---- cluster ------------------------------------------------------------------------------------

Cluster::Cluster(World& world, const Options& options, bool trace)
    : world_(world),
      options_(options),
      trace_(trace),
      network_(world, {options.latency_min, options.latency_max}) {
  for (int i = 0; i < options.nodes; ++i) {
    nodes_.push_back(std::make_unique<SimNode>(world, network_, options, i, trace));
  }
}

std::vector<std::string> Cluster::addresses() const {
  std::vector<std::string> addresses;
  for (const auto& node : nodes_) addresses.push_back(node->address());
  return addresses;
}

std::unique_ptr<SimNode> Cluster::MakeMachine() {
  constexpr int kBehindTheNodes = 100;
  return std::make_unique<SimNode>(world_, network_, options_, kBehindTheNodes + machines_++,
                                   trace_);
}

std::unique_ptr<SimClient> Cluster::MakeClient(const std::string& name) {
  return std::make_unique<SimClient>(world_, network_, fmt::format("{}.{}", name, ++clients_),
                                     addresses(), trace_);
}

namespace {

Task<void> InitCluster(client::Channel* channel, Executor* executor,
                       std::vector<std::string> addresses, int shards, Status* result,
                       bool* finished) {
  while (true) {
    v1::NodeRequest request;
    auto& init = *request.mutable_init();
    init.set_shards(static_cast<uint32_t>(shards));
    init.set_replication_factor(addresses.size() < 3 ? 1 : 3);
    for (const std::string& address : addresses) init.add_addresses(address);
    auto response = co_await channel->Call(addresses[0], std::move(request), 5s);
    if (response.ok()) {
      const auto code = response->error().code() != v1::OK ? response->error().code()
                                                           : response->init().error().code();
      *result = Status(static_cast<Code>(code), response->init().error().message());
      if (code == v1::OK || code == v1::ALREADY_EXISTS) break;
    } else {
      *result = response.status();
    }
    co_await Sleep(*executor, 200ms);
  }
  *result = Status::Ok();
  *finished = true;
}

// Whoever leads placement takes it.
Task<void> ChangeSetting(client::Channel* channel, Executor* executor,
                         std::vector<std::string> addresses, std::string name, std::string value,
                         bool* finished) {
  for (size_t at = 0;; ++at) {
    v1::NodeRequest request;
    v1::ChangeSetting& change = *request.mutable_placement()->mutable_change_setting();
    change.set_name(name);
    change.set_value(value);
    auto response = co_await channel->Call(addresses[at % addresses.size()], request, 5s);
    if (response.ok() && response->error().code() == v1::OK &&
        response->placement().error().code() == v1::OK) {
      break;
    }
    co_await Sleep(*executor, 200ms);
  }
  *finished = true;
}

constexpr char kAllSchedulers[] = "repair,rules,drain,split,merge,balance-replicas,balance-leaders";

}  // namespace

Status Cluster::Direct(Instant deadline) {
  auto admin = MakeClient("director");
  admin->channel().SetClusterId(nodes_[0]->node()->cluster_id());
  std::map<std::string, std::string> settings;
  if (options_.moves) {
    settings["placement.down_after"] = fmt::format("{}ms", ToMillis(options_.down_after));
    settings["placement.split_requests"] = fmt::format("{}", options_.split_requests);
  } else {
    settings["placement.pause"] = kAllSchedulers;
  }
  for (const auto& [name, value] : settings) {
    bool finished = false;
    admin->scope().Spawn(
        ChangeSetting(&admin->channel(), &admin->process(), addresses(), name, value, &finished));
    world_.RunUntil(deadline, [&] { return finished; });
    if (!finished) return DeadlineExceeded(name + " was not taken");
  }
  return Status::Ok();
}

Status Cluster::Bootstrap(Duration timeout) {
  for (auto& node : nodes_) RETURN_IF_ERROR(node->Start());
  auto admin = MakeClient("admin");
  Status status = Unavailable("init has not answered");
  bool finished = false;
  admin->scope().Spawn(InitCluster(&admin->channel(), &admin->process(), addresses(),
                                   options_.shards, &status, &finished));
  const Instant deadline = world_.now() + timeout;
  world_.RunUntil(deadline, [&] { return finished; });
  if (!finished) return status.ok() ? DeadlineExceeded("init") : status;
  world_.RunUntil(deadline, [&] {
    return std::all_of(nodes_.begin(), nodes_.end(),
                       [](const auto& node) { return node->up() && node->node()->ready(); });
  });
  for (const auto& node : nodes_) {
    if (!node->node()->ready()) return DeadlineExceeded(node->address() + " is not ready");
  }
  return Direct(deadline);
}

SimNode* Cluster::PlacementLeader() {
  for (auto& node : nodes_) {
    if (!node->up()) continue;
    const v1::StatusResponse status = node->node()->Status();
    for (const auto& replica : status.replicas()) {
      if (replica.group_id() == placement::kPlacementGroup.value() && replica.serving()) {
        return node.get();
      }
    }
  }
  return nullptr;
}

SimNode* Cluster::BusiestLeader() {
  SimNode* best = nullptr;
  size_t most = 0;
  for (auto& node : nodes_) {
    if (!node->up()) continue;
    size_t led = 0;
    for (const shard::Shard* shard : node->node()->shards()) led += shard->serving() ? 1 : 0;
    if (led > most) {
      most = led;
      best = node.get();
    }
  }
  return best;
}

}  // namespace quorate::sim
