// One test per rule of the Raft paper's figure 2 and sections 5.1 to 5.4, and of what our own pages
// add, on a single core that is fed by hand.
#include <gtest/gtest.h>

#include <algorithm>

#include "raft/core/membership.h"
#include "raft/core/node.h"

namespace quorate::raft {
namespace {

constexpr ReplicaId kSelf{1}, kTwo{2}, kThree{3};

Entry Make(uint64_t index, uint64_t term) {
  return {LogIndex(index), Term(term), EntryType::kNormal, "p"};
}

// A core whose writes complete at once unless told otherwise.
class RaftPaper : public ::testing::Test {
 protected:
  void Start(std::vector<uint64_t> terms, uint64_t term, std::vector<uint64_t> voters = {1, 2, 3}) {
    InitialState initial;
    initial.hard_state.term = Term(term);
    initial.snapshot.configuration.voters = {voters.begin(), voters.end()};
    for (size_t i = 0; i < terms.size(); ++i) initial.entries.push_back(Make(i + 1, terms[i]));
    node_ = std::make_unique<Node>(config_, std::move(initial), Random(7), true);
  }

  void Step(ReplicaId from, uint64_t term, MessageBody body) {
    node_->Step(now_, {from, kSelf, Term(term), std::move(body)});
    Turn();
  }

  // Takes Readys until there are none, completing writes; gathers what left.
  void Turn() {
    while (node_->HasReady()) {
      Ready ready = node_->TakeReady();
      for (Message& m : ready.messages) sent_.push_back(std::move(m));
      for (Entry& e : ready.committed) committed_.push_back(e);
      reads_.insert(reads_.end(), ready.reads.begin(), ready.reads.end());
      failed_.insert(failed_.end(), ready.reads_failed.begin(), ready.reads_failed.end());
      if (ready.persist_id != 0) {
        ++writes_;
        node_->Persisted(ready.persist_id);
      }
      if (!committed_.empty()) node_->Applied(committed_.back().index);
    }
    node_->CheckInvariants();
  }

  void Tick(int n) {
    for (int i = 0; i < n; ++i) {
      now_ += limits::kTick;
      node_->Tick(now_);
      Turn();
    }
  }

  // Everything of type T that was sent since the last call, with its receiver.
  template <class T>
  std::vector<Message> Take() {
    std::vector<Message> taken;
    for (const Message& m : sent_) {
      if (std::holds_alternative<T>(m.body)) taken.push_back(m);
    }
    sent_.clear();
    return taken;
  }
  template <class T>
  T TakeOne() {
    std::vector<Message> taken = Take<T>();
    EXPECT_EQ(taken.size(), 1u);
    return taken.empty() ? T() : std::get<T>(taken[0].body);
  }

  // Elected with the vote of 2, with its first entry acknowledged by it.
  void Lead() {
    node_->Campaign(now_);
    Turn();
    uint64_t next = node_->term().value() + 1;
    Step(kTwo, next, RequestVoteResponse{.pre_vote = true, .granted = true});
    Step(kTwo, next, RequestVoteResponse{.granted = true});
    ASSERT_TRUE(node_->leader());
    Acknowledge(kTwo, node_->last_index().value());
    ASSERT_TRUE(node_->leader_ready());
    sent_.clear();
  }

  void Acknowledge(ReplicaId from, uint64_t match) {
    Step(from, node_->term().value(),
         AppendEntriesResponse{.success = true, .match_index = LogIndex(match)});
  }

  RequestVoteResponse AskForVote(ReplicaId from, uint64_t term, uint64_t index, uint64_t last) {
    sent_.clear();
    Step(from, term, RequestVote{.last_log_index = LogIndex(index), .last_log_term = Term(last)});
    return TakeOne<RequestVoteResponse>();
  }

  AppendEntriesResponse Append(uint64_t term, uint64_t prev, uint64_t prev_term,
                               std::vector<Entry> entries, uint64_t commit) {
    sent_.clear();
    Step(kTwo, term,
         AppendEntries{.prev_log_index = LogIndex(prev),
                       .prev_log_term = Term(prev_term),
                       .entries = std::move(entries),
                       .leader_commit = LogIndex(commit)});
    return TakeOne<AppendEntriesResponse>();
  }

