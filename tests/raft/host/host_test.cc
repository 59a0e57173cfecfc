// The host over three simulated nodes: elections, proposals, barriers, transfers, refusals.
// Crashes, snapshots and damage are in host_crash_test.
#include "raft/host/host.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/raft/host/mini_cluster.h"

namespace quorate::raft {
namespace {

constexpr GroupId kGroup = MiniCluster::kGroup;

int Other(int node, int of_three = 3) { return node % of_three + 1; }

TEST(Host, AnswersWithApplysResultOnceApplied) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  const auto outcome = cluster.Propose(leader, "a=1");
  EXPECT_FALSE(outcome->status.has_value()) << "an answer never comes inside the call";
  ASSERT_TRUE(cluster.RunUntil([&] { return outcome->status.has_value(); }));
  EXPECT_TRUE(outcome->ok());
  EXPECT_EQ(outcome->result, fmt::format("a=1@{}", outcome->index));
  EXPECT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  EXPECT_EQ(cluster.machine(Other(leader)).Dump().at("a"), "1");
  EXPECT_EQ(outcome->answers, 1);
}

// Nothing behind an entry that has to wait is applied, on this node only.
TEST(Host, AnEntryWaitsUntilItsNodeCanApplyIt) {
  for (const bool leads : {false, true}) {
    MiniCluster cluster({});
    const int leader = cluster.WaitForLeader();
    const int waiting = leads ? leader : Other(leader);
    cluster.machine(waiting).waits = "the range is not free";
    std::vector<std::shared_ptr<Outcome>> outcomes;
    for (int i = 0; i < 20; ++i)
      outcomes.push_back(cluster.Propose(leader, "k+=" + std::string(1, 'a' + i)));
    cluster.RunFor(2s);
    EXPECT_TRUE(cluster.machine(waiting).applied.empty());
    EXPECT_EQ(cluster.group(waiting)->quarantine(), "");
    EXPECT_EQ(cluster.machine(Other(leader + 1)).applied.size(), 20u);
    EXPECT_EQ(outcomes.back()->status.has_value(), !leads);
    if (leads) EXPECT_NE(cluster.Leader(), waiting) << "a leader that cannot apply serves nobody";
    if (!leads) {  // it comes again after a restart
      cluster.Crash(waiting, MiniCluster::Loss::kProcess);
      cluster.Start(waiting);
      cluster.machine(waiting).waits = "the range is not free";
      cluster.RunFor(1s);
      EXPECT_TRUE(cluster.machine(waiting).applied.empty());
    }
    cluster.machine(waiting).waits.clear();
    ASSERT_TRUE(cluster.RunUntil([&] { return outcomes.back()->status.has_value(); }));
    ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
    EXPECT_EQ(cluster.machine(waiting).Dump().at("k"), "abcdefghijklmnopqrst");
  }
}

// A snapshot may be taken before anything was proposed.
TEST(Host, StoresWhatAGroupBeganWithBeforeTheFirstProposal) {
  MiniCluster cluster({});
  cluster.WaitForLeader();
  const std::string key = storage::MakeKey(fmt::format("first{}", kGroup));
  for (int node = 1; node <= 3; ++node) {
    EXPECT_TRUE(cluster.RunUntil([&] { return cluster.store(node).Get(key)->has_value(); }))
        << "node " << node;
    EXPECT_TRUE(cluster.machine(node).applied.empty());
  }
}

TEST(Host, AppliesInProposalOrder) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  std::vector<std::shared_ptr<Outcome>> outcomes;
  for (int i = 0; i < 300; ++i) {
    outcomes.push_back(cluster.Propose(leader, fmt::format("k={}", i)));
    if (i % 7 == 0) cluster.RunFor(200us);
  }
  ASSERT_TRUE(cluster.RunUntil([&] { return outcomes.back()->status.has_value(); }));
  for (size_t i = 0; i < outcomes.size(); ++i) {
    EXPECT_TRUE(outcomes[i]->ok());
    if (i > 0) EXPECT_LT(outcomes[i - 1]->index, outcomes[i]->index);
  }
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  for (int node = 1; node <= 3; ++node) EXPECT_EQ(cluster.machine(node).Dump().at("k"), "299");
}

