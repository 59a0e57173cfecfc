// The host across crashes, lagging followers and damaged logs. Each test that is about timing runs
// over many seeds or many moments of a crash.
#include <gtest/gtest.h>

#include "base/coding.h"
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
  auto source = std::make_shared<SnapshotSource>();
  source->meta = meta;
  source->spans = cluster->machine(from).Spans();
  cluster->store(from).Pin([source](Result<std::unique_ptr<storage::KvView>> view) {
    source->view = std::move(view.value());
  });
  EXPECT_TRUE(cluster->RunUntil([&] { return source->view != nullptr; }));
  ChunkReader reader(source, limits::kSnapshotChunkBytes);
  std::vector<SnapshotChunk> chunks;
  while (chunks.empty() || !chunks.back().last) {
    std::optional<ChunkReader::Chunk> read;
    reader.Next([&](Result<ChunkReader::Chunk> next) { read = std::move(next.value()); });
    EXPECT_TRUE(cluster->RunUntil([&] { return read.has_value(); }));
    SnapshotChunk& chunk = chunks.emplace_back();
    chunk.group = kGroup;
    chunk.from = NodeId(from);
    chunk.to = NodeId(to);
    chunk.term = meta.term;
    chunk.meta = meta;
    chunk.stream_id = 5;
    chunk.sequence = chunks.size() - 1;
    chunk.last = read->last;
    chunk.data = std::move(read->data);
    chunk.crc32c = Crc32c(chunk.data);
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

TEST(HostSnapshot, ReplacesWhatTheFollowerHadAndTheStateHasNoMore) {
  // A snapshot must delete, not only add: the follower's own, unacknowledged state cannot differ,
  // so what it lacks is planted under its span.
  MiniCluster cluster(ShortLog());
  const int follower = Other(cluster.WaitForLeader());
  Write(&cluster, 5, "early");
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  LeaveBehind(&cluster, follower);
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
    LeaveBehind(&cluster, follower);
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
  LeaveBehind(&cluster, follower);
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
    cluster.RunFor(kUnheard);
    Write(&cluster, 100, "k", 10'000);
    for (const int node : behind) cluster.Start(node);
    cluster.RunFor(1s);
    const int other = behind[first ? 1 : 0];
    cluster.Crash(behind[first ? 0 : 1], Loss::kPower);
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
  cluster.RunFor(3s);  // others lead what it led, and hear nothing of it
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
    LeaveBehind(&cluster, follower);
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

// The receiver crashes, once or several times, while the old state is deleted and the new one
// written, both in small steps: whatever it has by then, it comes back with the others' state, and
// never passes for whole in between. Its vote is given, and its log's entries counted, all along.
TEST(HostSnapshot, SurvivesCrashesWhileTheStateIsReplaced) {
  const uint64_t before = Hits("raft host: started without a state");
  Random random(7);
  for (int round = 0; round < 80; ++round) {
    MiniCluster::Options options = ShortLog(100 + round);
    options.host.snapshot_turn_bytes = 2000;
    options.host.snapshot_bytes_per_second = 4 << 20;
    options.store = {
        .flush_bytes = 4000, .flush_interval = 5ms, .bulk_bytes = 3000, .erase_bytes = 100};
    MiniCluster cluster(options);
    const int follower = Other(cluster.WaitForLeader());
    Write(&cluster, 60, "early", 100);
    ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
    LeaveBehind(&cluster, follower);
    Write(&cluster, 90, "k", 600);
    cluster.RunFor(2s);
    cluster.Heal();
    ASSERT_TRUE(cluster.RunUntil(
        [&] { return cluster.store(follower).Replacing(MiniCluster::kGroup) != nullptr; }, 60s));
    for (uint64_t crashes = 1 + random.Below(3); crashes > 0; --crashes) {
      cluster.RunFor(Duration(std::chrono::microseconds(random.Below(80'000))));
      cluster.Crash(follower, random.Chance(0.5) ? Loss::kPower : Loss::kProcess);
      if (random.Chance(0.3)) Write(&cluster, 3, "meanwhile", 100);
      cluster.Start(follower);
      ASSERT_EQ(Quarantined(&cluster, follower), 0) << "its log and votes are whole";
    }
    Write(&cluster, 5, "last");
    ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }, 60s)) << "round " << round;
    EXPECT_EQ(cluster.store(follower).Replacing(MiniCluster::kGroup), nullptr);
    cluster.Crash(follower, Loss::kPower);
    cluster.Start(follower);
    ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }, 60s)) << "round " << round;
  }
  EXPECT_GT(Hits("raft host: started without a state"), before + 20);
}

// One of three is dead and one in the middle of an installation when its leader has to be elected
// anew: without its vote and its answers the group would be dead, too.
TEST(HostSnapshot, WhoseStateIsReplacedStillVotes) {
  MiniCluster::Options options = ShortLog();
  options.host.snapshot_bytes_per_second = 200 << 10;
  MiniCluster cluster(options);
  const int leader = cluster.WaitForLeader();
  const int follower = Other(leader);
  const int third = 6 - leader - follower;
  cluster.Isolate(follower);
  Write(&cluster, 100, "k", 20000);
  cluster.RunFor(kStreamTimeout + 2s);  // what was begun before the leader noticed is given up
  cluster.Heal();
  const auto replacing = [&] {
    return cluster.store(follower).Replacing(MiniCluster::kGroup) != nullptr;
  };
  ASSERT_TRUE(cluster.RunUntil(replacing));
  cluster.Crash(third, Loss::kPower);
  for (const bool receiver : {false, true}) {
    cluster.RunFor(1s);
    ASSERT_TRUE(replacing());
    const int crashed = receiver ? follower : leader;
    cluster.Crash(crashed, Loss::kPower);
    cluster.RunFor(500ms);
    cluster.Start(crashed);
    // Elected; it commits once the follower's log goes on, behind the snapshot.
    ASSERT_TRUE(cluster.RunUntil(
        [&] { return cluster.group(leader)->soft_state().role == Role::kLeader; }, 30s));
  }
  ASSERT_TRUE(cluster.RunUntil([&] { return !replacing(); }, 90s));
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Leader() != 0; }, 30s));
  Write(&cluster, 5, "after");
  cluster.Start(third);
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }, 30s));
}