  Config config_{.self = kSelf};
  Instant now_ = Instant() + 1s;
  std::unique_ptr<Node> node_;
  std::vector<Message> sent_;
  std::vector<Entry> committed_;
  std::vector<ReadState> reads_;
  std::vector<uint64_t> failed_;
  int writes_ = 0;
};

// ---- 5.1 terms ----------------------------------------------------------------------------------

TEST_F(RaftPaper, LaterTermMakesAFollowerOfAnyRole) {
  Start({}, 1);
  Lead();
  Step(kThree, 9, AppendEntriesResponse{});
  EXPECT_EQ(node_->soft_state().role, Role::kFollower);
  EXPECT_EQ(node_->term(), Term(9));
}

// Somebody's vote was forgotten or made up. Neither the leader nor a follower changes sides.
TEST_F(RaftPaper, ASecondLeaderOfATermIsNotObeyed) {
  Start({1}, 1);
  Step(kTwo, 2, Heartbeat{});
  ASSERT_EQ(node_->soft_state().leader, kTwo);
  sent_.clear();
  Step(kThree, 2, Heartbeat{});
  Step(kThree, 2, AppendEntries{.entries = {Make(1, 2)}, .leader_commit = LogIndex(1)});
  EXPECT_EQ(node_->soft_state().leader, kTwo);
  EXPECT_EQ(node_->TermAt(LogIndex(1)).value(), Term(1));
  EXPECT_TRUE(sent_.empty());

  Start({}, 1);
  Lead();
  const LogIndex last = node_->last_index();
  Step(kThree, node_->term().value(), AppendEntries{.entries = {Make(1, 1)}});
  Step(kThree, node_->term().value(), Heartbeat{});
  EXPECT_TRUE(node_->leader());
  EXPECT_EQ(node_->last_index(), last);
}

// Below the commit index no log is compared; what follows must fit all the same.
TEST_F(RaftPaper, AnAppendWhoseTermsGoBackBehindWhatIsCommittedIsMalformed) {
  Start({2, 3}, 3);
  Append(3, 2, 3, {}, 2);
  ASSERT_EQ(node_->commit_index(), LogIndex(2));
  sent_.clear();
  Step(kTwo, 3, AppendEntries{.entries = {Make(1, 1), Make(2, 1), Make(3, 1)}});
  EXPECT_EQ(node_->last_index(), LogIndex(2));
  EXPECT_TRUE(sent_.empty());
}

TEST_F(RaftPaper, StaleLeaderIsToldTheTerm) {
  Start({}, 5);
  Step(kTwo, 4, Heartbeat{});
  std::vector<Message> answers = Take<AppendEntriesResponse>();
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].term, Term(5));
  EXPECT_EQ(node_->soft_state().leader, ReplicaId());
}

TEST_F(RaftPaper, StaleAnswersAreIgnored) {
  Start({}, 1);
  Lead();
  Step(kThree, 1, AppendEntriesResponse{.success = true, .match_index = LogIndex(1)});
  EXPECT_EQ(node_->progress()[1].match, LogIndex(0));
}

// ---- 5.2 elections ------------------------------------------------------------------------------

TEST_F(RaftPaper, FollowerCampaignsAfterARandomTimeout) {
  std::set<int> timeouts;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    InitialState initial;
    initial.snapshot.configuration.voters = {kSelf, kTwo, kThree};
    Node node(config_, std::move(initial), Random(seed), true);
    int ticks = 0;
    while (node.soft_state().role == Role::kFollower) {
      node.Tick(now_ + ++ticks * limits::kTick);
    }
    timeouts.insert(ticks);
  }
  EXPECT_GE(*timeouts.begin(), limits::kElectionTicksMin);
  EXPECT_LT(*timeouts.rbegin(), 2 * limits::kElectionTicksMin);
  EXPECT_EQ(timeouts.size(), size_t{limits::kElectionTicksMin}) << "all of them occur";
}

TEST_F(RaftPaper, BrokenConnectionToTheLeaderShortensTheWait) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    InitialState initial;
    initial.snapshot.configuration.voters = {kSelf, kTwo, kThree};
    Node node(config_, std::move(initial), Random(seed), true);
    node.Step(now_, {kTwo, kSelf, Term(1), Heartbeat{}});
    node.PeerUnreachable(kThree);
    node.PeerUnreachable(kTwo);
    int ticks = 0;
    while (node.soft_state().role == Role::kFollower) {
      node.Tick(now_ + ++ticks * limits::kTick);
    }
    EXPECT_EQ(ticks, limits::kElectionTicksMin + kSuccessionTicks) << "second in term 1";
  }
}