TEST(Host, WritesATurnsProposalsOfAllGroupsWithOneSync) {
  MiniCluster::Options options;
  options.nodes = 1;
  options.groups = 40;
  MiniCluster cluster(options);
  for (int g = 1; g <= 40; ++g) cluster.WaitForLeader(GroupId(g));
  cluster.RunFor(1s);
  const uint64_t before = cluster.disk(1).syncs();
  std::vector<std::shared_ptr<Outcome>> outcomes;
  cluster.process(1).Post([&] {
    for (int i = 0; i < 200; ++i) {
      outcomes.push_back(cluster.Propose(1, fmt::format("k{}=v", i), GroupId(i % 40 + 1)));
    }
  });
  ASSERT_TRUE(cluster.RunUntil([&] {
    return outcomes.size() == 200 &&
           std::all_of(outcomes.begin(), outcomes.end(), [](const auto& o) { return o->ok(); });
  }));
  // The groups' first records may find the writer idle: one sync for it, one for all the others.
  EXPECT_LE(cluster.disk(1).syncs() - before, 2u);
}

TEST(Host, RefusesWhatItMayNotAppend) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  const Term term = cluster.group(leader)->soft_state().term;
  const auto stale = cluster.Propose(leader, "a=1", kGroup, term - 1);
  const auto follower = cluster.Propose(Other(leader), "a=2");
  const auto large = cluster.Propose(leader, "a=" + std::string(limits::kWalRecordBytesMax, 'x'));
  EXPECT_FALSE(stale->status.has_value());
  ASSERT_TRUE(cluster.RunUntil([&] {
    return stale->status.has_value() && follower->status.has_value() && large->status.has_value();
  }));
  EXPECT_EQ(stale->status->code(), Code::kNotLeader);
  EXPECT_EQ(follower->status->code(), Code::kNotLeader);
  EXPECT_EQ(large->status->code(), Code::kInvalidArgument);
  cluster.RunFor(1s);
  EXPECT_TRUE(cluster.machine(leader).Dump().empty());
}

TEST(Host, TellsTheMachineOfLeadershipInOrder) {
  MiniCluster cluster({});
  const int first = cluster.WaitForLeader();
  cluster.Isolate(first);
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Leader() != 0 && cluster.Leader() != first; }));
  cluster.Heal();
  ASSERT_TRUE(cluster.RunUntil(
      [&] { return cluster.group(first)->soft_state().leader == NodeId(cluster.Leader()); }));
  cluster.RunFor(100ms);
  for (int node = 1; node <= 3; ++node) {
    const auto& states = cluster.machine(node).states;
    ASSERT_FALSE(states.empty());
    for (size_t i = 1; i < states.size(); ++i) {
      EXPECT_GE(states[i].term, states[i - 1].term);
      EXPECT_FALSE(states[i] == states[i - 1]) << "told twice";
    }
    EXPECT_EQ(states.back(), cluster.group(node)->soft_state());
  }
  EXPECT_EQ(cluster.machine(first).states.back().role, Role::kFollower);
}

TEST(Host, EndsAReplacedProposalWithNotLeaderExactlyOnce) {
  MiniCluster cluster({});
  const int old_leader = cluster.WaitForLeader();
  cluster.Isolate(old_leader);
  std::vector<std::shared_ptr<Outcome>> lost;
  for (int i = 0; i < 5; ++i)
    lost.push_back(cluster.Propose(old_leader, fmt::format("lost{}=1", i)));
  ASSERT_TRUE(
      cluster.RunUntil([&] { return cluster.Leader() != 0 && cluster.Leader() != old_leader; }));
  // Nothing is known of them as long as the old leader hears nothing.
  cluster.RunFor(5s);
  for (const auto& outcome : lost) EXPECT_EQ(outcome->answers, 0);
  std::vector<std::shared_ptr<Outcome>> kept;
  for (int i = 0; i < 5; ++i) {
    kept.push_back(cluster.Propose(cluster.Leader(), fmt::format("kept{}=1", i)));
  }
  ASSERT_TRUE(cluster.RunUntil([&] { return kept.back()->ok(); }));
  cluster.Heal();
  ASSERT_TRUE(cluster.RunUntil([&] { return lost.back()->status.has_value(); }));
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  for (const auto& outcome : lost) {
    EXPECT_EQ(outcome->answers, 1);
    EXPECT_EQ(outcome->status->code(), Code::kNotLeader);
  }
  EXPECT_FALSE(cluster.machine(1).Dump().contains("lost0"));
}