// Another leader, whose log goes on from the follower's, takes over in the middle: what it appends
// is kept, nothing of it is applied to half a state, and the state it is asked for comes below it.
TEST(HostSnapshot, TheLogMayGoOnWhileTheStateIsReplaced) {
  const uint64_t before = Hits("raft: snapshot below commit");
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    MiniCluster::Options options;
    options.seed = seed;
    MiniCluster cluster(options);
    const int leader = cluster.WaitForLeader();
    const int follower = Other(leader);
    Write(&cluster, 100, "k", 3'000);
    ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
    // A state that is lost: marked as being replaced, by a stream that nobody goes on with.
    cluster.store(follower).BeginReplace(MiniCluster::kGroup, cluster.machine(follower).Spans(),
                                         [] {});
    cluster.RunFor(500ms);
    cluster.Crash(follower, Loss::kProcess);
    cluster.Start(follower);
    ASSERT_NE(cluster.store(follower).Replacing(MiniCluster::kGroup), nullptr);
    for (int i = 0; i < 200 && cluster.machine(follower).installed.empty(); ++i) {
      cluster.Propose(leader, fmt::format("k{}+=x{}", i % 10, i));
      cluster.RunFor(20ms);
    }
    ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }, 60s));
    EXPECT_FALSE(cluster.machine(follower).installed.empty());
    EXPECT_EQ(cluster.store(follower).Replacing(MiniCluster::kGroup), nullptr);
    Write(&cluster, 5, "after");
    cluster.Crash(follower, Loss::kPower);
    cluster.Start(follower);
    ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }, 60s));
  }
  EXPECT_GT(Hits("raft: snapshot below commit"), before);
}

