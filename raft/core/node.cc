#include "raft/core/node.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "raft/core/invariants.h"
#include "raft/core/node_impl.h"

namespace quorate::raft {
namespace {

// Committed entries given out in one Ready, and given out without being applied yet: bounds what a
// replica that catches up holds twice.
constexpr size_t kCommittedBytesMax = 4 << 20;
constexpr size_t kHandedBytesMax = 16 << 20;

}  // namespace

// ---- construction -------------------------------------------------------------------------------

Node::Impl::Impl(const Config& config, InitialState initial, Random random, bool fresh)
    : config_(config),
      random_(random),
      term_(initial.hard_state.term),
      vote_(initial.hard_state.vote),
      log_(initial.snapshot, std::move(initial.entries)),
      promise_(config.lease, config.election_ticks_min),
      promise_at_start_(!fresh && !MUTANT("raft-no-promise-after-restart")),
      taken_(initial.hard_state),
      durable_term_(term_),
      durable_vote_(vote_) {
  Status valid = config.Validate();
  CHECK(valid.ok(), "{}", valid.ToString());
  CHECK(term_ >= log_.last_term(), "term {} below the log's {}", term_, log_.last_term());
  applied_ = handed_ = std::max(initial.applied, log_.mark());
  CHECK(applied_ <= log_.last(), "applied {} beyond the log's end {}", applied_, log_.last());
  commit_ = std::clamp(initial.hard_state.commit, applied_, log_.last());
  taken_.commit = commit_;
  if (!promise_at_start_) promise_.Drop();
  voter_ = IsVoter(log_.configuration(), config_.self);
  ResetElectionTimer();
  published_ = soft_state();
}

// ---- feeding ------------------------------------------------------------------------------------

void Node::Impl::Observe(Instant now) {
  now_ = std::max(now_, now);
  if (promise_at_start_) [[unlikely]] {
    promise_.Make(now_, ReplicaId());
    promise_at_start_ = false;
  }
}

void Node::Impl::Tick(Instant now) {
  Observe(now);
  if (quiescent_) return;
  if (role_ == Role::kLeader) {
    TickLeader();
  } else {
    promise_.Tick();
    TickElection();
  }
}

void Node::Impl::Step(Instant now, Message message) {
  Observe(now);
  // Answers to heartbeats are no news: if they were, no leader would ever be idle.
  const bool answer = std::holds_alternative<HeartbeatResponse>(message.body);
  if (quiescent_ || !answer) Wake();
  if (Receive(message)) Dispatch(message);
}

// Compares terms (thesis 3.3). True if the message is for the current term, or a pre-vote's.
bool Node::Impl::Receive(const Message& message) {
  const MessageBody& body = message.body;
  bool from_leader = std::holds_alternative<AppendEntries>(body) ||
                     std::holds_alternative<Heartbeat>(body) ||
                     std::holds_alternative<InstallSnapshot>(body);
  if (message.term < term_ && !(from_leader && MUTANT("raft-stale-leader-obeyed"))) {
    // Whoever is behind learns the term, a leader above all: it may be cut off from all others, and
    // its followers could not be told otherwise.
    if (from_leader) {
      PROBE("raft: stale leader");
      Send(message.from, AppendEntriesResponse{}, Needs::kTermAndVote);
    } else if (const auto* request = std::get_if<RequestVote>(&body)) {
      Send(message.from, RequestVoteResponse{.pre_vote = request->pre_vote}, Needs::kTermAndVote);
    }
    return false;
  }
  if (const auto* request = std::get_if<RequestVote>(&body)) {
    // Stickiness (thesis 4.2.3): no answer and no new term while a leader may count on this
    // replica.
    bool sticky = role_ == Role::kLeader || promise_.Forbids(now_, message.from);
    if (sticky && !request->leadership_transfer && !MUTANT("raft-promise-ignored")) {
      PROBE("raft: vote refused sticky");
      return false;
    }
    if (!request->pre_vote && message.term > term_) BecomeFollower(message.term, ReplicaId());
    return true;
  }
  if (const auto* response = std::get_if<RequestVoteResponse>(&body)) {
    // A granted pre-vote carries the term that would be campaigned in, which nobody is in yet.
    if (response->pre_vote && response->granted) return true;
  }
  if (message.term > term_) {
    BecomeFollower(message.term, from_leader ? message.from : ReplicaId());
  }
  if (!from_leader) return true;
  // Two leaders of one term are a broken promise of somebody's (a vote forgotten, or made up). Who
  // leads stays with the first: obeying both could replace what was acknowledged.
  const bool second = role_ == Role::kLeader || (leader_ && leader_ != message.from);
  if (second && !MUTANT("raft-stale-leader-obeyed")) return false;
  HearLeader(message.from);
  return true;
}

void Node::Impl::Dispatch(Message& message) {
  std::visit([&](auto& body) { Handle(message.from, message.term, body); }, message.body);
}

Status Node::Impl::NotLeader() const {
  return Status(Code::kNotLeader, fmt::format("leader is {}", leader_));
}

Result<Entry> Node::Impl::Propose(std::string payload) {
  Wake();
  if (role_ != Role::kLeader) return NotLeader();
  if (transfer_target_) return Status(Code::kOverloaded, "leadership is being transferred");
  if (unapplied_bytes_ > 0 && unapplied_bytes_ + payload.size() > config_.unapplied_bytes_max) {
    return Status(Code::kOverloaded, fmt::format("{} bytes are not applied yet", unapplied_bytes_));
  }
  AppendAsLeader(EntryType::kNormal, std::move(payload));
  return Entry{.index = log_.last(), .term = term_};
}

Status Node::Impl::ProposeConfiguration(const std::vector<ReplicaId>& voters,
                                        const std::vector<ReplicaId>& learners) {
  Wake();
  if (role_ != Role::kLeader) return NotLeader();
  if (!HasCommitted()) {
    // An uncommitted change of an earlier leader could otherwise be overtaken (RC1).
    return Status(Code::kFailedPrecondition, "no entry of this term is committed yet");
  }
  if (log_.configuration().joint() || log_.configuration_index() > commit_) {
    return Status(Code::kFailedPrecondition, "another change is under way");
  }
  if (transfer_target_) return Status(Code::kFailedPrecondition, "leadership is being transferred");
  Result<Configuration> next = EnterJoint(log_.configuration(), voters, learners);
  if (!next.ok()) return next.status();
  if (*next == log_.configuration()) return Status::Ok();
  AppendAsLeader(EntryType::kConfiguration, EncodeConfiguration(*next));
  return Status::Ok();
}

Status Node::Impl::ReadIndex(uint64_t context) {
  Wake();
  if (role_ != Role::kLeader) return NotLeader();
  // The commit index of a new leader may be behind what its predecessor acknowledged (RC27).
  if (!HasCommitted()) return Status(Code::kOverloaded, "no entry of this term is committed yet");
  reads_.Ask(context);
  return Status::Ok();
}

// ---- durability ---------------------------------------------------------------------------------

void Node::Impl::Send(ReplicaId to, MessageBody body, Needs needs) {
  SendAs(term_, to, std::move(body), needs);
}

// Sorts a message into "now" and "once this write is durable". A change that no write has taken yet
// will be in the next one.
void Node::Impl::SendAs(Term term, ReplicaId to, MessageBody body, Needs needs) {
  uint64_t wait = 0;
  if (needs != Needs::kNothing) {
    bool dirty = term_ != taken_.term || vote_ != taken_.vote;
    wait = dirty ? last_write_ + 1 : term_write_;
  }
  if (needs == Needs::kLog) {
    bool dirty = log_.has_unwritten() || installed_.has_value();
    wait = std::max(wait, dirty ? last_write_ + 1 : log_write_);
  }
  Message message{.from = config_.self, .to = to, .term = term, .body = std::move(body)};
  if (wait > persisted_) {
    after_persist_.emplace_back(wait, std::move(message));
  } else {
    out_.push_back(std::move(message));
  }
}

void Node::Impl::Persisted(uint64_t persist_id) {
  CHECK(persist_id <= last_write_, "write {} was never given out", persist_id);
  auto write = writes_.begin();
  for (; write != writes_.end() && write->id <= persist_id; ++write) {
    log_.MarkStable(write->last, write->truncations);
    durable_term_ = write->term;
    durable_vote_ = write->vote;
  }
  writes_.erase(writes_.begin(), write);
  persisted_ = std::max(persisted_, persist_id);
  auto still = std::stable_partition(after_persist_.begin(), after_persist_.end(),
                                     [&](const auto& item) { return item.first > persist_id; });
  for (auto it = still; it != after_persist_.end(); ++it) out_.push_back(std::move(it->second));
  after_persist_.erase(still, after_persist_.end());
  // A candidate's vote for itself, and a leader's entry, count once they are durable (RC37).
  if (role_ == Role::kCandidate) CountVotes();
  if (role_ == Role::kLeader) MaybeCommit();
}

void Node::Impl::Applied(LogIndex index) {
  if (index <= applied_) return;
  CHECK(index <= handed_, "applied {} beyond {} given out", index, handed_);
  for (LogIndex i = applied_ + 1; i <= index; ++i) {
    size_t bytes = log_.At(i).payload.size();
    handed_bytes_ -= std::min(bytes, handed_bytes_);
    unapplied_bytes_ -= std::min(bytes, unapplied_bytes_);
  }
  applied_ = index;
  if (role_ == Role::kLeader) StepDownIfRemoved();
}

// ---- state --------------------------------------------------------------------------------------

void Node::Impl::BecomeFollower(Term term, ReplicaId leader) {
  CHECK(term >= term_);
  if (term > term_) {
    term_ = term;
    vote_ = ReplicaId();
  }
  if (role_ == Role::kLeader) {
    progress_.clear();
    reads_.Fail(&failed_);
    round_times_.Clear();
    transfer_target_ = ReplicaId();
    timeout_now_sent_ = false;
    appends_due_ = commit_push_due_ = false;
    promise_.Drop();
  }
  if (role_ != Role::kFollower) ResetElectionTimer();
  votes_.Clear();
  role_ = Role::kFollower;
  leader_ = leader;
}

void Node::Impl::HearLeader(ReplicaId leader) {
  if (role_ != Role::kFollower) BecomeFollower(term_, leader);
  leader_ = leader;
  asks_ = false;
  election_ticks_ = 0;
  promise_.Make(now_, leader);
}

// Whether an entry of the leader's own term is committed (thesis 3.6.2).
bool Node::Impl::HasCommitted() const { return role_ == Role::kLeader && commit_ >= term_start_; }

void Node::Impl::AdvanceCommit(LogIndex index) {
  if (index <= commit_) return;
  CHECK(index <= log_.last(), "commit {} beyond the log's end {}", index, log_.last());
  commit_ = index;
}

// After each change of the newest configuration: append, truncation, snapshot.
void Node::Impl::ConfigurationChanged() {
  voter_ = IsVoter(log_.configuration(), config_.self);
  if (role_ == Role::kLeader) {
    SyncProgress();
  } else if (!MayCampaign() && role_ != Role::kFollower) {
    BecomeFollower(term_, ReplicaId());
  }
}

SoftState Node::Impl::soft_state() const {
  Role role = role_ == Role::kFollower && !voter_ ? Role::kLearner : role_;
  return {role, term_, leader_};
}

// ---- Ready --------------------------------------------------------------------------------------

bool Node::Impl::HasReady() const {
  return !out_.empty() || log_.has_unwritten() || installed_.has_value() || term_ != taken_.term ||
         vote_ != taken_.vote || appends_due_ || reads_.HasAsked() || !confirmed_.empty() ||
         !failed_.empty() || soft_state() != published_ ||
         (handed_ < commit_ && handed_bytes_ < kHandedBytesMax);
}

Ready Node::Impl::TakeReady() {
  Ready ready;
  if (role_ == Role::kLeader) {
    // One round covers every read asked, and one append every entry proposed, since the last Ready.
    if (reads_.HasAsked()) {
      reads_.Start(MUTANT("raft-read-confirmed-by-older-round") ? round_ : round_ + 1, commit_);
      StartRound();
      ConfirmReads();
    }
    if (appends_due_) SendAppends();
  }
  if (SoftState now = soft_state(); now != published_) ready.soft_state = published_ = now;
  TakeWrite(&ready);
  TakeCommitted(&ready);
  ready.messages = std::exchange(out_, {});
  ready.reads = std::exchange(confirmed_, {});
  ready.reads_failed = std::exchange(failed_, {});
  return ready;
}

// A new commit index alone is not worth a write: it is learned again from the leader.
void Node::Impl::TakeWrite(Ready* ready) {
  bool term_changed = term_ != taken_.term || vote_ != taken_.vote;
  bool log_changed = log_.has_unwritten() || installed_.has_value();
  if (!term_changed && !log_changed) return;
  ready->persist_id = ++last_write_;
  HardState hard_state{term_, vote_, commit_};
  if (hard_state != taken_) ready->hard_state = taken_ = hard_state;
  if (installed_) snapshot_write_ = last_write_;
  ready->snapshot = std::exchange(installed_, std::nullopt);
  ready->entries = log_.TakeUnwritten();
  if (term_changed) term_write_ = last_write_;
  if (log_changed) log_write_ = last_write_;
  writes_.push_back({last_write_, log_.last(), log_.truncations(), term_, vote_});
}

void Node::Impl::TakeCommitted(Ready* ready) {
  if (handed_ >= commit_ || handed_bytes_ >= kHandedBytesMax) return;
  ready->committed = log_.Copy(handed_ + 1, commit_, kCommittedBytesMax);
  for (const Entry& entry : ready->committed) handed_bytes_ += entry.payload.size();
  handed_ = ready->committed.back().index;
}

// ---- inspection ---------------------------------------------------------------------------------

bool Node::Impl::leader_ready() const { return role_ == Role::kLeader && applied_ >= term_start_; }

Instant Node::Impl::lease_until() const {
  if (!leader_ready() || timeout_now_sent_) return Instant();
  Instant contact = QuorumValue<Instant>(log_.configuration(), [this](ReplicaId id) {
    if (id == config_.self) return now_;
    const Progress* progress = Find(id);
    return progress == nullptr ? Instant::min() : progress->contact;
  });
  if (quiescent_ && MUTANT("raft-quiescent-lease-holds")) return Instant::max();
  const int leases = MUTANT("raft-lease-outlives-promise") ? 4 : 1;
  return contact == Instant::min() ? Instant() : contact + leases * config_.lease;
}

std::vector<ProgressView> Node::Impl::ProgressViews() const {
  std::vector<ProgressView> views;
  for (const Progress& p : progress_) {
    views.push_back(
        {.id = p.id,
         .match = p.match,
         .applied = p.applied,
         .active = Active(p),
         .learner = !IsVoter(log_.configuration(), p.id),
         .needs_snapshot = p.state == Progress::State::kSnapshot || p.next < log_.first(),
         .sated = p.sated});
  }
  return views;
}

void Node::Impl::CheckInvariants() const {
  ReplicaState state{.self = config_.self,
                     .soft = soft_state(),
                     .vote = vote_,
                     .commit = commit_,
                     .handed = handed_,
                     .applied = applied_,
                     .term_start = term_start_,
                     .log = &log_,
                     .progress = &progress_};
  CheckState(state);
}

// ---- the facade ---------------------------------------------------------------------------------

Node::Node(const Config& config, InitialState initial, Random random, bool fresh)
    : impl_(std::make_unique<Impl>(config, std::move(initial), random, fresh)) {}
Node::~Node() = default;

void Node::Tick(Instant now) { impl_->Tick(now); }
void Node::Step(Instant now, Message message) { impl_->Step(now, std::move(message)); }
Result<Entry> Node::Propose(std::string payload) { return impl_->Propose(std::move(payload)); }
Status Node::ProposeConfiguration(const std::vector<ReplicaId>& voters,
                                  const std::vector<ReplicaId>& learners) {
  return impl_->ProposeConfiguration(voters, learners);
}
Status Node::ReadIndex(uint64_t context) { return impl_->ReadIndex(context); }
Status Node::TransferLeadership(ReplicaId target) { return impl_->TransferLeadership(target); }
void Node::Campaign(Instant now) { impl_->Campaign(now); }
void Node::Persisted(uint64_t persist_id) { impl_->Persisted(persist_id); }
void Node::Applied(LogIndex index) { impl_->Applied(index); }
bool Node::WantsSnapshot(Instant now, ReplicaId from, Term term, const SnapshotMeta& meta) {
  return impl_->WantsSnapshot(now, from, term, meta);
}
void Node::StateInstalled(LogIndex index) { impl_->StateInstalled(index); }
bool Node::StepSnapshot(Instant now, ReplicaId from, Term term, const SnapshotMeta& meta) {
  return impl_->StepSnapshot(now, from, term, meta);
}
void Node::SnapshotSent(ReplicaId to, bool ok, LogIndex index) {
  impl_->SnapshotSent(to, ok, index);
}
void Node::Compact(LogIndex index) { impl_->Compact(index); }
void Node::PeerUnreachable(ReplicaId peer) { impl_->PeerUnreachable(peer); }
void Node::PeerSated(ReplicaId peer, bool sated) { impl_->PeerSated(peer, sated); }
void Node::Rouse() { impl_->Rouse(); }
void Node::LookAgain() { impl_->LookAgain(); }
void Node::RestSoon() { impl_->RestSoon(); }
void Node::PeerGone(ReplicaId peer) { impl_->PeerGone(peer); }
bool Node::quiescent() const { return impl_->quiescent(); }
bool Node::HasReady() const { return impl_->HasReady(); }
Ready Node::TakeReady() { return impl_->TakeReady(); }
SoftState Node::soft_state() const { return impl_->soft_state(); }
Term Node::term() const { return impl_->term(); }
LogIndex Node::commit_index() const { return impl_->commit(); }
LogIndex Node::applied_index() const { return impl_->applied(); }
LogIndex Node::first_index() const { return impl_->log().first(); }
LogIndex Node::last_index() const { return impl_->log().last(); }
size_t Node::log_bytes() const { return impl_->log().bytes(); }
size_t Node::unapplied_bytes() const { return leader() ? impl_->unapplied_bytes() : 0; }
Result<Term> Node::TermAt(LogIndex index) const {
  if (std::optional<Term> term = impl_->log().TermAt(index)) return *term;
  return NotFound(fmt::format("no entry {} in the log", index));
}
const Configuration& Node::configuration() const { return impl_->log().configuration(); }
LogIndex Node::configuration_index() const { return impl_->log().configuration_index(); }
Configuration Node::ConfigurationAt(LogIndex index) const {
  return impl_->log().ConfigurationAt(index);
}
Instant Node::lease_until() const { return impl_->lease_until(); }
bool Node::leader_ready() const { return impl_->leader_ready(); }
std::vector<ProgressView> Node::progress() const { return impl_->ProgressViews(); }
void Node::CheckInvariants() const { impl_->CheckInvariants(); }

}  // namespace quorate::raft
