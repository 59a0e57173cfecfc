#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "base/mutant.h"
#include "base/plural.h"
#include "placement/schedule/board.h"
#include "placement/schedule/safety.h"
#include "placement/schedule/schedulers.h"

namespace quorate::placement {

namespace {

constexpr size_t kTriesMax = 256;       // pairs of nodes, in one round
constexpr size_t kSampleMax = 32;       // shards looked at closely, for one pair
constexpr size_t kPassedOverMax = 256;  // and passed over
constexpr double kBytesMin = 64 << 20;  // what is less apart is let be
constexpr uint32_t kHopelessAfter = 2;  // tries between two kinds of nodes

enum class By : uint8_t { kNumber, kBytes };

class ReplicaBalancer {
 public:
  explicit ReplicaBalancer(const Situation& situation)
      : board_(situation), reached_(situation.after) {}

  void Even(By by);
  Proposals Take() { return board_.Take(reached_, tries_ == 0); }

 private:
  using Place = Board::Place;
  using Ranked = std::set<std::pair<double, NodeId>>;

  double Value(const Place& place, By by) const {
    return by == By::kNumber ? place.replicas() : place.bytes();
  }
  // How far apart two nodes may be.
  double Tolerance(By by) const {
    const double part = board_.settings().balance_tolerance_percent / 100.0;
    if (by == By::kNumber) return 2 * part * board_.mean().replicas;
    return std::max(4 * part * board_.mean().bytes, kBytesMin);
  }
  bool Movable(const ShardView& shard, const Place& from, const Place& to) const;
  bool Evens(const ShardView& shard, const Place& from, const Place& to, By by) const;
  bool Move(NodeId from, NodeId to, By by);
  // From whichever node has most to `to`.
  bool Fill(NodeId to, By by, Ranked* sources);
  void NameKinds();
  size_t KindOf(const Place& place) const { return kinds_[&place - board_.places().data()]; }

