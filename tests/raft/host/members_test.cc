// Members that come and go: learners, swaps, destroyed replicas and their successors.
#include <gtest/gtest.h>

#include "tests/raft/host/mini_cluster.h"

namespace quorate::raft {
namespace {

MiniCluster::Options FourNodes() { return {.nodes = 4, .founders = 3}; }

void Write(MiniCluster& cluster, int count, const std::string& prefix) {
  for (int i = 0; i < count; ++i) {
    const int leader = cluster.WaitForLeader();
    const auto outcome = cluster.Propose(leader, fmt::format("{}{}=x", prefix, i));
    ASSERT_TRUE(cluster.RunUntil([&] { return outcome->status.has_value(); }));
    ASSERT_TRUE(outcome->ok()) << outcome->status->ToString();
  }
}

int OtherThan(int leader) { return leader == 1 ? 2 : 1; }

std::vector<int> Without(int node) {
  std::vector<int> rest;
  for (int id = 1; id <= 3; ++id) {
    if (id != node) rest.push_back(id);
  }
  return rest;
}

std::vector<int> With(std::vector<int> nodes, int node) {
  nodes.push_back(node);
  std::sort(nodes.begin(), nodes.end());
  return nodes;
}

TEST(Members, ALearnerIsToldEverythingAndBecomesAVoter) {
  MiniCluster cluster(FourNodes());
  Write(cluster, 10, "a");
  EXPECT_TRUE(cluster.machine(4).Dump().empty());
  cluster.ChangeMembers({1, 2, 3}, {4});
  EXPECT_EQ(cluster.machine(cluster.Leader()).members.learners, std::vector{NodeId(4)});
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  cluster.ChangeMembers({1, 2, 3, 4}, {});
  Write(cluster, 3, "b");
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  EXPECT_EQ(cluster.machine(4).Dump().size(), 13u);
  EXPECT_EQ(cluster.machine(4).members.voters.size(), 4u);
}

TEST(Members, WhoHasNotCaughtUpIsNoVoter) {
  MiniCluster cluster(FourNodes());
  Write(cluster, 3, "a");
  const int leader = cluster.WaitForLeader();
  const std::vector<NodeId> all = {NodeId(1), NodeId(2), NodeId(3), NodeId(4)};
  EXPECT_EQ(cluster.group(leader)->ChangeMembers(all, {}).code(), Code::kFailedPrecondition);
  cluster.Isolate(4);
  cluster.ChangeMembers({1, 2, 3}, {4});
  for (const Duration wait : {0ms, 2000ms}) {
    cluster.RunFor(wait);
    EXPECT_EQ(cluster.group(cluster.WaitForLeader())->ChangeMembers(all, {}).code(),
              Code::kFailedPrecondition);
  }
  cluster.Heal();
  cluster.ChangeMembers({1, 2, 3, 4}, {});
}

TEST(Members, OneIsSwappedForAnotherAndItsReplicaIsDestroyed) {
  MiniCluster cluster(FourNodes());
  Write(cluster, 10, "a");
  cluster.ChangeMembers({1, 2, 3}, {4});
  const int gone = OtherThan(cluster.WaitForLeader());
  cluster.ChangeMembers(With(Without(gone), 4), {});
  GroupHandle* handle = cluster.group(gone);
  cluster.Destroy(gone);
  EXPECT_EQ(cluster.group(gone), nullptr);
  EXPECT_EQ(handle->soft_state().leader, ReplicaId());
  EXPECT_EQ(handle->TransferLeadership(NodeId(4)).code(), Code::kNotLeader);
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.destroyed(gone); }));
  EXPECT_TRUE(KvMachine(MiniCluster::kGroup, cluster.store(gone)).Dump().empty());
  EXPECT_EQ(cluster.store(gone).AppliedIndex(MiniCluster::kGroup), 0u);
  Write(cluster, 3, "b");
  // Nothing of it is there after a start, but for the tombstone.
  cluster.Crash(gone, MiniCluster::Loss::kPower);
  cluster.Start(gone);
  EXPECT_TRUE(cluster.stored_at_start(gone).empty());
  EXPECT_TRUE(cluster.host(gone).HadReplica(MiniCluster::kGroup));
  // Even if what the store said of it is lost, the founders are not begun with again.
  cluster.Crash(gone, MiniCluster::Loss::kPower);
  cluster.WipeStore(gone);
  cluster.Start(gone);
  EXPECT_TRUE(cluster.stored_at_start(gone).empty());
  cluster.RunFor(1s);
  EXPECT_TRUE(cluster.group(gone)->configuration().voters.empty());
  EXPECT_GT(cluster.group(gone)->soft_state().term, Term(1));
}

TEST(Members, WhoWaitsForAReplicaThatGoesIsAnswered) {
  MiniCluster cluster(FourNodes());
  const int leader = cluster.WaitForLeader();
  const auto proposed = cluster.Propose(leader, "a=x");
  std::optional<Status> barrier;
  const auto wait = [&]() -> Task<void> {
    barrier = co_await cluster.group(leader)->ReadBarrier();
  };
  TaskScope scope(cluster.process(leader).env().executor);
  scope.Spawn(wait());
  cluster.Isolate(leader);
  cluster.RunFor(10ms);
  cluster.Destroy(leader);
  cluster.RunFor(10ms);
  ASSERT_TRUE(proposed->status.has_value());
  EXPECT_EQ(proposed->status->code(), Code::kUnavailable);
  ASSERT_TRUE(barrier.has_value());
  EXPECT_EQ(barrier->code(), Code::kNotLeader);
}

