// Groups that fall silent, and what wakes them.
#include <gtest/gtest.h>

#include "tests/raft/host/mini_cluster.h"

namespace quorate::raft {
namespace {

constexpr int kGroups = 8;
constexpr std::string_view kSent = R"(quorate_raft_messages_total{way="sent"})";

MiniCluster::Options Quiescing() {
  MiniCluster::Options options;
  options.groups = kGroups;
  options.host.quiesce_ticks = 8;
  return options;
}

uint64_t SentByAll(MiniCluster& cluster) {
  uint64_t sent = 0;
  for (int node = 1; node <= 3; ++node) {
    if (cluster.up(node)) sent += cluster.Count(node, kSent);
  }
  return sent;
}

// Every group has a leader, has taken an entry, and is silent.
void WriteAndFallSilent(MiniCluster& cluster) {
  for (int id = 1; id <= kGroups; ++id) {
    const GroupId group{static_cast<uint64_t>(id)};
    const auto outcome = cluster.Propose(cluster.WaitForLeader(group), "k+=x", group);
    ASSERT_TRUE(cluster.RunUntil([&] { return outcome->ok(); }));
  }
  cluster.RunFor(3s);
  const uint64_t before = SentByAll(cluster);
  cluster.RunFor(60s);
  ASSERT_EQ(SentByAll(cluster), before);
}

bool AllLed(MiniCluster& cluster) {
  for (int id = 1; id <= kGroups; ++id) {
    if (cluster.Leader(GroupId(static_cast<uint64_t>(id))) == 0) return false;
  }
  return true;
}

Task<void> Barrier(GroupHandle* group, std::optional<Status>* out) {
  *out = co_await group->ReadBarrier();
}

int LeaderOfMost(MiniCluster& cluster) {
  std::map<int, int> led;
  for (int id = 1; id <= kGroups; ++id) ++led[cluster.Leader(GroupId(static_cast<uint64_t>(id)))];
  const auto fewer = [](const auto& a, const auto& b) { return a.second < b.second; };
  return std::max_element(led.begin(), led.end(), fewer)->first;
}

TEST(Quiescence, WhereTooManyAreAwakeNoneWaitsToFallSilent) {
  MiniCluster::Options options = Quiescing();
  options.host.quiesce_ticks = 1'000'000;
  options.host.awake_max = 0;
  MiniCluster cluster(options);
  WriteAndFallSilent(cluster);
  EXPECT_TRUE(AllLed(cluster));
}

TEST(Quiescence, GroupsInWhichNothingHappensSendNothing) {
  MiniCluster cluster(Quiescing());
  WriteAndFallSilent(cluster);
  const uint64_t elections = cluster.Count(1, "quorate_raft_elections_total");
  const auto outcome = cluster.Propose(cluster.Leader(), "k+=y");
  ASSERT_TRUE(cluster.RunUntil([&] { return outcome->ok(); }, 50ms));
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  EXPECT_EQ(cluster.Count(1, "quorate_raft_elections_total"), elections);
}

TEST(Quiescence, AReadAfterALongSilenceAsksAQuorum) {
  MiniCluster cluster(Quiescing());
  WriteAndFallSilent(cluster);
  const int leader = cluster.Leader();
  EXPECT_LT(cluster.group(leader)->lease_until(), cluster.process(leader).Now());
  TaskScope scope(cluster.process(leader));
  std::optional<Status> read;
  scope.Spawn(Barrier(cluster.group(leader), &read));
  EXPECT_TRUE(cluster.RunUntil([&] { return read.has_value() && read->ok(); }, 50ms));
}

TEST(Quiescence, ALeaderWhoseNodeFallsSilentIsReplaced) {
  MiniCluster cluster(Quiescing());
  WriteAndFallSilent(cluster);
  // Nobody is told of a broken connection.
  const int gone = LeaderOfMost(cluster);
  cluster.Isolate(gone);
  const auto others_lead = [&] {
    for (int id = 1; id <= kGroups; ++id) {
      const int leader = cluster.Leader(GroupId(static_cast<uint64_t>(id)));
      if (leader == 0 || leader == gone) return false;
    }
    return true;
  };
  EXPECT_TRUE(cluster.RunUntil(others_lead, 5s));
}

TEST(Quiescence, ANodeThatStartsAgainBeforeItIsMissedWakesWhatItLed) {
  MiniCluster cluster(Quiescing());
  WriteAndFallSilent(cluster);
  const int again = LeaderOfMost(cluster);
  cluster.Crash(again, MiniCluster::Loss::kProcess);
  cluster.Start(again);
  EXPECT_TRUE(cluster.RunUntil([&] { return AllLed(cluster); }, 5s));
}

TEST(Quiescence, ALeaderThatLosesAMemberNotices) {
  MiniCluster cluster(Quiescing());
  WriteAndFallSilent(cluster);
  const int leader = cluster.Leader();
  const int lost = leader == 1 ? 2 : 1;
  cluster.Crash(lost, MiniCluster::Loss::kPower);
  const auto missed = [&] {
    for (const ProgressView& peer : cluster.group(leader)->progress()) {
      if (peer.id.value() == static_cast<uint64_t>(lost)) return !peer.active;
    }
    return false;
  };
  EXPECT_TRUE(cluster.RunUntil(missed, 5s));
}

TEST(Quiescence, GroupsFallSilentWithoutANodeThatIsGoneAndWakeForItsReturn) {
  MiniCluster cluster(Quiescing());
  WriteAndFallSilent(cluster);
  const int gone = LeaderOfMost(cluster);
  cluster.Crash(gone, MiniCluster::Loss::kPower);
  ASSERT_TRUE(cluster.RunUntil([&] { return AllLed(cluster); }, 5s));
  const auto outcome = cluster.Propose(cluster.Leader(), "k+=missed");
  ASSERT_TRUE(cluster.RunUntil([&] { return outcome->ok(); }));
  // Each attempt to connect to it fails.
  const auto run = [&](Duration time) {
    for (Duration passed{}; passed < time; passed += 200ms, cluster.RunFor(200ms)) {
      for (int node = 1; node <= 3; ++node) {
        if (node != gone) cluster.host(node).OnUnreachable(NodeId(static_cast<uint64_t>(gone)));
      }
    }
  };
  run(10s);
  const uint64_t before = SentByAll(cluster);
  run(60s);
  EXPECT_EQ(SentByAll(cluster), before);
  cluster.Start(gone);
  EXPECT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }, 5s));
}

