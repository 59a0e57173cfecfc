// Quiescence: a group in which nothing happens sends nothing and counts no ticks (methods of
// Node::Impl; docs/decisions/0024-quiescence.md).
//
//   leader    heartbeat{quiesce} ──► all members      idle for quiesce_ticks, all have everything
//   follower  ◄── response{quiesced}                  has everything too: stops its election timer
//   leader    stops                                   when all have said so
//
// Whatever is fed to a quiescent replica, but for feedback, wakes it: then it goes on where it
// stopped. A follower that stopped while its leader did not is woken by the next heartbeat; one
// that went on while its leader stopped campaigns after a while, which wakes the leader.
//
// A follower that the host wakes tells its leader so, again and again until it hears of it, which
// wakes that: two followers whose election timers run while the leader sleeps would elect another
// one without need.
//
// A member whose node is silent for long is not waited for, as long as a majority has everything:
// or the loss of one node would keep awake all groups that it has a part in. Whoever comes back
// campaigns, which wakes the others, or the host hears its node and wakes the leader.
//
// Only liveness is at stake. No lease is kept: it ends like any other, and the first read after it
// asks a quorum. No promise is shortened: its ticks stand still. That the leader's node is alive at
// all, the host watches (raft/host/host.h), and wakes who has to find another leader.
#include <algorithm>

#include "base/probe.h"
#include "raft/core/node_impl.h"

namespace quorate::raft {

bool Node::Impl::Complete(const Progress& p) const {
  return p.state == Progress::State::kReplicate && p.match == log_.last() &&
         p.applied == log_.last() && Active(p);
}

bool Node::Impl::AllThere(bool (Impl::*holds)(const Progress&) const) const {
  const bool rest = std::all_of(progress_.begin(), progress_.end(),
                                [&](const Progress& p) { return p.gone || (this->*holds)(p); });
  return rest && QuorumValue<bool>(log_.configuration(), [&](ReplicaId id) {
           const Progress* p = Find(id);
           return id == config_.self || (p != nullptr && !p->gone);
         });
}

// A member that lacks something, or has just fallen silent, has to be looked after.
bool Node::Impl::NothingUnderWay() const {
  return commit_ == log_.last() && applied_ == log_.last() && log_.stable() == log_.last() &&
         !SnapshotUnwritten() && !reads_.HasPending() && HasCommitted() && voter_ &&
         !transfer_target_ && !timeout_now_sent_ && !log_.configuration().joint() &&
         AllThere(&Impl::Complete);
}

bool Node::Impl::OffersQuiescence() {
  ++idle_heartbeats_;
  const bool idle = config_.quiesce_ticks > 0 &&
                    idle_heartbeats_ * config_.heartbeat_ticks >= config_.quiesce_ticks;
  const bool offers = idle && NothingUnderWay();
  for (Progress& p : progress_) p.quiesced = false;
  if (offers && progress_.empty()) quiescent_ = true;
  return offers;
}

void Node::Impl::MaybeQuiesce() {
  if (!offered_ || !AllThere(&Impl::HasQuiesced) || !NothingUnderWay()) return;
  PROBE("raft: quiescent");
  quiescent_ = true;
}

bool Node::Impl::FollowsIntoQuiescence(const Heartbeat& request) const {
  return request.quiesce && request.leader_commit == log_.last() && commit_ == log_.last() &&
         applied_ == log_.last() && log_.stable() == log_.last() && !SnapshotUnwritten();
}

void Node::Impl::AskLeader() {
  if (role_ != Role::kFollower || !leader_) return;
  Send(leader_, HeartbeatResponse{.applied_index = applied_}, Needs::kTermAndVote);
}

void Node::Impl::Rouse() {
  if (quiescent_ && role_ == Role::kFollower) {
    asks_ = true;
    AskLeader();
  }
  Wake();
}

void Node::Impl::LookAgain() {
  Rouse();
  RestSoon();
}

void Node::Impl::RestSoon() {
  idle_heartbeats_ = std::max(idle_heartbeats_, config_.quiesce_ticks / config_.heartbeat_ticks);
}

void Node::Impl::PeerGone(ReplicaId peer) {
  if (Progress* p = Find(peer); p != nullptr && !Active(*p)) p->gone = true;
}

void Node::Impl::Wake() {
  idle_heartbeats_ = 0;
  offered_ = false;
  if (!quiescent_) return;
  PROBE("raft: woken");
  quiescent_ = false;
  // Its followers hear of the leader with the next tick.
  heartbeat_ticks_ = config_.heartbeat_ticks;
  // Nobody was heard meanwhile, though no ticks were counted: not enough to give up the lease to.
  const uint64_t silent = 2 * static_cast<uint64_t>(config_.heartbeat_ticks) + 1;
  for (Progress& p : progress_) {
    if (tick_ > silent) p.heard_tick = std::min(p.heard_tick, tick_ - silent);
    p.sated = false;  // that was long ago
  }
}

}  // namespace quorate::raft