TEST(Host, AnUncommittedProposalThatSurvivesIsAnsweredAfterAll) {
  // The leader's entry reached a follower, its acknowledgement did not come back; that follower
  // wins and commits it: the waiter at the old leader learns the result.
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  const auto outcome = cluster.Propose(leader, "a=1");
  // Long enough for the entry to arrive, too short for an answer (latency is 0.1 to 0.9 ms).
  cluster.RunFor(950us);
  const bool early = outcome->status.has_value();
  cluster.Isolate(leader);
  ASSERT_TRUE(
      cluster.RunUntil([&] { return cluster.Leader() != 0 && cluster.Leader() != leader; }));
  cluster.Heal();
  ASSERT_TRUE(cluster.RunUntil([&] { return outcome->status.has_value(); }));
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  EXPECT_FALSE(early);
  EXPECT_EQ(outcome->answers, 1);
  EXPECT_TRUE(outcome->ok());
  EXPECT_TRUE(cluster.machine(1).Dump().contains("a"));
}

TEST(Host, ProposesFromACoroutine) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  TaskScope scope(cluster.process(leader));
  std::optional<Result<Proposed>> result;
  const auto propose = [](GroupHandle* group, std::optional<Result<Proposed>>* out) -> Task<void> {
    *out = co_await group->Propose("a=1", std::nullopt);
  };
  scope.Spawn(propose(cluster.group(leader), &result));
  ASSERT_TRUE(cluster.RunUntil([&] { return result.has_value(); }));
  ASSERT_TRUE(result->ok());
  EXPECT_EQ((*result)->result.payload, fmt::format("a=1@{}", (*result)->index));
}

Task<void> Barrier(GroupHandle* group, std::optional<Status>* out) {
  *out = co_await group->ReadBarrier();
}

TEST(Host, ReadBarrierSeesWhatWasAcknowledgedBefore) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  TaskScope scope(cluster.process(leader));
  const auto write = cluster.Propose(leader, "a=1");
  std::vector<std::optional<Status>> reads(20);
  for (auto& read : reads) scope.Spawn(Barrier(cluster.group(leader), &read));
  ASSERT_TRUE(cluster.RunUntil([&] {
    return std::all_of(reads.begin(), reads.end(), [](const auto& r) { return r.has_value(); });
  }));
  for (const auto& read : reads) EXPECT_TRUE(read->ok()) << read->ToString();
  ASSERT_TRUE(cluster.RunUntil([&] { return write->ok(); }));
  std::optional<Status> after;
  scope.Spawn(Barrier(cluster.group(leader), &after));
  ASSERT_TRUE(cluster.RunUntil([&] { return after.has_value(); }));
  EXPECT_GE(cluster.group(leader)->applied_index(), write->index);
}

TEST(Host, ReadBarrierFailsWithoutAQuorumAndOnFollowers) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  TaskScope scope(cluster.process(leader));
  TaskScope follower_scope(cluster.process(Other(leader)));
  std::optional<Status> at_follower;
  follower_scope.Spawn(Barrier(cluster.group(Other(leader)), &at_follower));
  ASSERT_TRUE(cluster.RunUntil([&] { return at_follower.has_value(); }));
  EXPECT_EQ(at_follower->code(), Code::kNotLeader);
  cluster.Isolate(leader);
  std::optional<Status> read;
  scope.Spawn(Barrier(cluster.group(leader), &read));
  ASSERT_TRUE(cluster.RunUntil([&] { return read.has_value(); }));
  EXPECT_EQ(read->code(), Code::kNotLeader) << "check-quorum deposed it, and it says so";
}

Task<void> WaitForLeader(GroupHandle* group, Instant until, Env* env, std::optional<Instant>* at) {
  co_await group->WaitForLeader(until);
  *at = env->Now();
}

