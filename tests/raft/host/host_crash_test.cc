// The host across crashes, lagging followers and damaged logs. Each test that is about timing runs
// over many seeds or many moments of a crash.
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "base/probe.h"
#include "raft/host/snapshot_stream.h"
#include "tests/raft/host/mini_cluster.h"

namespace quorate::raft {
namespace {

constexpr GroupId kGroup = MiniCluster::kGroup;
using Loss = MiniCluster::Loss;

uint64_t Hits(const std::string& probe) {
  const auto report = Probe::Report();
  const auto it = report.find(probe);
  return it == report.end() ? 0 : it->second;
}

int Other(int node) { return node % 3 + 1; }

int64_t Quarantined(MiniCluster* cluster, int node) {
  return cluster->metrics(node).GetGauge("quorate_raft_quarantined_groups", "").Value();
}

// Proposes until `count` are acknowledged, whoever leads.
void Write(MiniCluster* cluster, int count, const std::string& prefix, size_t value_bytes = 10) {
  for (int i = 0; i < count; ++i) {
    const std::string payload = fmt::format(
        "{}{}={}", prefix, i, std::string(value_bytes, static_cast<char>('a' + i % 26)));
    std::shared_ptr<Outcome> outcome;
    ASSERT_TRUE(cluster->RunUntil([&] {
      if (outcome != nullptr && outcome->ok()) return true;
      if (outcome != nullptr && !outcome->status) return false;
      const int leader = cluster->Leader();
      if (leader != 0) outcome = cluster->Propose(leader, payload);
      return false;
    })) << payload;
  }
}

// A log that keeps little, so that who was away needs a snapshot.
MiniCluster::Options ShortLog(uint64_t seed = 1) {
  MiniCluster::Options options;
  options.seed = seed;
  options.host.log_keep_entries = 8;
  options.host.wal_keep_entries = 4;
  options.store.flush_interval = 20ms;
  return options;
}

TEST(HostCrash, RestartOfAllKeepsEverythingAcknowledged) {
  MiniCluster cluster({});
  Write(&cluster, 50, "k");
  for (int node = 1; node <= 3; ++node) cluster.Crash(node, Loss::kPower);
  for (int node = 1; node <= 3; ++node) cluster.Start(node);
  cluster.WaitForLeader();
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  EXPECT_EQ(cluster.machine(1).Dump().size(), 50u);
}

TEST(HostCrash, KnowsStoredGroupsBeforeTheyAreStarted) {
  MiniCluster::Options options;
  options.groups = 3;
  MiniCluster cluster(options);
  cluster.WaitForLeader(GroupId(2));
  cluster.Crash(1, Loss::kPower);
  cluster.Start(1);
  EXPECT_EQ(cluster.stored_at_start(1), (std::vector<GroupId>{GroupId(1), GroupId(2), GroupId(3)}));
  EXPECT_TRUE(cluster.host(1).StoredGroups().empty()) << "all are running";
}

// Nodes crash one after the other while clients write; acknowledged writes stay, waiters end at
// most once, replicas agree.
class HostCrashes : public testing::TestWithParam<uint64_t> {};

TEST_P(HostCrashes, NothingAcknowledgedIsLost) {
  MiniCluster::Options options = ShortLog(GetParam());
  options.loss = 0.02;
  options.duplicate = 0.05;
  MiniCluster cluster(options);
  Random random = cluster.world().Fork("test");
  std::vector<std::shared_ptr<Outcome>> outcomes;
  for (int round = 0; round < 12; ++round) {
    const int victim = static_cast<int>(random.Between(1, 3));
    for (int burst = 0; burst < 40; ++burst) {
      const int leader = cluster.Leader();
      if (leader != 0) {
        outcomes.push_back(cluster.Propose(leader, fmt::format("k{}+=v", outcomes.size())));
      }
      cluster.RunFor(Duration(std::chrono::microseconds(random.Between(100, 40000))));
    }
    if (random.Chance(0.3)) cluster.Isolate(static_cast<int>(random.Between(1, 3)));
    if (cluster.up(victim)) {
      cluster.Crash(victim, random.Chance(0.5) ? Loss::kPower : Loss::kProcess);
    }
    if (random.Chance(0.2)) {
      for (int node = 1; node <= 3; ++node) {
        if (cluster.up(node)) cluster.Crash(node, Loss::kPower);
      }
    }
    cluster.RunFor(Duration(std::chrono::milliseconds(random.Between(0, 1500))));
    for (int node = 1; node <= 3; ++node) {
      if (cluster.up(node)) continue;
      cluster.Start(node);
      ASSERT_EQ(Quarantined(&cluster, node), 0) << "a crash is no damage";
    }
    cluster.Heal();
  }
  cluster.set_loss(0);
  Write(&cluster, 3, "last");
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  const auto state = cluster.machine(1).Dump();
  int acknowledged = 0;
  for (const auto& outcome : outcomes) {
    EXPECT_LE(outcome->answers, 1);
    const std::string key = outcome->payload.substr(0, outcome->payload.find('+'));
    if (outcome->ok()) {
      ++acknowledged;
      EXPECT_TRUE(state.contains(key)) << key << " was acknowledged at " << outcome->index.value();
      if (state.contains(key)) EXPECT_EQ(state.at(key), "v") << "applied once";
    } else if (outcome->status && outcome->status->code() == Code::kNotLeader) {
      EXPECT_FALSE(state.contains(key)) << key << " was said never to be applied";
    }
  }
  EXPECT_GT(acknowledged, 20);
  EXPECT_EQ(cluster.malformed(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, HostCrashes, testing::Range<uint64_t>(1, 21));

TEST(HostSnapshot, BringsALaggingFollowerBack) {
  MiniCluster cluster(ShortLog());
  const int leader = cluster.WaitForLeader();
  const int follower = Other(leader);
  Write(&cluster, 20, "early");
  cluster.Isolate(follower);
  Write(&cluster, 200, "k", 20000);
  cluster.Heal();
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  EXPECT_EQ(cluster.machine(follower).installed.size(), 1u);
  ASSERT_TRUE(cluster.RunUntil(
      [&] { return cluster.Count(leader, "quorate_raft_snapshots_sent_total") == 1; }));
  EXPECT_EQ(cluster.Count(follower, "quorate_raft_snapshots_installed_total"), 1u);
  // It goes on by log, and across a restart.
  Write(&cluster, 5, "after");
  cluster.Crash(follower, Loss::kPower);
  Write(&cluster, 2, "more");
  cluster.Start(follower);
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  EXPECT_EQ(cluster.machine(follower).Dump().size(), 227u);
}

// What `from` has applied, as a leader of a later term would send it.
std::vector<SnapshotChunk> Stream(MiniCluster* cluster, int from, int to) {
  SnapshotMeta meta{LogIndex(1000), Term(1000), {{NodeId(1), NodeId(2), NodeId(3)}, {}, {}}};
  SnapshotCopy copy(meta, cluster->machine(from).Spans());
  while (!copy.Step(cluster->store(from), 1 << 20).value()) {
  }
  const auto image = copy.Take();
  std::vector<SnapshotChunk> chunks;
  for (const std::string& data : image->chunks) {
    SnapshotChunk& chunk = chunks.emplace_back();
    chunk.group = kGroup;
    chunk.from = NodeId(from);
    chunk.to = NodeId(to);
    chunk.term = meta.term;
    chunk.meta = meta;
    chunk.stream_id = 5;
    chunk.sequence = chunks.size() - 1;
    chunk.last = chunks.size() == image->chunks.size();
    chunk.data = data;
    chunk.crc32c = Crc32c(data);
  }
  return chunks;
}

TEST(HostSnapshot, AHalfReceivedOneIsForgottenWhenItsSenderIsGone) {
  for (const Duration gap : {Duration(kReceiverTimeout / 2), Duration(kReceiverTimeout + 1s)}) {
    MiniCluster cluster({});
    const int leader = cluster.WaitForLeader();
    const int follower = Other(leader);
    Write(&cluster, 100, "k", 30'000);
    ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
    const auto chunks = Stream(&cluster, leader, follower);
    ASSERT_GE(chunks.size(), 2u);
    cluster.Isolate(follower);
    cluster.host(follower).OnSnapshotChunk(chunks[0]);
    cluster.RunFor(gap);
    for (size_t i = 1; i < chunks.size(); ++i) cluster.host(follower).OnSnapshotChunk(chunks[i]);
    cluster.RunFor(1s);
    EXPECT_EQ(cluster.machine(follower).installed.size(), gap < kReceiverTimeout ? 1u : 0u);
  }
}

TEST(HostSnapshot, AFullNodeTakesNone) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  const int full = Other(leader);
  Write(&cluster, 20, "k");
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  cluster.Isolate(full);
  for (const bool space : {false, true}) {
    cluster.host(full).SetSpace({.low = !space, .full = !space});
    for (const SnapshotChunk& chunk : Stream(&cluster, leader, full)) {
      cluster.host(full).OnSnapshotChunk(chunk);
    }
    cluster.RunFor(1s);
    EXPECT_EQ(cluster.machine(full).installed.size(), space ? 1u : 0u);
  }
}

// Copying all of it again and again would take the leader's time and memory for nothing.
TEST(HostSnapshot, AStateThatIsTooLargeIsNotSent) {
  MiniCluster::Options options = ShortLog();
  options.host.snapshot_bytes_max = 1 << 20;
  MiniCluster cluster(options);
  const int leader = cluster.WaitForLeader();
  const int follower = Other(leader);
  cluster.Isolate(follower);
  const uint64_t before = Hits("raft host: snapshot too large");
  Write(&cluster, 200, "k", 20000);
  cluster.Heal();
  cluster.RunFor(60s);
  EXPECT_EQ(Hits("raft host: snapshot too large") - before, 1u);
  EXPECT_TRUE(cluster.machine(follower).installed.empty());
  Write(&cluster, 5, "after");
}

TEST(HostSnapshot, ReplacesWhatTheFollowerHadAndTheStateHasNoMore) {
  // A snapshot must delete, not only add: the follower's own, unacknowledged state cannot differ,
  // so what it lacks is planted under its span.
  MiniCluster cluster(ShortLog());
  const int follower = Other(cluster.WaitForLeader());
  Write(&cluster, 5, "early");
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  cluster.Isolate(follower);
  storage::WriteBatch batch;
  const auto spans = cluster.machine(follower).Spans();
  batch.Put(storage::MakeKey(std::string(storage::KeyBody(spans[0].first)) + "stray"), "x");
  cluster.store(follower).Apply(kGroup, cluster.group(follower)->applied_index().value(),
                                std::move(batch));
  Write(&cluster, 100, "k");
  cluster.RunFor(500ms);
  cluster.Heal();
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  EXPECT_FALSE(cluster.machine(follower).Dump().contains("stray"));
}

TEST(HostSnapshot, ResumesOverALossyNetwork) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    MiniCluster cluster(ShortLog(seed));
    const int follower = Other(cluster.WaitForLeader());
    cluster.Isolate(follower);
    Write(&cluster, 100, "k", 50000);
    cluster.Heal();
    cluster.set_loss(0.15);
    ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }, 120s)) << "seed " << seed;
    EXPECT_GE(cluster.machine(follower).installed.size(), 1u);
  }
  EXPECT_GT(Hits("raft host: snapshot chunk resent"), 0u);
}