TEST(Quiescence, ANodeThatWasCutOffCatchesUpOnceItIsHeard) {
  MiniCluster cluster(Quiescing());
  WriteAndFallSilent(cluster);
  const int cut = LeaderOfMost(cluster) == 1 ? 2 : 1;
  cluster.Isolate(cut);
  const auto others_lead = [&] {
    const int leader = cluster.Leader();
    return leader != 0 && leader != cut;
  };
  ASSERT_TRUE(cluster.RunUntil(others_lead, 5s));
  const auto outcome = cluster.Propose(cluster.Leader(), "k+=missed");
  ASSERT_TRUE(cluster.RunUntil([&] { return outcome->ok(); }));
  cluster.RunFor(30s);
  cluster.Heal();
  EXPECT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }, 5s));
}

TEST(Quiescence, AReplicaThatEndsAwakeIsReportedOnceMore) {
  MiniCluster cluster(Quiescing());
  const auto outcome = cluster.Propose(cluster.WaitForLeader(), "k+=x");
  ASSERT_TRUE(cluster.RunUntil([&] { return outcome->ok(); }));
  const int leader = cluster.Leader();
  (void)cluster.host(leader).TakeActive();
  cluster.Destroy(leader);
  EXPECT_TRUE(cluster.host(leader).TakeActive().contains(MiniCluster::kGroup));
}

TEST(Quiescence, ALeaderThatEndsAloneIsReplaced) {
  MiniCluster cluster(Quiescing());
  WriteAndFallSilent(cluster);
  const int leader = cluster.Leader();
  cluster.Destroy(leader);
  const auto another = [&] {
    const int now = cluster.Leader();
    return now != 0 && now != leader;
  };
  EXPECT_TRUE(cluster.RunUntil(another, 5s));
}

TEST(Quiescence, WhoIsWokenWithoutNeedElectsNobody) {
  MiniCluster cluster(Quiescing());
  WriteAndFallSilent(cluster);
  std::map<int, Term> terms;
  for (int id = 1; id <= kGroups; ++id) {
    const GroupId group{static_cast<uint64_t>(id)};
    terms[id] = cluster.group(cluster.Leader(group), group)->soft_state().term;
  }
  // To all, from all: another generation.
  for (int node = 1; node <= 3; ++node) {
    for (int from = 1; from <= 3; ++from) {
      if (from != node) cluster.host(node).OnAlive(NodeId(from), {.generation = 12345});
    }
  }
  cluster.RunFor(10s);
  for (int id = 1; id <= kGroups; ++id) {
    const GroupId group{static_cast<uint64_t>(id)};
    ASSERT_NE(cluster.Leader(group), 0);
    EXPECT_EQ(cluster.group(cluster.Leader(group), group)->soft_state().term, terms[id]);
  }
}

TEST(Quiescence, OnlyAwakeGroupsAreActive) {
  MiniCluster cluster(Quiescing());
  WriteAndFallSilent(cluster);
  const int leader = cluster.Leader();
  (void)cluster.host(leader).TakeActive();
  cluster.RunFor(1s);
  EXPECT_TRUE(cluster.host(leader).TakeActive().empty());
  const auto outcome = cluster.Propose(leader, "k+=y");
  ASSERT_TRUE(cluster.RunUntil([&] { return outcome->ok(); }));
  // Also when it is silent again before anybody asks.
  cluster.RunFor(5s);
  EXPECT_EQ(cluster.host(leader).TakeActive(), std::set{MiniCluster::kGroup});
}

}  // namespace
}  // namespace quorate::raft