TEST(Host, WhoWaitsForALeaderHearsOfItAtOnce) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  const int follower = Other(leader);
  GroupHandle* group = cluster.group(follower);
  Env& env = cluster.process(follower).env();
  ASSERT_TRUE(cluster.RunUntil([&] { return group->soft_state().leader == NodeId(leader); }));
  EXPECT_FALSE(group->leader_in_doubt());
  cluster.Crash(leader, MiniCluster::Loss::kProcess);
  ASSERT_TRUE(cluster.RunUntil([&] { return group->leader_in_doubt(); }));
  EXPECT_EQ(group->soft_state().leader, NodeId(leader)) << "in doubt before anyone campaigns";

  TaskScope scope(cluster.process(follower));
  std::optional<Instant> soon;
  std::optional<Instant> late;
  scope.Spawn(WaitForLeader(group, env.Now() + 100ms, &env, &soon));
  scope.Spawn(WaitForLeader(group, env.Now() + 60min, &env, &late));
  const Instant asked = env.Now();
  ASSERT_TRUE(cluster.RunUntil([&] { return soon.has_value(); }));
  EXPECT_GE(*soon - asked, 100ms);
  EXPECT_LE(*soon - asked, 100ms + 2 * limits::kTick);
  ASSERT_TRUE(cluster.RunUntil([&] { return late.has_value(); }));
  EXPECT_FALSE(group->leader_in_doubt());
  EXPECT_NE(group->soft_state().leader, NodeId(leader));
  EXPECT_TRUE(group->soft_state().leader);
}

TEST(Host, AReplicaThatIsCutOffDoubtsItsLeaderUntilItHearsOfItAgain) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  const int follower = Other(leader);
  GroupHandle* group = cluster.group(follower);
  Env& env = cluster.process(follower).env();
  cluster.Isolate(follower);
  ASSERT_TRUE(cluster.RunUntil([&] { return group->leader_in_doubt(); }));
  EXPECT_FALSE(cluster.group(leader)->leader_in_doubt());
  TaskScope scope(cluster.process(follower));
  std::optional<Instant> heard;
  scope.Spawn(WaitForLeader(group, env.Now() + 60min, &env, &heard));
  cluster.RunFor(3s);
  EXPECT_FALSE(heard.has_value());
  cluster.Heal();
  EXPECT_TRUE(cluster.RunUntil([&] { return heard.has_value(); }));
}

TEST(Host, NobodyWaitsForALeaderWhereStorageFailed) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  const int follower = Other(leader);
  GroupHandle* group = cluster.group(follower);
  Env& env = cluster.process(follower).env();
  cluster.Crash(leader, MiniCluster::Loss::kProcess);
  ASSERT_TRUE(cluster.RunUntil([&] { return group->leader_in_doubt(); }));
  TaskScope scope(cluster.process(follower));
  std::optional<Instant> heard;
  scope.Spawn(WaitForLeader(group, env.Now() + 60min, &env, &heard));
  // Its vote cannot be made durable, and without that nobody is elected.
  cluster.disk(follower).FailNextSync(IoError("disk on fire"));
  EXPECT_TRUE(cluster.RunUntil([&] { return heard.has_value(); }));
  EXPECT_TRUE(cluster.fatal(follower).has_value());
}

TEST(Host, TransfersLeadership) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  const int target = Other(leader);
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  ASSERT_TRUE(cluster.group(leader)->TransferLeadership(NodeId(target)).ok());
  const Instant begun = cluster.world().now();
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Leader() == target; }));
  EXPECT_LT(cluster.world().now() - begun, limits::kTick * limits::kElectionTicksMin)
      << "no election timeout was waited for";
}

Task<void> HandOver(Host* host, Duration timeout, bool* done) {
  co_await host->HandOver(timeout);
  *done = true;
}