TEST_F(RaftPaper, SuccessorsOfALeaderTakeTurns) {
  std::set<ReplicaId> first;
  for (uint64_t term = 1; term <= 8; ++term) {
    std::set<int> waits;
    for (const ReplicaId self : {ReplicaId(1), ReplicaId(3), ReplicaId(4), ReplicaId(5)}) {
      InitialState initial;
      initial.snapshot.configuration.voters = {kSelf, kTwo, kThree, ReplicaId(4), ReplicaId(5)};
      Config config = config_;
      config.self = self;
      Node node(config, std::move(initial), Random(term), true);
      node.Step(now_, {kTwo, self, Term(term), Heartbeat{}});
      node.PeerUnreachable(kTwo);
      int ticks = 0;
      while (node.soft_state().role == Role::kFollower) {
        node.Tick(now_ + ++ticks * limits::kTick);
      }
      waits.insert(ticks - limits::kElectionTicksMin);
      if (ticks == limits::kElectionTicksMin) first.insert(self);
    }
    EXPECT_EQ(waits,
              (std::set<int>{0, kSuccessionTicks, 2 * kSuccessionTicks, 3 * kSuccessionTicks}));
  }
  EXPECT_EQ(first.size(), 4u);
}

TEST_F(RaftPaper, PreVoteChangesNothing) {
  Start({1, 2}, 3);
  node_->Campaign(now_);
  Turn();
  EXPECT_EQ(node_->term(), Term(3));
  EXPECT_EQ(writes_, 0);
  std::vector<Message> asked = Take<RequestVote>();
  ASSERT_EQ(asked.size(), 2u);
  EXPECT_EQ(asked[0].term, Term(4));
  EXPECT_TRUE(std::get<RequestVote>(asked[0].body).pre_vote);
  EXPECT_EQ(std::get<RequestVote>(asked[0].body).last_log_term, Term(2));
}

// Receivers refuse a message of term 0, with all that came in one batch with it.
TEST_F(RaftPaper, WhoHasNoTermYetRefusesAPreVoteInSilence) {
  Start({}, 0, {});
  Step(kTwo, 4, RequestVote{.pre_vote = true, .last_log_index = LogIndex(3)});
  EXPECT_TRUE(Take<RequestVoteResponse>().empty());
  EXPECT_EQ(writes_, 0);
  Step(kTwo, 4, RequestVote{.last_log_index = LogIndex(3)});
  const std::vector<Message> answers = Take<RequestVoteResponse>();
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].term, Term(4));
  EXPECT_FALSE(std::get<RequestVoteResponse>(answers[0].body).granted);
}

TEST_F(RaftPaper, CandidateVotesForItselfAndStepsUpATerm) {
  Start({}, 3);
  node_->Campaign(now_);
  Turn();
  sent_.clear();
  Step(kThree, 4, RequestVoteResponse{.pre_vote = true, .granted = true});
  EXPECT_EQ(node_->soft_state().role, Role::kCandidate);
  EXPECT_EQ(node_->term(), Term(4));
  EXPECT_EQ(Take<RequestVote>().size(), 2u);
  EXPECT_FALSE(AskForVote(kTwo, 4, 100, 3).granted) << "its vote is its own";
}

TEST_F(RaftPaper, MajorityOfRefusalsEndsTheCampaign) {
  Start({}, 3);
  node_->Campaign(now_);
  Turn();
  Step(kTwo, 3, RequestVoteResponse{.pre_vote = true});
  EXPECT_EQ(node_->soft_state().role, Role::kPreCandidate);
  Step(kThree, 3, RequestVoteResponse{.pre_vote = true});
  EXPECT_EQ(node_->soft_state().role, Role::kFollower);
}

TEST_F(RaftPaper, VotesOncePerTermFirstComeFirstServed) {
  Start({}, 1);
  EXPECT_TRUE(AskForVote(kTwo, 2, 0, 0).granted);
  EXPECT_TRUE(AskForVote(kTwo, 2, 0, 0).granted) << "a repeated request";
  EXPECT_FALSE(AskForVote(kThree, 2, 0, 0).granted);
  EXPECT_TRUE(AskForVote(kThree, 3, 0, 0).granted);
}

