// Snapshots and compaction (methods of Node::Impl). The bytes travel outside of the core.
#include <algorithm>

#include "base/check.h"
#include "base/probe.h"
#include "raft/core/node_impl.h"

namespace quorate::raft {

// ---- leader -------------------------------------------------------------------------------------

void Node::Impl::SendSnapshot(Progress& p) {
  // Not to one that cannot hear: the log stays pinned while a snapshot is under way. Nor to one
  // that has no room: it would give up the state it has. And a state that nothing was applied to
  // cannot be told from none.
  if (!Active(p) || p.sated || !applied_) {
    p.BecomeProbe();
    p.probe_sent = true;
    return;
  }
  p.BecomeSnapshot(applied_);
  SnapshotMeta meta{.index = applied_,
                    .term = *log_.TermAt(applied_),
                    .configuration = log_.ConfigurationAt(applied_)};
  Send(p.id, InstallSnapshot{std::move(meta)}, Needs::kNothing);
}

void Node::Impl::SnapshotSent(ReplicaId to, bool ok, LogIndex index) {
  Wake();
  Progress* p = Find(to);
  if (p == nullptr || p->state != Progress::State::kSnapshot) return;
  p->snapshot_index = ok ? std::min(index, log_.last()) : LogIndex();
  p->BecomeProbe();
  // A failed one is tried again at the next heartbeat, not in a loop.
  p->probe_sent = !ok;
  appends_due_ = true;
}

void Node::Impl::Handle(ReplicaId from, Term term, const InstallSnapshotResponse& response) {
  Progress* p = Find(from);
  if (role_ != Role::kLeader || p == nullptr || response.match_index > log_.last()) return;
  p->Heard(tick_);
  if (!response.success) {
    if (p->state == Progress::State::kSnapshot) SnapshotSent(from, false, LogIndex());
    return;
  }
  // The snapshot's stream is no append: this answer dates no lease (progress.h).
  Instant contact = p->contact;
  bool news = p->Acknowledged(response.match_index);
  p->contact = contact;
  if (p->match >= log_.mark() && p->state != Progress::State::kReplicate) p->BecomeReplicate();
  appends_due_ = true;
  if (news) MaybeCommit();
  MaybeFinishTransfer();
}

// Nothing is dropped while a live follower is being sent a snapshot: its log goes on where that
// ends, or it would need another one as soon as it has it (RC47). What is not durable here stays
// too.
void Node::Impl::Compact(LogIndex index) {
  CHECK(index <= applied_, "compacting at {}, applied {}", index, applied_);
  for (const Progress& p : progress_) {
    if (p.state == Progress::State::kSnapshot && Active(p)) return;
  }
  log_.Compact(std::min(index, log_.stable()));
}

// ---- follower -----------------------------------------------------------------------------------

// Announces a snapshot. What the log already has needs none.
void Node::Impl::Handle(ReplicaId from, Term term, const InstallSnapshot& request) {
  const SnapshotMeta& meta = request.meta;
  if (meta.index > commit_ && !log_.Matches(meta.index, meta.term)) return;
  PROBE("raft: snapshot not needed");
  AdvanceCommit(meta.index);
  InstallSnapshotResponse answer{.success = true, .match_index = meta.index};
  Send(from, answer, Needs::kLog);
}

bool Node::Impl::WantsSnapshot(Instant now, ReplicaId from, Term term, const SnapshotMeta& meta) {
  Observe(now);
  Wake();
  if (term > term_) BecomeFollower(term, ReplicaId());
  if (role_ == Role::kLeader || !IsValid(meta.configuration)) return false;
  if (meta.index > commit_) return true;
  InstallSnapshotResponse answer{.success = true, .match_index = meta.index};
  if (term == term_) Send(from, answer, Needs::kLog);
  return false;
}

void Node::Impl::StateInstalled(LogIndex index) {
  CHECK(index <= commit_, "a state at {} of a log that is committed up to {}", index, commit_);
  PROBE("raft: snapshot below commit");
  handed_ = std::max(handed_, index);
  Applied(index);
}

bool Node::Impl::StepSnapshot(Instant now, ReplicaId from, Term term, const SnapshotMeta& meta) {
  Observe(now);
  Wake();
  // Who streams it need not lead any more: only appends and heartbeats tell who does.
  if (term > term_) BecomeFollower(term, ReplicaId());
  if (role_ == Role::kLeader) return false;
  bool current = term == term_;
  InstallSnapshotResponse answer{.success = true, .match_index = meta.index};
  if (meta.index <= commit_) {
    if (current) Send(from, answer, Needs::kLog);
    return false;
  }
  if (!IsValid(meta.configuration)) return false;
  // What a snapshot holds was committed, whoever sent it and in whatever term; a campaign that
  // named the old log is over.
  if (role_ != Role::kFollower) BecomeFollower(term_, ReplicaId());
  if (log_.TermAt(meta.index).has_value()) PROBE("raft: snapshot over log");
  log_.ResetTo(meta);
  commit_ = handed_ = applied_ = meta.index;
  handed_bytes_ = 0;
  installed_ = meta;
  ConfigurationChanged();
  if (current) Send(from, answer, Needs::kLog);
  return true;
}

}  // namespace quorate::raft
