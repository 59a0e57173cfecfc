#include "cli/demo_rebalance.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/real_clock.h"
#include "base/status_macros.h"
#include "cli/ask_placement.h"
#include "cli/output.h"

namespace quorate::cli {
namespace {

constexpr uint64_t kPlacementGroup = 1;
constexpr size_t kReplicas = 3;
constexpr Duration kPhaseMax = 60s;
constexpr Duration kAskTimeout = 5s;
constexpr Duration kLookTimeout = 2s;
constexpr Duration kStopTimeout = 15s;
constexpr Duration kEqualWithin = 30s;
// As long as this nothing is under way, then it is taken to be over.
constexpr int kRestLooks = 3;
constexpr std::string_view kDownAfter = "10s";

std::set<uint64_t> Voters(const v1::ShardDescriptor& shard) {
  std::set<uint64_t> voters;
  for (const v1::Replica& replica : shard.replicas()) {
    if (replica.role() == v1::VOTER) voters.insert(replica.node_id());
  }
  return voters;
}

}  // namespace

Rebalance::Rebalance(Context& context, LocalCluster& cluster, Admin& admin, Bank& bank,
                     Duration quiet, const Interrupt& interrupt)
    : context_(context),
      cluster_(cluster),
      admin_(admin),
      bank_(bank),
      quiet_(quiet),
      interrupt_(interrupt),
      first_nodes_(cluster.size()),
      start_(RealClock::BootNow()),
      printed_(start_) {}

// ---- phases -------------------------------------------------------------------------------------

Status Rebalance::Run() {
  v1::PlacementRequest ask;
  ask.mutable_change_setting()->set_name("placement.down_after");
  ask.mutable_change_setting()->set_value(std::string(kDownAfter));
  RETURN_IF_ERROR(Ask(std::move(ask)));
  Look();
  for (const auto& [id, status] : view_.nodes) alive_.insert(id);
  Begin(fmt::format("{} nodes", first_nodes_));
  RETURN_IF_ERROR(Watch(quiet_));
  RETURN_IF_ERROR(Grow());
  RETURN_IF_ERROR(Drain());
  RETURN_IF_ERROR(Lose());
  Begin(fmt::format("nodes {}", fmt::join(alive_, ", ")));
  RETURN_IF_ERROR(Watch(quiet_));
  Close();
  return Status::Ok();
}

Status Rebalance::Grow() {
  Begin("two more nodes join");
  std::set<uint64_t> joined;
  for (int i = 0; i < 2; ++i) {
    int node = 0;
    ASSIGN_OR_RETURN(node, cluster_.AddNode(admin_));
    Event(fmt::format("started a node at {}", cluster_.address(node)));
  }
  return WaitFor([&, this] {
    for (int node = first_nodes_ + 1; node <= cluster_.size(); ++node) {
      const uint64_t id = IdOf(node);
      if (id == 0) return fmt::format("{} has not joined", cluster_.address(node));
      alive_.insert(id);
      joined.insert(id);
    }
    for (const uint64_t id : joined) {
      const bool holds = std::any_of(placed_.begin(), placed_.end(),
                                     [id](const auto& each) { return each.second.contains(id); });
      if (!holds) return fmt::format("node {} holds nothing", id);
    }
    return LacksRest();
  });
}

Status Rebalance::Drain() {
  const int node = Busiest();
  const uint64_t id = IdOf(node);
  Begin(fmt::format("node {} is drained, removed", id));
  alive_.erase(id);
  v1::PlacementRequest ask;
  ask.mutable_drain_node()->set_node_id(id);
  ask.mutable_drain_node()->set_draining(true);
  RETURN_IF_ERROR(Ask(std::move(ask)));
  Event(fmt::format("node {} is being drained; it leads {} shards", id, view_.led[id]));
  bool removed = false;
  RETURN_IF_ERROR(WaitFor([&, this] {
    if (removed) return LacksRest();
    v1::PlacementRequest remove;
    remove.mutable_remove_node()->set_node_id(id);
    // Refused for as long as it holds anything.
    if (const Status status = Ask(std::move(remove)); !status.ok()) return status.message();
    removed = true;
    Event(fmt::format("node {} holds nothing: removed and stopped", id));
    if (!cluster_.StopNode(node, kStopTimeout)) ++self_ended_;
    return std::string("node just removed");
  }));
  return Status::Ok();
}

Status Rebalance::Lose() {
  const int node = Busiest();
  const uint64_t id = IdOf(node);
  Begin(fmt::format("node {} is lost for good", id));
  alive_.erase(id);
  Event(fmt::format("kill -9 node {}, which leads {} shards; given up after {}", id, view_.led[id],
                    kDownAfter));
  cluster_.Kill(node);
  bool removed = false;
  return WaitFor([&, this] {
    if (removed) return LacksRest();
    if (std::string lacks = LacksWhole(); !lacks.empty()) return lacks;
    v1::PlacementRequest remove;
    remove.mutable_remove_node()->set_node_id(id);
    remove.mutable_remove_node()->set_lost(true);
    if (const Status status = Ask(std::move(remove)); !status.ok()) return status.message();
    removed = true;
    Event(fmt::format("node {} is replaced everywhere: removed", id));
    return std::string("node just removed");
  });
}

void Rebalance::Begin(std::string name) {
  Close();
  Phase& phase = phases_.emplace_back();
  phase.name = std::move(name);
  phase.begin = phases_.size() > 1 ? phases_[phases_.size() - 2].end : RealClock::BootNow();
  at_rest_ = 0;
}

void Rebalance::Close() {
  if (!phases_.empty()) phases_.back().end = RealClock::BootNow();
}

// ---- looking on ---------------------------------------------------------------------------------

Status Rebalance::Watch(Duration duration) {
  const Instant end = RealClock::BootNow() + duration;
  while (RealClock::BootNow() < end) RETURN_IF_ERROR(Second());
  return Status::Ok();
}

Status Rebalance::WaitFor(const Lacks& lacks) {
  const Instant end = RealClock::BootNow() + kPhaseMax;
  while (true) {
    RETURN_IF_ERROR(Second());
    const std::string missing = blind_.empty() ? lacks() : blind_;
    if (missing.empty()) return Status::Ok();
    if (RealClock::BootNow() < end) continue;
    return Status(
        Code::kFailedPrecondition,
        fmt::format("{}: not within {} s: {}", phases_.back().name, kPhaseMax / 1s, missing));
  }
}

Status Rebalance::Second() {
  const Instant until = RealClock::BootNow() + 1s;
  Look();
  if (const int dead = cluster_.FindDead()) {
    Event(fmt::format("the node at {} ENDED BY ITSELF, see {}", cluster_.address(dead),
                      cluster_.log_path(dead)));
    ++self_ended_;
  }
  if (interrupt_.SleepUntil(until)) return Cancelled("interrupted");
  const uint64_t commits = bank_.commits();
  const Instant now = RealClock::BootNow();
  if (!context_.json) {
    const auto since = std::max<int64_t>(ToMillis(now - printed_), 1);
    Say("{:>4} s {:>6} commits/s {:>6} totals checked, {} wrong {:>4} moves  {}\n",
        (now - start_) / 1s, 1000 * (commits - commits_) / static_cast<uint64_t>(since),
        bank_.totals_checked(), bank_.totals_wrong(), phases_.back().moves, event_);
    Out().Flush();
  }
  printed_ = now;
  commits_ = commits;
  event_.clear();
  return Status::Ok();
}

void Rebalance::Look() {
  auto view = ViewCluster(admin_, cluster_.running_addresses(), kLookTimeout);
  blind_ = view.status().message();
  if (!view.ok()) return;
  view_ = *std::move(view);
  std::map<uint64_t, std::set<uint64_t>> placed;
  for (const auto& route : view_.map.routes()) {
    placed[route.shard().shard_id()] = Voters(route.shard());
  }
  placed[kPlacementGroup] = {view_.map.placement_nodes().begin(),
                             view_.map.placement_nodes().end()};
  for (const auto& [group, voters] : placed) {
    const auto before = placed_.find(group);
    if (before == placed_.end() || phases_.empty()) continue;
    phases_.back().moves +=
        static_cast<int>(std::count_if(voters.begin(), voters.end(), [&](uint64_t node) {
          return !before->second.contains(node);
        }));
  }
  placed_ = std::move(placed);
  for (const auto& [id, status] : view_.nodes) {
    if (!status) continue;
    uint64_t& known = received_[id];
    const uint64_t now = status->snapshot_bytes_received();
    if (!phases_.empty() && now > known) phases_.back().bytes += now - known;
    known = now;
  }
}

Status Rebalance::Ask(v1::PlacementRequest ask, v1::PlacementResponse* response) {
  auto answer = AskPlacement(admin_, cluster_.running_addresses(), kAskTimeout, std::move(ask));
  if (answer.ok() && response != nullptr) *response = *std::move(answer);
  return answer.status();
}

uint64_t Rebalance::IdOf(int node) const {
  for (const v1::NodeInfo& info : view_.map.nodes()) {
    if (info.address() == cluster_.address(node)) return info.node_id();
  }
  return 0;
}

int Rebalance::Busiest() const {
  std::pair<int, int> best{-1, 0};  // what it leads, node
  for (int node = 1; node <= first_nodes_; ++node) {
    const auto led = view_.led.find(IdOf(node));
    if (!cluster_.running(node) || led == view_.led.end()) continue;
    best = std::max(best, std::pair(led->second, node));
  }
  return std::max(best.second, 1);
}

// ---- what is right ------------------------------------------------------------------------------

std::string Rebalance::LacksWhole() const {
  for (const auto& route : view_.map.routes()) {
    const v1::ShardDescriptor& shard = route.shard();
    const std::set<uint64_t> voters = Voters(shard);
    const bool on_alive = std::includes(alive_.begin(), alive_.end(), voters.begin(), voters.end());
    if (voters.size() == kReplicas && on_alive &&
        shard.replicas_size() == static_cast<int>(kReplicas)) {
      continue;
    }
    return fmt::format("shard {} has its replicas on nodes {}", shard.shard_id(),
                       fmt::join(ReplicaNodes(shard), ", "));
  }
  const auto& placement = view_.map.placement_nodes();
  const bool on_alive = std::all_of(placement.begin(), placement.end(),
                                    [this](uint64_t id) { return alive_.contains(id); });
  if (on_alive && static_cast<size_t>(placement.size()) >= kReplicas) return "";
  return fmt::format("the placement group is on nodes {}", fmt::join(placement, ", "));
}

// Everything is where it should be, and nothing has been under way for a while.
std::string Rebalance::LacksRest() {
  if (std::string lacks = LacksWhole(); !lacks.empty()) return lacks;
  v1::PlacementRequest ask;
  ask.mutable_list_operators();
  v1::PlacementResponse response;
  if (const Status status = Ask(std::move(ask), &response); !status.ok()) return status.message();
  for (const v1::OperatorInfo& op : response.operators()) {
    if (!op.ended().empty()) continue;
    at_rest_ = 0;
    return fmt::format("{} {}", op.what(), op.waits_for());
  }
  if (response.wanted_size() > 0) return response.wanted(0);
  if (++at_rest_ < kRestLooks) return "nothing is under way, for less than 3 s";
  return "";
}

std::string Rebalance::LacksEqual() const {
  if (view_.map.nodes_size() != static_cast<int>(alive_.size())) {
    return fmt::format("the map has {} nodes, {} are left", view_.map.nodes_size(), alive_.size());
  }
  std::map<uint64_t, std::set<uint64_t>> holders;
  std::map<uint64_t, std::set<uint64_t>> applied;
  for (const uint64_t id : alive_) {
    const auto node = view_.nodes.find(id);
    if (node == view_.nodes.end() || !node->second) {
      return fmt::format("node {} does not answer", id);
    }
    for (const v1::ReplicaStatus& replica : node->second->replicas()) {
      holders[replica.group_id()].insert(id);
      if (replica.role() != "leader" && replica.role() != "follower") {
        return fmt::format("node {} is a {} of group {}", id, replica.role(), replica.group_id());
      }
      if (replica.group_id() == kPlacementGroup) continue;  // its log goes on
      applied[replica.group_id()].insert(replica.applied_index());
    }
  }
  for (const auto& [group, voters] : placed_) {
    if (holders[group] == voters) continue;
    return fmt::format("group {} should be on nodes {}, and is on {}", group,
                       fmt::join(voters, ", "), fmt::join(holders[group], ", "));
  }
  if (holders.size() != placed_.size()) return "a node has a replica that the map does not have";
  for (const auto& [group, indexes] : applied) {
    if (indexes.size() == 1) continue;
    return fmt::format("replicas of shard {} have applied up to {}", group,
                       fmt::join(indexes, ", "));
  }
  return "";
}

Status Rebalance::CheckPlaces() {
  const Instant end = RealClock::BootNow() + kEqualWithin;
  while (true) {
    Look();
    std::string lacks = blind_.empty() ? LacksWhole() : blind_;
    if (lacks.empty()) lacks = LacksEqual();
    if (lacks.empty()) return Status::Ok();
    if (RealClock::BootNow() >= end) return Status(Code::kFailedPrecondition, lacks);
    if (interrupt_.SleepFor(250ms)) return Cancelled("interrupted");
  }
}

}  // namespace quorate::cli