TEST_F(RaftPaper, CandidateYieldsToTheLeaderOfItsTerm) {
  Start({}, 1);
  node_->Campaign(now_);
  Turn();
  Step(kThree, 2, RequestVoteResponse{.pre_vote = true, .granted = true});
  Step(kTwo, 2, Heartbeat{});
  EXPECT_EQ(node_->soft_state(), (SoftState{Role::kFollower, Term(2), kTwo}));
}

TEST_F(RaftPaper, LeaderHeartbeatsEveryOtherTick) {
  Start({}, 1);
  Lead();
  Tick(limits::kHeartbeatTicks);  // also pushes the commit index
  sent_.clear();
  Tick(2 * limits::kHeartbeatTicks);
  std::vector<Message> heartbeats = Take<Heartbeat>();
  EXPECT_EQ(heartbeats.size(), 4u) << "two rounds to two followers";
}

TEST_F(RaftPaper, LeaderWithoutAQuorumStepsDown) {
  Start({}, 1);
  Lead();
  Tick(limits::kElectionTicksMin + limits::kHeartbeatTicks);
  EXPECT_EQ(node_->soft_state().role, Role::kFollower);
}

TEST_F(RaftPaper, VoteIsRefusedWhileALeaderIsHeard) {
  Start({}, 1);
  Step(kTwo, 2, Heartbeat{});
  sent_.clear();
  RequestVote ask{.last_log_index = LogIndex(50), .last_log_term = Term(2)};
  Step(kThree, 3, ask);
  EXPECT_TRUE(Take<RequestVoteResponse>().empty());
  EXPECT_EQ(node_->term(), Term(2)) << "not even the term is taken over";
  ask.leadership_transfer = true;
  Step(kThree, 3, ask);
  EXPECT_TRUE(TakeOne<RequestVoteResponse>().granted);
}

// ---- 5.3 log replication ------------------------------------------------------------------------

TEST_F(RaftPaper, LeaderBeginsItsTermWithAnEntry) {
  Start({1, 1}, 1);
  Lead();
  EXPECT_EQ(node_->last_index(), LogIndex(3));
  EXPECT_EQ(*node_->TermAt(LogIndex(3)), Term(2));
}

TEST_F(RaftPaper, ProposalsOfOneTurnLeaveInOneAppend) {
  Start({}, 1);
  Lead();
  Acknowledge(kThree, 1);
  sent_.clear();
  EXPECT_EQ(node_->Propose("a")->index, LogIndex(2));
  EXPECT_EQ(node_->Propose("b")->term, Term(2));
  Turn();
  std::vector<Message> appends = Take<AppendEntries>();
  ASSERT_EQ(appends.size(), 2u);
  EXPECT_EQ(std::get<AppendEntries>(appends[0].body).entries.size(), 2u);
}

TEST_F(RaftPaper, AppendsArePipelinedUpToTheWindow) {
  config_.inflight_appends_max = 3;
  Start({}, 1);
  Lead();
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(node_->Propose("p").ok());
    Turn();
  }
  auto to_two = [](const Message& m) { return m.to == kTwo; };
  std::vector<Message> appends = Take<AppendEntries>();
  EXPECT_EQ(std::count_if(appends.begin(), appends.end(), to_two), 3);
  Acknowledge(kTwo, 3);
  appends = Take<AppendEntries>();
  ASSERT_EQ(std::count_if(appends.begin(), appends.end(), to_two), 1);
  EXPECT_EQ(std::get<AppendEntries>(appends[0].body).entries.size(), 2u) << "what had to wait";
}

TEST_F(RaftPaper, ProposalsAreBoundedByWhatIsNotApplied) {
  config_.unapplied_bytes_max = 100;
  Start({}, 1);
  Lead();
  EXPECT_TRUE(node_->Propose(std::string(200, 'x')).ok()) << "alone, whatever its size";
  EXPECT_EQ(node_->Propose("y").status().code(), Code::kOverloaded);
  Turn();
  Acknowledge(kTwo, 2);
  EXPECT_TRUE(node_->Propose("y").ok());
}

TEST_F(RaftPaper, EntryIsCommittedByAMajorityAndThenApplied) {
  Start({}, 1);
  Lead();
  committed_.clear();
  ASSERT_TRUE(node_->Propose("a").ok());
  Turn();
  EXPECT_TRUE(committed_.empty());
  Acknowledge(kThree, 2);
  ASSERT_EQ(committed_.size(), 1u);
  EXPECT_EQ(committed_[0].payload, "a");
}

