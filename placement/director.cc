#include "placement/director.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/bytes.h"
#include "base/mutant.h"
#include "base/plural.h"
#include "base/status_macros.h"
#include "placement/orders.h"
#include "placement/schedule/rule_check.h"
#include "placement/schedule/safety.h"
#include "placement/schedule/schedulers.h"
#include "txn/errors.h"
#include "txn/key_span.h"

namespace quorate::placement {

namespace {

constexpr ShardId kSelf = kPlacementShard;
constexpr size_t kRefreshMax = 5'000;  // shards, between two rounds
constexpr size_t kWhyBytesMax = 512;
constexpr size_t kSpareIdsMax = 16;

void Fill(const Operator& op, v1::OperatorInfo* out) {
  out->set_operator_id(op.id.value());
  out->set_kind(std::string(KindName(op)));
  out->set_shard_id(op.shard.value());
  out->set_from_node_id(op.from.value());
  out->set_to_node_id(op.to.value());
  out->set_what(ToString(op));
  out->set_why(op.explanation.why);
  out->set_steps(static_cast<uint32_t>(op.steps.size()));
}

}  // namespace

Director::Director(Env& env, const StateMachine& machine, const Heartbeats& heartbeats)
    : env_(env), machine_(machine), heartbeats_(heartbeats) {}

void Director::BeginTerm(raft::Term term) {
  view_ = ClusterView();
  table_ = OperatorTable();
  table_.Clear(term.value());
  table_.SetListener([this](const Operator& op, std::string_view event) {
    env_.log.Info("placement: {}: {}", ToString(op), event);
  });
  disks_.clear();
  children_.clear();
  split_at_.clear();
  begun_.clear();
  spare_ids_.clear();
  wanted_ids_ = 0;
  rules_.Clear();
  settings_old_ = map_old_ = true;
  FollowSettings();
  SeedShards();
}

void Director::SeedShards() {
  for (const auto& [from, piece] : machine_.map().pieces()) Seed(piece);
}

void Director::Seed(const v1::ShardDescriptor& piece) {
  v1::ShardReport report;
  *report.mutable_shard() = piece;
  for (const v1::Replica& replica : piece.replicas()) {
    if (replica.role() != v1::LEARNER) report.add_caught_up(replica.node_id());
  }
  view_.Put(Seen(report));
}

// Whether the map has the child already, and whether its parent's report of this term comes before
// or after this one: the parent's members stay.
void Director::OnBegun(const v1::ShardDescriptor& child) {
  const ShardId id(child.shard_id());
  const v1::ShardDescriptor* known = machine_.map().Find(child.from());
  if (known == nullptr || heartbeats_.LeaderOf(id)) return;
  const bool in_map = known->shard_id() == child.shard_id();
  const bool soon =
      machine_.map().Newer(child) &&
      machine_.map().Plausible(child, machine_.next_shard_id(), machine_.Allows(Feature::kMerges));
  if (!in_map && !soon) return;
  begun_.insert(id);
  const v1::ShardDescriptor* parent = known;
  if (in_map) {
    // Nobody may think that there is nothing on its nodes.
    if (view_.Find(id) == nullptr) Seed(*known);
    const auto& pieces = machine_.map().pieces();
    const auto at = pieces.lower_bound(child.from());
    if (at == pieces.begin()) return;
    parent = &std::prev(at)->second;
  }
  split_at_[ShardId(parent->shard_id())].insert(child.from());
}

bool Director::IsUnmarked(ShardId shard) const {
  return shard.value() < machine_.root().unmarked_shards_below();
}

ShardView Director::Seen(const v1::ShardReport& report) const {
  ShardView view = ViewOf(report);
  view.by_hand |= IsUnmarked(view.id);
  const auto& pieces = machine_.map().pieces();
  if (auto it = pieces.lower_bound(report.shard().from()); it != pieces.begin()) {
    view.left = ShardId(std::prev(it)->second.shard_id());
  }
  const ShardView* known = view_.Find(view.id);
  const bool same = known != nullptr && known->epoch.version == view.epoch.version;
  view.since = same ? known->since : env_.Now();
  NameRule(report.shard(), &view);
  return view;
}

void Director::FollowMap() {
  if (!std::exchange(map_old_, false)) return;
  std::set<ShardId> there;
  ShardId left;
  for (const auto& [from, piece] : machine_.map().pieces()) {
    const ShardId id(piece.shard_id());
    const ShardView* shard = there.insert(id).second ? view_.Find(id) : nullptr;
    if (shard != nullptr && (shard->left != left || (IsUnmarked(id) && !shard->by_hand))) {
      ShardView moved = *shard;
      moved.left = left;
      moved.by_hand |= IsUnmarked(id);
      view_.Put(std::move(moved));
    }
    left = id;
  }
  std::vector<ShardId> gone;
  for (const auto& [id, shard] : view_.shards()) {
    if (id != kSelf && !there.contains(id)) gone.push_back(id);
  }
  for (const ShardId id : gone) view_.Remove(id);
}

void Director::FollowSettings() {
  if (!std::exchange(settings_old_, false)) return;
  settings_ = Settings();
  for (const v1::PutSetting& setting : machine_.root().settings()) {
    // One of a later version, or out of a range that was wider once, is as if it were not set.
    const Status set = settings_.Set(setting.name(), setting.value());
    if (!set.ok()) env_.log.Warn("placement: a setting is left out: {}", set.message());
  }
  settings_.merges_open = machine_.Allows(Feature::kMerges);
  view_.SetReplicationFactor(settings_.replication_factor);
  FollowRules();
}

void Director::NameRule(const v1::ShardDescriptor& range, ShardView* shard) const {
  shard->rule = rules_.NumberOf(range.from());
  shard->border = rules_.BorderIn(range.from(), range.to());
}

void Director::FollowRules() {
  if (rules_ == machine_.rules()) return;
  rules_ = machine_.rules();
  std::vector<Rule> rules;
  for (const auto& [from, rule] : rules_.rules()) rules.push_back(rule);
  view_.SetRules(std::move(rules));
  std::set<ShardId> seen;
  for (const auto& [from, piece] : machine_.map().pieces()) {
    const ShardId id(piece.shard_id());
    const ShardView* known = seen.insert(id).second ? view_.Find(id) : nullptr;
    if (known == nullptr) continue;
    ShardView shard = *known;
    NameRule(piece, &shard);
    view_.Put(std::move(shard));
  }
}

void Director::FollowNodes() {
  const Instant now = env_.Now();
  for (const auto& [id, info] : machine_.nodes().nodes()) {
    NodeView node;
    node.id = id;
    node.locality = {info.locality().begin(), info.locality().end()};
    switch (heartbeats_.StateOf(id, now)) {
      case v1::NODE_UP:
        node.liveness = Liveness::kUp;
        break;
      case v1::NODE_DOWN:
        node.liveness = Liveness::kDown;
        break;
      default:
        node.liveness = Liveness::kNone;
    }
    node.down_since = heartbeats_.LastHeard(id);
    const ClusterView::Node* before = view_.Find(id);
    node.incarnation = info.incarnation().number();
    const bool was_up = before != nullptr && before->view.liveness == Liveness::kUp &&
                        before->view.incarnation == node.incarnation;
    node.up_since = was_up ? before->view.up_since : now;
    node.draining = info.draining();
    if (const auto disk = disks_.find(id); disk != disks_.end()) {
      node.free_bytes = disk->second.free;
      node.total_bytes = disk->second.total;
      node.low_space = disk->second.low;
    }
    view_.Put(std::move(node));
  }
  std::vector<NodeId> gone;
  for (const auto& [id, node] : view_.nodes()) {
    if (machine_.nodes().Find(id) == nullptr) gone.push_back(id);
  }
  for (const NodeId id : gone) view_.Remove(id);
}

// Who was its leader says so no more: nothing is begun for it, and nothing concluded from what was
// said before, until another says that it leads.
void Director::ForgetUnreported(const v1::HeartbeatRequest& request) {
  const NodeId id(request.node().node_id());
  for (const uint64_t left : request.left_shards()) ForgetLeader(ShardId(left), id);
  const ClusterView::Node* node = view_.Find(id);
  if (node == nullptr || request.base() != 0) return;
  std::set<ShardId> silent(node->led.begin(), node->led.end());
  for (const v1::ShardReport& report : request.led_shards()) {
    silent.erase(ShardId(report.shard().shard_id()));
  }
  for (const ShardId shard : silent) ForgetLeader(shard, id);
}

void Director::ForgetLeader(ShardId id, NodeId leader) {
  const ShardView* known = view_.Find(id);
  // The placement group is reported by its own leader alone.
  if (id == kSelf || known == nullptr || known->leader != leader) return;
  ShardView shard = *known;
  shard.leader = NodeId();
  for (Replica& voter : shard.voters) voter.caught_up = false;
  view_.Put(std::move(shard));
}

void Director::OnHeartbeat(const v1::HeartbeatRequest& request, v1::HeartbeatResponse* response) {
  FollowSettings();
  if (!response->report_all()) ForgetUnreported(request);
  const Instant now = env_.Now();
  disks_[NodeId(request.node().node_id())] = {request.disk_free_bytes(), request.disk_total_bytes(),
                                              request.low_space()};
  for (const v1::OrderRefusal& refusal : request.refusals()) {
    table_.OrderRefused(OperatorId(refusal.operator_id()), refusal.why().substr(0, kWhyBytesMax),
                        now);
  }
  // Nothing is ordered for a range that the map does not have yet: of a shard that is divided
  // before the map has heard that it grew, the map would not believe the child.
  std::set<ShardId> ahead;
  for (const v1::ShardDescriptor& child : request.begun_shards()) OnBegun(child);
  std::erase_if(begun_, [this](ShardId shard) { return bool{heartbeats_.LeaderOf(shard)}; });
  for (const v1::ShardReport& report : request.led_shards()) {
    // Of shards that the map does not have (yet) nothing is kept: whoever reports them would decide
    // their number.
    const v1::ShardDescriptor* known = machine_.map().Find(report.shard().from());
    if (known == nullptr || known->shard_id() != report.shard().shard_id()) continue;
    // A leader that was deposed may not know it yet.
    const ShardId shard(report.shard().shard_id());
    if (heartbeats_.LeaderOf(shard) != NodeId(request.node().node_id())) continue;
    if (known->version() < report.shard().version() && known->to() != report.shard().to()) {
      ahead.insert(shard);
    }
    if (!view_.Put(Seen(report))) continue;
    const std::string& at = report.shard().to();
    if (!WhyMembersStay(shard, at).empty()) split_at_[shard].insert(at);
  }
  ForgetLedChildren();
  // Of all that it leads, reported now or before.
  std::vector<ShardId> under_way;
  for (const auto& [shard, status] : table_.under_way()) under_way.push_back(shard);
  for (const ShardId shard : under_way) {
    const ShardView* known = view_.Find(shard);
    const bool leads = known != nullptr && known->leader == NodeId(request.node().node_id());
    if (leads && shard != kSelf && !ahead.contains(shard)) AddOrder(shard, now, response);
  }
}

void Director::AddOrder(ShardId shard, Instant now, v1::HeartbeatResponse* response) {
  auto order = OrderFor(shard, now);
  if (!order) return;
  const auto split = split_at_.find(shard);
  if (split != split_at_.end() && !order->has_transfer_leader()) {
    return table_.OrderHeld(shard, WhyMembersStay(shard, *split->second.begin()));
  }
  *response->add_orders() = *std::move(order);
}

std::optional<v1::ShardOrder> Director::OrderFor(ShardId shard, Instant now) {
  const auto order = table_.Next(view_, settings_, shard, now);
  // Nobody is told what not everybody understands.
  const bool merge = order && std::holds_alternative<MergeShards>(order->step);
  if (merge && !machine_.Allows(Feature::kMerges)) return std::nullopt;
  if (!order || !std::holds_alternative<SplitShard>(order->step)) {
    children_.erase(shard);
    return order ? std::optional(ToProto(*order)) : std::nullopt;
  }
  auto& [operator_id, child] = children_[shard];
  if (operator_id != order->id) child = {};
  operator_id = order->id;
  if (!child && !spare_ids_.empty()) {
    child = spare_ids_.back();
    spare_ids_.pop_back();
  }
  if (!child) {
    wanted_ids_ = std::min(wanted_ids_ + 1, kSpareIdsMax);
    return std::nullopt;
  }
  v1::ShardOrder out = ToProto(*order, child);
  if (!machine_.Allows(Feature::kMerges)) out.mutable_split()->clear_by_hand();
  return out;
}

// Who elects the child's leader has a state of it, or gets one of that leader. Until then a member
// that goes, or gets the parent's state as a snapshot, may be one of those that the child's first
// majority needs, or have all that is left of its keys.
std::string Director::WhyMembersStay(ShardId shard, const std::string& at) const {
  if (at.empty() || MUTANT("split-members-change-before-child")) return "";
  const v1::ShardDescriptor* right = machine_.map().Find(at);
  if (right == nullptr) return "";
  if (right->shard_id() == shard.value()) {
    return "the child of its split to be in the map: its members stay until that has a leader";
  }
  if (!begun_.contains(ShardId(right->shard_id()))) return "";
  return fmt::format("shard {}, its child, to have a leader: its members stay until then",
                     right->shard_id());
}

void Director::ForgetLedChildren() {
  for (auto& [shard, ends] : split_at_) {
    std::erase_if(ends, [&](const std::string& at) { return WhyMembersStay(shard, at).empty(); });
  }
  std::erase_if(split_at_, [](const auto& split) { return split.second.empty(); });
}

void Director::GiveShardId(ShardId id) {
  if (wanted_ids_ > 0) --wanted_ids_;
  spare_ids_.push_back(id);
}

ShardView Director::PlacementView(raft::GroupHandle& group, NodeId self) const {
  const raft::Configuration now = group.configuration();
  ShardView view;
  view.id = kSelf;
  view.epoch = {1, machine_.root().placement_members_index()};
  view.leader = self;
  view.joint = now.joint();
  view.leader_stays = true;
  std::map<NodeId, bool> caught_up = {{self, true}};
  for (const raft::ProgressView& peer : group.progress()) {
    caught_up[peer.id] = group.CaughtUp(peer);
  }
  for (const NodeId id : now.voters) view.voters.push_back({id, caught_up[id]});
  for (const NodeId id : now.learners) view.learners.push_back({id, caught_up[id]});
  view.replication_factor = PlacementMembers(now.voters.size(), NodeId());
  return view;
}

uint32_t Director::PlacementMembers(size_t now, NodeId without) const {
  size_t nodes = 0, with_lost = 0;
  for (const auto& [id, node] : view_.nodes()) {
    if (id == without || node.view.draining) continue;
    ++with_lost;
    nodes += Lost(view_, id, settings_.down_after, env_.Now()) ? 0 : 1;
  }
  if (nodes >= 3) return nodes >= 5 ? 5 : 3;
  // Nor does one go that is drained, as long as there are others: first the cluster gets smaller.
  if (now >= 3 && view_.nodes().size() > 3) return 3;
  // Of three one that is lost stays, if nobody can take its place: without it the next loss would
  // end the group for good, although the lost one may be back.
  return static_cast<uint32_t>(std::min({now, with_lost, size_t{3}}));
}

bool Director::Round(raft::GroupHandle& group, NodeId self) {
  FollowSettings();
  FollowMap();
  FollowNodes();
  const Instant now = env_.Now();
  view_.Put(PlacementView(group, self));
  view_.Refresh(kRefreshMax);
  const RoundReport report = RunRound(&view_, settings_, now, &table_);
  if (const auto order = table_.Next(view_, settings_, kSelf, now)) {
    const Status carried =
        CarryOut(group, machine_.root().placement_members_index(), ToProto(*order));
    if (!carried.ok()) table_.OrderRefused(order->id, carried.message(), now);
  }
  return report.more;
}

// As the next round will see it: a node that was just drained counts no more.
void Director::FollowPlacementMembers() {
  const ShardView* known = view_.Find(kSelf);
  if (known == nullptr) return;
  const uint32_t members = PlacementMembers(known->voters.size(), NodeId());
  if (known->replication_factor == members) return;
  ShardView placement = *known;
  placement.replication_factor = members;
  view_.Put(std::move(placement));
}

// ---- what operators ask -------------------------------------------------------------------------

Situation Director::Now() {
  FollowSettings();
  FollowMap();
  FollowNodes();
  FollowPlacementMembers();
  view_.Refresh(kRefreshMax);
  return {view_, settings_, env_.Now(), table_.effects(), ShardId()};
}

Status Director::CheckHeardOfAll() const {
  if (view_.AllHeardOf()) return Status::Ok();
  return Unavailable("placement's new leader has not heard of all nodes yet");
}

Status Director::CheckDrainOf(NodeId node) {
  (void)Now();
  RETURN_IF_ERROR(CheckHeardOfAll());
  if (view_.Find(node) == nullptr) return NotFound(fmt::format("there is no node {}", node));
  // The placement group wants fewer members once the node does not count.
  std::optional<ShardView> placement;
  if (const ShardView* known = view_.Find(kSelf)) {
    placement = *known;
    ShardView without = *known;
    without.replication_factor = PlacementMembers(without.voters.size(), node);
    view_.Put(std::move(without));
  }
  const Refusal refusal = CheckDrain(view_, node);
  if (placement) view_.Put(*std::move(placement));
  return refusal ? Status(Code::kFailedPrecondition, *refusal) : Status::Ok();
}

Status Director::CheckRemovalOf(NodeId node, bool lost) {
  (void)Now();
  RETURN_IF_ERROR(CheckHeardOfAll());
  if (view_.Find(node) == nullptr) return NotFound(fmt::format("there is no node {}", node));
  const ClusterView::Node& known = *view_.Find(node);
  if (lost && known.view.liveness == Liveness::kUp && !known.shards.empty()) {
    return Status(
        Code::kFailedPrecondition,
        fmt::format("node {} was heard of {:.1f} s ago and holds {}: drain it; if it was stopped, "
                    "repeat this once it counts as down, after {} s of silence",
                    node,
                    static_cast<double>(ToMillis(env_.Now() - heartbeats_.LastHeard(node))) / 1000,
                    Plural(known.shards.size(), "replica"), Heartbeats::kDownAfter / 1s));
  }
  if (const Refusal refusal = CheckRemoveNode(view_, node, lost)) {
    return Status(Code::kFailedPrecondition, *refusal);
  }
  for (const auto& [id, shard] : view_.shards()) {
    if (shard.leader) continue;
    return Unavailable(fmt::format(
        "{} has not told placement's new leader yet where its replicas are", NameOf(id)));
  }
  return Status::Ok();
}

Status Director::CheckSetting(const std::string& name, const std::string& value,
                              v1::PlacementResponse* response) {
  FollowSettings();
  Settings changed = settings_;
  RETURN_IF_ERROR(changed.Set(name, value));
  if (changed.replication_factor == settings_.replication_factor) return Status::Ok();
  // It moves replicas at once, as a rule for all keys that are under none does.
  if (changed.replication_factor % 2 == 0) {
    return InvalidArgument(fmt::format("{}: {} is none of 1, 3, 5, 7", name, value));
  }
  RETURN_IF_ERROR(CheckHeardOfAll());
  (void)Now();
  Rule rule;
  rule.replicas = changed.replication_factor;
  std::vector<ShardId> shards;
  for (const auto& [id, shard] : view_.shards()) {
    const Rule* now = view_.RuleOf(shard);
    if (id != kSelf && (now == nullptr || now->replicas == 0)) shards.push_back(id);
  }
  std::vector<std::string> lines;
  ASSIGN_OR_RETURN(lines, ProveRule(view_, settings_, env_.Now(), rule, shards));
  for (std::string& line : lines) response->add_lines(std::move(line));
  return Status::Ok();
}

Status Director::Begin(Result<Operator> planned, bool dry_run, v1::PlacementResponse* response) {
  if (!planned.ok()) return planned.status();
  if (!dry_run) {
    ASSIGN_OR_RETURN(planned->id, table_.Admit(view_, settings_, *planned, env_.Now()));
    response->set_operator_id(planned->id.value());
  }
  response->add_lines(ToString(*planned));
  for (const Step& step : planned->steps) response->add_lines("  " + placement::ToString(step));
  return Status::Ok();
}

Status Director::CheckFree(ShardId shard) const {
  const Operator* under_way = table_.FindUnderWay(shard);
  if (under_way == nullptr) return Status::Ok();
  return Status(Code::kFailedPrecondition,
                fmt::format("{} has an operator under way: {}; `quorate explain operator {}` tells "
                            "how far it is",
                            NameOf(shard), ToString(*under_way), under_way->id));
}

Status Director::Move(const v1::MoveReplica& ask, v1::PlacementResponse* response) {
  const Situation situation = Now();
  RETURN_IF_ERROR(CheckHeardOfAll());
  RETURN_IF_ERROR(CheckFree(ShardId(ask.shard_id())));
  return Begin(PlanMove(situation, ShardId(ask.shard_id()), NodeId(ask.from_node_id()),
                        NodeId(ask.to_node_id())),
               ask.dry_run(), response);
}

Status Director::Transfer(const v1::TransferLeadership& ask, v1::PlacementResponse* response) {
  const Situation situation = Now();
  RETURN_IF_ERROR(CheckHeardOfAll());
  RETURN_IF_ERROR(CheckFree(ShardId(ask.shard_id())));
  return Begin(PlanTransfer(situation, ShardId(ask.shard_id()), NodeId(ask.to_node_id())),
               ask.dry_run(), response);
}

Status Director::Split(const v1::SplitShard& ask, v1::PlacementResponse* response) {
  const ShardId shard(ask.shard_id());
  if (shard == kSelf) return InvalidArgument("the placement group is not split");
  const Situation situation = Now();
  RETURN_IF_ERROR(CheckFree(shard));
  if (!ask.at().empty()) {
    RETURN_IF_ERROR(CheckKey(ask.at()));
    const v1::ShardDescriptor* piece = machine_.map().Find(ask.at());
    const bool inside = piece != nullptr && piece->shard_id() == ask.shard_id();
    if (situation.view.Find(shard) != nullptr && (!inside || piece->from() == ask.at())) {
      return InvalidArgument(fmt::format(
          "key '{}' is not inside shard {}: it {} shard {}", Printable(ask.at()), shard,
          inside ? "is the first one of" : "belongs to", piece == nullptr ? 0 : piece->shard_id()));
    }
  }
  return Begin(PlanSplit(situation, shard, ask.at()), ask.dry_run(), response);
}

Status Director::Merge(const v1::MergeShards& ask, v1::PlacementResponse* response) {
  const ShardId shard(ask.shard_id()), with(ask.with_shard_id());
  if (shard == kSelf || with == kSelf) {
    return InvalidArgument("the placement group is not merged");
  }
  if (!machine_.Allows(Feature::kMerges)) {
    return Status(
        Code::kFailedPrecondition,
        "a node of the cluster runs a version that does not know merges: upgrade it first");
  }
  const Situation situation = Now();
  RETURN_IF_ERROR(CheckHeardOfAll());
  RETURN_IF_ERROR(CheckFree(shard));
  RETURN_IF_ERROR(CheckFree(with));
  return Begin(PlanMerge(situation, shard, with), ask.dry_run(), response);
}

Status Director::Cancel(OperatorId id) {
  return table_.Cancel(id, "somebody cancelled it", env_.Now());
}

Status Director::Explain(const v1::Explain& ask, v1::PlacementResponse* response) {
  (void)Now();
  const Instant now = env_.Now();
  const auto lines = ask.operator_id() != 0
                         ? table_.Explain(OperatorId(ask.operator_id()), now)
                         : table_.Explain(view_, settings_, ShardId(ask.shard_id()), now);
  if (!lines.ok()) return lines.status();
  for (const std::string& line : *lines) response->add_lines(line);
  return Status::Ok();
}

void Director::ListSettings(v1::PlacementResponse* response) {
  FollowSettings();
  for (const SettingInfo& info : Describe(settings_)) {
    v1::SettingStatus* out = response->add_settings();
    out->set_name(info.name);
    out->set_value(info.value);
    out->set_default_value(info.default_value);
    out->set_range(info.range);
    out->set_help(info.help);
  }
}

void Director::ListOperators(v1::PlacementResponse* response) {
  const Situation situation = Now();
  for (const auto& [shard, status] : table_.under_way()) {
    if (static_cast<size_t>(response->operators_size()) >= kListedMax) break;
    v1::OperatorInfo* out = response->add_operators();
    Fill(status.op, out);
    out->set_steps_done(static_cast<uint32_t>(status.step));
    out->set_waits_for(status.waits_for);
    out->set_age_ms(static_cast<uint64_t>((situation.now - status.began) / 1ms));
  }
  for (auto it = table_.ended().rbegin(); it != table_.ended().rend(); ++it) {
    if (static_cast<size_t>(response->operators_size()) >= kListedMax) break;
    v1::OperatorInfo* out = response->add_operators();
    Fill(it->op, out);
    out->set_ended(it->outcome == Outcome::kDone ? "done" : it->reason);
    out->set_age_ms(static_cast<uint64_t>((situation.now - it->ended) / 1ms));
  }
  for (const Wanted& wanted : table_.wanted()) {
    response->add_wanted(fmt::format("{}: {}", NameOf(wanted.shard), wanted.why_not));
  }
  for (const auto& [id, node] : view_.nodes()) {
    if (!node.view.draining) continue;
    const DrainState state = DrainStateOf(situation, id);
    v1::DrainStatus* out = response->add_drains();
    out->set_node_id(id.value());
    out->set_replicas(state.replicas);
    out->set_leaders(state.leaders);
    out->set_under_way(state.under_way);
    out->set_standing_still(state.standing_still);
  }
}

}  // namespace quorate::placement
