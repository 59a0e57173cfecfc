#include "tests/sim/cluster.h"

#include <fmt/format.h>

#include <algorithm>

#include "proto/node.pb.h"
#include "server/public_api.h"
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
  Incarnation(SimNode& owner, uint64_t trace_id)
      : process(owner.world_, fmt::format("{}.{}", owner.name_, owner.incarnations_), trace_id,
                &owner.clock_, owner.log_),
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
      name_(fmt::format("n{}", index + 1)),
      address_(fmt::format("{}:7400", name_)),
      log_(world, name_, trace),
      disk_(world, name_, options.disk),
      crash_random_(world.Fork("crash" + name_)) {
  Random random = world.Fork("clock" + name_);
  clock_.drift = (random.Unit() * 2 - 1) * options.drift_max;
  clock_.boot_offset = Duration(random.Below(Duration(10min).count()));
  clock_.wall_offset_ms = random.Between(-200, 200);
}

SimNode::~SimNode() { Crash(); }

namespace {

Task<void> ServeOne(Observer* observer, server::Node* node, server::PublicApi* api,
                    SimNetwork::Request request, SimNetwork::Reply reply) {
  if (!request.method.empty()) {
    reply(co_await ServePublic(api, std::move(request)));
    co_return;
  }
  v1::NodeRequest parsed;
  CHECK(parsed.ParseFromString(request.bytes), "a request does not parse");
  const std::string committing = parsed.commit().txn_id();
  const v1::NodeResponse response =
      co_await node->Handle(std::move(request.cluster_id), 0, std::move(parsed));
  if (observer != nullptr && response.has_commit() && response.commit().error().code() == v1::OK) {
    observer->OnCommitted(committing);
  }
  reply(response.SerializeAsString());
}

}  // namespace

Status SimNode::Start(std::vector<std::string> join) {
  CHECK(!up());
  ++incarnations_;
  incarnation_ = std::make_unique<Incarnation>(*this, world_.Fork(name_).Next());
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
                      [this, &now](const std::string&) {
                        return Result<std::unique_ptr<storage::KvStore>>(
                            std::make_unique<storage::MemoryStore>(now.process.env(), store_disk_));
                      },
                      *now.transport, *now.channel};
  server::NodeOptions options;
  options.data_dir = "data";
  options.address = address_;
  options.join = std::move(join);
  options.wal_segment_bytes = 256 << 10;
  options.shard.read_mode =
      options_.quorum_reads ? shard::ReadMode::kQuorum : shard::ReadMode::kLease;
  options.shard.txn_lifetime = options_.txn_lifetime;
  options.shard.horizon_interval = options_.txn_lifetime / 6;
  auto node = server::Node::Open(world, options);
  if (!node.ok()) {
    const Status status = node.status();
    Crash();
    return status;
  }
  now.node = std::move(*node);
  now.api = std::make_unique<server::PublicApi>(now.process.env(), *now.node);
  now.node->OnFatal([this](Status status) {
    log_.Error("fatal: {}", status.ToString());
    // A node whose storage failed stops; the machine is restarted by the fault injector.
    world_.At(Duration(0), [this] { Crash(); });
  });
  now.node->Start();
  return Status::Ok();
}

void SimNode::Crash() {
  if (!up()) return;
  network_.Close(address_);
  incarnation_->scope.Clear();
  incarnation_->api.reset();
  incarnation_->node.reset();
  incarnation_.reset();
  store_disk_.Crash(crash_random_);
}

void SimNode::PowerLoss() {
  Crash();
  disk_.PowerLoss();
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
      process_(std::make_unique<Process>(world, name, world.Fork(name).Next(), &clock_, log_)) {
  network_.Listen(address_, *process_, nullptr);
  channel_ = network_.MakeChannel(*process_, address_);
  database_ = client::Database::Create(process_->env(), *channel_, {.cluster = cluster_});
  scope_ = std::make_unique<TaskScope>(*process_);
}

SimClient::~SimClient() {
  network_.Close(address_);
  scope_.reset();
  database_.reset();
}

// ---- cluster ------------------------------------------------------------------------------------

Cluster::Cluster(World& world, const Options& options, bool trace)
    : world_(world), options_(options), trace_(trace), network_(world, options.network) {
  for (int i = 0; i < options.nodes; ++i) {
    nodes_.push_back(std::make_unique<SimNode>(world, network_, options, i, trace));
  }
}

std::vector<std::string> Cluster::addresses() const {
  std::vector<std::string> addresses;
  for (const auto& node : nodes_) addresses.push_back(node->address());
  return addresses;
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

}  // namespace

Status Cluster::Bootstrap(Duration timeout) {
  for (auto& node : nodes_) RETURN_IF_ERROR(node->Start({}));
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
  return Status::Ok();
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