  Board board_;
  ShardId reached_;
  size_t tries_ = kTriesMax;
  // Nodes of one rack where the same rules let replicas be, and have them rather, are of one kind:
  // what cannot be moved from one of them cannot be moved from the other either, most likely.
  std::vector<size_t> kinds_;                             // by place
  std::map<std::pair<size_t, size_t>, uint32_t> failed_;  // tries, between two kinds
};

bool ReplicaBalancer::Movable(const ShardView& shard, const Place& from, const Place& to) const {
  // Small wherever it is, and what it has under way is forgotten when its leader changes.
  if (shard.id == kPlacementShard) return false;
  if (board_.under_way().Has(shard.id) || shard.joint || !shard.learners.empty()) return false;
  if (!shard.Voter(from.id) || shard.Has(to.id) || !shard.leader) return false;
  if (shard.voters.size() != board_.view().ReplicationFactorOf(shard)) return false;
  if (LiveVoters(board_.view(), shard) != shard.voters.size()) return false;
  const Place* leader = board_.Find(shard.leader);
  if (leader == nullptr ||
      leader->under_way.sending >= static_cast<int32_t>(board_.settings().snapshots_per_node)) {
    return false;
  }
  if (!board_.CanTake(to, shard) || board_.SharesHost(to, shard, from.id)) return false;
  return board_.view().StandingOf(shard, from.id, to.id) <= board_.view().StandingOf(shard) ||
         MUTANT("schedule-balance-ignores-spread");
}

// Neither may end on the other side of the other: so the sum of squares falls with every move, and
// moves end. By bytes, moreover, the numbers stay where moves by number would leave them.
bool ReplicaBalancer::Evens(const ShardView& shard, const Place& from, const Place& to,
                            By by) const {
  if (MUTANT("schedule-balance-inverts")) return true;
  if (by == By::kNumber) {
    return from.replicas() - 1 / from.weight >= to.replicas() + 1 / to.weight;
  }
  const double bytes = static_cast<double>(shard.bytes);
  if (bytes <= 0 || from.bytes() - bytes / from.weight < to.bytes() + bytes / to.weight)
    return false;
  const double mean = board_.mean().replicas;
  const double slack = std::max(0.999, Tolerance(By::kNumber) / 2);
  return from.replicas() - 1 / from.weight >= mean - slack &&
         to.replicas() + 1 / to.weight <= mean + slack;
}

bool ReplicaBalancer::Move(NodeId from_id, NodeId to_id, By by) {
  const Place& from = *board_.Find(from_id);
  const Place& to = *board_.Find(to_id);
  const bool large_first = from.bytes() > to.bytes();
  const ShardView* best = nullptr;
  const auto rank = [&](const ShardView& shard) {
    const auto bytes = static_cast<int64_t>(shard.bytes);
    return std::pair(shard.leader == from_id, large_first ? -bytes : bytes);
  };
  const auto& shards = from.node->shards;
  auto it = shards.upper_bound(reached_);
  size_t sampled = 0;
  for (size_t left = std::min(shards.size(), kPassedOverMax); left > 0 && sampled < kSampleMax;
       --left, ++it) {
    if (it == shards.end()) it = shards.begin();
    const ShardView& shard = *board_.view().Find(*it);
    if (board_.under_way().Has(shard.id)) continue;
    ++sampled;
    if (!Movable(shard, from, to) || !Evens(shard, from, to, by)) continue;
    if (best == nullptr || rank(shard) < rank(*best)) best = &shard;
  }
  if (best == nullptr) {
    if (it != shards.end()) reached_ = *it;
    return false;
  }
  Operator op = board_.Replace(OperatorKind::kBalanceReplicas, *best, from_id, to_id);
  op.explanation.candidates.push_back({to_id, board_.LoadOf(to), "chosen"});
  op.explanation.why =
      by == By::kNumber
          ? fmt::format(
                "node {} holds {}, node {} holds {}, with those on their way; a disk of average "
                "size "
                "holds {:.1f}",
                from_id, Plural(from.node->load.replicas + from.under_way.load.replicas, "replica"),
                to_id, to.node->load.replicas + to.under_way.load.replicas, board_.mean().replicas)
          : fmt::format("node {} holds {} MiB, node {} holds {} MiB, with those on their way",
                        from_id, (from.node->load.bytes + from.under_way.load.bytes) >> 20, to_id,
                        (to.node->load.bytes + to.under_way.load.bytes) >> 20);
  if (board_.under_way().OverLimit(board_.view(), board_.settings(), *best, op)) return false;
  reached_ = best->id;
  return board_.Propose(*best, std::move(op));
}

bool ReplicaBalancer::Fill(NodeId to_id, By by, Ranked* sources) {
  for (auto it = sources->rbegin(); it != sources->rend() && tries_ > 0; ++it) {
    const Place& from = *board_.Find(it->second);
    const Place& to = *board_.Find(to_id);
    if (it->first - Value(to, by) <= Tolerance(by)) return false;
    if (from.id == to_id) continue;
    uint32_t& failed = failed_[{KindOf(from), KindOf(to)}];
    if (failed >= kHopelessAfter) continue;
    --tries_;
    const auto entry = *it;
    if (!Move(from.id, to_id, by)) {
      ++failed;
      continue;
    }
    failed = 0;
    sources->erase(entry);
    const Place& after = *board_.Find(entry.second);
    if (after.under_way.operators < static_cast<int32_t>(board_.settings().operators_per_node)) {
      sources->emplace(Value(after, by), entry.second);
    }
    return true;
  }
  return false;
}

void ReplicaBalancer::NameKinds() {
  if (!kinds_.empty()) return;
  std::map<std::pair<uint32_t, std::vector<uint8_t>>, size_t> numbers;
  for (const Place& place : board_.places()) {
    std::vector<uint8_t> fits = place.node->fits;
    for (uint8_t& each : fits) each &= kRequired | kPreferred;
    const size_t next = numbers.size();
    const auto [it, is_new] = numbers.emplace(std::pair(place.node->domains.rack, fits), next);
    kinds_.push_back(it->second);
  }
}

void ReplicaBalancer::Even(By by) {
  double least = std::numeric_limits<double>::max(), most = 0;
  for (const Place& place : board_.places()) {
    if (!place.stays()) continue;
    most = std::max(most, Value(place, by));
    if (place.node->usable()) least = std::min(least, Value(place, by));
  }
  if (most - least <= Tolerance(by)) return;
  Ranked sources, targets;
  failed_.clear();
  NameKinds();
  for (const Place& place : board_.places()) {
    if (!place.stays()) continue;
    const bool at_limit =
        place.under_way.operators >= static_cast<int32_t>(board_.settings().operators_per_node);
    if (!at_limit) sources.emplace(Value(place, by), place.id);
    if (place.node->usable() && !board_.Busy(place)) targets.emplace(Value(place, by), place.id);
  }
  while (!targets.empty() && !sources.empty() && tries_ > 0 && !board_.full()) {
    const auto [value, id] = *targets.begin();
    if (sources.rbegin()->first - value <= Tolerance(by)) return;
    targets.erase(targets.begin());
    const double before = Value(*board_.Find(id), by);
    if (!Fill(id, by, &sources)) continue;
    const Place& place = *board_.Find(id);
    if (sources.erase({before, id}) != 0) sources.emplace(Value(place, by), id);
    if (!board_.Busy(place)) targets.emplace(Value(place, by), id);
  }
}

}  // namespace

Proposals BalanceReplicas(const Situation& situation) {
  ReplicaBalancer balancer(situation);
  balancer.Even(By::kNumber);
  balancer.Even(By::kBytes);
  return balancer.Take();
}

}  // namespace quorate::placement
