// Group: whether there is room on the members' disks for what is proposed, and on this node for
// what is sent.
#include <fmt/ranges.h>

#include <algorithm>

#include "base/mutant.h"
#include "base/probe.h"
#include "raft/host/group.h"

namespace quorate::raft {

Runtime::Room Runtime::RoomOf(NodeId node) const {
  if (node == options.self) return space.low || space.full ? Room::kLow : Room::kSpare;
  const auto peer = peers.find(node);
  const Duration fresh = limits::kElectionTicksMin * options.tick;
  if (peer == peers.end() || env.Now() - peer->second.heard_at > fresh) return Room::kUnknown;
  const bool low = peer->second.low_space && !MUTANT("space-of-followers-ignored");
  return low ? Room::kLow : Room::kSpare;
}

// Later than it would refuse what it leads: where the stores of all are as full, what is under way
// commits before anybody drops it.
bool Runtime::Sated() const {
  const size_t bound = store.BytesMax();
  return space.full || store.OverlayBytes() > bound + bound / 4;
}

std::vector<NodeId> Group::MembersInTheWay() const {
  const Configuration configuration = node_->configuration();
  std::vector<NodeId> low;
  bool majority = true;
  for (const auto* voters : {&configuration.voters, &configuration.voters_outgoing}) {
    size_t spare = 0;
    for (const ReplicaId id : *voters) {
      const Runtime::Room room = rt_.RoomOf(id);
      if (room == Runtime::Room::kSpare) ++spare;
      if (room == Runtime::Room::kLow && std::find(low.begin(), low.end(), id) == low.end()) {
        low.push_back(id);
      }
    }
    if (!voters->empty() && spare <= voters->size() / 2) majority = false;
  }
  if (majority) low.clear();
  return low;
}

Status Group::CheckRoom(Growth growth) const {
  if (quarantined()) return Status::Ok();  // it refuses for another reason
  const NodeId full = rt_.space.full ? rt_.options.self : NodeId();
  if (!full && growth == Growth::kShrinks) return Status::Ok();
  const std::vector<NodeId> low = MembersInTheWay();
  if (full && low.empty()) {  // LeaveLowDisk is about to: the asker finds who leads next
    return {Code::kNotLeader, fmt::format("node {}, whose disk is full, hands the lead on", full)};
  }
  if (low.empty()) return Status::Ok();
  if (full) {
    return {
        Code::kNoSpace,
        fmt::format("the disk of node {} is full: nothing is written until it has space", full)};
  }
  return {Code::kNoSpace,
          fmt::format("the disk of node {} is nearly full: only deletions are accepted until there "
                      "is space",
                      fmt::join(low, ", "))};
}

void Group::LeaveLowDisk() {
  if (quarantined() || !node_->leader() || !MembersInTheWay().empty()) return;
  PROBE("raft host: leader leaves low disk");
  HandOver();
}

}  // namespace quorate::raft
