// Appends, commit, heartbeats, reads (methods of Node::Impl).
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "raft/core/node_impl.h"

namespace quorate::raft {
namespace {

// Unanswered payload to one follower, in appends of full size: bounds what one that is far behind
// makes the leader copy in a turn.
constexpr size_t kInflightFullAppends = 8;

// Entries follow prev_log_index without gaps, terms never go down and never exceed the sender's.
bool WellFormed(const AppendEntries& request, Term term) {
  LogIndex index = request.prev_log_index;
  Term last = request.prev_log_term;
  for (const Entry& entry : request.entries) {
    ++index;
    if (entry.index != index || entry.term < last) return false;
    last = entry.term;
    Configuration ignored;
    bool valid =
        entry.type != EntryType::kConfiguration || DecodeConfiguration(entry.payload, &ignored);
    if (!valid) return false;
  }
  return last <= term;
}

}  // namespace

// ---- leader: who gets what ----------------------------------------------------------------------

const Progress* Node::Impl::Find(ReplicaId id) const {
  for (const Progress& p : progress_) {
    if (p.id == id) return &p;
  }
  return nullptr;
}

Progress* Node::Impl::Find(ReplicaId id) {
  return const_cast<Progress*>(std::as_const(*this).Find(id));
}

// Follows the newest configuration. A member that is new here has an unknown log: it is asked from
// the end. What the log holds now may have been sent to an earlier self of it (see sent_high).
void Node::Impl::SyncProgress() {
  std::vector<Progress> next;
  for (ReplicaId id : Members(log_.configuration())) {
    if (id == config_.self) continue;
    if (Progress* known = Find(id)) {
      next.push_back(std::move(*known));
    } else {
      next.emplace_back(id, std::max(log_.last(), term_start_), log_.last(), tick_);
    }
  }
  progress_ = std::move(next);
}

void Node::Impl::AppendAsLeader(EntryType type, std::string payload) {
  unapplied_bytes_ += payload.size();
  log_.Append({log_.last() + 1, term_, type, std::move(payload)});
  if (type == EntryType::kConfiguration) ConfigurationChanged();
  appends_due_ = true;
}

void Node::Impl::SendAppends() {
  appends_due_ = false;
  size_t bytes_max = kInflightFullAppends * config_.append_bytes_max;
  for (Progress& p : progress_) {
    while (!p.Paused(config_.inflight_appends_max, bytes_max) && p.next <= log_.last()) {
      SendAppend(p, config_.append_bytes_max);
    }
  }
  if (std::exchange(commit_push_due_, false)) PushCommit();
}

// With `bytes_max` 0 the append carries nothing: it asks whether the logs agree.
void Node::Impl::SendAppend(Progress& p, size_t bytes_max) {
  std::optional<Term> prev_term = log_.TermAt(p.next - 1);
  if (!prev_term) {
    SendSnapshot(p);
    return;
  }
  AppendEntries request{
      .prev_log_index = p.next - 1, .prev_log_term = *prev_term, .leader_commit = commit_};
  if (bytes_max > 0) request.entries = log_.Copy(p.next, log_.last(), bytes_max);
  LogIndex last = request.prev_log_index + request.entries.size();
  p.commit_sent = std::max(p.commit_sent, std::min(commit_, last));
  size_t bytes = 0;
  for (const Entry& entry : request.entries) bytes += entry.payload.size();
  p.Sent(now_, last, !request.entries.empty(), bytes);
  Send(p.id, std::move(request), Needs::kNothing);
}

void Node::Impl::SendHeartbeat(Progress& p) {
  LogIndex commit =
      MUTANT("raft-heartbeat-commit-unchecked") ? commit_ : std::min(commit_, p.match);
  p.commit_sent = std::max(p.commit_sent, commit);
  Send(p.id, Heartbeat{.leader_commit = commit, .round = round_, .quiesce = offered_},
       Needs::kNothing);
}

void Node::Impl::StartRound() {
  ++round_;
  round_times_.Sent(round_, now_, config_.lease);
  for (Progress& p : progress_) SendHeartbeat(p);
}

// Tells followers a commit index that no append has carried. The current round is repeated; an
// answer to the copy proves what an answer to the first would have.
void Node::Impl::PushCommit() {
  for (Progress& p : progress_) {
    if (p.commit_sent < std::min(commit_, p.match)) SendHeartbeat(p);
  }
}

void Node::Impl::TickLeader() {
  ++tick_;
  TickTransfer();
  if (role_ != Role::kLeader) return;
  if (++heartbeat_ticks_ < config_.heartbeat_ticks) {
    PushCommit();
    return;
  }
  heartbeat_ticks_ = 0;
  if (!HeardByQuorum()) {
    PROBE("raft: check quorum stepdown");
    BecomeFollower(term_, ReplicaId());
    return;
  }
  offered_ = OffersQuiescence();
  StartRound();
  for (Progress& p : progress_) ProbeIfStalled(p);
}

// An append or its answer may have been lost with nothing sent after it.
void Node::Impl::ProbeIfStalled(Progress& p) {
  bool stalled = p.stall_match == p.match && p.match < log_.last();
  p.stall_match = p.match;
  if (!stalled || p.state == Progress::State::kSnapshot) return;
  SendAppend(p, 0);
}

// Check-quorum (thesis 6.2): whether a quorum was heard within the shortest election timeout.
bool Node::Impl::HeardByQuorum() const {
  uint64_t heard = QuorumValue<uint64_t>(log_.configuration(), [this](ReplicaId id) {
    const Progress* p = Find(id);
    return id == config_.self ? tick_ : p == nullptr ? 0 : p->heard_tick;
  });
  return tick_ - heard <= static_cast<uint64_t>(config_.election_ticks_min);
}

// ---- leader: answers ----------------------------------------------------------------------------

// Thesis 3.6.2: only an entry of the leader's own term is committed by counting.
void Node::Impl::MaybeCommit() {
  LogIndex index = QuorumValue<LogIndex>(log_.configuration(), [this](ReplicaId id) {
    const Progress* p = Find(id);
    const LogIndex own = MUTANT("raft-own-append-before-durable") ? log_.last() : log_.stable();
    return id == config_.self ? own : p == nullptr ? LogIndex() : p->match;
  });
  const bool own_term = log_.Matches(index, term_) || MUTANT("raft-commit-of-older-term");
  if (MUTANT("raft-commit-before-quorum") && log_.stable() > LogIndex()) index = log_.stable();
  if (index <= commit_ || !own_term) return;
  LogIndex configuration_index = log_.configuration_index();
  // Usually the next append or tick carries it. Membership and transfers wait for it.
  bool urgent = (configuration_index > commit_ && configuration_index <= index) ||
                static_cast<bool>(transfer_target_);
  if (urgent) appends_due_ = commit_push_due_ = true;
  AdvanceCommit(index);
  MaybeLeaveJoint();
}

// Thesis 4.3: once, and only when the joint configuration is committed as this leader sees it
// (RC5); what is appended is no longer joint, so it cannot happen twice (RC7).
void Node::Impl::MaybeLeaveJoint() {
  const Configuration& newest = log_.configuration();
  if (!newest.joint() || !HasCommitted() || log_.configuration_index() > commit_) return;
  AppendAsLeader(EntryType::kConfiguration, EncodeConfiguration(LeaveJoint(newest)));
}

void Node::Impl::ConfirmReads() {
  if (!reads_.HasPending()) return;
  uint64_t round = QuorumValue<uint64_t>(log_.configuration(), [this](ReplicaId id) {
    const Progress* p = Find(id);
    return id == config_.self ? round_ : p == nullptr ? 0 : p->round_acked;
  });
  reads_.Confirm(round, &confirmed_);
}

void Node::Impl::Handle(ReplicaId from, Term term, const AppendEntriesResponse& response) {
  Progress* p = Find(from);
  if (role_ != Role::kLeader || p == nullptr || response.match_index > log_.last()) return;
  p->Heard(tick_);
  p->applied = std::max(p->applied, response.applied_index);
  appends_due_ = true;
  if (!response.success) {
    if (!response.rejected_index) {
      if (p->state != Progress::State::kSnapshot) SendSnapshot(*p);
    } else {
      p->Rejected(response.rejected_index, response.match_index);
    }
    return;
  }
  bool news = p->Acknowledged(response.match_index);
  // A snapshot on its way is not needed by a follower that the log can reach (RC47).
  bool reachable = p->match >= log_.mark();
  if (p->state == Progress::State::kProbe ||
      (p->state == Progress::State::kSnapshot && reachable)) {
    p->BecomeReplicate();
  }
  if (news) MaybeCommit();
  MaybeFinishTransfer();
}

void Node::Impl::Handle(ReplicaId from, Term term, const HeartbeatResponse& response) {
  Progress* p = Find(from);
  if (role_ != Role::kLeader || p == nullptr || response.round > round_) return;
  p->Heard(tick_);
  p->applied = std::max(p->applied, response.applied_index);
  p->quiesced = response.quiesced && response.round == round_;
  if (response.round > p->round_acked) {
    p->round_acked = response.round;
    p->contact = std::max(p->contact, round_times_.SentAt(response.round));
    ConfirmReads();
  }
  // It is alive: what was lost is asked for again at once.
  bool probing = p->state == Progress::State::kProbe && p->probe_sent;
  if (probing && p->next >= log_.first()) SendAppend(*p, 0);
  MaybeFinishTransfer();
  MaybeQuiesce();
}

void Node::Impl::PeerSated(ReplicaId peer, bool sated) {
  Progress* p = Find(peer);
  if (p == nullptr || std::exchange(p->sated, sated) == sated) return;
  PROBE("raft: a follower is sated, or no more");
  appends_due_ = appends_due_ || !sated;
}

void Node::Impl::PeerUnreachable(ReplicaId peer) {
  Progress* p = Find(peer);
  // That the connection to a node that is gone could not be made once more is no news.
  const bool news = peer == leader_ || (p != nullptr && !p->gone);
  if (news && quiescent_) Rouse();
  // A broken connection is no proof that the leader is gone, but reason enough not to wait longer
  // for it than the promise asks.
  if (role_ == Role::kFollower && peer == leader_) {
    election_timeout_ = config_.election_ticks_min + kSuccessionTicks * Succession();
  }
  if (p == nullptr || p->state != Progress::State::kReplicate) return;
  p->BecomeProbe();
  // Asked again at the next heartbeat, not in a loop with the broken connection.
  p->probe_sent = true;
}

// ---- follower -----------------------------------------------------------------------------------

void Node::Impl::Handle(ReplicaId from, Term term, AppendEntries& request) {
  if (!WellFormed(request, term)) {
    return;
  }
  if (log_.configuration().voters.empty()) {
    // The first configuration is in no entry: it comes with a snapshot only.
    Send(from, AppendEntriesResponse{}, Needs::kTermAndVote);
    return;
  }
  LogIndex prev = request.prev_log_index;
  LogIndex end = prev + request.entries.size();
  const bool unchecked = prev <= log_.last() && MUTANT("raft-log-matching-skipped");
  if (prev >= commit_ && !log_.Matches(prev, request.prev_log_term) && !unchecked) {
    // Thesis 3.5: skips a whole term of disagreement at once, and never what is committed.
    LogIndex hint =
        log_.LastWithTermUpTo(prev > LogIndex() ? prev - 1 : prev, request.prev_log_term);
    AppendEntriesResponse rejection{
        .match_index = std::max(hint, commit_), .rejected_index = prev, .applied_index = applied_};
    Send(from, rejection, Needs::kTermAndVote);
    return;
  }
  // Up to the commit index every leader's log agrees with this one, compacted or not (RC43).
  bool configuration_changed = false;
  for (Entry& entry : request.entries) {
    if (entry.index <= commit_ || log_.Matches(entry.index, entry.term)) continue;
    // Only behind what is committed here, which no leader of this term contradicts.
    if (entry.term < *log_.TermAt(entry.index - 1)) return;
    if (entry.index <= log_.last()) {
      if (MUTANT("raft-truncation-keeps-tail")) continue;
      PROBE("raft: truncate");
      configuration_changed |= log_.configuration_index() >= entry.index;
      log_.TruncateFrom(entry.index);
    }
    configuration_changed |= entry.type == EntryType::kConfiguration;
    log_.Append(std::move(entry));
  }
  if (configuration_changed) ConfigurationChanged();
  AdvanceCommit(std::min(request.leader_commit, end));
  // Exactly what the request named, never more: the leader dates its lease by it (progress.h).
  AppendEntriesResponse answer{.success = true, .match_index = end, .applied_index = applied_};
  bool durable =
      (end <= log_.stable() && !SnapshotUnwritten()) || MUTANT("raft-append-before-durable");
  Send(from, answer, durable ? Needs::kTermAndVote : Needs::kLog);
}

void Node::Impl::Handle(ReplicaId from, Term term, const Heartbeat& request) {
  // A replica that lost log to damage may have less than the leader remembers.
  AdvanceCommit(std::min(request.leader_commit, log_.last()));
  quiescent_ = FollowsIntoQuiescence(request);
  HeartbeatResponse answer{
      .round = request.round, .applied_index = applied_, .quiesced = quiescent_};
  Send(from, answer, Needs::kTermAndVote);
}

}  // namespace quorate::raft