TEST_F(RaftPaper, FollowerChecksThePrecedingEntry) {
  Start({1, 2}, 2);
  AppendEntriesResponse missing = Append(2, 5, 2, {}, 0);
  EXPECT_FALSE(missing.success);
  EXPECT_EQ(missing.match_index, LogIndex(2));
  AppendEntriesResponse other_term = Append(2, 2, 1, {}, 0);
  EXPECT_FALSE(other_term.success);
  EXPECT_EQ(other_term.rejected_index, LogIndex(2));
  AppendEntriesResponse good = Append(2, 2, 2, {Make(3, 2)}, 0);
  EXPECT_TRUE(good.success);
  EXPECT_EQ(good.match_index, LogIndex(3));
}

TEST_F(RaftPaper, ConflictingEntriesAreReplacedOthersStay) {
  Start({1, 2, 2, 2}, 2);
  EXPECT_TRUE(Append(3, 1, 1, {Make(2, 2), Make(3, 3)}, 0).success);
  EXPECT_EQ(node_->last_index(), LogIndex(3));
  EXPECT_EQ(*node_->TermAt(LogIndex(3)), Term(3));
  // A late copy of a shorter append drops nothing.
  EXPECT_TRUE(Append(3, 1, 1, {Make(2, 2)}, 0).success);
  EXPECT_EQ(node_->last_index(), LogIndex(3));
}

TEST_F(RaftPaper, FollowerCommitsNoFurtherThanTheAppendReaches) {
  Start({1, 1, 1}, 1);
  Append(2, 1, 1, {}, 3);
  EXPECT_EQ(node_->commit_index(), LogIndex(1)) << "2 and 3 may not be the leader's";
  Append(2, 1, 1, {Make(2, 2)}, 9);
  EXPECT_EQ(node_->commit_index(), LogIndex(2));
}

TEST_F(RaftPaper, MalformedAppendIsIgnored) {
  Start({1}, 1);
  sent_.clear();
  Step(kTwo, 2,
       AppendEntries{.prev_log_index = LogIndex(1),
                     .prev_log_term = Term(1),
                     .entries = {Make(5, 2)},
                     .leader_commit = LogIndex(0)});
  Step(kTwo, 2,
       AppendEntries{.prev_log_index = LogIndex(1),
                     .prev_log_term = Term(1),
                     .entries = {Make(2, 7)},
                     .leader_commit = LogIndex(0)});
  EXPECT_TRUE(Take<AppendEntriesResponse>().empty());
  EXPECT_EQ(node_->last_index(), LogIndex(1));
}

TEST_F(RaftPaper, LeaderFindsWhereTheLogsAgree) {
  Start({1, 1, 1, 4, 4, 5}, 5);
  Lead();
  sent_.clear();
  // 3 has terms 1 1 1 2 2 2 2 and refuses 6/5; it offers the last entry of a term up to 5.
  Step(kThree, 6, AppendEntriesResponse{.match_index = LogIndex(5), .rejected_index = LogIndex(6)});
  AppendEntries next = TakeOne<AppendEntries>();
  EXPECT_EQ(next.prev_log_index, LogIndex(5));
  Step(kThree, 6, AppendEntriesResponse{.match_index = LogIndex(3), .rejected_index = LogIndex(5)});
  next = TakeOne<AppendEntries>();
  EXPECT_EQ(next.prev_log_index, LogIndex(3));
  EXPECT_EQ(next.entries.size(), 4u);
}

TEST_F(RaftPaper, LostAppendIsNoticedByHeartbeatTicks) {
  Start({}, 1);
  Lead();
  ASSERT_TRUE(node_->Propose("lost").ok());
  Turn();
  sent_.clear();
  Tick(3 * limits::kHeartbeatTicks);
  std::vector<Message> probes = Take<AppendEntries>();
  ASSERT_FALSE(probes.empty());
  EXPECT_TRUE(std::get<AppendEntries>(probes[0].body).entries.empty()) << "asks, sends no payload";
  Step(kTwo, 2, AppendEntriesResponse{.match_index = LogIndex(1), .rejected_index = LogIndex(2)});
  EXPECT_EQ(TakeOne<AppendEntries>().entries.size(), 1u);
}

// ---- 5.4 safety ---------------------------------------------------------------------------------