TEST(Members, ADestroyedReplicasSuccessorCatchesUpAndVotes) {
  MiniCluster cluster(FourNodes());
  Write(cluster, 10, "a");
  cluster.ChangeMembers({1, 2, 3}, {4});
  const int gone = OtherThan(cluster.WaitForLeader());
  cluster.ChangeMembers(With(Without(gone), 4), {});
  cluster.Destroy(gone);
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.destroyed(gone); }));
  Write(cluster, 3, "b");
  cluster.StartReplica(gone);
  cluster.ChangeMembers(With(Without(gone), 4), {gone});
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  cluster.ChangeMembers({1, 2, 3, 4}, {});
  Write(cluster, 3, "c");
  EXPECT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  EXPECT_EQ(cluster.machine(gone).Dump().size(), 16u);
}

// As the child of a split whose parent came by a snapshot from behind it: with one of the two
// others gone, nobody leads without the vote of the third.
TEST(Members, WhoWasNeverHereVotesBeforeItHasAState) {
  for (const bool restarted : {false, true}) {
    MiniCluster cluster({.nodes = 3, .blank = 3});
    cluster.Isolate(3);
    Write(cluster, 3, "a");
    const int gone = cluster.WaitForLeader();
    const int other = OtherThan(gone);
    cluster.Crash(gone, MiniCluster::Loss::kPower);
    cluster.Heal();
    ASSERT_TRUE(cluster.group(3)->configuration().voters.empty());
    ASSERT_TRUE(cluster.RunUntil([&] { return cluster.group(3)->soft_state().term > Term(1); }));
    if (restarted) {
      cluster.Crash(3, MiniCluster::Loss::kPower);
      cluster.Start(3);
    }
    ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Leader() == other; })) << restarted;
    Write(cluster, 3, "b");
    cluster.Start(gone);
    ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
    EXPECT_EQ(cluster.machine(3).Dump().size(), 6u);
  }
}

// Two of three members were replaced: what is left of the old majority makes no leader with a
// successor that has forgotten what its predecessor agreed to.
TEST(Members, ADestroyedReplicasSuccessorMakesNoOldMajority) {
  MiniCluster cluster(FourNodes());
  Write(cluster, 3, "a");
  const int leader = cluster.WaitForLeader();
  const int cut_off = OtherThan(leader);
  const int gone = 6 - leader - cut_off;
  cluster.ChangeMembers({1, 2, 3}, {4});
  cluster.Isolate(cut_off);
  ASSERT_EQ(cluster.WaitForLeader(), leader);
  cluster.ChangeMembers(With(Without(gone), 4), {});
  Write(cluster, 3, "b");
  cluster.Destroy(gone);
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.destroyed(gone); }));
  cluster.StartReplica(gone);
  cluster.Heal();
  cluster.Isolate(leader);
  cluster.Isolate(4);
  cluster.RunFor(10s);
  EXPECT_FALSE(cluster.group(cut_off)->leader_ready());
  EXPECT_FALSE(cluster.group(gone)->leader_ready());
  cluster.Heal();
  Write(cluster, 3, "c");
}

// The leader of the term in which it was destroyed has counted what it acknowledged before.
TEST(Members, ASuccessorIsOfALaterTermThanWhoeverCountedItsPredecessor) {
  MiniCluster cluster({.nodes = 3});
  Write(cluster, 3, "a");
  const int leader = cluster.WaitForLeader();
  const int gone = OtherThan(leader);
  const Term before = cluster.group(leader)->soft_state().term;
  cluster.Destroy(gone);
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.destroyed(gone); }));
  cluster.StartReplica(gone);
  ASSERT_TRUE(cluster.RunUntil([&] {
    const int now = cluster.Leader();
    return now != 0 && cluster.group(now)->soft_state().term > before;
  }));
  EXPECT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
}

TEST(Members, ADestructionGoesOnAfterACrashAtAnyMoment) {
  int finished = 0;
  int half = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    MiniCluster::Options options = FourNodes();
    options.seed = seed;
    MiniCluster cluster(options);
    Write(cluster, 3, "a");
    cluster.ChangeMembers({1, 2, 3}, {4});
    const int gone = OtherThan(cluster.WaitForLeader());
    cluster.ChangeMembers(With(Without(gone), 4), {});
    cluster.RunFor(200ms);
    cluster.Destroy(gone);
    cluster.RunFor(std::chrono::microseconds(seed * 150));
    cluster.Crash(gone, MiniCluster::Loss::kPower);
    // A page may be damaged as well: the one with the tombstone.
    const std::string tombstone = TombstoneKey(MiniCluster::kGroup);
    if (seed % 3 == 0) cluster.LoseRange(gone, tombstone, tombstone + '\0');
    cluster.Start(gone);
    if (cluster.stored_at_start(gone).empty()) ++half;
    ASSERT_TRUE(
        cluster.RunUntil([&] { return !cluster.store(gone).Dropping(MiniCluster::kGroup); }));
    if (cluster.group(gone) == nullptr) cluster.StartReplica(gone);
    ++finished;
    cluster.ChangeMembers(With(Without(gone), 4), {gone});
    cluster.ChangeMembers({1, 2, 3, 4}, {});
    Write(cluster, 3, "b");
    ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); })) << seed;
    EXPECT_EQ(cluster.machine(gone).Dump().size(), 6u) << seed;
  }
  EXPECT_EQ(finished, 60);
  EXPECT_GT(half, 0);
}

}  // namespace
}  // namespace quorate::raft
