#include "placement/service.h"

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <set>
#include <utility>

#include "base/deadline.h"
#include "base/limits.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "base/status_macros.h"
#include "base/timer_guard.h"
#include "placement/catalog_answer.h"
#include "txn/errors.h"
#include "txn/judge.h"

namespace quorate::placement {

namespace {

constexpr Duration kRetryStart = 20ms;
constexpr size_t kShardPiecesMax = 2 * limits::kShardsMax;  // of the map

// Equal for equal messages: by default the order of a map's entries is anyhow.
std::string Canonical(const v1::RoutesResponse& nodes) {
  std::string text;
  google::protobuf::io::StringOutputStream stream(&text);
  google::protobuf::io::CodedOutputStream out(&stream);
  out.SetSerializationDeterministic(true);
  nodes.SerializeToCodedStream(&out);
  return text;
}

}  // namespace

Placement::Counted Placement::Count(size_t* number) {
  ++*number;
  return {number, [](size_t* counted) { --*counted; }};
}

Placement::Placement(Env& env, storage::OrderedStore& store, NodeId self,
                     const v1::BootstrapRequest* seed)
    : env_(env),
      self_(self),
      machine_(store, seed),
      director_(env, machine_, heartbeats_),
      slots_(env.metrics.GetCounter("quorate_tso_slots_total", "Timestamp slots issued.")),
      unfounded_(env.metrics.GetCounter("quorate_placement_reports_refused_total",
                                        "Reports of shards whose members cannot be.")),
      wall_refused_(env.metrics.GetCounter("quorate_tso_wall_refused_total",
                                           "Readings of a wall clock that were too far ahead.")),
      scope_(env.executor) {
  machine_.SetObserver(this);
}

Placement::~Placement() { machine_.SetObserver(nullptr); }

void Placement::Attach(raft::GroupHandle* group) {
  group_ = group;
  frontend_.Attach(group);
}

// ---- leadership ---------------------------------------------------------------------------------

void Placement::OnLeadership(const raft::SoftState& state) {
  const raft::Term now_leading = state.role == raft::Role::kLeader ? state.term : raft::Term();
  if (now_leading == leading_) return;
  leading_ = now_leading;
  oracle_.EndTerm();
  renewing_ = false;
  Wake();
  if (!leading_) return;
  env_.log.Info("placement: led by this node, in term {}", leading_);
  heartbeats_.Reset(env_.Now());
  feed_.BeginTerm(leading_);
  strangers_.clear();
  director_.BeginTerm(leading_);
  scope_.Spawn(StartTerm(leading_));
  scope_.Spawn(DirectLoop(leading_));
}

Task<void> Placement::StartTerm(raft::Term term) {
  while (leading_ == term) {
    const Frontend::Applied applied = co_await frontend_.Start(term);
    if (applied.ok()) co_return;
    co_await Sleep(env_.executor, kRetryStart);
  }
}

Task<void> Placement::DirectLoop(raft::Term term) {
  while (leading_ == term) {
    co_await Sleep(env_.executor, Director::kRoundInterval);
    while (leading_ == term && group_->leader_ready() && director_.Round(*group_, self_)) {
      co_await Sleep(env_.executor, Duration(0));
    }
    while (leading_ == term && director_.wants_shard_id()) {
      const Frontend::Applied applied = co_await frontend_.AllocateShardId();
      if (!applied.ok()) break;
      if (leading_ == term) director_.GiveShardId(ShardId(applied->shard_id()));
    }
  }
}

void Placement::OnStarted(raft::Term term) {
  if (leading_ != term) return;
  oracle_.BeginTerm(machine_.ceiling());
  JudgeWall();
  MaybeRenew(NowMillis());
  Wake();
}

void Placement::OnCeiling(Timestamp ceiling) {
  oracle_.RaiseCeiling(ceiling);
  Wake();
}

// ---- the oracle ---------------------------------------------------------------------------------

// After an election the wall clock is trusted if it is near the time that the group has logged, or
// if another node's says the same; else slots only count up. This node's clock alone must not carry
// the whole cluster into the future.
void Placement::JudgeWall() {
  const int64_t wall_ms = env_.clock.WallMillis();
  const Timestamp logged = machine_.ceiling();
  const int64_t bound = static_cast<int64_t>(logged.physical_ms()) + limits::kTsoJumpMax / 1ms;
  const bool alone = machine_.nodes().nodes().size() <= 1;
  wall_trusted_ = !logged || wall_ms <= bound || alone;
  if (!wall_trusted_) {
    PROBE("placement: wall not trusted");
    env_.log.Info(
        "oracle: this node's wall clock is {} s ahead of the newest ceiling; not adopted "
        "before another node's clock agrees",
        (wall_ms - bound) / 1000 + limits::kTsoJumpMax / 1s);
  }
}

int64_t Placement::NowMillis() {
  const uint64_t refused = guard_.refused();
  const int64_t wall_ms = guard_.Read(env_.clock.WallMillis(), env_.Now());
  if (guard_.refused() != refused) {
    wall_refused_.Add();
    if (refused == 0) {
      env_.log.Warn("oracle: the wall clock jumped ahead by more than {} s; not adopted",
                    limits::kTsoJumpMax / 1s);
    }
  }
  return wall_trusted_ ? wall_ms : static_cast<int64_t>(oracle_.last().physical_ms());
}

bool Placement::LeaseHolds() const { return env_.Now() < group_->lease_until(); }

Task<v1::SlotResponse> Placement::Slot(Instant deadline) {
  v1::SlotResponse response;
  while (true) {
    const raft::Term term = leading_;
    if (!term || group_ == nullptr) {
      NotLeader(response.mutable_error());
      co_return response;
    }
    const int64_t now_ms = NowMillis();
    const std::optional<Timestamp> slot = oracle_.Next(now_ms, env_.Now());
    MaybeRenew(now_ms);
    if (slot) {
      // Only now: had the lease been looked at first, a pause in between could let a successor
      // issue higher slots before this one (PL2).
      if (!LeaseHolds() && !MUTANT("tso-lease-not-checked")) {
        PROBE("placement: slot without lease");
        // A quorum that still follows this leader after the slot was taken means the same.
        const Status confirmed =
            co_await WithDeadline(env_, scope_, group_->ReadBarrier(), deadline);
        if (!confirmed.ok() || leading_ != term) {
          if (confirmed.code() == Code::kDeadlineExceeded) {
            StatusToError(confirmed, response.mutable_error());
          } else {
            NotLeader(response.mutable_error());
          }
          co_return response;
        }
      }
      slots_.Add();
      response.set_slot(slot->bits());
      co_return response;
    }
    if (waiters_.size() >= limits::kShardWaitersMax) {
      StatusToError(Status(Code::kOverloaded, "too many requests wait for a timestamp"),
                    response.mutable_error());
      response.mutable_error()->set_retry_after_ms(100);
      co_return response;
    }
    if (!co_await WaitForChange(deadline)) {
      StatusToError(DeadlineExceeded("no timestamp by the deadline: the ceiling was not raised"),
                    response.mutable_error());
      co_return response;
    }
  }
}

void Placement::MaybeRenew(int64_t now_ms) {
  if (renewing_ || !oracle_.WantCeiling(now_ms, env_.Now())) return;
  renewing_ = true;
  scope_.Spawn(RenewCeiling(leading_));
}

Task<void> Placement::RenewCeiling(raft::Term term) {
  while (leading_ == term) {
    const std::optional<Timestamp> ceiling = oracle_.WantCeiling(NowMillis(), env_.Now());
    if (!ceiling) break;
    if (MUTANT("tso-ceiling-before-logged")) oracle_.RaiseCeiling(*ceiling);
    const Frontend::Applied applied = co_await frontend_.RaiseCeiling(term, *ceiling);
    if (applied.ok()) break;
    co_await Sleep(env_.executor, kRetryStart);
  }
  if (leading_ == term) renewing_ = false;
  Wake();
}

void Placement::Wake() {
  for (const Promise<bool>& waiter : std::exchange(waiters_, {})) waiter.Set(true);
}

Task<bool> Placement::WaitForChange(Instant deadline) {
  const Duration left = deadline - env_.Now();
  if (left <= Duration(0)) co_return false;
  Promise<bool> woken(env_.executor);
  waiters_.push_back(woken);
  const TimerGuard timer(env_.executor, left, [woken] { woken.Set(false); });
  co_return co_await woken.future();
}

// ---- nodes and the map --------------------------------------------------------------------------

Task<v1::RegisterNodeResponse> Placement::RegisterNode(v1::RegisterNodeRequest request,
                                                       Instant deadline) {
  v1::RegisterNodeResponse response;
  response.set_cluster_id(machine_.cluster_id());
  if (!leading_) {
    NotLeader(response.mutable_error());
    co_return response;
  }
  if (!request.cluster_id().empty() && request.cluster_id() != machine_.cluster_id()) {
    StatusToError(
        Status(Code::kWrongCluster, fmt::format("this is cluster {}", machine_.cluster_id())),
        response.mutable_error());
    co_return response;
  }
  if (!machine_.nodes().Knows(request.node().storage_id()) &&
      machine_.nodes().nodes().size() + registering_ >= limits::kNodesMax) {
    PROBE("placement: no more nodes");
    StatusToError(
        Status(Code::kFailedPrecondition,
               fmt::format("the cluster has {} nodes, as many as it can", limits::kNodesMax)),
        response.mutable_error());
    co_return response;
  }
  if (Status admitted = Admit(request.node(), response.mutable_remembered()); !admitted.ok()) {
    StatusToError(admitted, response.mutable_error());
    co_return response;
  }
  response.clear_remembered();
  const Frontend::Applied applied = co_await WithDeadline(
      env_, scope_, PutNode(std::move(*request.mutable_node()), Count(&registering_)), deadline);
  const Status& status = applied.status();
  if (status.ok()) {
    response.set_node_id(applied->node_id());
  } else if (status.code() == Code::kNotLeader) {
    NotLeader(response.mutable_error());
  } else {
    StatusToError(status, response.mutable_error());
  }
  co_return response;
}

// Counted until it is applied or never will be, which may be later than its caller's deadline.
Task<Frontend::Applied> Placement::PutNode(v1::NodeInfo node, Counted /*counted*/) {
  co_return co_await frontend_.PutNode(std::move(node));
}

// Two processes may say that they are one node. The one that is known goes on for as long as it is
// heard of, unless the other one is where it was and so has taken its place.
Status Placement::Admit(const v1::NodeInfo& node, v1::RememberedNode* remembered) const {
  const NodeId id(node.node_id());
  if (node.feature_level() < machine_.root().cluster_version()) {
    PROBE("placement: a node is too old");
    return Status(
        Code::kFailedPrecondition,
        fmt::format("node {} runs version '{}', of feature level {}, and the cluster's "
                    "version is {}: start it with a newer version",
                    id, node.version(), node.feature_level(), machine_.root().cluster_version()));
  }
  const v1::NodeInfo* known = machine_.nodes().Find(id);
  const bool told_apart = machine_.Allows(Feature::kIncarnations);
  if (known == nullptr || !told_apart || MUTANT("incarnation-not-checked")) return Status::Ok();
  const Duration silent = env_.Now() - heartbeats_.LastHeard(id);
  *remembered->mutable_incarnation() = known->incarnation();
  remembered->set_address(known->address());
  remembered->set_heard_ms(static_cast<uint32_t>(std::min<int64_t>(ToMillis(silent), 1 << 30)));
  if (!machine_.nodes().Follows(node)) {
    PROBE("placement: a start does not follow");
    return Status(Code::kWrongNode,
                  fmt::format("node {} was started since from a newer state of its data directory, "
                              "at '{}': this is a copy, or was put back",
                              id, known->address()));
  }
  const bool another = node.incarnation().number() != known->incarnation().number() &&
                       node.incarnation().number() != 0 && known->incarnation().number() != 0;
  if (another && node.address() != known->address() && silent < Heartbeats::kSilentAfter) {
    PROBE("placement: a node may be at two addresses");
    return Status(Code::kWrongNode,
                  fmt::format("node {} was heard at '{}' {:.1f} s ago: it is "
                              "taken for moved when it is silent there",
                              id, known->address(), static_cast<double>(ToMillis(silent)) / 1000));
  }
  return Status::Ok();
}

v1::HeartbeatResponse Placement::Heartbeat(v1::HeartbeatRequest request) {
  v1::HeartbeatResponse response;
  const v1::NodeInfo& node = request.node();
  if (!leading_) {
    NotLeader(response.mutable_error());
    return response;
  }
  const v1::NodeInfo* known = machine_.nodes().Find(NodeId(node.node_id()));
  if (known == nullptr && machine_.WasRemoved(NodeId(node.node_id()))) {
    StatusToError(Status(Code::kWrongNode,
                         fmt::format("node {} was removed from the cluster: to use this machine "
                                     "again, start it with an empty data directory",
                                     node.node_id())),
                  response.mutable_error());
    return response;
  }
  // A leader that was just elected may not have applied all that its predecessor has.
  if (known == nullptr) {
    StatusToError(NotFound(fmt::format("node {} is not registered here", node.node_id())),
                  response.mutable_error());
    return response;
  }
  if (known->storage_id() != node.storage_id()) {
    StatusToError(
        Status(Code::kWrongNode,
               fmt::format("node {} is not registered with this data directory", node.node_id())),
        response.mutable_error());
    return response;
  }
  if (Status admitted = Admit(node, response.mutable_remembered()); !admitted.ok()) {
    StatusToError(admitted, response.mutable_error());
    return response;
  }
  response.clear_remembered();
  DropUnfounded(&request, &response);
  if (!heartbeats_.Continues(request, leading_.value())) {
    PROBE("placement: a heartbeat goes on from what is not known");
    response.set_report_all(true);
    request.clear_led_shards();
    request.clear_left_shards();
  }
  const auto changed = heartbeats_.Record(request, machine_.map(), leading_.value(), env_.Now());
  for (const std::string& from : changed) feed_.PieceChanged(from);
  MaybeTrustWall();
  const NodeId id(node.node_id());
  if (machine_.nodes().Differs(node) && recording_.insert(id).second) {
    scope_.Spawn(RecordNode(node));
  }
  RecordNewer(request, &response);
  if (machine_.CommonFeatureLevel() > machine_.root().cluster_version() && !raising_version_) {
    raising_version_ = true;
    scope_.Spawn(RaiseClusterVersion());
  }
  director_.OnHeartbeat(request, &response);
  *response.mutable_map() = MapSince(request.known_map());
  *response.mutable_map_position() = feed_.position();
  return response;
}

Placement::Members Placement::Judge(const v1::ShardDescriptor& shard, NodeId sender) const {
  std::set<uint64_t> named;
  size_t voters = 0;
  bool known = true;
  for (const v1::Replica& replica : shard.replicas()) {
    const NodeId id(replica.node_id());
    if (!id || !named.insert(replica.node_id()).second) return Members::kCannotBe;
    known &= machine_.nodes().Find(id) != nullptr || machine_.WasRemoved(id);
    voters += replica.role() == v1::VOTER ? 1 : 0;
  }
  if (voters == 0 || !named.contains(sender.value())) return Members::kCannotBe;
  return known ? Members::kKnown : Members::kNotAllKnown;
}

void Placement::DropUnfounded(v1::HeartbeatRequest* request, v1::HeartbeatResponse* response) {
  const NodeId sender(request->node().node_id());
  const auto drop = [&](const v1::ShardDescriptor& shard, bool founded) {
    if (founded) return false;
    PROBE("placement: a report names members that cannot be");
    unfounded_.Add();
    response->add_tell_again(shard.shard_id());
    return true;
  };
  auto& reports = *request->mutable_led_shards();
  const auto kept = std::remove_if(reports.begin(), reports.end(), [&](const auto& report) {
    return drop(report.shard(), Judge(report.shard(), sender) != Members::kCannotBe);
  });
  reports.erase(kept, reports.end());
  auto& children = *request->mutable_begun_shards();
  const auto begun = std::remove_if(children.begin(), children.end(), [&](const auto& child) {
    return drop(child, Judge(child, sender) == Members::kKnown);
  });
  children.erase(begun, children.end());
}

bool Placement::MayEnterMap(const v1::ShardDescriptor& shard, NodeId sender) {
  const bool known = Judge(shard, sender) == Members::kKnown;
  const bool plausible = known && machine_.map().Plausible(shard, machine_.next_shard_id(),
                                                           machine_.Allows(Feature::kMerges));
  const v1::ShardDescriptor* piece = machine_.map().Find(shard.from());
  const bool in_map = piece != nullptr && piece->shard_id() == shard.shard_id();
  if (!known && in_map && strangers_.insert(ShardId(shard.shard_id())).second) {
    PROBE("placement: a shard has a member that is not known");
    env_.log.Warn(
        "placement: shard {}, led by node {}, has a member that is not registered here: the map "
        "keeps those that it knows of until that one is, or is replaced",
        shard.shard_id(), sender);
  }
  return plausible;
}

void Placement::MaybeTrustWall() {
  const int64_t wall_ms = env_.clock.WallMillis();
  // The only voter waits for no second opinion from nodes that are gone: it would issue slots of
  // the time of its last stop for ever, and names of today would be refused as of the future.
  const bool nobody_to_ask =
      machine_.root().placement_nodes().size() == 1 && heartbeats_.Alone(self_, env_.Now());
  if ((!wall_trusted_ || guard_.refused() > 0) &&
      (nobody_to_ask || heartbeats_.ConfirmsWall(self_, wall_ms, env_.Now()))) {
    guard_.Adopt(wall_ms, env_.Now());
    wall_trusted_ = true;
  }
}

void Placement::RecordNewer(const v1::HeartbeatRequest& request, v1::HeartbeatResponse* response) {
  std::vector<v1::ShardDescriptor> newer;
  const NodeId sender(request.node().node_id());
  for (const v1::ShardReport& report : request.led_shards()) {
    if (!machine_.map().Newer(report.shard())) continue;
    response->add_tell_again(report.shard().shard_id());
    if (MayEnterMap(report.shard(), sender)) newer.push_back(report.shard());
  }
  for (const v1::ShardDescriptor& begun : request.begun_shards()) {
    if (!machine_.map().Newer(begun) || MUTANT("split-child-unknown-without-leader")) continue;
    response->add_tell_again(begun.shard_id());
    if (MayEnterMap(begun, sender)) {
      PROBE("placement: the child of a split is known before it has a leader");
      newer.push_back(begun);
    }
  }
  // A change makes at most two pieces more. What the map cannot hold goes on without it: requests
  // find its leader by asking.
  const bool fits = machine_.map().pieces().size() + 2 * newer.size() <= kShardPiecesMax;
  if (!newer.empty() && fits && !recording_shards_) {
    recording_shards_ = true;
    scope_.Spawn(RecordShards(std::move(newer)));
  }
}

// ---- what operators ask -------------------------------------------------------------------------

Task<v1::PlacementResponse> Placement::Ask(v1::PlacementRequest request, Instant deadline) {
  v1::PlacementResponse response;
  if (!leading_ || group_ == nullptr || !group_->leader_ready()) {
    NotLeader(response.mutable_error());
    co_return response;
  }
  // What a leader that was deposed says may be of the past.
  Status status = co_await WithDeadline(env_, scope_, group_->ReadBarrier(), deadline);
  if (status.ok()) status = co_await Carry(request, &response);
  if (status.code() == Code::kNotLeader) {
    NotLeader(response.mutable_error());
  } else if (!status.ok()) {
    StatusToError(status, response.mutable_error());
  }
  co_return response;
}

Task<Status> Placement::Carry(const v1::PlacementRequest& request,
                              v1::PlacementResponse* response) {
  switch (request.ask_case()) {
    case v1::PlacementRequest::kDrainNode: {
      const NodeId node(request.drain_node().node_id());
      const bool draining = request.drain_node().draining();
      if (draining) CO_RETURN_IF_ERROR(director_.CheckDrainOf(node));
      const v1::NodeInfo* known = machine_.nodes().Find(node);
      if (!draining && known != nullptr && !known->draining()) {
        response->add_lines(
            fmt::format("node {} was not being drained: nothing is to be taken back", node));
        co_return Status::Ok();
      }
      if (request.drain_node().dry_run()) co_return Status::Ok();
      co_return (co_await frontend_.SetDraining(node, draining)).status();
    }
    case v1::PlacementRequest::kRemoveNode: {
      const NodeId node(request.remove_node().node_id());
      CO_RETURN_IF_ERROR(director_.CheckRemovalOf(node, request.remove_node().lost()));
      if (request.remove_node().dry_run()) co_return machine_.CheckRemoval(node);
      co_return (co_await frontend_.RemoveNode(node)).status();
    }
    case v1::PlacementRequest::kMoveReplica:
      co_return director_.Move(request.move_replica(), response);
    case v1::PlacementRequest::kTransferLeadership:
      co_return director_.Transfer(request.transfer_leadership(), response);
    case v1::PlacementRequest::kSplitShard:
      co_return director_.Split(request.split_shard(), response);
    case v1::PlacementRequest::kMergeShards:
      co_return director_.Merge(request.merge_shards(), response);
    case v1::PlacementRequest::kChangeSetting: {
      const v1::ChangeSetting& change = request.change_setting();
      CO_RETURN_IF_ERROR(director_.CheckSetting(change.name(), change.value(), response));
      if (change.dry_run()) co_return Status::Ok();
      co_return (co_await frontend_.PutSetting(change.name(), change.value())).status();
    }
    case v1::PlacementRequest::kCheckSetting:
      co_return director_.CheckSetting(request.check_setting().name(),
                                       request.check_setting().value(), response);
    case v1::PlacementRequest::kListSettings:
      director_.ListSettings(response);
      co_return Status::Ok();
    case v1::PlacementRequest::kSetRule: {
      const v1::SetRule& set = request.set_rule();
      CO_RETURN_IF_ERROR(director_.CheckSetRule(set.rule(), response));
      if (set.dry_run()) co_return Status::Ok();
      co_return (co_await frontend_.PutRule(set.rule())).status();
    }
    case v1::PlacementRequest::kUnsetRule: {
      const v1::UnsetRule& unset = request.unset_rule();
      CO_RETURN_IF_ERROR(director_.CheckUnsetRule(unset.from(), response));
      if (unset.dry_run()) co_return Status::Ok();
      co_return (co_await frontend_.DeleteRule(unset.from())).status();
    }
    case v1::PlacementRequest::kListRules:
      director_.ListRules(response);
      co_return Status::Ok();
    case v1::PlacementRequest::kListOperators:
      director_.ListOperators(response);
      co_return Status::Ok();
    case v1::PlacementRequest::kExplain:
      co_return director_.Explain(request.explain(), response);
    case v1::PlacementRequest::kCancelOperator:
      co_return director_.Cancel(OperatorId(request.cancel_operator().operator_id()));
    case v1::PlacementRequest::kGetCatalog:
      FillCatalog(machine_.catalog(), request.get_catalog(), response);
      co_return Status::Ok();
    case v1::PlacementRequest::kChangeTables: {
      const v1::ChangeTables& ask = request.change_tables();
      if (!machine_.Allows(Feature::kTables)) {
        co_return Status(Code::kFailedPrecondition,
                         "not every node's version knows tables: upgrade those that do not "
                         "(quorate nodes), and repeat this");
      }
      CO_RETURN_IF_ERROR(machine_.catalog().Check(ask.change()));
      if (ask.dry_run()) co_return Status::Ok();
      co_return (co_await frontend_.ChangeCatalog(ask.change())).status();
    }
    case v1::PlacementRequest::ASK_NOT_SET:
      break;
  }
  co_return InvalidArgument("a question that this version does not know");
}

Task<void> Placement::RecordNode(v1::NodeInfo node) {
  const NodeId id(node.node_id());
  const Frontend::Applied applied = co_await frontend_.PutNode(std::move(node));
  if (!applied.ok() && applied.status().code() != Code::kNotLeader) {
    env_.log.Warn("placement: node {}: {}", id, applied.status().ToString());
  }
  recording_.erase(id);
}

Task<void> Placement::RaiseClusterVersion() {
  const uint32_t version = machine_.CommonFeatureLevel();
  const Frontend::Applied applied = co_await frontend_.RaiseClusterVersion(version);
  raising_version_ = false;
  if (applied.ok()) {
    env_.log.Info("placement: the cluster version is {}: every member understands it", version);
  }
}

Task<void> Placement::RecordShards(std::vector<v1::ShardDescriptor> shards) {
  const Frontend::Applied applied = co_await frontend_.PutShards(std::move(shards));
  if (!applied.ok() && applied.status().code() != Code::kNotLeader) {
    env_.log.Warn("placement: shard reports: {}", applied.status().ToString());
  }
  recording_shards_ = false;
}

void Placement::FillRoute(const v1::ShardDescriptor& piece, v1::RoutesResponse* map) const {
  v1::ShardRouteInfo* route = map->add_routes();
  *route->mutable_shard() = piece;
  if (!leading_) return;
  route->set_leader_node_id(heartbeats_.LeaderOf(ShardId(piece.shard_id())).value());
}

void Placement::FillNodes(v1::RoutesResponse* map) const {
  const Instant now = env_.Now();
  for (const auto& [id, info] : machine_.nodes().nodes()) {
    v1::NodeInfo* node = map->add_nodes();
    *node = info;
    if (leading_) node->set_state(heartbeats_.StateOf(id, now));
  }
}

void Placement::FillGroup(v1::RoutesResponse* map) const {
  map->set_cluster_id(machine_.cluster_id());
  for (const uint64_t id : machine_.root().placement_nodes()) map->add_placement_nodes(id);
  for (const uint64_t id : machine_.root().placement_learners()) map->add_placement_learners(id);
  map->set_placement_members_index(machine_.root().placement_members_index());
  map->set_placement_leader(leader().value());
  map->set_cluster_version(machine_.root().cluster_version());
}

v1::RoutesResponse Placement::Map() const {
  v1::RoutesResponse map;
  FillGroup(&map);
  FillNodes(&map);
  for (const auto& [from, piece] : machine_.map().pieces()) FillRoute(piece, &map);
  return map;
}

v1::RoutesResponse Placement::MapSince(const v1::MapPosition& known) {
  v1::RoutesResponse nodes;
  FillNodes(&nodes);
  feed_.SetNodes(Canonical(nodes));
  if (!feed_.Continues(known)) return Map();
  v1::RoutesResponse map;
  if (feed_.NodesChangedSince(known)) map = std::move(nodes);
  FillGroup(&map);
  feed_.PiecesSince(known, [&](const std::string& from) {
    const auto piece = machine_.map().pieces().find(from);
    if (piece != machine_.map().pieces().end()) FillRoute(piece->second, &map);
  });
  return map;
}

NodeId Placement::leader() const {
  return group_ == nullptr ? NodeId() : group_->soft_state().leader;
}

void Placement::NotLeader(v1::Error* error) const {
  StatusToError(Status(Code::kNotLeader, "this node does not lead the placement group"), error);
  const NodeId hint = leader();
  if (!hint || hint == self_) return;
  error->mutable_leader()->set_node_id(hint.value());
  const v1::NodeInfo* node = machine_.nodes().Find(hint);
  if (node != nullptr) error->mutable_leader()->set_address(node->address());
}

}  // namespace quorate::placement