TEST(HostSnapshot, KeepsToItsRate) {
  MiniCluster::Options options = ShortLog();
  options.host.snapshot_bytes_per_second = 1 << 20;
  MiniCluster cluster(options);
  const int follower = Other(cluster.WaitForLeader());
  cluster.Isolate(follower);
  Write(&cluster, 100, "k", 50000);
  cluster.Heal();
  const Instant begun = cluster.world().now();
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }, 60s));
  EXPECT_GT(cluster.world().now() - begun, Duration(4s));  // about 5 MB at 1 MiB/s
}

TEST(HostSnapshot, WritesGoOnWhileItIsCopiedAndSent) {
  MiniCluster::Options options = ShortLog();
  options.host.snapshot_bytes_per_second = 4 << 20;
  MiniCluster cluster(options);
  const int follower = Other(cluster.WaitForLeader());
  cluster.Isolate(follower);
  Write(&cluster, 150, "k", 50000);
  cluster.Heal();
  Write(&cluster, 150, "k", 1000);
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }, 60s));
  EXPECT_EQ(cluster.machine(follower).installed.size(), 1u)
      << "the log behind a snapshot under way is kept, so one is enough";
}

TEST(HostSnapshot, IsTheStateAtOneIndex) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    MiniCluster::Options options = ShortLog(seed);
    options.host.snapshot_turn_bytes = 1;  // a pair each
    MiniCluster cluster(options);
    const int leader = cluster.WaitForLeader();
    const int follower = Other(leader);
    cluster.Isolate(follower);
    Write(&cluster, 200, "k");
    cluster.RunFor(kStreamTimeout + 2s);  // what was begun before the leader noticed is given up
    cluster.Heal();
    // Commits come in while the state is copied: one that got into the copy, though its index is
    // behind the snapshot's, is applied once more by the follower.
    for (int i = 0; i < 10000 && cluster.machine(follower).installed.empty(); ++i) {
      for (int k = 0; k < 200; k += 60) cluster.Propose(leader, fmt::format("k{}+=x{}", k, i));
      cluster.RunFor(Duration(100us));
    }
    ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }, 60s));
    ASSERT_FALSE(cluster.machine(follower).installed.empty());
  }
}

