// State of one replica. The methods are in node.cc (feeding, Ready), election.cc, replication.cc,
// quiescence.cc and snapshotting.cc; only those include this file.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "raft/core/lease.h"
#include "raft/core/log.h"
#include "raft/core/membership.h"
#include "raft/core/node.h"
#include "raft/core/progress.h"
#include "raft/core/quorum.h"
#include "raft/core/read_index.h"

namespace quorate::raft {

class Node::Impl {
 public:
  Impl(const Config& config, InitialState initial, Random random, bool fresh);

  // See node.h.
  void Tick(Instant now);
  void Step(Instant now, Message message);
  Result<Entry> Propose(std::string payload);
  Status ProposeConfiguration(const std::vector<ReplicaId>& voters,
                              const std::vector<ReplicaId>& learners);
  Status ReadIndex(uint64_t context);
  Status TransferLeadership(ReplicaId target);
  void Campaign(Instant now);
  void Persisted(uint64_t persist_id);
  void Applied(LogIndex index);
  bool WantsSnapshot(Instant now, ReplicaId from, Term term, const SnapshotMeta& meta);
  void StateInstalled(LogIndex index);
  bool StepSnapshot(Instant now, ReplicaId from, Term term, const SnapshotMeta& meta);
  void SnapshotSent(ReplicaId to, bool ok, LogIndex index);
  void Compact(LogIndex index);
  void PeerUnreachable(ReplicaId peer);
  void PeerSated(ReplicaId peer, bool sated);
  void Rouse();
  void LookAgain();
  void RestSoon();
  void PeerGone(ReplicaId peer);
  bool quiescent() const { return quiescent_; }
  bool HasReady() const;
  Ready TakeReady();

  SoftState soft_state() const;
  Instant lease_until() const;
  bool leader_ready() const;
  std::vector<ProgressView> ProgressViews() const;
  void CheckInvariants() const;
  Term term() const { return term_; }
  LogIndex commit() const { return commit_; }
  LogIndex applied() const { return applied_; }
  size_t unapplied_bytes() const { return unapplied_bytes_; }
  const Log& log() const { return log_; }

 private:
  // Whose durability a message waits for.
  enum class Needs : uint8_t { kNothing, kTermAndVote, kLog };
  // A write that the host has taken and not reported yet.
  struct Write {
    uint64_t id;
    LogIndex last;
    uint64_t truncations;
    Term term;
    ReplicaId vote;
  };

  // ---- node.cc
  void Observe(Instant now);
  bool Receive(const Message& message);
  void Dispatch(Message& message);
  void Send(ReplicaId to, MessageBody body, Needs needs);
  void SendAs(Term term, ReplicaId to, MessageBody body, Needs needs);
  void BecomeFollower(Term term, ReplicaId leader);
  void HearLeader(ReplicaId leader);
  void AdvanceCommit(LogIndex index);
  void ConfigurationChanged();
  bool HasCommitted() const;
  Status NotLeader() const;
  // The log's mark is a snapshot whose record is not durable yet.
  bool SnapshotUnwritten() const { return installed_.has_value() || snapshot_write_ > persisted_; }
  void TakeWrite(Ready* ready);
  void TakeCommitted(Ready* ready);

  // ---- election.cc
  bool MayCampaign() const;
  void StartPreVote();
  void StartElection(bool transfer);
  void AskForVotes();
  void CountVotes();
  void BecomeLeader();
  void ResetElectionTimer();
  // Where this voter stands among those that may succeed the leader, from 0: another place for each
  // of them, so that they do not split the vote; another order in each group and term, so that one
  // node does not inherit everything.
  int Succession() const;
  void TickElection();
  void Handle(ReplicaId from, Term term, const RequestVote& request);
  void Handle(ReplicaId from, Term term, const RequestVoteResponse& response);
  void Handle(ReplicaId from, Term term, const TimeoutNow& request);
  void TickTransfer();
  void MaybeFinishTransfer();
  void AbortTransfer();
  void StepDownIfRemoved();

