#include "server/node/replicas.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "base/status_macros.h"
#include "quorate/v1/shard.pb.h"
#include "server/node/replica_fate.h"
#include "shard/keys.h"
#include "txn/judge.h"

namespace quorate::server {

namespace {

// No request is longer under way: nobody holds what is left of a replica by then.
constexpr Duration kRetiredFor = 2 * limits::kRequestTimeoutMax;

// As much again as a shard keeps that is absorbed: an older state of it.
constexpr size_t kTakenBytesMax = 2 * kAbsorbedBytesMax;

// A replica that is about to absorb another one here does so by itself, or needs a snapshot.
constexpr Duration kTakenOverWithin = 10s;
constexpr Duration kForgottenWithin = 20s;

// The child's leader is soon known, or its members are not there yet and campaign by themselves.
constexpr Duration kCampaignFor = 2s;
constexpr Duration kCampaignInterval = 50ms;

raft::Configuration ConfigurationOf(std::vector<NodeId> voters) {
  std::sort(voters.begin(), voters.end());
  raft::Configuration configuration;
  configuration.voters = std::move(voters);
  return configuration;
}

raft::Configuration ConfigurationOf(const v1::ShardDescriptor& descriptor) {
  std::vector<NodeId> voters, learners;
  for (const v1::Replica& replica : descriptor.replicas()) {
    (replica.role() == v1::LEARNER ? learners : voters).push_back(NodeId(replica.node_id()));
  }
  raft::Configuration configuration = ConfigurationOf(std::move(voters));
  std::sort(learners.begin(), learners.end());
  configuration.learners = std::move(learners);
  return configuration;
}

// Of the keyed tables.
storage::OrderedStore::Spans SpansOf(const Span& span) {
  storage::OrderedStore::Spans spans;
  for (const shard::Tag tag : shard::kKeyedTags) {
    spans.push_back(shard::StoreSpan(tag, span.from, span.to));
  }
  return spans;
}

std::string NameOf(GroupId group) {
  return group == placement::kPlacementGroup ? std::string("the placement group")
                                             : fmt::format("shard {}", group);
}

// A leader's first entry follows the one that all members begin with.
bool NeverLed(const raft::GroupHandle& group) { return group.applied_index() <= raft::LogIndex(1); }

}  // namespace

Replicas::Replicas(Env& env, storage::OrderedStore& store, raft::Host& host,
                   const ClusterView& view, NodeId self)
    : env_(env), store_(store), host_(host), view_(view), self_(self), scope_(env.executor) {
  // What a child begins with is in the store, though nobody runs it yet.
  host_.SetReserved([this, alive = alive_](const storage::OrderedStore::Spans& spans) {
    if (!*alive) return GroupId();
    for (const auto& [child, span] : children_) {
      if (storage::OrderedStore::Touch(spans, SpansOf(span))) return GroupId(child.value());
    }
    return GroupId();
  });
}

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
  RETURN_IF_ERROR(StartChildren());
  TakeOverAbsorbed();
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

// Children of splits whose scalars are in the store, and of which no log is here yet.
Status Replicas::StartChildren() {
  const auto [from, to] = shard::StoreSpan(shard::Tag::kShardState, {}, {});
  std::vector<v1::ShardDescriptor> found;
  RETURN_IF_ERROR(store_.Scan(from, to, [&](std::string_view, std::string_view stored) {
    v1::ShardState state;
    // One that does not parse is its replica's to find.
    if (state.ParseFromArray(stored.data(), static_cast<int>(stored.size()))) {
      found.push_back(std::move(*state.mutable_shard()));
    }
    return true;
  }));
  for (const v1::ShardDescriptor& child : found) {
    const GroupId group(child.shard_id());
    // What a destroyed replica leaves is being deleted, whether or not its tombstone was lost.
    const bool gone = host_.HadReplica(group) || store_.Dropping(group);
    if (shards_.contains(ShardId(child.shard_id())) || gone) continue;
    PROBE("server: the child of a split was begun at the start");
    env_.log.Info("node: the replica of shard {} begins, of a split before this start", group);
    RETURN_IF_ERROR(StartShard(child, true));
  }
  return Status::Ok();
}

Status Replicas::StartShard(const v1::ShardDescriptor& descriptor, bool founding) {
  const ShardId id(descriptor.shard_id());
  if (shards_.contains(id)) return Status::Ok();
  const GroupId group_id(id.value());
  // A beginning is the state only while nothing came of it. While a snapshot is installed there is
  // none: taken for it, the range of long ago would be deleted with what others have of it by now.
  const bool begun = store_.AppliedIndex(group_id) != 0 || store_.Replacing(group_id) != nullptr;
  v1::ShardDescriptor stored;
  stored.set_shard_id(id.value());
  auto shard = make_shard_(
      begun ? stored : descriptor,
      {.on_descriptor = [this, id] { OnDescriptor(id); },
       .on_split = [this, id](const v1::ShardDescriptor& child,
                              bool led) { BeginChild(id, child, led); },
       .may_begin =
           [this](ShardId child, storage::WriteBatch* batch) {
             if (!MayBegin(child)) return false;
             host_.NoteBeginning(GroupId(child.value()), batch);
             return true;
           },
       .make_room = [this, id](const v1::ShardDescriptor& frozen) { return MakeRoom(id, frozen); },
       .on_absorb = [this, id](ShardId frozen) { OnAbsorb(id, frozen); }});
  std::optional<raft::Configuration> first;
  if (founding) first = ConfigurationOf(descriptor);
  raft::GroupHandle* group = nullptr;
  ASSIGN_OR_RETURN(group, host_.StartGroup(group_id, *shard, std::move(first)));
  shard->Attach(group);
  groups_[group_id] = group;
  // Those of `init`, of version 1, are in every map, and so is whoever's members changed.
  const v1::ShardDescriptor& now = shard->descriptor();
  const bool child = shard->HasState() && now.version() > 1 && now.membership_version() <= 1;
  if (child) begun_[id] = NeverLed(*group) ? Known::kNo : Known::kNotSeen;
  shards_[id] = std::move(shard);
  OnDescriptor(id);
  KeysChanged();
  return Status::Ok();
}

// ---- splits -------------------------------------------------------------------------------------

std::vector<v1::ShardDescriptor> Replicas::Begun(size_t max) {
  std::vector<v1::ShardDescriptor> begun;
  std::erase_if(begun_, [this](const auto& each) {
    const raft::GroupHandle* group = FindGroup(GroupId(each.first.value()));
    if (group == nullptr || !shards_.at(each.first)->HasState()) return true;
    // Its leader may be gone before it could tell, and whoever is left needs the others.
    return each.second == Known::kYes && (!NeverLed(*group) || group->soft_state().leader);
  });
  for (const Known known : {Known::kNo, Known::kYes}) {
    for (const auto& [id, is] : begun_) {
      if (begun.size() == max) return begun;
      if (is == known) begun.push_back(shards_.at(id)->descriptor());
    }
  }
  return begun;
}

void Replicas::OnFirstMap(const v1::RoutesResponse& map) {
  for (const v1::ShardRouteInfo& route : map.routes()) {
    const auto it = begun_.find(ShardId(route.shard().shard_id()));
    if (it != begun_.end() && it->second == Known::kNotSeen) begun_.erase(it);
  }
  for (auto& [child, known] : begun_) {
    if (known != Known::kNotSeen) continue;
    PROBE("server: the child of a split was led and is not in the map");
    known = Known::kNo;
  }
}

void Replicas::BegunIsKnown(ShardId child) {
  if (const auto it = begun_.find(child); it != begun_.end()) it->second = Known::kYes;
}

bool Replicas::MayBegin(ShardId child) const {
  return !shards_.contains(child) && !host_.HadReplica(GroupId(child.value()));
}

// The entry's batch is not in the store yet.
void Replicas::BeginChild(ShardId parent, const v1::ShardDescriptor& child, bool led) {
  KeysChanged();
  const ShardId id(child.shard_id());
  if (!MayBegin(id)) {
    // It came here before its parent was that far, and perhaps it went again.
    PROBE("server: the child of a split was here before");
    return;
  }
  children_[id] = {child.from(), child.to()};
  env_.executor.Post([this, alive = alive_, parent, child, led] {
    if (!*alive) return;
    if (on_split_) {
      if (const auto it = shards_.find(parent); it != shards_.end()) {
        on_split_(it->second->descriptor());
      }
      on_split_(child);
    }
    auto begin = [this, alive, child, led](const Status& flushed) {
      if (*alive && flushed.ok()) StartChild(child, led);
    };
    if (MUTANT("split-child-before-its-state")) return begin(Status::Ok());
    store_.Flush(std::move(begin));
  });
}

void Replicas::StartChild(const v1::ShardDescriptor& child, bool led) {
  const GroupId group(child.shard_id());
  if (children_.erase(ShardId(group.value())) == 0) return;  // it was absorbed meanwhile
  const Status started = StartShard(child, true);
  if (!started.ok()) {
    env_.log.Error("node: no replica of shard {}: {}", group, started.ToString());
    return;
  }
  env_.log.Info("node: shard {} begins, from a split", group);
  if (led) scope_.Spawn(Campaign(group));
}

// ---- merges -------------------------------------------------------------------------------------

ShardId Replicas::ChildIn(const Span& span, ShardId but) const {
  for (const auto& [child, keys] : children_) {
    if (child != but && keys.Overlaps(span)) return child;
  }
  return ShardId();
}

// What is deleted with the entry that absorbs it is deleted in one turn.
std::string Replicas::WhyNotTaken(ShardId right, const Span& span) const {
  const GroupId group(right.value());
  if (children_.contains(right)) return fmt::format("shard {} is about to begin", right);
  if (store_.Replacing(group) != nullptr) {
    return fmt::format("a state of shard {} is being put there", right);
  }
  const auto it = shards_.find(right);
  if (it == shards_.end() || !it->second->HasState()) return "";
  if (it->second->span() != span) return fmt::format("the replica of shard {} is behind", right);
  if (!FindGroup(group)->quarantine().empty()) {
    return fmt::format("the replica of shard {} is damaged", right);
  }
  size_t bytes = 0;
  for (const auto& [from, to] : SpansOf(span)) {
    const Status status =
        store_.Scan(from, to, [&bytes](std::string_view key, std::string_view value) {
          bytes += key.size() + value.size();
          return bytes <= kTakenBytesMax;
        });
    if (!status.ok()) return status.ToString();
  }
  if (bytes <= kTakenBytesMax) return "";
  return fmt::format("the replica of shard {} still has much more", right);
}

std::string Replicas::WhyNotFree(ShardId right, ShardId left, const Span& span) const {
  for (const auto& [id, shard] : shards_) {
    if (id == right || id == left || !shard->HasState()) continue;
    if (shard->span().Overlaps(span)) return fmt::format("shard {} has keys of it", id);
  }
  if (const ShardId child = ChildIn(span, right)) {
    return fmt::format("shard {} has keys of it, and is about to begin", child);
  }
  const storage::OrderedStore::Spans spans = SpansOf(span);
  if (store_.Dropping(spans)) return "what was there is being deleted";
  for (const GroupId group : store_.Replacing()) {
    if (storage::OrderedStore::Touch(*store_.Replacing(group), spans)) {
      return fmt::format("a state of shard {} is being put there", group);
    }
  }
  return WhyNotTaken(right, span);
}

ShardId Replicas::NewerIn(const Span& span, uint64_t version, ShardId left, ShardId right) const {
  for (const auto& [id, shard] : shards_) {
    if (id == right || id == left || !shard->HasState()) continue;
    if (shard->descriptor().version() > version && shard->span().Overlaps(span)) return id;
  }
  return {};
}

shard::InTheWay Replicas::MakeRoom(ShardId left, const v1::ShardDescriptor& frozen) {
  const ShardId right(frozen.shard_id());
  const Span span{frozen.from(), frozen.to()};
  std::string why = WhyNotFree(right, left, span);
  if (why.empty() || MUTANT("merge-room-not-asked-for")) return {};
  const uint64_t version = std::max(frozen.version(), shards_.at(left)->descriptor().version());
  const ShardId newer = NewerIn(span, version, left, right);
  if (newer && !MUTANT("merge-newer-is-waited-for")) {
    PROBE("server: a shard of after the absorption is here already");
    return {fmt::format("shard {} has keys of what is absorbed, and is of after that", newer),
            true};
  }
  PROBE("server: a shard is absorbed once there is room");
  env_.executor.Post([this, alive = alive_, left, right, span] {
    if (!*alive || !shards_.contains(right) || WhyNotTaken(right, span).empty()) return;
    PROBE("server: an absorbed shard's replica is deleted first");
    env_.log.Info("node: the replica of shard {} is deleted: shard {} absorbs it", right, left);
    Retire(GroupId(right.value()));
  });
  return {std::move(why)};
}

// The entry's batch is not in the store yet. The right one applies nothing more from here on.
void Replicas::OnAbsorb(ShardId left, ShardId right) {
  KeysChanged();
  children_.erase(right);
  if (const auto it = shards_.find(right); it != shards_.end()) it->second->EndAbsorbed(nullptr);
  env_.executor.Post([this, alive = alive_, left, right] {
    if (!*alive) return;
    TakeOver(left, right);
    const auto it = shards_.find(left);
    if (it != shards_.end() && on_split_) on_split_(it->second->descriptor());
  });
}

void Replicas::TakeOver(ShardId left, ShardId right) {
  const auto it = shards_.find(right);
  if (it == shards_.end()) return;
  PROBE("server: a replica takes over another's keys");
  it->second->EndAbsorbed(nullptr);
  env_.log.Info("node: the replica of shard {} ends: shard {} has absorbed it", right, left);
  Retire(GroupId(right.value()));
}

void Replicas::TakeOverAbsorbed() {
  std::vector<std::pair<ShardId, ShardId>> absorbed;
  for (const auto& [left, shard] : shards_) {
    if (!shard->HasState()) continue;
    for (const ShardId right : shard->absorbed()) {
      if (shards_.contains(right)) absorbed.emplace_back(left, right);
    }
  }
  for (const auto& [left, right] : absorbed) TakeOver(left, right);
}

// A shard's first key is its own for as long as it lives: if a newer one owns it, it was absorbed.
// Where that one's replica here is about to apply so, deleting what it will have costs a snapshot.
std::string Replicas::WhyAbsorbed(GroupId group, const raft::GroupHandle& handle) {
  const auto wait = [this, group](Duration patience) {
    const Instant since = absorbed_since_.try_emplace(group, env_.Now()).first->second;
    look_again_ = true;
    return env_.Now() - since < patience;
  };
  const shard::Shard& shard = *shards_.at(ShardId(group.value()));
  if (shard.HasState()) {
    const v1::ShardDescriptor* owner = view_.Owner(shard.span().from);
    if (owner == nullptr || owner->shard_id() == group.value() ||
        owner->version() <= shard.descriptor().version()) {
      absorbed_since_.erase(group);
      return "";
    }
    // The map may have been told lies. What was absorbed is frozen; or, cut off before it was, has
    // no leader any more.
    const bool led = handle.quarantine().empty() && !handle.leader_in_doubt();
    if (led && !shard.frozen_into()) {
      look_again_ = true;
      absorbed_since_.erase(group);
      return "";
    }
    const auto left = shards_.find(ShardId(owner->shard_id()));
    const raft::GroupHandle* by = FindGroup(GroupId(owner->shard_id()));
    const bool applies = left != shards_.end() && left->second->HasState() && by != nullptr &&
                         by->quarantine().empty();
    if (applies && wait(kTakenOverWithin)) return "";
    return fmt::format("it was absorbed by shard {}", owner->shard_id());
  }
  // Without a state it does not know its keys. Of a shard that is no more nobody sends it one.
  const bool known = view_.FindShard(ShardId(group.value())) != nullptr;
  if (known || view_.Owner("") == nullptr) {
    absorbed_since_.erase(group);
    return "";
  }
  look_again_ = true;
  const bool doubt = !handle.quarantine().empty() || handle.leader_in_doubt();
  if (handle.soft_state().leader && !doubt) {
    absorbed_since_.erase(group);
    return "";
  }
  return wait(kForgottenWithin) ? "" : "nobody knows the shard any more";
}

// Who leads the parent is first with the child, too: clients look for it here.
Task<void> Replicas::Campaign(GroupId group) {
  const Instant until = env_.Now() + kCampaignFor;
  while (env_.Now() < until) {
    raft::GroupHandle* handle = FindGroup(group);
    if (handle == nullptr || handle->soft_state().leader) co_return;
    handle->Campaign();
    co_await Sleep(env_.executor, kCampaignInterval);
  }
}

bool Replicas::HeldByAnother(GroupId group) const {
  const ShardId id(group.value());
  if (children_.contains(id)) return true;
  const v1::ShardDescriptor* known = view_.FindShard(id);
  if (known == nullptr) return false;
  const Span wanted{known->from(), known->to()};
  if (ChildIn(wanted, id)) return true;
  // Its log may have the split before us, and the state that it waits for be from before that.
  for (const GroupId other : store_.Replacing()) {
    if (other != group && storage::OrderedStore::Touch(*store_.Replacing(other), SpansOf(wanted))) {
      return true;
    }
  }
  return std::any_of(shards_.begin(), shards_.end(), [&](const auto& entry) {
    const auto& [other, shard] = entry;
    return other != id && shard->HasState() && shard->span().Overlaps(wanted);
  });
}

void Replicas::StartWanted() {
  for (const GroupId group : host_.TakeUnknownGroups()) {
    // Whoever sent the message may be nobody, or may not know yet that this node is out again.
    if (!InMap(group).self || groups_.contains(group)) continue;
    if (group != placement::kPlacementGroup && HeldByAnother(group)) {
      PROBE("server: a child waits for its parent here");
      continue;
    }
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
  if (known == nullptr || known->replicas().empty()) return membership;
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
  if (!fate.gone.empty() || group == placement::kPlacementGroup) return fate.gone;
  return WhyAbsorbed(group, handle);
}

void Replicas::DestroyGone() {
  const bool changed = std::exchange(members_changed_, false) || std::exchange(look_again_, false);
  if (!changed && map_seen_ == view_.changes()) return;
  map_seen_ = view_.changes();
  std::vector<std::pair<GroupId, std::string>> gone;
  bool look_again = false;
  for (const auto& [group, handle] : groups_) {
    look_again_ = false;
    std::string why = WhyGone(group, *handle);
    if (!why.empty()) gone.emplace_back(group, std::move(why));
    // Whoever is no member is told nothing: asleep, it would believe in its leader for good.
    if (look_again_) handle->Rouse();
    look_again |= look_again_;
  }
  look_again_ = look_again;
  for (const auto& [group, why] : gone) Destroy(group, why);
}

void Replicas::Destroy(GroupId group, const std::string& why) {
  PROBE("server: a replica is destroyed");
  env_.log.Info("node: the replica of {} is destroyed, this node is no member any more: {}",
                NameOf(group), why);
  Retire(group);
}

void Replicas::Retire(GroupId group) {
  absorbed_since_.erase(group);
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
  spans_.erase(ShardId(group.value()));
  KeysChanged();
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

void Replicas::KeysChanged() {
  indexed_ = false;
  ++key_changes_;
}

// Called in the middle of what changes it. One that is frozen or thawed, or has other members, has
// the keys that it had.
void Replicas::OnDescriptor(ShardId id) {
  indexed_ = false;
  members_changed_ = true;
  const auto it = shards_.find(id);
  const bool has_keys = it != shards_.end() && it->second->HasState();
  const auto known = spans_.find(id);
  const bool had_keys = known != spans_.end();
  if (has_keys == had_keys && (!has_keys || known->second == it->second->span())) return;
  KeysChanged();
  if (has_keys) {
    spans_[id] = it->second->span();
  } else {
    spans_.erase(id);
  }
}

void Replicas::IndexShards() {
  by_start_.clear();
  indexed_ = true;
  for (const auto& [id, shard] : shards_) {
    const v1::ShardDescriptor& descriptor = shard->descriptor();
    if (!shard->HasState()) continue;  // empty until its snapshot comes, or absorbed
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