TEST(Host, HandsOverAllItsLeaderships) {
  MiniCluster::Options options;
  options.groups = 6;
  MiniCluster cluster(options);
  for (int g = 1; g <= 6; ++g) cluster.WaitForLeader(GroupId(g));
  ASSERT_TRUE(cluster.RunUntil([&] {
    for (int g = 1; g <= 6; ++g) {
      if (!cluster.Agree(GroupId(g))) return false;
    }
    return true;
  }));
  const int node = cluster.Leader();
  TaskScope scope(cluster.process(node));
  bool done = false;
  scope.Spawn(HandOver(&cluster.host(node), 5s, &done));
  const Instant begun = cluster.world().now();
  ASSERT_TRUE(cluster.RunUntil([&] { return done; }));
  EXPECT_LT(cluster.world().now() - begun, Duration(2s));
  for (int g = 1; g <= 6; ++g) {
    EXPECT_NE(cluster.group(node, GroupId(g))->soft_state().role, Role::kLeader);
  }
  EXPECT_EQ(cluster.metrics(node).GetGauge("quorate_raft_leader_groups", "").Value(), 0);
}

TEST(Host, NodesThatStopTogetherHandNothingToEachOther) {
  MiniCluster::Options options;
  options.groups = 6;
  MiniCluster cluster(options);
  std::vector<Term> terms;
  for (int g = 1; g <= 6; ++g) {
    const int leader = cluster.WaitForLeader(GroupId(g));
    ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(GroupId(g)); }));
    terms.push_back(cluster.group(leader, GroupId(g))->soft_state().term);
  }
  std::vector<std::unique_ptr<TaskScope>> scopes;
  bool done[3] = {};
  for (int node = 1; node <= 3; ++node) {
    scopes.push_back(std::make_unique<TaskScope>(cluster.process(node)));
    cluster.host(node).RefuseLeaderships();
    scopes.back()->Spawn(HandOver(&cluster.host(node), 5s, &done[node - 1]));
  }
  const Instant begun = cluster.world().now();
  ASSERT_TRUE(cluster.RunUntil([&] { return done[0] && done[1] && done[2]; }));
  EXPECT_LT(cluster.world().now() - begun, limits::kTick * 4) << "nobody is waited for";
  for (int g = 1; g <= 6; ++g) {
    for (int node = 1; node <= 3; ++node) {
      EXPECT_EQ(cluster.group(node, GroupId(g))->soft_state().term, terms[g - 1]) << g;
    }
  }
}

// It would drop the word to take it, and the leader, who had given its lease away, end its term.
TEST(Host, ALeadershipIsNotSentToANodeThatStops) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  const Term term = cluster.group(leader)->soft_state().term;
  const int stops = Other(leader);
  cluster.host(stops).RefuseLeaderships();
  cluster.RunFor(2 * limits::kHeartbeatTicks * limits::kTick);
  const Status refused =
      cluster.group(leader)->TransferLeadership(NodeId(static_cast<uint64_t>(stops)));
  EXPECT_EQ(refused.code(), Code::kFailedPrecondition) << refused.ToString();
  const auto outcome = cluster.Propose(leader, "a=1");
  EXPECT_TRUE(cluster.RunUntil([&] { return outcome->ok(); }, 100ms));
  cluster.RunFor(2s);
  EXPECT_EQ(cluster.group(leader)->soft_state().term, term);
  const int other = 6 - leader - stops;
  EXPECT_TRUE(cluster.group(leader)->TransferLeadership(NodeId(static_cast<uint64_t>(other))).ok());
  EXPECT_TRUE(cluster.RunUntil([&] { return cluster.Leader() == other; }, 1s));
}

TEST(Host, HandOverOfAGroupWithoutPeersEndsAtOnce) {
  MiniCluster::Options options;
  options.nodes = 1;
  MiniCluster cluster(options);
  cluster.WaitForLeader();
  TaskScope scope(cluster.process(1));
  bool done = false;
  scope.Spawn(HandOver(&cluster.host(1), 5s, &done));
  ASSERT_TRUE(cluster.RunUntil([&] { return done; }, 100ms));
}