TEST(HostSnapshot, OnlySoManyAreInMemoryAtOnce) {
  MiniCluster::Options options = ShortLog();
  options.groups = 6;
  options.host.snapshots_max = 1;
  MiniCluster cluster(options);
  const auto write_all = [&](const std::string& prefix) {
    for (int g = 1; g <= 6; ++g) {
      for (int i = 0; i < 80; ++i) {
        const auto outcome = cluster.Propose(cluster.WaitForLeader(GroupId(g)),
                                             fmt::format("{}{}=v", prefix, i), GroupId(g));
        ASSERT_TRUE(cluster.RunUntil([&] { return outcome->ok(); }));
      }
    }
  };
  write_all("early");
  cluster.Crash(3, Loss::kPower);
  write_all("late");
  cluster.Start(3);
  const uint64_t before = Hits("raft host: snapshot waits");
  ASSERT_TRUE(cluster.RunUntil([&] {
    for (int g = 1; g <= 6; ++g) {
      if (!cluster.Agree(GroupId(g))) return false;
    }
    return true;
  }));
  for (int g = 1; g <= 6; ++g) EXPECT_FALSE(cluster.machine(3, GroupId(g)).installed.empty());
  EXPECT_GT(Hits("raft host: snapshot waits"), before);
}

// The receiver loses power at many moments from the arrival of the first chunk to well after the
// installation; it must always come back to the others' state.
TEST(HostSnapshot, SurvivesACrashOfTheReceiverAtAnyMoment) {
  const uint64_t ahead_before = Hits("raft host: recovered state ahead of log");
  for (int moment = 0; moment < 60; ++moment) {
    MiniCluster cluster(ShortLog(1 + moment));
    const int follower = Other(cluster.WaitForLeader());
    Write(&cluster, 10, "early");
    cluster.Isolate(follower);
    Write(&cluster, 40, "k", 30000);
    cluster.RunFor(2s);
    cluster.Heal();
    ASSERT_TRUE(cluster.RunUntil([&] { return !cluster.machine(follower).installed.empty(); }));
    cluster.RunFor(Duration(std::chrono::microseconds(200 * moment)));
    cluster.Crash(follower, Loss::kPower);
    Write(&cluster, 5, "meanwhile");
    cluster.Start(follower);
    ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }, 60s)) << "moment " << moment;
    ASSERT_EQ(cluster.machine(follower).Dump().size(), 55u);
    EXPECT_FALSE(cluster.metrics(follower).GetGauge("quorate_raft_quarantined_groups", "").Value());
  }
  EXPECT_GT(Hits("raft host: recovered state ahead of log"), ahead_before)
      << "no moment hit the window between the store's flush and the log's reset";
}

