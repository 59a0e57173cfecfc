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
// A follower that the host wakes tells its leader so, which wakes that: two followers whose
// election timers run while the leader sleeps would elect another one without need.
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

// A member that lacks something, or is not heard of, has to be looked after.
bool Node::Impl::NothingUnderWay() const {
  return commit_ == log_.last() && applied_ == log_.last() && log_.stable() == log_.last() &&
         !SnapshotUnwritten() && !reads_.HasPending() && HasCommitted() && voter_ &&
         !transfer_target_ && !timeout_now_sent_ && !log_.configuration().joint() &&
         std::all_of(progress_.begin(), progress_.end(),
                     [this](const Progress& p) { return Complete(p); });
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
  const bool all =
      std::all_of(progress_.begin(), progress_.end(), [](const Progress& p) { return p.quiesced; });
  if (!offered_ || !all || !NothingUnderWay()) return;
  PROBE("raft: quiescent");
  quiescent_ = true;
}

bool Node::Impl::FollowsIntoQuiescence(const Heartbeat& request) const {
  return request.quiesce && request.leader_commit == log_.last() && commit_ == log_.last() &&
         applied_ == log_.last() && log_.stable() == log_.last() && !SnapshotUnwritten();
}

void Node::Impl::Rouse() {
  const bool asks = quiescent_ && role_ == Role::kFollower && leader_;
  if (asks) Send(leader_, HeartbeatResponse{.applied_index = applied_}, Needs::kTermAndVote);
  Wake();
}

void Node::Impl::Wake() {
  idle_heartbeats_ = 0;
  offered_ = false;
  if (!quiescent_) return;
  PROBE("raft: woken");
  quiescent_ = false;
  // Its followers hear of the leader with the next tick.
  heartbeat_ticks_ = config_.heartbeat_ticks;
}

}  // namespace quorate::raft
