// Pre-vote, votes, leadership transfer (methods of Node::Impl).
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "raft/core/node_impl.h"

namespace quorate::raft {
namespace {

// How many committed entries the target of a transfer may still have to apply: they take it well
// below an election timeout (RC51).
constexpr uint64_t kTransferApplyLagMax = 256;

}  // namespace

void Node::Impl::ResetElectionTimer() {
  election_ticks_ = 0;
  election_timeout_ =
      config_.election_ticks_min +
      static_cast<int>(random_.Below(static_cast<uint64_t>(config_.election_ticks_min)));
}

int Node::Impl::Succession() const {
  uint64_t others = 0;
  uint64_t own = 0;
  for (ReplicaId id : Members(log_.configuration())) {
    if (id == leader_ || !IsVoter(log_.configuration(), id)) continue;
    if (id == config_.self) own = others;
    ++others;
  }
  return others == 0 ? 0 : static_cast<int>((own + config_.group + term_.value()) % others);
}

void Node::Impl::TickElection() {
  if (election_ticks_ < election_timeout_) ++election_ticks_;
  if (asks_ && election_ticks_ % config_.heartbeat_ticks == 0) AskLeader();
  if (election_ticks_ >= election_timeout_) {
    // Voting for oneself is a vote.
    if (MayCampaign() && !promise_.Forbids(now_, config_.self)) StartPreVote();
  } else if (role_ != Role::kFollower && election_ticks_ % config_.heartbeat_ticks == 0) {
    // Whoever did not answer may have been bound by its promise a moment ago.
    AskForVotes();
  }
}

// Thesis 4.2.2: one that the newest configuration removes may still be needed until that is
// committed, for it may be the only one with a log long enough to bring it there.
bool Node::Impl::MayCampaign() const {
  return voter_ || IsVoter(log_.ConfigurationAt(commit_), config_.self);
}

void Node::Impl::Campaign(Instant now) {
  Observe(now);
  Wake();
  if (role_ == Role::kLeader || !MayCampaign() || promise_.Forbids(now_, config_.self)) return;
  StartPreVote();
}

// Thesis 9.6: asks whether an election could be won, without changing anything durable.
void Node::Impl::StartPreVote() {
  role_ = Role::kPreCandidate;
  leader_ = ReplicaId();
  ResetElectionTimer();
  votes_.Clear();
  votes_.Record(config_.self, true);
  AskForVotes();
  CountVotes();
}

// Thesis 3.4. Its own vote counts once it is durable: see CountVotes.
void Node::Impl::StartElection(bool transfer) {
  ++term_;
  vote_ = config_.self;
  role_ = Role::kCandidate;
  leader_ = ReplicaId();
  transfer_campaign_ = transfer;
  ResetElectionTimer();
  votes_.Clear();
  AskForVotes();
}

void Node::Impl::AskForVotes() {
  bool pre_vote = role_ == Role::kPreCandidate;
  bool first = votes_.empty();
  bool durable = durable_term_ == term_ && durable_vote_ == config_.self;
  // The first request waits for the write by itself; a second one before that would only follow it.
  if (!pre_vote && !first && !durable) return;
  RequestVote request{.pre_vote = pre_vote,
                      .leadership_transfer = !pre_vote && transfer_campaign_,
                      .last_log_index = log_.last(),
                      .last_log_term = log_.last_term()};
  for (ReplicaId id : Members(log_.configuration())) {
    if (id == config_.self || !IsVoter(log_.configuration(), id) || votes_.Answered(id)) continue;
    // A grant may be counted only by the very campaign that asked, so the term, and the log that
    // was named, must survive a restart.
    SendAs(pre_vote ? term_ + 1 : term_, id, request, pre_vote ? Needs::kNothing : Needs::kLog);
  }
}

void Node::Impl::CountVotes() {
  bool pre_vote = role_ == Role::kPreCandidate;
  if (!pre_vote && durable_term_ == term_ && durable_vote_ == config_.self) {
    votes_.Record(config_.self, true);
  }
  switch (votes_.Tally(log_.configuration())) {
    case Votes::Outcome::kPending:
      return;
    case Votes::Outcome::kLost:
      BecomeFollower(term_, ReplicaId());
      return;
    case Votes::Outcome::kWon:
      if (pre_vote) {
        StartElection(false);
      } else {
        BecomeLeader();
      }
  }
}

void Node::Impl::BecomeLeader() {
  CHECK(role_ == Role::kCandidate && vote_ == config_.self);
  role_ = Role::kLeader;
  leader_ = config_.self;
  votes_.Clear();
  tick_ = 0;
  heartbeat_ticks_ = 0;
  round_ = 0;
  round_times_.Clear();
  transfer_target_ = ReplicaId();
  timeout_now_sent_ = false;
  unapplied_bytes_ = 0;
  for (LogIndex i = applied_ + 1; i <= log_.last(); ++i) {
    unapplied_bytes_ += log_.At(i).payload.size();
  }
  term_start_ = log_.last() + 1;
  progress_.clear();
  SyncProgress();
  // Thesis 6.4: only an entry of this term commits what earlier terms left.
  AppendAsLeader(EntryType::kEmpty, std::string());
}

void Node::Impl::Handle(ReplicaId from, Term term, const RequestVote& request) {
  // A replica without members has no log to compare with. If it stands in for one that was
  // destroyed here, a majority of members that were replaced long ago must not be made with it.
  const bool stands_in = log_.configuration().voters.empty() && !config_.first_here;
  if (stands_in && !MUTANT("raft-empty-replica-votes")) {
    // Before its first term it has nothing to tell that others take.
    if (!term_) return;
    Send(from, RequestVoteResponse{.pre_vote = request.pre_vote}, Needs::kTermAndVote);
    return;
  }
  bool up_to_date = log_.UpToDate(request.last_log_index, request.last_log_term) ||
                    MUTANT("raft-vote-for-shorter-log");
  bool free = vote_ == from || (!vote_ && !leader_) || MUTANT("raft-vote-twice");
  if (request.pre_vote) {
    if (up_to_date && (term > term_ || free)) {
      RequestVoteResponse grant{.pre_vote = true, .granted = true};
      SendAs(term, from, grant, Needs::kNothing);
    } else {
      // The real term, so that an asker that is behind catches up (RC23).
      Send(from, RequestVoteResponse{.pre_vote = true}, Needs::kTermAndVote);
    }
    return;
  }
  bool granted = up_to_date && free;
  if (granted) {
    if (role_ == Role::kPreCandidate) BecomeFollower(term_, ReplicaId());
    vote_ = from;
    election_ticks_ = 0;
  }
  const Needs needs = MUTANT("raft-vote-before-durable") ? Needs::kNothing : Needs::kTermAndVote;
  Send(from, RequestVoteResponse{.granted = granted}, needs);
}

void Node::Impl::Handle(ReplicaId from, Term term, const RequestVoteResponse& response) {
  Role asked_as = response.pre_vote ? Role::kPreCandidate : Role::kCandidate;
  if (role_ != asked_as) return;
  Term answers = response.pre_vote && response.granted ? term_ + 1 : term_;
  if (term != answers) return;
  votes_.Record(from, response.granted);
  CountVotes();
}

// Thesis 3.10. The leader that sent it has given up its lease, so no promise stands in the way; an
// older leader's is of a lower term and never gets here (RC33).
void Node::Impl::Handle(ReplicaId from, Term term, const TimeoutNow& request) {
  if (!MayCampaign() || role_ == Role::kLeader || role_ == Role::kCandidate) return;
  PROBE("raft: timeout now");
  StartElection(true);
}

// ---- transfer, leader's side --------------------------------------------------------------------

Status Node::Impl::TransferLeadership(ReplicaId target) {
  Wake();
  if (role_ != Role::kLeader) return NotLeader();
  if (target == config_.self || target == transfer_target_) return Status::Ok();
  if (transfer_target_) return Status(Code::kFailedPrecondition, "another transfer is under way");
  const auto& voters = log_.configuration().voters;
  if (!std::binary_search(voters.begin(), voters.end(), target)) {
    return Status(Code::kFailedPrecondition, fmt::format("{} is no voter", target));
  }
  const Progress* progress = Find(target);
  if (progress != nullptr && progress->sated) {
    return Status(Code::kFailedPrecondition,
                  fmt::format("{} takes no entries: too much waits for its store", target));
  }
  transfer_target_ = target;
  transfer_ticks_ = 0;
  appends_due_ = commit_push_due_ = true;
  MaybeFinishTransfer();
  return Status::Ok();
}

void Node::Impl::MaybeFinishTransfer() {
  if (!transfer_target_ || timeout_now_sent_) return;
  // It stays a voter: no change is proposed meanwhile, and a joint one is left towards `voters`.
  const Progress* target = Find(transfer_target_);
  CHECK(target != nullptr);
  if (target->match < log_.last() || target->applied + kTransferApplyLagMax < commit_) return;
  // From here on there is no lease: not for a target that seems to be gone.
  if (tick_ - target->heard_tick > 2 * static_cast<uint64_t>(config_.heartbeat_ticks)) return;
  timeout_now_sent_ = true;
  Send(transfer_target_, TimeoutNow{}, Needs::kNothing);
}

void Node::Impl::TickTransfer() {
  if (!transfer_target_) return;
  if (++transfer_ticks_ >= config_.election_ticks_min) {
    AbortTransfer();
  } else if (timeout_now_sent_ && transfer_ticks_ % config_.heartbeat_ticks == 0) {
    Send(transfer_target_, TimeoutNow{}, Needs::kNothing);
  }
}

void Node::Impl::AbortTransfer() {
  transfer_target_ = ReplicaId();
  if (!timeout_now_sent_) return;
  // A late TimeoutNow would depose this leader in spite of any lease, so the lease cannot come back
  // in this term. In the next one that message is stale.
  PROBE("raft: transfer aborted late");
  BecomeFollower(term_, ReplicaId());
  if (MayCampaign()) StartPreVote();
}

// Thesis 4.2.2: a leader that is no longer a voter manages the group until the configuration
// without it is committed; here, applied, so that the change has been answered (RC17).
void Node::Impl::StepDownIfRemoved() {
  if (voter_ || log_.configuration_index() > applied_) return;
  PushCommit();
  const Progress* heir = nullptr;
  for (const Progress& p : progress_) {
    bool better = heir == nullptr || p.match > heir->match;
    if (IsVoter(log_.configuration(), p.id) && better) heir = &p;
  }
  if (heir != nullptr && heir->match == log_.last()) {
    Send(heir->id, TimeoutNow{}, Needs::kNothing);
  }
  BecomeFollower(term_, ReplicaId());
}

}  // namespace quorate::raft