TEST(HostSnapshot, EndsTheProposalsThatItJumpedOverAsUnknown) {
  MiniCluster cluster(ShortLog());
  const int old_leader = cluster.WaitForLeader();
  Write(&cluster, 3, "early");
  cluster.Isolate(old_leader);
  const auto outcome = cluster.Propose(old_leader, "covered=1");
  ASSERT_TRUE(
      cluster.RunUntil([&] { return cluster.Leader() != 0 && cluster.Leader() != old_leader; }));
  Write(&cluster, 100, "k");
  cluster.RunFor(500ms);
  cluster.Heal();
  ASSERT_TRUE(cluster.RunUntil([&] { return outcome->status.has_value(); }));
  EXPECT_EQ(outcome->status->code(), Code::kUnavailable);
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  EXPECT_EQ(outcome->answers, 1);
}

TEST(HostLog, IsTruncatedBehindTheFlushAndBounded) {
  MiniCluster::Options options = ShortLog();
  options.wal_segment_bytes = 64 << 10;
  MiniCluster cluster(options);
  const int leader = cluster.WaitForLeader();
  Write(&cluster, 600, "k", 1000);
  cluster.RunFor(1s);
  EXPECT_LT(cluster.wal(leader).LiveBytes(), 300u * 1000) << "600 entries were written";
  EXPECT_LE(cluster.wal(leader).SegmentCount(), 8u);
  for (int node = 1; node <= 3; ++node) cluster.Crash(node, Loss::kPower);
  for (int node = 1; node <= 3; ++node) cluster.Start(node);
  cluster.WaitForLeader();
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  EXPECT_EQ(cluster.machine(1).Dump().size(), 600u);
}

