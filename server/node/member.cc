#include "server/node/member.h"

#include <algorithm>
#include <utility>

#include "txn/errors.h"

namespace quorate::server {

namespace {

constexpr Duration kHeartbeatInterval = 1s;
constexpr Duration kHeartbeatTimeout = 3s;

raft::Configuration ConfigurationOf(std::vector<NodeId> voters) {
  std::sort(voters.begin(), voters.end());
  raft::Configuration configuration;
  configuration.voters = std::move(voters);
  return configuration;
}

raft::Host::Options ForNode(raft::Host::Options options, NodeId self) {
  options.self = self;
  return options;
}

}  // namespace

Member::Member(Deps deps, Options options)
    : deps_(deps),
      options_(std::move(options)),
      self_(options_.self.node_id()),
      routes_(options_.seeds),
      caller_(deps.env, deps.channel, routes_),
      slots_(deps.env, caller_),
      host_(deps.env, ForNode(options_.raft, self_), deps.wal, deps.store, deps.transport),
      coordinator_(std::make_unique<coordinator::Coordinator>(
          coordinator::Coordinator::Deps{deps.env, caller_, slots_, *this})),
      scope_(deps.env.executor) {
  deps_.transport.SetIdentity(options_.cluster_id, self_);
  deps_.view.SetLocalLeader([this](GroupId group) { return LocalLeader(group); });
}

Member::~Member() { deps_.view.SetLocalLeader(nullptr); }

// ---- replicas -----------------------------------------------------------------------------------

Status Member::StartReplicas(const v1::BootstrapRequest* bootstrap) {
  if (bootstrap != nullptr) {
    deps_.view.Seed(*bootstrap);
    const v1::RoutesResponse map = deps_.view.Routes(Span::All());
    if (!routes_.Update(map)) return Internal("the bootstrap message is another cluster's");
  }
  LearnNodes();
  RETURN_IF_ERROR(StartPlacement(bootstrap));
  if (bootstrap != nullptr) {
    for (const v1::ShardDescriptor& shard : bootstrap->shards()) {
      const bool here = std::any_of(
          shard.replicas().begin(), shard.replicas().end(),
          [this](const v1::Replica& replica) { return replica.node_id() == self_.value(); });
      if (here) RETURN_IF_ERROR(StartShard(shard, true));
    }
  }
  for (const GroupId group : host_.StoredGroups()) {
    if (group == placement::kPlacementGroup) continue;
    v1::ShardDescriptor descriptor;
    descriptor.set_shard_id(group.value());
    RETURN_IF_ERROR(StartShard(descriptor, false));
  }
  host_.SettleDamage();
  return Status::Ok();
}

Status Member::StartPlacement(const v1::BootstrapRequest* bootstrap) {
  if (placement_ != nullptr) return Status::Ok();
  std::vector<NodeId> voters;
  if (bootstrap != nullptr) {
    for (const uint64_t id : bootstrap->placement_nodes()) voters.push_back(NodeId(id));
  }
  const std::vector<GroupId> stored = host_.StoredGroups();
  const bool known =
      std::find(stored.begin(), stored.end(), placement::kPlacementGroup) != stored.end();
  const bool voter = std::find(voters.begin(), voters.end(), self_) != voters.end();
  if (!known && !voter) return Status::Ok();
  placement_ = std::make_unique<placement::Placement>(deps_.env, deps_.store, self_, bootstrap);
  std::optional<raft::Configuration> first;
  if (voter) first = ConfigurationOf(std::move(voters));
  raft::GroupHandle* group = nullptr;
  ASSIGN_OR_RETURN(
      group, host_.StartGroup(placement::kPlacementGroup, placement_->machine(), std::move(first)));
  placement_->Attach(group);
  groups_[placement::kPlacementGroup] = group;
  return Status::Ok();
}

Status Member::StartShard(const v1::ShardDescriptor& descriptor, bool in_bootstrap) {
  const ShardId id(descriptor.shard_id());
  if (shards_.contains(id)) return Status::Ok();
  auto shard = std::make_unique<shard::Shard>(
      shard::Shard::Deps{deps_.env, deps_.store, slots_, coordinator_->pusher(),
                         coordinator_->observer(),
                         [this, id](raft::Growth growth) {
                           const raft::GroupHandle* group = FindGroup(GroupId(id.value()));
                           return group == nullptr ? Status::Ok() : group->CheckRoom(growth);
                         }},
      options_.shard, descriptor);
  std::optional<raft::Configuration> first;
  const GroupId group_id(id.value());
  if (in_bootstrap) {
    std::vector<NodeId> voters;
    for (const v1::Replica& replica : descriptor.replicas()) {
      voters.push_back(NodeId(replica.node_id()));
    }
    first = ConfigurationOf(std::move(voters));
  }
  raft::GroupHandle* group = nullptr;
  ASSIGN_OR_RETURN(group, host_.StartGroup(group_id, *shard, std::move(first)));
  shard->Attach(group);
  groups_[group_id] = group;
  shards_[id] = std::move(shard);
  return Status::Ok();
}

// A replica's first key does not change while it is here; its last one may.
void Member::IndexShards() {
  by_start_.clear();
  indexed_ = shards_.size();
  for (const auto& [id, shard] : shards_) {
    const v1::ShardDescriptor& descriptor = shard->descriptor();
    if (descriptor.version() == 0) {
      indexed_ = 0;  // empty until its snapshot comes: look again
      continue;
    }
    shard::Shard*& at = by_start_[descriptor.from()];
    if (at == nullptr || at->descriptor().version() < descriptor.version()) at = shard.get();
  }
}

shard::Shard* Member::FindByKey(std::string_view key) {
  if (indexed_ != shards_.size()) IndexShards();
  auto it = by_start_.upper_bound(key);
  if (it == by_start_.begin()) return nullptr;
  --it;
  const std::string& to = it->second->descriptor().to();
  return to.empty() || key < to ? it->second : nullptr;
}

shard::Shard* Member::Find(ShardId shard) {
  const auto it = shards_.find(shard);
  return it == shards_.end() ? nullptr : it->second.get();
}

raft::GroupHandle* Member::FindGroup(GroupId group) const {
  const auto it = groups_.find(group);
  return it == groups_.end() ? nullptr : it->second;
}

NodeId Member::LocalLeader(GroupId group) const {
  const raft::GroupHandle* handle = FindGroup(group);
  return handle == nullptr ? NodeId() : handle->soft_state().leader;
}

bool Member::ready() const {
  return reported_ && std::all_of(groups_.begin(), groups_.end(), [](const auto& entry) {
           return static_cast<bool>(entry.second->soft_state().leader);
         });
}

// ---- heartbeats to placement --------------------------------------------------------------------

void Member::Start() {
  host_.Start();
  scope_.Spawn(ReportLoop());
}

void Member::LearnNodes() {
  for (const auto& [id, node] : deps_.view.nodes()) {
    std::string& told = addresses_[id];
    if (told == node.address()) continue;
    told = node.address();
    if (id != self_) deps_.transport.SetAddress(id, told);
  }
}

Task<void> Member::ReportLoop() {
  while (true) {
    // One that hangs on an election does not keep the next from finding the new leader.
    if (!reporting_) scope_.Spawn(Report());
    co_await Sleep(deps_.env.executor, reported_ ? kHeartbeatInterval : kHeartbeatInterval / 4);
  }
}

v1::HeartbeatRequest Member::MakeHeartbeat() const {
  v1::HeartbeatRequest heartbeat;
  *heartbeat.mutable_node() = options_.self;
  heartbeat.set_wall_ms(static_cast<uint64_t>(deps_.env.clock.WallMillis()));
  heartbeat.set_disk_free_bytes(deps_.low_space.free_bytes());
  for (const auto& [id, shard] : shards_) {
    if (!shard->serving()) continue;
    v1::ShardReport* report = heartbeat.add_led_shards();
    *report->mutable_shard() = shard->descriptor();
    report->set_leader_node_id(self_.value());
    report->set_term(shard->serving_term().value());
  }
  return heartbeat;
}

Task<void> Member::Report() {
  reporting_ = true;
  v1::NodeRequest request;
  *request.mutable_heartbeat() = MakeHeartbeat();
  const Result<v1::NodeResponse> result =
      co_await caller_.CallPlacement(std::move(request), deps_.env.Now() + kHeartbeatTimeout);
  reporting_ = false;
  if (!result.ok()) co_return;
  const Status status = StatusFromError(result->heartbeat().error());
  if (!status.ok()) {
    deps_.env.log.Warn("node: heartbeat: {}", status.ToString());
    co_return;
  }
  const v1::RoutesResponse& map = result->heartbeat().map();
  if (map.cluster_id() != options_.cluster_id) co_return;
  deps_.view.Update(map);
  for (const auto& [id, shard] : shards_) {
    if (shard->descriptor().version() > 0) deps_.view.Update(shard->descriptor());
  }
  routes_.Update(map);
  LearnNodes();
  reported_ = true;
}

}  // namespace quorate::server