// The only one with the whole log has no state: it leads until another one has the log, too, and
// serves nothing meanwhile.
TEST(HostSnapshot, ALeaderWithoutAStatePassesLeadershipOn) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  const int follower = Other(leader);
  const int third = 6 - leader - follower;
  Write(&cluster, 20, "k", 1000);
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  cluster.Crash(third, Loss::kPower);
  Write(&cluster, 20, "only-two-have-it", 1000);
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  cluster.store(follower).BeginReplace(MiniCluster::kGroup, cluster.machine(follower).Spans(),
                                       [] {});
  cluster.RunFor(500ms);
  cluster.Crash(follower, Loss::kPower);
  cluster.Crash(leader, Loss::kPower);
  cluster.Start(follower);
  cluster.Start(third);
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Leader() == third; }, 60s));
  for (const SoftState& state : cluster.machine(follower).states) {
    EXPECT_NE(state.role, Role::kLeader) << "the machine would serve what it has not";
  }
  cluster.Start(leader);
  Write(&cluster, 5, "after");
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }, 60s));
  EXPECT_EQ(cluster.machine(follower).Dump().size(), 45u);
}

TEST(HostSnapshot, OneThatTouchesAnotherGroupsKeysIsRefused) {
  MiniCluster::Options options;
  options.groups = 2;
  MiniCluster cluster(options);
  const int leader = cluster.WaitForLeader();
  cluster.WaitForLeader(GroupId(2));
  const int follower = Other(leader);
  Write(&cluster, 20, "k");
  const auto other = cluster.Propose(cluster.WaitForLeader(GroupId(2)), "other=v", GroupId(2));
  ASSERT_TRUE(cluster.RunUntil([&] { return other->ok() && cluster.Agree(GroupId(2)); }));
  cluster.Isolate(follower);
  auto chunks = Stream(&cluster, leader, follower);
  ASSERT_EQ(chunks.size(), 1u);
  const std::string good = chunks[0].data;
  // Its spans, by hand: the second group's, and one around it.
  const std::string low = storage::MakeKey("a");
  for (const auto& [from, to] :
       {cluster.machine(follower, GroupId(2)).Spans()[0], std::pair(low, std::string())}) {
    chunks[0].data.clear();
    PutVarint(&chunks[0].data, 1);
    PutLengthPrefixed(&chunks[0].data, from);
    PutLengthPrefixed(&chunks[0].data, to);
    chunks[0].crc32c = Crc32c(chunks[0].data);
    ++chunks[0].stream_id;
    cluster.host(follower).OnSnapshotChunk(chunks[0]);
    cluster.RunFor(1s);
    EXPECT_TRUE(cluster.machine(follower).installed.empty());
    EXPECT_EQ(cluster.store(follower).Replacing(MiniCluster::kGroup), nullptr);
    EXPECT_EQ(cluster.machine(follower).Dump().size(), 20u);
  }
  EXPECT_EQ(cluster.machine(follower, GroupId(2)).Dump().size(), 1u);
  ++chunks[0].stream_id;
  chunks[0].data = good;
  chunks[0].crc32c = Crc32c(good);
  // A replica that does not know its span has the snapshot's deleted, and no more.
  cluster.machine(follower).has_state = false;
  cluster.host(follower).OnSnapshotChunk(chunks[0]);
  cluster.RunFor(1s);
  EXPECT_EQ(cluster.machine(follower).installed.size(), 1u);
  EXPECT_EQ(cluster.machine(follower, GroupId(2)).Dump().size(), 1u);
}