// What is applied while a flush runs is flushed by the next one, and no entry of the group comes
// after it.
TEST(HostLog, OfAGroupThatFallsIdleIsTruncatedToo) {
  MiniCluster cluster(ShortLog());
  const int leader = cluster.WaitForLeader();
  for (int i = 0; i < 5; ++i) {
    for (int n = 0; n < 200; ++n) {
      cluster.Propose(leader, fmt::format("k{}={}", n, std::string(1000, 'x')));
    }
    for (int n = 0; n < 40; ++n) {
      cluster.store(leader).Flush([](const Status&) {});
      cluster.RunFor(Duration(500us));
    }
    cluster.RunFor(5s);
    EXPECT_LT(cluster.wal(leader).LiveBytes(), 30u * 1000) << "round " << i;
  }
}

TEST(HostLog, IsNeverTruncatedBeyondWhatIsFlushed) {
  for (int moment = 1; moment <= 30; ++moment) {
    MiniCluster cluster(ShortLog(moment));
    const int leader = cluster.WaitForLeader();
    std::vector<std::shared_ptr<Outcome>> outcomes;
    for (int i = 0; i < 40 * moment; ++i) {
      outcomes.push_back(cluster.Propose(leader, fmt::format("k{}=v", i)));
      cluster.RunFor(Duration(25us));
    }
    for (int node = 1; node <= 3; ++node) cluster.Crash(node, Loss::kPower);
    for (int node = 1; node <= 3; ++node) {
      cluster.Start(node);
      ASSERT_EQ(Quarantined(&cluster, node), 0) << "moment " << moment;
    }
    cluster.WaitForLeader();
    ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
    const auto state = cluster.machine(1).Dump();
    for (size_t i = 0; i < outcomes.size(); ++i) {
      if (outcomes[i]->ok()) EXPECT_TRUE(state.contains(fmt::format("k{}", i)));
    }
  }
}

// ---- damage -------------------------------------------------------------------------------------

// Flips bytes in the middle of what the node's log holds. Its last record stays, as proof that this
// is no torn tail.
void DamageLog(MiniCluster* cluster, int node) {
  for (const std::string& path : cluster->disk(node).Paths()) {
    std::string* bytes = cluster->disk(node).Find(path);
    const size_t used = bytes->find_last_not_of('\0');
    if (path.find("wal-") == std::string::npos || used == std::string::npos || used < 4096)
      continue;
    for (size_t i = used / 2; i < used / 2 + 600; ++i) (*bytes)[i] ^= 0x5a;
  }
  cluster->disk(node).SettleAll();
}

TEST(HostDamage, AReplicaWithADamagedLogIsFetchedAgain) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  const int victim = Other(leader);
  Write(&cluster, 60, "k", 500);
  cluster.Crash(victim, Loss::kProcess);
  DamageLog(&cluster, victim);
  cluster.Start(victim);
  EXPECT_EQ(Quarantined(&cluster, victim), 1);
  ASSERT_TRUE(cluster.RunUntil([&] { return Quarantined(&cluster, victim) == 0; }));
  EXPECT_GT(Hits("raft host: snapshot for quarantined"), 0u);
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  // From now on it counts again: with one of the others gone, there is a quorum.
  cluster.Crash(leader, Loss::kProcess);
  Write(&cluster, 5, "after");
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  EXPECT_EQ(cluster.machine(victim).Dump().size(), 65u);
  // And for good: the damage is not found again.
  cluster.Crash(victim, Loss::kPower);
  cluster.Start(victim);
  EXPECT_EQ(Quarantined(&cluster, victim), 0);
  cluster.Start(leader);
  Write(&cluster, 1, "end");
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
}

