// The host across crashes, lagging followers and damaged logs. Each test that is about timing runs
// over many seeds or many moments of a crash.
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "base/probe.h"
#include "raft/host/snapshot_stream.h"
#include "tests/raft/host/cluster_calls.h"

namespace quorate::raft {
namespace {

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

// Two followers need a snapshot, and one of them is gone when the chunks come.
TEST(HostSnapshot, ASilentReceiverDoesNotKeepTheRateFromOthers) {
  for (const bool first : {true, false}) {
    MiniCluster::Options options = ShortLog();
    options.nodes = 5;
    options.host.snapshot_bytes_per_second = 100 << 10;
    MiniCluster cluster(options);
    const int leader = cluster.WaitForLeader();
    std::vector<int> behind;
    for (int node = 1; node <= 5 && behind.size() < 2; ++node) {
      if (node != leader) behind.push_back(node);
    }
    cluster.Crash(behind[0], Loss::kPower);
    cluster.Crash(behind[1], Loss::kPower);
    Write(&cluster, 100, "k", 10'000);
    for (const int node : behind) cluster.Start(node);
    cluster.RunFor(1s);
    const int gone = behind[first ? 0 : 1];
    const int other = behind[first ? 1 : 0];
    cluster.Crash(gone, Loss::kPower);
    EXPECT_TRUE(cluster.machine(other).installed.empty());
    EXPECT_TRUE(cluster.RunUntil([&] { return !cluster.machine(other).installed.empty(); }, 40s));
  }
}

TEST(HostSnapshot, GoesOnWhenItsLeaderIsElectedAnew) {
  MiniCluster::Options options = ShortLog();
  options.host.snapshot_bytes_per_second = 1 << 20;
  MiniCluster cluster(options);
  const int leader = cluster.WaitForLeader();
  const int follower = Other(leader);
  cluster.Crash(follower, Loss::kPower);
  Write(&cluster, 100, "k", 50'000);    // 5 s at that rate
  cluster.RunFor(kStreamTimeout + 2s);  // what was begun before the leader noticed is given up
  cluster.Start(follower);
  cluster.RunFor(4s);
  ASSERT_TRUE(cluster.machine(follower).installed.empty());
  const uint64_t failed = cluster.Count(leader, "quorate_raft_snapshots_failed_total");
  const Term term = cluster.group(leader)->soft_state().term;
  const int third = 6 - leader - follower;
  Message refusal{NodeId(third), NodeId(leader), term + 5, AppendEntriesResponse{}};
  cluster.host(leader).OnMessages({{kGroup, refusal}});
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Leader() == leader; }, 100ms));
  EXPECT_GT(cluster.group(leader)->soft_state().term, term + 5);
  EXPECT_TRUE(
      cluster.RunUntil([&] { return cluster.machine(follower).installed.size() == 1; }, 3s));
  EXPECT_EQ(cluster.Count(leader, "quorate_raft_snapshots_failed_total"), failed);
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
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

}  // namespace
}  // namespace quorate::raft