  // ---- replication.cc
  Progress* Find(ReplicaId id);
  const Progress* Find(ReplicaId id) const;
  // Heard of within the shortest election timeout.
  bool Active(const Progress& progress) const {
    return tick_ - progress.heard_tick <= static_cast<uint64_t>(config_.election_ticks_min);
  }
  void SyncProgress();
  void AppendAsLeader(EntryType type, std::string payload);
  void SendAppends();
  void SendAppend(Progress& progress, size_t bytes_max);
  void SendHeartbeat(Progress& progress);
  void StartRound();
  void TickLeader();
  void PushCommit();
  void ProbeIfStalled(Progress& progress);
  bool HeardByQuorum() const;
  void MaybeCommit();
  void MaybeLeaveJoint();
  void ConfirmReads();
  void Handle(ReplicaId from, Term term, AppendEntries& request);
  void Handle(ReplicaId from, Term term, const AppendEntriesResponse& response);
  void Handle(ReplicaId from, Term term, const Heartbeat& request);
  void Handle(ReplicaId from, Term term, const HeartbeatResponse& response);

  // ---- quiescence.cc
  bool Complete(const Progress& progress) const;
  // `holds` of all members that are not gone, and of a majority.
  bool AllThere(bool (Impl::*holds)(const Progress&) const) const;
  bool HasQuiesced(const Progress& progress) const { return progress.quiesced; }
  bool NothingUnderWay() const;
  // At a heartbeat: whether it says that the leader would fall silent.
  bool OffersQuiescence();
  void MaybeQuiesce();
  bool FollowsIntoQuiescence(const Heartbeat& request) const;
  void Wake();
  // Asks the leader whether it is there.
  void AskLeader();

  // ---- snapshotting.cc
  void SendSnapshot(Progress& progress);
  void Handle(ReplicaId from, Term term, const InstallSnapshot& request);
  void Handle(ReplicaId from, Term term, const InstallSnapshotResponse& response);

  const Config config_;
  Random random_;

  // ---- replica
  Term term_;
  ReplicaId vote_;
  Role role_ = Role::kFollower;  // never kLearner: see soft_state()
  ReplicaId leader_;
  bool voter_ = false;  // in the newest configuration
  Log log_;
  LogIndex commit_;
  LogIndex handed_;  // given out as committed
  LogIndex applied_;
  size_t handed_bytes_ = 0;  // payload of (applied_, handed_]
  Instant now_ = Instant::min();
  int election_ticks_ = 0;  // since a leader was heard or a vote granted
  int election_timeout_ = 0;
  VotePromise promise_;
  bool promise_at_start_;   // to be made when the first `now` is known
  bool quiescent_ = false;  // no ticks are counted
  bool asks_ = false;       // woken without a word of leader_ since

  // ---- candidate
  Votes votes_;
  bool transfer_campaign_ = false;

  // ---- leader
  std::vector<Progress> progress_;  // other members, ascending
  uint64_t tick_ = 0;
  int heartbeat_ticks_ = 0;
  LogIndex term_start_;         // index of this term's first entry
  size_t unapplied_bytes_ = 0;  // payload of (applied_, last]
  uint64_t round_ = 0;
  RoundTimes round_times_;
  ReadIndexQueue reads_;
  bool appends_due_ = false;      // something may have become sendable
  bool commit_push_due_ = false;  // with the appends, or alone
  ReplicaId transfer_target_;
  int transfer_ticks_ = 0;
  int idle_heartbeats_ = 0;        // since something was asked of this replica, or came from others
  bool offered_ = false;           // the current round has asked followers to quiesce
  bool timeout_now_sent_ = false;  // the lease is given up for the rest of the term (RC33)

  // ---- output
  SoftState published_;
  HardState taken_;  // what the host was last given
  std::optional<SnapshotMeta> installed_;
  std::vector<Message> out_;
  std::vector<std::pair<uint64_t, Message>> after_persist_;
  std::vector<ReadState> confirmed_;
  std::vector<uint64_t> failed_;
  std::vector<Write> writes_;
  uint64_t last_write_ = 0;  // id of the newest write taken
  uint64_t persisted_ = 0;
  uint64_t term_write_ = 0;      // newest write with a term or vote change
  uint64_t log_write_ = 0;       // newest write with entries or a snapshot
  uint64_t snapshot_write_ = 0;  // newest write with a snapshot
  Term durable_term_;
  ReplicaId durable_vote_;
};

}  // namespace quorate::raft
