#include "server/node/replicas.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "base/probe.h"
#include "base/status_macros.h"
#include "server/node/replica_fate.h"

namespace quorate::server {

namespace {

// No request is longer under way: nobody holds what is left of a replica by then.
constexpr Duration kRetiredFor = 2 * limits::kRequestTimeoutMax;

raft::Configuration ConfigurationOf(std::vector<NodeId> voters) {
  std::sort(voters.begin(), voters.end());
  raft::Configuration configuration;
  configuration.voters = std::move(voters);
  return configuration;
}

std::string NameOf(GroupId group) {
  return group == placement::kPlacementGroup ? std::string("the placement group")
                                             : fmt::format("shard {}", group);
}

}  // namespace

Replicas::Replicas(Env& env, storage::OrderedStore& store, raft::Host& host,
                   const ClusterView& view, NodeId self)
    : env_(env), store_(store), host_(host), view_(view), self_(self) {}

Replicas::~Replicas() { *alive_ = false; }

// ---- coming -------------------------------------------------------------------------------------

Status Replicas::Start(const v1::BootstrapRequest* bootstrap) {
  RETURN_IF_ERROR(StartPlacement(bootstrap));
  if (bootstrap != nullptr) {
    for (const v1::ShardDescriptor& shard : bootstrap->shards()) {
      const bool here = std::any_of(
          shard.replicas().begin(), shard.replicas().end(),
          [this](const v1::Replica& replica) { return replica.node_id() == self_.value(); });
      const bool gone = host_.HadReplica(GroupId(shard.shard_id()));
      if (here && !gone) RETURN_IF_ERROR(StartShard(shard, true));
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

Status Replicas::StartPlacement(const v1::BootstrapRequest* bootstrap) {
  if (placement_ != nullptr) return Status::Ok();
  std::vector<NodeId> voters;
  if (bootstrap != nullptr) {
    for (const uint64_t id : bootstrap->placement_nodes()) voters.push_back(NodeId(id));
  }
  const std::vector<GroupId> stored = host_.StoredGroups();
  const bool known =
      std::find(stored.begin(), stored.end(), placement::kPlacementGroup) != stored.end();
  const bool voter = std::find(voters.begin(), voters.end(), self_) != voters.end() &&
                     !host_.HadReplica(placement::kPlacementGroup);
  const bool wanted = bootstrap == nullptr && InMap(placement::kPlacementGroup).self;
  if (!known && !voter && !wanted) return Status::Ok();
  auto placement = std::make_unique<placement::Placement>(env_, store_, self_, bootstrap);
  std::optional<raft::Configuration> first;
  if (voter) first = ConfigurationOf(std::move(voters));
  raft::GroupHandle* group = nullptr;
  ASSIGN_OR_RETURN(
      group, host_.StartGroup(placement::kPlacementGroup, placement->machine(), std::move(first)));
  placement_ = std::move(placement);
  placement_->Attach(group);
  groups_[placement::kPlacementGroup] = group;
  return Status::Ok();
}

Status Replicas::StartShard(const v1::ShardDescriptor& descriptor, bool in_bootstrap) {
  const ShardId id(descriptor.shard_id());
  if (shards_.contains(id)) return Status::Ok();
  auto shard = make_shard_(descriptor, [this] { indexed_ = false, members_changed_ = true; });
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
  indexed_ = false;
  return Status::Ok();
}

void Replicas::StartWanted() {
  for (const GroupId group : host_.TakeUnknownGroups()) {
    // Whoever sent the message may be nobody, or may not know yet that this node is out again.
    if (!InMap(group).self) continue;
    PROBE("server: a new replica");
    v1::ShardDescriptor empty;
    empty.set_shard_id(group.value());
    const Status started =
        group == placement::kPlacementGroup ? StartPlacement(nullptr) : StartShard(empty, false);
    if (started.ok()) {
      env_.log.Info("node: a new replica of {}", NameOf(group));
    } else if (started.code() != Code::kAlreadyExists) {  // its predecessor is being destroyed
      env_.log.Error("node: no replica of {}: {}", NameOf(group), started.ToString());
    }
  }
}

// ---- going --------------------------------------------------------------------------------------

Replicas::Membership Replicas::InMap(GroupId group) const {
  Membership membership;
  if (group == placement::kPlacementGroup) {
    membership.index = view_.placement_members_index();
    membership.self = view_.HasPlacement(self_);
    return membership;
  }
  const v1::ShardDescriptor* known = view_.FindShard(ShardId(group.value()));
  if (known == nullptr) return membership;
  membership.index = known->membership_version();
  membership.self =
      std::any_of(known->replicas().begin(), known->replicas().end(),
                  [this](const v1::Replica& r) { return r.node_id() == self_.value(); });
  return membership;
}

std::string Replicas::WhyGone(GroupId group, const raft::GroupHandle& handle) {
  const Membership in_map = InMap(group);
  const Fate fate = FateOf({.self = self_,
                            .newest = handle.configuration(),
                            .newest_index = handle.configuration_index(),
                            .applied_index = handle.applied_index(),
                            .led = handle.quarantine().empty() && !handle.leader_in_doubt(),
                            .in_map = in_map.self,
                            .map_index = in_map.index});
  look_again_ |= fate.look_again;
  return fate.gone;
}

void Replicas::DestroyGone() {
  const bool changed = std::exchange(members_changed_, false) || std::exchange(look_again_, false);
  if (!changed && map_seen_ == view_.changes()) return;
  map_seen_ = view_.changes();
  std::vector<std::pair<GroupId, std::string>> gone;
  for (const auto& [group, handle] : groups_) {
    std::string why = WhyGone(group, *handle);
    if (!why.empty()) gone.emplace_back(group, std::move(why));
  }
  for (const auto& [group, why] : gone) Destroy(group, why);
}

void Replicas::Destroy(GroupId group, const std::string& why) {
  PROBE("server: a replica is destroyed");
  env_.log.Info("node: the replica of {} is destroyed, this node is no member any more: {}",
                NameOf(group), why);
  Retired& retired = retired_.emplace_back();
  retired.since = env_.Now();
  if (group == placement::kPlacementGroup) {
    retired.placement = std::move(placement_);
  } else {
    auto shard = shards_.extract(ShardId(group.value()));
    retired.shard = std::move(shard.mapped());
  }
  groups_.erase(group);
  by_start_.clear();
  indexed_ = false;
  // The list keeps the place of its elements.
  retired.group = host_.DestroyReplica(group, [alive = alive_, &retired] {
    if (*alive) retired.deleted = true;
  });
}

void Replicas::DropRetired() {
  std::erase_if(retired_, [this](const Retired& retired) {
    return retired.deleted && env_.Now() - retired.since >= kRetiredFor;
  });
}

void Replicas::FollowMap() {
  StartWanted();
  DestroyGone();
  DropRetired();
}

// ---- finding ------------------------------------------------------------------------------------

void Replicas::IndexShards() {
  by_start_.clear();
  indexed_ = true;
  for (const auto& [id, shard] : shards_) {
    const v1::ShardDescriptor& descriptor = shard->descriptor();
    if (descriptor.version() == 0) continue;  // empty until its snapshot comes
    shard::Shard*& at = by_start_[descriptor.from()];
    if (at == nullptr || at->descriptor().version() < descriptor.version()) at = shard.get();
  }
}

shard::Shard* Replicas::FindByKey(std::string_view key) {
  if (!indexed_) IndexShards();
  auto it = by_start_.upper_bound(key);
  if (it == by_start_.begin()) return nullptr;
  --it;
  const std::string& to = it->second->descriptor().to();
  return to.empty() || key < to ? it->second : nullptr;
}

shard::Shard* Replicas::Find(ShardId shard) {
  const auto it = shards_.find(shard);
  return it == shards_.end() ? nullptr : it->second.get();
}

raft::GroupHandle* Replicas::FindGroup(GroupId group) const {
  const auto it = groups_.find(group);
  return it == groups_.end() ? nullptr : it->second;
}

}  // namespace quorate::server