TEST_F(RaftPaper, VoteNeedsAnUpToDateLog) {
  Start({1, 2, 2}, 2);
  EXPECT_FALSE(AskForVote(kTwo, 3, 9, 1).granted);
  EXPECT_FALSE(AskForVote(kTwo, 4, 2, 2).granted);
  EXPECT_TRUE(AskForVote(kTwo, 5, 3, 2).granted);
}

// Figure 8.
TEST_F(RaftPaper, EntriesOfEarlierTermsAreNotCommittedByCounting) {
  Start({1, 2}, 2);
  node_->Campaign(now_);
  Turn();
  Step(kTwo, 3, RequestVoteResponse{.pre_vote = true, .granted = true});
  Step(kTwo, 3, RequestVoteResponse{.granted = true});
  Acknowledge(kTwo, 2);
  EXPECT_EQ(node_->commit_index(), LogIndex(0));
  Acknowledge(kTwo, 3);
  EXPECT_EQ(node_->commit_index(), LogIndex(3));
}

// ---- ours ---------------------------------------------------------------------------------------

TEST_F(RaftPaper, CommitAloneCausesNoWrite) {
  Start({}, 1);
  Lead();
  ASSERT_TRUE(node_->Propose("a").ok());
  Turn();
  int before = writes_;
  Acknowledge(kTwo, 2);
  Tick(4);
  EXPECT_EQ(writes_, before);
}

TEST_F(RaftPaper, OneHeartbeatRoundServesAllReadsOfATurn) {
  Start({}, 1);
  Lead();
  Acknowledge(kThree, 1);
  sent_.clear();
  for (uint64_t context = 1; context <= 5; ++context) ASSERT_TRUE(node_->ReadIndex(context).ok());
  Turn();
  std::vector<Message> heartbeats = Take<Heartbeat>();
  ASSERT_EQ(heartbeats.size(), 2u);
  Step(kTwo, 2, HeartbeatResponse{.round = std::get<Heartbeat>(heartbeats[0].body).round});
  EXPECT_EQ(reads_.size(), 5u);
}

TEST_F(RaftPaper, ReadsFailWithTheLeadership) {
  Start({}, 1);
  Lead();
  ASSERT_TRUE(node_->ReadIndex(4).ok());
  Step(kThree, 7, AppendEntriesResponse{});
  EXPECT_EQ(failed_, std::vector<uint64_t>{4});
  EXPECT_EQ(node_->ReadIndex(5).code(), Code::kNotLeader);
}

TEST_F(RaftPaper, LeaseRunsFromTheSendingOfTheHeartbeat) {
  Start({}, 1);
  Lead();
  now_ += 10s;
  Tick(limits::kHeartbeatTicks);
  Instant sent = now_;
  std::vector<Message> heartbeats = Take<Heartbeat>();
  now_ += 300ms;
  Step(kTwo, 2, HeartbeatResponse{.round = std::get<Heartbeat>(heartbeats.back().body).round});
  EXPECT_EQ(node_->lease_until(), sent + limits::kLease);
}

TEST_F(RaftPaper, AcknowledgedAppendExtendsTheLease) {
  Start({}, 1);
  Lead();
  now_ += 100ms;
  node_->Tick(now_);
  ASSERT_TRUE(node_->Propose("a").ok());
  Turn();
  Instant sent = now_;
  now_ += 20ms;
  Acknowledge(kTwo, 2);
  EXPECT_EQ(node_->lease_until(), sent + limits::kLease);
}

TEST_F(RaftPaper, FollowerHasNoLease) {
  Start({}, 1);
  Step(kTwo, 2, Heartbeat{});
  EXPECT_EQ(node_->lease_until(), Instant());
}

TEST_F(RaftPaper, LearnerNeverCampaigns) {
  Start({}, 1, {2, 3});
  Tick(100);
  node_->Campaign(now_);
  Turn();
  EXPECT_EQ(node_->soft_state().role, Role::kLearner);
  EXPECT_TRUE(sent_.empty());
}

TEST_F(RaftPaper, BlankReplicaAsksForASnapshot) {
  Start({}, 1, {});
  AppendEntriesResponse answer = Append(2, 0, 0, {Make(1, 2)}, 1);
  EXPECT_FALSE(answer.success);
  EXPECT_EQ(answer.rejected_index, LogIndex(0));
  EXPECT_EQ(node_->last_index(), LogIndex(0));
}

}  // namespace
}  // namespace quorate::raft
