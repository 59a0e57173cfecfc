#include "server/node/member.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/status_macros.h"
#include "client/route/answer.h"
#include "placement/heartbeats.h"
#include "placement/orders.h"
#include "quorate/v1/shard.pb.h"
#include "shard/closed.h"
#include "txn/errors.h"

namespace quorate::server {

namespace {

constexpr Duration kHeartbeatInterval = 1s;
constexpr Duration kHeartbeatTimeout = 3s;
// An election takes this long; what lasts longer is worth a line, and another one after a while.
constexpr Duration kPlacementPatience = 3s;
constexpr Duration kSayAgain = 60s;
// Leaders move in groups: at most one line in this time, with a few of them by name.
constexpr Duration kLeadersInterval = 5s;
constexpr size_t kLeadersNamed = 8;
constexpr size_t kWhyBytesMax = 256;
constexpr Duration kSplitTimeout = 10s;
constexpr Duration kAskToCloseTimeout = 2s;

// The bound of names is the node's: its shards count together.
Member::Options Counted(Member::Options options) {
  options.shard.names.on_node = std::make_shared<size_t>(0);
  return options;
}

std::vector<std::string> Seeds(const Member::Options& options) {
  std::vector<std::string> seeds = {options.self.address()};
  seeds.insert(seeds.end(), options.join.begin(), options.join.end());
  return seeds;
}

raft::Host::Options ForNode(raft::Host::Options options, NodeId self) {
  options.self = self;
  return options;
}

}  // namespace

Member::Member(Deps deps, Options options)
    : deps_(deps),
      options_(Counted(std::move(options))),
      self_(options_.self.node_id()),
      routes_(Seeds(options_)),
      caller_(deps.env, deps.channel, routes_),
      slots_(deps.env, caller_),
      parts_logged_(deps.env, limits::kPartsLoggedBytesMax),
      incarnations_({deps.env, deps.channel, deps.view, deps.incarnations},
                    {options_.cluster_id, options_.self, options_.on_stale}),
      peers_({deps.env, deps.files, deps.channel, deps.view},
             {options_.data_dir, options_.cluster_id, options_.self, options_.join,
              [this] { LearnNodes(); },
              [this](NodeId node, std::string address) {
                return incarnations_.Verify(node, std::move(address));
              }}),
      host_(deps.env, ForNode(options_.raft, self_), deps.wal, deps.store, deps.transport),
      replicas_(deps.env, deps.store, host_, deps.view, self_),
      coordinator_(std::make_unique<coordinator::Coordinator>(coordinator::Coordinator::Deps{
          deps.env, caller_, slots_, replicas_, options_.part_bytes_max})),
      merges_({deps.env, deps.store, deps.channel, caller_, routes_, deps.view, replicas_}),
      reports_(deps.env.random.Fork("server/reports").Next()),
      scope_(deps.env.executor) {
  deps_.transport.SetIdentity(options_.cluster_id, self_, deps_.incarnations.current());
  host_.SetListensTo([this](NodeId from, const storage::Incarnation& incarnation) {
    return incarnations_.Listens(from, incarnation);
  });
  replicas_.SetMakeShard([this](const v1::ShardDescriptor& descriptor, Replicas::Told told) {
    return MakeShard(descriptor, std::move(told));
  });
  // Placement hears of it with the next heartbeats; who asks this node need not wait for that.
  replicas_.OnSplit([this](const v1::ShardDescriptor& descriptor) {
    deps_.view.Update(descriptor);
    routes_.Update(descriptor);
  });
  deps_.view.SetLocalLeader([this](GroupId group) { return LocalLeader(group); });
}

Member::~Member() { deps_.view.SetLocalLeader(nullptr); }

// ---- replicas -----------------------------------------------------------------------------------

Status Member::StartReplicas(const v1::BootstrapRequest* bootstrap) {
  if (bootstrap != nullptr) {
    if (bootstrap->cluster_id() != options_.cluster_id) {
      return Internal("the bootstrap message is another cluster's");
    }
    deps_.view.Seed(*bootstrap);
    routes_.Update(deps_.view.Routes(Span::All()));
  }
  if (!reported_) peers_.Load();
  LearnNodes();
  return replicas_.Start(bootstrap);
}

std::unique_ptr<shard::Shard> Member::MakeShard(const v1::ShardDescriptor& descriptor,
                                                Replicas::Told told) {
  const GroupId group(descriptor.shard_id());
  return std::make_unique<shard::Shard>(
      shard::Shard::Deps{
          deps_.env, deps_.store, slots_, coordinator_->pusher(), coordinator_->observer(),
          [this, group](raft::Growth growth) {
            const raft::GroupHandle* handle = FindGroup(group);
            return handle == nullptr ? Status::Ok() : handle->CheckRoom(growth);
          },
          std::move(told.on_descriptor), &parts_logged_, std::move(told.on_split),
          std::move(told.may_begin), std::move(told.make_room), std::move(told.on_absorb),
          [this, shard = ShardId(descriptor.shard_id())](Duration max_age) {
            scope_.Spawn(AskToClose(shard, max_age));
          }},
      options_.shard, descriptor);
}

// A read of nothing: the leader sees that somebody reads who may be told what is so old. Of a time
// that nobody but the leader can tell of, unless it has just closed: whoever led before would
// answer, too, and be asked again.
Task<void> Member::AskToClose(ShardId shard, Duration max_age) {
  const shard::Shard* replica = Find(shard);
  if (replica == nullptr) co_return;
  const Timestamp not_before = shard::ToClose(slots_.newest(), options_.shard.close_lag);
  client::Caller::Fill fill = [max_age, not_before](const client::Route& route) {
    v1::NodeRequest request;
    client::SetRoute(route, request.mutable_read()->mutable_route());
    request.mutable_read()->mutable_stale()->set_max_age_ms(
        static_cast<uint32_t>(ToMillis(max_age)));
    request.mutable_read()->mutable_stale()->set_not_before(not_before.bits());
    return request;
  };
  std::string key = replica->span().from;
  const Instant deadline = deps_.env.Now() + kAskToCloseTimeout;
  (void)co_await caller_.CallShard(std::move(key), std::move(fill), deadline);
}

NodeId Member::LocalLeader(GroupId group) const {
  const raft::GroupHandle* handle = FindGroup(group);
  return handle == nullptr ? NodeId() : handle->soft_state().leader;
}

bool Member::ready() const { return reported_ && !doubted_ && host_.leaderless() == 0; }

// ---- heartbeats to placement --------------------------------------------------------------------

void Member::Start() {
  host_.Start();
  incarnations_.Start();
  peers_.Start();
  scope_.Spawn(ReportLoop());
}

// To those who send: the transport, and the routes of this node's own client.
void Member::LearnNodes() {
  v1::RoutesResponse addresses;
  for (const auto& [id, node] : deps_.view.nodes()) {
    *addresses.add_nodes() = node;
    std::string& told = addresses_[id];
    if (told == node.address()) continue;
    told = node.address();
    if (id != self_) deps_.transport.SetAddress(id, told);
  }
  routes_.Update(addresses);
}

Task<void> Member::ReportLoop() {
  while (true) {
    // One that hangs on an election does not keep the next from finding the new leader.
    if (!reporting_) scope_.Spawn(Report());
    LookAtActive();
    merges_.Resume();
    LogLeaders();
    const bool soon = !reported_ || ordered_;
    co_await Sleep(deps_.env.executor, soon ? kHeartbeatInterval / 4 : kHeartbeatInterval);
  }
}

std::optional<v1::ShardReport> Member::ReportOf(ShardId id) const {
  const auto it = shards().find(id);
  if (it == shards().end() || !it->second->serving()) return std::nullopt;
  const shard::Shard& shard = *it->second;
  v1::ShardReport report;
  *report.mutable_shard() = shard.descriptor();
  report.set_leader_node_id(self_.value());
  report.set_term(shard.serving_term().value());
  report.add_caught_up(self_.value());
  report.set_bytes(shard.bytes());
  const shard::Shard::Load load = shard.load();
  report.set_requests_per_second(load.requests_per_second);
  if (load.middle) report.set_load_middle(*load.middle);
  report.set_busiest_key_percent(load.busiest_percent);
  const raft::GroupHandle* group = FindGroup(GroupId(id.value()));
  if (group == nullptr) return report;
  for (const raft::ProgressView& peer : group->progress()) {
    if (group->CaughtUp(peer)) report.add_caught_up(peer.id.value());
  }
  return report;
}

// What is done every second is done with those in which something happened: it does not cost more
// with more shards.
void Member::LookAtActive() {
  std::set<GroupId> active = host_.TakeActive();
  for (const GroupId group : active) merges_.Look(ShardId(group.value()));
  unlogged_.insert(active.begin(), active.end());
  unreported_.merge(active);
}

v1::HeartbeatRequest Member::MakeHeartbeat() {
  v1::HeartbeatRequest heartbeat;
  *heartbeat.mutable_node() = options_.self;
  *heartbeat.mutable_node()->mutable_descends_from() = incarnations_.descends_from();
  heartbeat.set_wall_ms(static_cast<uint64_t>(deps_.env.clock.WallMillis()));
  heartbeat.set_disk_free_bytes(deps_.low_space.free_bytes());
  heartbeat.set_disk_total_bytes(deps_.low_space.total_bytes());
  heartbeat.set_low_space(deps_.low_space.low());
  *heartbeat.mutable_known_map() = map_position_;
  LookAtActive();
  const std::set<GroupId> active = std::exchange(unreported_, {});
  for (const GroupId group : active) {
    const shard::Shard* shard = Find(ShardId(group.value()));
    if (shard != nullptr && shard->descriptor().version() > 0) {
      deps_.view.Update(shard->descriptor());
    }
  }
  reports_.Fill(
      active, shards().size(), [this](ShardId id) { return ReportOf(id); },
      [this](ShardId after) {
        const auto it = shards().upper_bound(after);
        return it == shards().end() ? ShardId() : it->first;
      },
      &heartbeat);
  begun_told_.clear();
  for (v1::ShardDescriptor& begun : replicas_.Begun(limits::kBegunShardsMax)) {
    begun_told_.insert(begun.shard_id());
    *heartbeat.add_begun_shards() = std::move(begun);
  }
  for (v1::OrderRefusal& refusal : std::exchange(refusals_, {})) {
    *heartbeat.add_refusals() = std::move(refusal);
  }
  return heartbeat;
}

void Member::CarryOut(const v1::HeartbeatResponse& response) {
  ordered_ = !response.orders().empty();
  for (const v1::ShardOrder& order : response.orders()) {
    if (Status done = CarryOut(order); !done.ok()) Refuse(order.operator_id(), done);
  }
}

Status Member::CarryOut(const v1::ShardOrder& order) {
  const ShardId id(order.shard_id());
  shard::Shard* shard = Find(id);
  raft::GroupHandle* group = FindGroup(GroupId(id.value()));
  // It serves nobody meanwhile: the order was written before the freeze was known.
  if (order.has_merge() && merges_.Busy(id)) return Status::Ok();
  if (shard == nullptr || group == nullptr || !shard->serving()) {
    return Status(Code::kNotLeader, "it is not led from here any more");
  }
  const v1::ShardDescriptor& descriptor = shard->descriptor();
  if (descriptor.version() != order.version()) {
    return Status(Code::kFailedPrecondition, "the shard has another range by now");
  }
  if (order.has_merge()) {
    // Placement may have asked again before it heard that it was refused.
    const bool refused =
        std::any_of(refusals_.begin(), refusals_.end(), [&order](const v1::OrderRefusal& refusal) {
          return refusal.operator_id() == order.operator_id();
        });
    if (!refused && !splitting_.contains(id) && !merges_.Busy(id)) scope_.Spawn(Merge(order));
    return Status::Ok();
  }
  if (merges_.Busy(id) && !order.has_transfer_leader()) {
    return Status(Code::kFailedPrecondition, "the shard is being merged");
  }
  if (order.has_split()) {
    if (splitting_.insert(id).second) scope_.Spawn(Split(order));
    return Status::Ok();
  }
  if (splitting_.contains(id) && !order.has_transfer_leader()) {
    // The child's members are those before the change, and some may go before they have it.
    return Status(Code::kFailedPrecondition, "the shard is being split");
  }
  return placement::CarryOut(*group, descriptor.membership_version(), order);
}

void Member::Refuse(uint64_t operator_id, const Status& why) {
  v1::OrderRefusal& refusal = refusals_.emplace_back();
  refusal.set_operator_id(operator_id);
  refusal.set_why(why.message().substr(0, kWhyBytesMax));
}

// Asked for again with each heartbeat until it is done; once at a time.
Task<void> Member::Split(v1::ShardOrder order) {
  const ShardId id(order.shard_id());
  shard::Shard* shard = Find(id);
  Status done = Status(Code::kNotLeader, "it is not led from here any more");
  if (shard != nullptr) {
    done = co_await shard->Split(order.split().at(), ShardId(order.split().child_shard_id()),
                                 deps_.env.Now() + kSplitTimeout, order.split().by_hand());
  }
  splitting_.erase(id);
  if (!done.ok()) {
    deps_.env.log.Info("node: shard {} is not split: {}", id, done.ToString());
    Refuse(order.operator_id(), done);
  }
}

Task<void> Member::Merge(v1::ShardOrder order) {
  const ShardId id(order.shard_id());
  const Status done = co_await merges_.Merge(id, ShardId(order.merge().into_shard_id()));
  if (!done.ok()) {
    deps_.env.log.Info("node: shard {} is not merged: {}", id, done.ToString());
    Refuse(order.operator_id(), done);
  }
}

Task<void> Member::Report() {
  reporting_ = true;
  v1::NodeRequest request;
  *request.mutable_heartbeat() = MakeHeartbeat();
  const Result<v1::NodeResponse> result =
      co_await caller_.CallPlacement(std::move(request), deps_.env.Now() + kHeartbeatTimeout);
  reporting_ = false;
  const Status status = result.ok() ? StatusFromError(client::ErrorOf(*result)) : result.status();
  LogPlacement(status);
  if (result.ok()) LearnStanding(status, result->heartbeat());
  if (!status.ok()) {
    reports_.Lost();
    co_return;
  }
  const v1::RoutesResponse& map = result->heartbeat().map();
  if (map.cluster_id() != options_.cluster_id) co_return;
  reports_.Answered(result->heartbeat());
  for (const uint64_t again : result->heartbeat().tell_again()) begun_told_.erase(again);
  for (const uint64_t known : begun_told_) replicas_.BegunIsKnown(ShardId(known));
  if (!reported_) replicas_.OnFirstMap(map);
  map_position_ = result->heartbeat().map_position();
  deps_.view.Update(map);
  routes_.Update(map);
  LearnNodes();
  peers_.OnMap();
  incarnations_.OnMap();
  LogNodes(map);
  CarryOut(result->heartbeat());
  replicas_.FollowMap();
  if (host_.leaderless() > 0) CallForLeaders();
  reported_ = true;
  // Names are made and judged by the oracle's clock, also on a node that leads nothing and asks for
  // no slots otherwise.
  if (!slots_.NewestWithin(kHeartbeatInterval)) (void)co_await slots_.Fetch(kHeartbeatTimeout);
}

// A removal is for good; that another start of this node is remembered is between the two of them,
// and often over in a moment. Who gave no answer has not said anything else.
void Member::LearnStanding(const Status& status, const v1::HeartbeatResponse& heartbeat) {
  const bool wrong = status.code() == Code::kWrongNode;
  if (!wrong && !status.ok()) return;
  doubted_ = wrong;
  if (status.ok()) {
    excluded_.clear();
  } else if (!heartbeat.has_remembered()) {
    excluded_ = status.message();
  }
  if (wrong) incarnations_.Judge(heartbeat.remembered());
}

void Member::CallForLeaders() {
  std::set<NodeId> members;
  for (const auto& [group, handle] : groups()) {
    if (handle->quarantine().empty() || handle->soft_state().leader) continue;
    const v1::ShardDescriptor* shard = deps_.view.FindShard(ShardId(group.value()));
    if (shard == nullptr) continue;
    for (const v1::Replica& replica : shard->replicas()) members.insert(NodeId(replica.node_id()));
  }
  members.erase(self_);
  for (const NodeId node : members) host_.Call(node);
}

// ---- the log ------------------------------------------------------------------------------------

void Member::LogPlacement(const Status& heartbeat) {
  const Instant now = deps_.env.Now();
  if (heartbeat.ok()) {
    if (placement_logged_ != Instant::max()) {
      deps_.env.log.Info("node: placement answers again, after {} s", (now - placement_lost_) / 1s);
    }
    placement_lost_ = placement_logged_ = Instant::max();
    return;
  }
  if (placement_lost_ == Instant::max()) placement_lost_ = now;
  if (now - placement_lost_ < kPlacementPatience) return;
  if (placement_logged_ != Instant::max() && now - placement_logged_ < kSayAgain) return;
  placement_logged_ = now;
  deps_.env.log.Warn("node: placement has not answered for {} s: {}", (now - placement_lost_) / 1s,
                     heartbeat.ToString());
}

void Member::LogNodes(const v1::RoutesResponse& map) {
  for (const v1::NodeInfo& node : map.nodes()) {
    const NodeId id(node.node_id());
    if (id == self_ || node.state() == v1::NODE_STATE_NONE) continue;
    const auto [known, first] = node_states_.try_emplace(id, node.state());
    if (!first && known->second == node.state()) continue;
    known->second = node.state();
    if (node.state() == v1::NODE_DOWN) {
      deps_.env.log.Warn("node: node {} at '{}' is down: not heard of for {} s", id, node.address(),
                         placement::Heartbeats::kDownAfter / 1s);
    } else if (!first) {
      deps_.env.log.Info("node: node {} at '{}' is up again", id, node.address());
    }
  }
}

void Member::LogLeaders() {
  const Instant now = deps_.env.Now();
  if (leaders_logged_ != Instant() && now - leaders_logged_ < kLeadersInterval) return;
  std::string named;
  size_t changed = 0;
  for (const GroupId group : std::exchange(unlogged_, {})) {
    const raft::GroupHandle* handle = FindGroup(group);
    if (handle == nullptr) continue;
    const NodeId leader = handle->soft_state().leader;
    NodeId& known = leaders_[group];
    if (known == leader) continue;
    known = leader;
    if (++changed > kLeadersNamed) continue;
    named += group == placement::kPlacementGroup ? std::string(" placement")
                                                 : fmt::format(" shard {}", group);
    named += leader ? fmt::format(" by node {},", leader) : std::string(" by nobody,");
  }
  if (changed == 0) return;
  leaders_logged_ = now;
  named.pop_back();
  deps_.env.log.Info(
      "node: led now:{}{}", named,
      changed > kLeadersNamed ? fmt::format(" and {} more", changed - kLeadersNamed) : "");
}

}  // namespace quorate::server