TEST(HostDamage, OnlyReplicasWithKeysInALostRangeAreFetchedAgain) {
  MiniCluster::Options options;
  options.groups = 2;
  options.store.flush_interval = 20ms;
  MiniCluster cluster(options);
  const int leader = cluster.WaitForLeader();
  cluster.WaitForLeader(GroupId(2));
  Write(&cluster, 60, "k", 500);
  cluster.RunFor(1s);
  const int victim = Other(leader);
  const auto spans = cluster.machine(victim).Spans();
  cluster.Crash(victim, Loss::kProcess);
  cluster.LoseRange(victim, spans[0].first, spans[0].second);
  cluster.Start(victim);
  EXPECT_EQ(Quarantined(&cluster, victim), 1) << "of two";
  // Until it is out, every start finds it so.
  cluster.Crash(victim, Loss::kPower);
  cluster.Start(victim);
  EXPECT_EQ(Quarantined(&cluster, victim), 1);
  ASSERT_TRUE(cluster.RunUntil([&] { return Quarantined(&cluster, victim) == 0; }));
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree() && cluster.Agree(GroupId(2)); }));
  EXPECT_EQ(cluster.machine(victim).Dump().size(), 60u);
  cluster.Crash(victim, Loss::kPower);
  cluster.Start(victim);
  EXPECT_EQ(Quarantined(&cluster, victim), 0) << "and then no more";
}

// A chunk takes longer than the replica waits before it asks again.
TEST(HostDamage, AHalfReceivedSnapshotIsKeptWhileChunksArrive) {
  MiniCluster::Options options;
  options.host.snapshot_bytes_per_second = 100 << 10;
  MiniCluster cluster(options);
  const int leader = cluster.WaitForLeader();
  const int victim = Other(leader);
  Write(&cluster, 100, "k", 10'000);
  cluster.Crash(victim, Loss::kProcess);
  DamageLog(&cluster, victim);
  cluster.Start(victim);
  ASSERT_EQ(Quarantined(&cluster, victim), 1);
  ASSERT_TRUE(cluster.RunUntil([&] { return Quarantined(&cluster, victim) == 0; }, 30s));
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
}

// And what it has is given up when its leader is another.
TEST(HostDamage, AHalfReceivedSnapshotOfAnEarlierLeaderIsNotWaitedFor) {
  MiniCluster::Options options;
  options.host.snapshot_bytes_per_second = 100 << 10;
  MiniCluster cluster(options);
  const int leader = cluster.WaitForLeader();
  const int victim = Other(leader);
  Write(&cluster, 100, "k", 10'000);
  cluster.Crash(victim, Loss::kProcess);
  DamageLog(&cluster, victim);
  cluster.Start(victim);
  cluster.RunFor(4s);
  ASSERT_EQ(Quarantined(&cluster, victim), 1);
  const int next = 6 - leader - victim;
  ASSERT_TRUE(cluster.group(leader)->TransferLeadership(NodeId(next)).ok());
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Leader() == next; }));
  ASSERT_TRUE(cluster.RunUntil([&] { return Quarantined(&cluster, victim) == 0; }, 30s));
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
}

TEST(HostDamage, AQuarantinedReplicaIsNoPartOfAQuorum) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  const int victim = Other(leader);
  Write(&cluster, 60, "k", 500);
  for (int node = 1; node <= 3; ++node) cluster.Crash(node, Loss::kProcess);
  DamageLog(&cluster, victim);
  cluster.Start(victim);
  cluster.Start(leader);
  cluster.RunFor(20s);
  EXPECT_EQ(cluster.Leader(), 0) << "one sound replica of three cannot lead";
  EXPECT_EQ(Quarantined(&cluster, victim), 1);
  EXPECT_EQ(cluster.group(victim)->soft_state().term, Term()) << "its core is not fed";
  cluster.Start(Other(victim));
  cluster.WaitForLeader();
  ASSERT_TRUE(cluster.RunUntil([&] { return Quarantined(&cluster, victim) == 0; }));
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  EXPECT_EQ(cluster.machine(victim).Dump().size(), 60u);
}

