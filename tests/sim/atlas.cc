#include "tests/sim/atlas.h"

#include <algorithm>

#include "placement/service.h"
#include "server/node/member.h"
#include "shard/shard.h"

namespace quorate::sim {

bool Atlas::Sound(SimNode& node) const {
  const bool sound = node.up() && node.incarnations() > incarnation_ && node.node()->ready() &&
                     node.quarantined() == 0;
  if (!sound || !reverted_) return sound;
  return std::all_of(cluster_.nodes().begin(), cluster_.nodes().end(), [&](const auto& other) {
    return other->index() == node.index() ||
           (other->up() && other->node()->incarnations().Remembered(node.node()->id()) ==
                               node.node()->incarnations().current());
  });
}

std::optional<int> Atlas::damaged() {
  if (damaged_ && Sound(*cluster_.nodes()[static_cast<size_t>(*damaged_)])) damaged_.reset();
  return damaged_;
}

void Atlas::Look() {
  for (const auto& node : cluster_.nodes()) {
    if (!node->up() || node->node()->member() == nullptr) continue;
    Seen& seen = seen_[node->index()];
    seen.id = node->node()->id();
    seen.whole.clear();
    for (const auto& [id, shard] : node->node()->member()->shards()) {
      if (shard->HasState()) seen.whole.insert(GroupId(id.value()));
    }
  }
}

// Whether a member other than `node` has nothing of a shard yet: one that was just split off, or a
// copy that is under way. Its majority may need all others. Who is down comes back with what it
// had; what that is of one that was never seen up, nobody knows.
bool Atlas::Lacking(SimNode& node) {
  Look();
  const auto whole = [&](NodeId voter, GroupId group) {
    return std::any_of(seen_.begin(), seen_.end(), [&](const auto& entry) {
      const auto& [index, seen] = entry;
      return seen.id == voter && (index == node.index() || seen.whole.contains(group));
    });
  };
  for (const auto& some : cluster_.nodes()) {
    if (!some->up() || some->node()->member() == nullptr) continue;
    for (const auto& [group, handle] : some->node()->member()->groups()) {
      if (group == placement::kPlacementGroup) continue;
      for (const raft::ReplicaId voter : handle->configuration().voters) {
        if (!whole(NodeId(voter.value()), group)) return true;
      }
    }
  }
  return false;
}

bool Atlas::MayDamage(SimNode& node) {
  const std::optional<int> now = damaged();
  if (now && *now != node.index()) return false;
  if (Lacking(node)) return false;
  return std::all_of(cluster_.nodes().begin(), cluster_.nodes().end(), [&](const auto& other) {
    return other->index() == node.index() || other->quarantined() == 0;
  });
}

void Atlas::Damaged(SimNode& node) {
  node.Harm();
  damaged_ = node.index();
  incarnation_ = node.incarnations();
  reverted_ = false;
}

void Atlas::Reverted(SimNode& node) {
  Damaged(node);
  node.HarmUnseen();
  reverted_ = true;
  reverted_ever_.insert(node.index());
}

}  // namespace quorate::sim