TEST(Host, RefusesMessagesForOthersWithoutEffect) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  const SoftState before = cluster.group(leader)->soft_state();
  Message vote{NodeId(9), NodeId(leader), before.term + 5, RequestVote{}};
  cluster.host(leader).OnMessages({{GroupId(77), vote}});
  vote.to = NodeId(8);
  cluster.host(leader).OnMessages({{kGroup, vote}});
  SnapshotChunk chunk;
  chunk.group = GroupId(77);
  chunk.to = NodeId(leader);
  cluster.host(leader).OnSnapshotChunk(chunk);
  EXPECT_EQ(cluster.Count(leader, "quorate_raft_messages_refused_total"), 3u);
  cluster.RunFor(1s);
  EXPECT_EQ(cluster.group(leader)->soft_state(), before);
}

TEST(Host, StartsAGroupOnceAndKnowsWhatIsStored) {
  MiniCluster::Options options;
  options.groups = 3;
  MiniCluster cluster(options);
  KvMachine machine(kGroup, cluster.store(1));
  EXPECT_EQ(cluster.host(1).StartGroup(kGroup, machine, std::nullopt).status().code(),
            Code::kAlreadyExists);
  EXPECT_EQ(cluster.host(1).StartGroup(GroupId(), machine, std::nullopt).status().code(),
            Code::kInvalidArgument);
  EXPECT_EQ(cluster.host(1).Find(GroupId(9)), nullptr);
  cluster.WaitForLeader();
}

TEST(Host, ReportsAStorageFailureOnceAndAnswersNothingMore) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  cluster.disk(leader).FailNextSync(IoError("disk on fire"));
  const auto outcome = cluster.Propose(leader, "a=1");
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.fatal(leader).has_value(); }));
  EXPECT_EQ(cluster.fatal(leader)->code(), Code::kIoError);
  const auto later = cluster.Propose(leader, "b=1");
  cluster.RunFor(3s);
  EXPECT_EQ(outcome->answers, 0) << "it may be committed by the others";
  ASSERT_TRUE(later->status.has_value());
  EXPECT_EQ(later->status->code(), Code::kNotLeader);
  EXPECT_NE(cluster.Leader(), 0) << "the others go on";
}

TEST(Host, RefusesProposalsWhileTheOverlayIsOverItsBound) {
  MiniCluster::Options options;
  options.nodes = 1;
  options.store.flush_interval = std::chrono::hours(1);
  options.store.flush_bytes = size_t{1} << 40;
  MiniCluster cluster(options);
  cluster.WaitForLeader();
  storage::WriteBatch batch;
  batch.Put(storage::MakeKey("other"), std::string(limits::kOverlayBytesMax, 'x'));
  cluster.store(1).Apply(GroupId(99), 1, std::move(batch));
  ASSERT_TRUE(cluster.store(1).OverBound());
  const auto refused = cluster.Propose(1, "a=1");
  ASSERT_TRUE(cluster.RunUntil([&] { return refused->status.has_value(); }));
  EXPECT_EQ(refused->status->code(), Code::kOverloaded);
}

// ---- space --------------------------------------------------------------------------------------

Code Room(MiniCluster* cluster, int node, Growth growth = Growth::kGrows) {
  return cluster->group(node)->CheckRoom(growth).code();
}

TEST(HostSpace, OneFollowerWithoutRoomIsNotInTheWay) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  cluster.host(Other(leader)).SetSpace({.low = true});
  cluster.RunFor(2s);
  EXPECT_EQ(cluster.Leader(), leader);
  EXPECT_EQ(Room(&cluster, leader), Code::kOk);
}

TEST(HostSpace, TwoFollowersWithoutRoomAreAndAreNamed) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  const int low = Other(leader);
  const int other = Other(low);
  cluster.host(low).SetSpace({.low = true});
  cluster.host(other).SetSpace({.low = true});
  cluster.RunFor(1s);
  ASSERT_EQ(Room(&cluster, leader), Code::kNoSpace);
  EXPECT_EQ(Room(&cluster, leader, Growth::kShrinks), Code::kOk);
  const std::string message(cluster.group(leader)->CheckRoom(Growth::kGrows).message());
  const auto [first, second] = std::minmax(low, other);
  EXPECT_NE(message.find(fmt::format("node {}, {} ", first, second)), std::string::npos) << message;
  EXPECT_EQ(cluster.Leader(), leader) << "nobody would do better";
  cluster.host(low).SetSpace({});
  cluster.RunFor(1s);
  EXPECT_EQ(Room(&cluster, leader), Code::kOk);
}