TEST(HostDamage, AQuarantinedReplicaTakesOnlyTheSnapshotItAskedFor) {
  // Any other may have been made before entries that this replica helped to commit.
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  const int victim = Other(leader);
  Write(&cluster, 60, "k", 500);
  cluster.Crash(victim, Loss::kProcess);
  DamageLog(&cluster, victim);
  cluster.Isolate(victim);
  cluster.Start(victim);
  SnapshotChunk chunk;
  chunk.group = kGroup;
  chunk.from = NodeId(leader);
  chunk.to = NodeId(victim);
  chunk.term = Term(1000);
  chunk.meta = {LogIndex(1000), Term(1000), {{NodeId(1), NodeId(2), NodeId(3)}, {}, {}}};
  chunk.stream_id = 5;
  chunk.last = true;
  chunk.data = std::string(1, '\0');
  chunk.crc32c = Crc32c(chunk.data);
  cluster.host(victim).OnSnapshotChunk(chunk);
  cluster.RunFor(2s);
  EXPECT_TRUE(cluster.machine(victim).installed.empty());
  EXPECT_EQ(Quarantined(&cluster, victim), 1);
  cluster.Heal();
  ASSERT_TRUE(cluster.RunUntil([&] { return Quarantined(&cluster, victim) == 0; }));
}

TEST(HostDamage, ALeaderInAnOlderTermStepsDownForAQuarantinedReplica) {
  // The victim voted in a term that failed and is gone from everyone else's memory: without a word
  // of it the leader would be refused for ever.
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  const int victim = Other(leader);
  Write(&cluster, 60, "k", 500);
  const Term term = cluster.group(leader)->soft_state().term;
  Message vote{NodeId(Other(victim)), NodeId(victim), term + 7, RequestVote{}};
  std::get<RequestVote>(vote.body).leadership_transfer = true;
  cluster.Isolate(victim);
  cluster.host(victim).OnMessages({{kGroup, vote}});
  cluster.RunFor(50ms);
  cluster.Crash(victim, Loss::kProcess);
  DamageLog(&cluster, victim);
  cluster.Start(victim);
  ASSERT_EQ(Quarantined(&cluster, victim), 1);
  cluster.Heal();
  ASSERT_TRUE(cluster.RunUntil([&] { return Quarantined(&cluster, victim) == 0; }));
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  EXPECT_GE(cluster.group(cluster.Leader())->soft_state().term, term + 7);
}

TEST(HostDamage, ALoneDamagedReplicaStaysUnavailable) {
  MiniCluster::Options options;
  options.nodes = 1;
  MiniCluster cluster(options);
  Write(&cluster, 60, "k", 500);
  cluster.Crash(1, Loss::kProcess);
  DamageLog(&cluster, 1);
  cluster.Start(1);
  cluster.RunFor(20s);
  EXPECT_EQ(cluster.Leader(), 0);
  const auto outcome = cluster.Propose(1, "a=1");
  ASSERT_TRUE(cluster.RunUntil([&] { return outcome->status.has_value(); }));
  EXPECT_EQ(outcome->status->code(), Code::kNotLeader);
}

TEST(HostDamage, AStoreBehindItsLogsMarkIsFetchedAgain) {
  // Somebody removed the store's files: the log alone no longer holds the state.
  MiniCluster cluster(ShortLog());
  const int victim = Other(cluster.WaitForLeader());
  Write(&cluster, 60, "k");
  cluster.RunFor(500ms);
  cluster.Crash(victim, Loss::kProcess);
  cluster.WipeStore(victim);
  cluster.Start(victim);
  EXPECT_EQ(Quarantined(&cluster, victim), 1);
  ASSERT_TRUE(cluster.RunUntil([&] { return Quarantined(&cluster, victim) == 0; }));
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  EXPECT_EQ(cluster.machine(victim).Dump().size(), 60u);
}

}  // namespace
}  // namespace quorate::raft