TEST(HostSnapshot, WaitsUntilADroppedStateIsGone) {
  MiniCluster::Options options;
  options.store = {
      .flush_bytes = 4000, .flush_interval = 5ms, .bulk_bytes = 3000, .erase_bytes = 100};
  MiniCluster cluster(options);
  const int leader = cluster.WaitForLeader();
  const int follower = Other(leader);
  Write(&cluster, 200, "k", 100);
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  const auto chunks = Stream(&cluster, leader, follower);
  ASSERT_EQ(chunks.size(), 1u);
  cluster.Isolate(follower);
  bool dropped = false;
  cluster.store(follower).Drop(GroupId(77), cluster.machine(follower).Spans(), {},
                               [&] { dropped = true; });
  cluster.host(follower).OnSnapshotChunk(chunks[0]);
  ASSERT_TRUE(cluster.RunUntil([&] { return dropped; }));
  EXPECT_TRUE(cluster.machine(follower).installed.empty());
  cluster.host(follower).OnSnapshotChunk(chunks[0]);
  ASSERT_TRUE(cluster.RunUntil([&] { return !cluster.machine(follower).installed.empty(); }));
  EXPECT_EQ(cluster.machine(follower).Dump().size(), 200u);
}

// The log above the pinned state is kept within its bound; the stream hurries, begins anew a few
// times, and pauses.
TEST(HostSnapshot, OneThatTheLogOutrunsAdaptsAndSaysSo) {
  MiniCluster::Options options = ShortLog();
  options.host.snapshot_bytes_per_second = 20 << 10;
  options.host.snapshot_log_bytes_max = 200 << 10;
  MiniCluster cluster(options);
  const int leader = cluster.WaitForLeader();
  const int follower = Other(leader);
  cluster.Isolate(follower);
  Write(&cluster, 400, "k", 20'000);
  cluster.Heal();
  const auto outpaced = [&] {
    return cluster.Count(leader, "quorate_raft_snapshots_outpaced_total");
  };
  for (int i = 0; i < 100 && outpaced() < 3; ++i) {
    cluster.RunFor(100ms);
    Write(&cluster, 20, "k", 1000);
  }
  EXPECT_EQ(outpaced(), 3u);
  EXPECT_GT(Hits("raft host: snapshot hurries"), 0u);
  // It pauses; with fewer writes it succeeds.
  cluster.RunFor(30s);
  EXPECT_TRUE(cluster.machine(follower).installed.empty());
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }, 600s));
}

// Nor is it kept for a state that waits to be pinned: a flush takes seconds.
TEST(HostSnapshot, TheLogIsNotKeptForAStoreThatIsSlowToBeFlushed) {
  MiniCluster::Options options = ShortLog();
  options.host.snapshot_log_bytes_max = 200 << 10;
  options.kv = {.latency_min = 3s, .latency_max = 3s};
  MiniCluster cluster(options);
  const int leader = cluster.WaitForLeader();
  const int follower = Other(leader);
  cluster.Crash(follower, Loss::kPower);
  Write(&cluster, 100, "k", 1000);
  cluster.RunFor(10s);
  Write(&cluster, 1, "flushed-now");
  cluster.RunFor(100ms);
  const uint64_t before = Hits("raft host: pinning outpaced");
  cluster.Start(follower);
  cluster.RunFor(500ms);
  for (int i = 0; i < 40 && Hits("raft host: pinning outpaced") == before; ++i) {
    Write(&cluster, 10, "k", 3000);
    cluster.RunFor(10ms);
  }
  EXPECT_GT(Hits("raft host: pinning outpaced"), before);
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }, 120s));
}

TEST(HostSnapshot, EndsTheProposalsThatItJumpedOverAsUnknown) {
  MiniCluster cluster(ShortLog());
  const int old_leader = cluster.WaitForLeader();
  Write(&cluster, 3, "early");
  cluster.Isolate(old_leader);
  const auto outcome = cluster.Propose(old_leader, "covered=1");
  ASSERT_TRUE(
      cluster.RunUntil([&] { return cluster.Leader() != 0 && cluster.Leader() != old_leader; }));
  cluster.RunFor(kUnheard);
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
  Write(&cluster, 600, "k", 1000);
  cluster.RunFor(1s);
  const int leader = cluster.WaitForLeader();
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

}  // namespace
}  // namespace quorate::raft
