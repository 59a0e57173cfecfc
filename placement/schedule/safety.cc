#include "placement/schedule/safety.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/mutant.h"
#include "base/plural.h"

namespace quorate::placement {

namespace {

size_t Majority(size_t voters) { return voters / 2 + 1; }

bool IsUp(const ClusterView& view, NodeId id) {
  const ClusterView::Node* node = view.Find(id);
  return node != nullptr && node->view.liveness == Liveness::kUp;
}

// "node 3 is down".
Refusal NotUp(const ClusterView& view, NodeId id) {
  const ClusterView::Node* node = view.Find(id);
  if (node == nullptr) return fmt::format("node {} does not belong to the cluster", id);
  switch (node->view.liveness) {
    case Liveness::kUp:
      return std::nullopt;
    case Liveness::kDown:
      return fmt::format("node {} is down", id);
    case Liveness::kNone:
      return fmt::format("node {} was not heard of yet", id);
  }
  return std::nullopt;
}

// What a voter must be to count. One that is only up catches up by itself: enough for what begins
// later, step by step.
enum class Counts : uint8_t { kUp, kUpAndCaughtUp };

// Voters that count, of those that the shard will have.
Refusal NoQuorum(const ClusterView& view, const ShardView& shard, const Replicas& voters,
                 std::string_view when, Counts counts = Counts::kUpAndCaughtUp) {
  size_t live = 0;
  std::string absent;
  for (const Replica& voter : voters) {
    if (IsUp(view, voter.node) && (voter.caught_up || counts == Counts::kUp)) {
      ++live;
    } else {
      absent += fmt::format("{}{}", absent.empty() ? "" : ", ", voter.node);
    }
  }
  if (live >= Majority(voters.size())) return std::nullopt;
  return fmt::format("{} {} no quorum: of {} voters, {} {} up{} (not: node {}); {} are needed",
                     NameOf(shard.id), when, voters.size(), live, live == 1 ? "is" : "are",
                     counts == Counts::kUp ? "" : " and caught up", absent.empty() ? "any" : absent,
                     Majority(voters.size()));
}

Refusal CheckCaughtUp(const ClusterView& view, const ShardView& shard, NodeId id) {
  const Replica* learner = shard.Learner(id);
  if (learner == nullptr) {
    return fmt::format("{} has no learner on node {} that could become a voter", NameOf(shard.id),
                       id);
  }
  if (auto refusal = NotUp(view, id)) return refusal;
  if (!learner->caught_up && !MUTANT("schedule-promotes-before-caught-up")) {
    return fmt::format("the replica of {} on node {} is still catching up", NameOf(shard.id), id);
  }
  return std::nullopt;
}

Refusal CheckTarget(const ClusterView& view, const ShardView& shard, NodeId id) {
  if (auto refusal = NotUp(view, id)) return refusal;
  const ClusterView::Node& node = *view.Find(id);
  if (node.view.draining) return fmt::format("node {} is being drained", id);
  if (node.view.low_space) return fmt::format("the disk of node {} is nearly full", id);
  if (shard.Has(id))
    return fmt::format("{} has a replica on node {} already", NameOf(shard.id), id);
  return std::nullopt;
}

Refusal CheckLeaves(const ShardView& shard, NodeId id) {
  if (shard.leader != id || MUTANT("schedule-removes-the-leader")) return std::nullopt;
  return fmt::format("node {} leads {}: the leadership is handed over first", id, NameOf(shard.id));
}

Replicas Without(Replicas voters, NodeId id) {
  voters.erase(std::remove_if(voters.begin(), voters.end(),
                              [id](const Replica& voter) { return voter.node == id; }),
               voters.end());
  return voters;
}

Refusal Check(const ClusterView& view, const ShardView& shard, const AddLearner& step) {
  return CheckTarget(view, shard, step.node);
}

Refusal Check(const ClusterView& view, const ShardView& shard, const Promote& step) {
  if (auto refusal = CheckCaughtUp(view, shard, step.node)) return refusal;
  Replicas voters = shard.voters;
  voters.push_back(*shard.Learner(step.node));
  return NoQuorum(view, shard, voters, "would have");
}

Refusal Check(const ClusterView& view, const ShardView& shard, const Swap& step) {
  if (auto refusal = CheckCaughtUp(view, shard, step.add)) return refusal;
  if (!shard.Voter(step.remove)) {
    return fmt::format("{} has no voter on node {}", NameOf(shard.id), step.remove);
  }
  if (auto refusal = CheckLeaves(shard, step.remove)) return refusal;
  Replicas voters = Without(shard.voters, step.remove);
  voters.push_back(*shard.Learner(step.add));
  return NoQuorum(view, shard, voters, "would have");
}

Refusal Check(const ClusterView& view, const ShardView& shard, const Remove& step) {
  if (!shard.Has(step.node)) {
    return fmt::format("{} has no replica on node {}", NameOf(shard.id), step.node);
  }
  if (auto refusal = CheckLeaves(shard, step.node)) return refusal;
  if (!shard.Voter(step.node)) return std::nullopt;
  const Replicas voters = Without(shard.voters, step.node);
  if (voters.empty()) return fmt::format("it is the last replica of {}", NameOf(shard.id));
  if (MUTANT("schedule-removal-unchecked")) return std::nullopt;
  return NoQuorum(view, shard, voters, "would have");
}

Refusal Check(const ClusterView& view, const ShardView& shard, const TransferLeader& step) {
  const Replica* voter = shard.Voter(step.to);
  if (voter == nullptr) {
    return fmt::format("{} has no voter on node {}", NameOf(shard.id), step.to);
  }
  if (shard.leader == step.to)
    return fmt::format("node {} leads {} already", step.to, NameOf(shard.id));
  if (auto refusal = NotUp(view, step.to)) return refusal;
  if (!voter->caught_up) {
    return fmt::format("the replica of {} on node {} is still catching up", NameOf(shard.id),
                       step.to);
  }
  return std::nullopt;
}

Refusal Check(const ClusterView&, const ShardView&, const SplitShard&) { return std::nullopt; }

Refusal Check(const ClusterView& view, const ShardView& shard, const MergeShards& step) {
  const ShardView* left = view.Find(step.into);
  if (left == nullptr || shard.left != step.into) {
    return fmt::format("{} is not the left neighbour of {}", NameOf(step.into), NameOf(shard.id));
  }
  if (left->joint) {
    return fmt::format("a change of the members of {} is under way", NameOf(step.into));
  }
  if (!left->leader) return fmt::format("nobody is known to lead {}", NameOf(step.into));
  return NoQuorum(view, *left, left->voters, "has");
}

}  // namespace

Refusal CheckChange(const ClusterView& view, const ShardView& shard, const Step& step) {
  if (shard.joint)
    return fmt::format("a change of the members of {} is under way", NameOf(shard.id));
  if (!shard.leader) return fmt::format("nobody is known to lead {}", NameOf(shard.id));
  if (auto refusal = NoQuorum(view, shard, shard.voters, "has")) return refusal;
  return std::visit([&](const auto& s) { return Check(view, shard, s); }, step);
}

size_t LiveVoters(const ClusterView& view, const ShardView& shard) {
  return static_cast<size_t>(std::count_if(
      shard.voters.begin(), shard.voters.end(),
      [&](const Replica& voter) { return voter.caught_up && IsUp(view, voter.node); }));
}

std::optional<uint32_t> FailuresSurvived(const ClusterView& view, const ShardView& shard) {
  const size_t live = LiveVoters(view, shard), needed = Majority(shard.voters.size());
  if (live < needed) return std::nullopt;
  return static_cast<uint32_t>(live - needed);
}

bool Lost(const ClusterView& view, NodeId id, Duration down_after, Instant now) {
  const ClusterView::Node* node = view.Find(id);
  if (node == nullptr) return true;
  if (MUTANT("schedule-unknown-is-lost") && node->view.liveness == Liveness::kNone) return true;
  return node->view.liveness == Liveness::kDown && now - node->view.down_since >= down_after;
}

Refusal CheckDrain(const ClusterView& view, NodeId id) {
  const ClusterView::Node* drained = view.Find(id);
  if (drained == nullptr) return fmt::format("node {} does not belong to the cluster", id);
  uint64_t room = 0;
  bool room_known = true;
  size_t others = 0;
  for (const auto& [other, node] : view.nodes()) {
    if (other == id || !node.usable()) continue;
    ++others;
    room += node.view.free_bytes;
    room_known &= node.view.total_bytes != 0;
  }
  if (room_known && room < static_cast<uint64_t>(std::max<int64_t>(0, drained->load.bytes))) {
    return fmt::format("node {} holds {} MiB, and the {} other nodes have room for {} MiB", id,
                       drained->load.bytes >> 20, others, room >> 20);
  }
  std::map<const Rule*, size_t> usable_by_rule;
  for (ShardId shard_id : drained->shards) {
    const ShardView& shard = *view.Find(shard_id);
    if (!shard.Voter(id)) continue;
    const auto [known, is_new] = usable_by_rule.try_emplace(view.RuleOf(shard), 0);
    for (const auto& [other, node] : view.nodes()) {
      if (!is_new) break;
      known->second += other != id && node.usable() && view.Fits(other, shard, kRequired);
    }
    const size_t usable = known->second;
    if (auto refusal = NoQuorum(view, shard, shard.voters, "has", Counts::kUp)) return refusal;
    size_t taken = 0;
    for (const Replica& voter : shard.voters) {
      const ClusterView::Node* node = view.Find(voter.node);
      taken += voter.node != id && node != nullptr && node->usable() &&
               view.Fits(voter.node, shard, kRequired);
    }
    if (shard.voters.size() > view.ReplicationFactorOf(shard) || usable > taken) continue;
    return fmt::format(
        "{} has {} replicas, and without node {} there are {} nodes that are up, not drained, "
        "with room{}: none is left for the one on node {}",
        NameOf(shard_id), shard.voters.size(), id, usable,
        view.RuleOf(shard) == nullptr ? "" : " and where its rule lets them be", id);
  }
  return std::nullopt;
}

Refusal CheckRemoveNode(const ClusterView& view, NodeId id, bool lost) {
  const ClusterView::Node* node = view.Find(id);
  if (node == nullptr) return fmt::format("node {} does not belong to the cluster", id);
  if (node->shards.empty()) return std::nullopt;
  if (!lost) {
    return fmt::format(
        "node {} holds {}: `quorate node drain {} --wait` first; or --lost if it will not come "
        "back",
        id, Plural(node->shards.size(), "replica"), id);
  }
  if (node->view.liveness == Liveness::kUp) {
    return fmt::format("node {} is up and holds {}: drain it, or stop it first", id,
                       Plural(node->shards.size(), "replica"));
  }
  for (ShardId shard_id : node->shards) {
    const ShardView& shard = *view.Find(shard_id);
    if (auto refusal = NoQuorum(view, shard, shard.voters, "has")) return refusal;
  }
  return std::nullopt;
}

}  // namespace quorate::placement