TEST(HostSpace, AFollowerThatIsNeededSinceAnotherIsDownCounts) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  const int low = Other(leader);
  cluster.host(low).SetSpace({.low = true});
  cluster.RunFor(1s);
  ASSERT_EQ(Room(&cluster, leader), Code::kOk);
  cluster.Crash(Other(low), MiniCluster::Loss::kProcess);
  cluster.RunFor(2s);
  EXPECT_EQ(Room(&cluster, leader), Code::kNoSpace);
}

TEST(HostSpace, SilentFollowersWithoutLowDisksAreNoLackOfSpace) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  for (int node = 1; node <= 3; ++node) {
    if (node != leader) cluster.Crash(node, MiniCluster::Loss::kProcess);
  }
  cluster.RunFor(5s);
  EXPECT_EQ(Room(&cluster, leader), Code::kOk);
}

TEST(HostSpace, ALeaderWithoutRoomHandsOverToWhoHasSome) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  const int low = Other(leader);
  cluster.RunFor(1s);
  cluster.host(low).SetSpace({.low = true});
  cluster.host(leader).SetSpace({.low = true});
  cluster.RunFor(2s);
  EXPECT_EQ(cluster.Leader(), leader) << "with one disk of three there is no majority";
  EXPECT_EQ(Room(&cluster, leader), Code::kNoSpace);
  cluster.host(low).SetSpace({});
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Leader() != leader; }, 3s));
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Leader() != 0; }));
  EXPECT_EQ(Room(&cluster, cluster.Leader()), Code::kOk);
}

TEST(HostSpace, AFullLeaderSaysNoSpaceOnlyWhereNobodyElseCouldLead) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  const int low = Other(leader);
  cluster.RunFor(1s);
  cluster.host(leader).SetSpace({.low = true, .full = true});
  EXPECT_EQ(Room(&cluster, leader), Code::kNotLeader);
  EXPECT_EQ(Room(&cluster, leader, Growth::kShrinks), Code::kNotLeader);
  cluster.host(low).SetSpace({.low = true});
  ASSERT_TRUE(cluster.RunUntil([&] { return Room(&cluster, leader) == Code::kNoSpace; }));
  EXPECT_EQ(Room(&cluster, leader, Growth::kShrinks), Code::kNoSpace);
  cluster.host(low).SetSpace({});
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Leader() != leader; }, 3s));
}

TEST(HostSpace, AFullNodeTakesNothingAndCatchesUpLater) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  const int full = Other(leader);
  cluster.RunFor(1s);
  cluster.disk(full).SetFull(true);
  cluster.host(full).SetSpace({.low = true, .full = true});
  const LogIndex before = cluster.group(full)->applied_index();
  for (int i = 0; i < 200; ++i) {
    const auto outcome = cluster.Propose(leader, fmt::format("k{}={}", i, std::string(5000, 'x')));
    ASSERT_TRUE(cluster.RunUntil([&] { return outcome->ok(); }));
  }
  EXPECT_EQ(cluster.group(full)->applied_index(), before);
  EXPECT_EQ(cluster.Leader(), leader);
  EXPECT_FALSE(cluster.fatal(full).has_value());
  cluster.disk(full).SetFull(false);
  cluster.host(full).SetSpace({});
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  EXPECT_FALSE(cluster.fatal(full).has_value());
}

TEST(HostSpace, AFullLeaderAcceptsNotEvenDeletions) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  for (int node = 1; node <= 3; ++node) {
    cluster.host(node).SetSpace({.low = true, .full = true});
  }
  cluster.RunFor(1s);
  EXPECT_EQ(cluster.Leader(), leader) << "reads go on";
  EXPECT_EQ(Room(&cluster, leader, Growth::kShrinks), Code::kNoSpace);
  const auto outcome = cluster.Propose(leader, "a=1");
  ASSERT_TRUE(cluster.RunUntil([&] { return outcome->status.has_value(); }));
  EXPECT_EQ(outcome->status->code(), Code::kOverloaded);
}

}  // namespace
}  // namespace quorate::raft
