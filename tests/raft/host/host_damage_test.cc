// The host with damaged logs and stores: quarantine, and the way out of it.
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "raft/host/log_store.h"
#include "raft/host/snapshot_stream.h"
#include "tests/raft/host/cluster_calls.h"

namespace quorate::raft {
namespace {

// Flips bytes in the middle of what the node's log holds. Its last record stays, as proof that this
// is no torn tail.
void DamageLog(MiniCluster* cluster, int node, size_t sound_end = 0) {
  for (const std::string& path : cluster->disk(node).Paths()) {
    std::string* bytes = cluster->disk(node).Find(path);
    const size_t used = bytes->find_last_not_of('\0');
    if (path.find("wal-") == std::string::npos || used == std::string::npos || used < 4096)
      continue;
    const size_t end = sound_end == 0 ? used / 2 + 600 : used - sound_end;
    for (size_t i = used / 2; i < end; ++i) (*bytes)[i] ^= 0x5a;
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

// It has nothing to say by itself: it neither leads nor follows, nor knows who the members are.
TEST(HostDamage, AQuarantinedReplicaCallsForALeaderThatFellSilentWithoutIt) {
  MiniCluster::Options options;
  options.host.quiesce_ticks = 8;
  MiniCluster cluster(options);
  const int victim = Other(cluster.WaitForLeader());
  Write(&cluster, 60, "k", 500);
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  cluster.Crash(victim, MiniCluster::Loss::kPower);
  cluster.RunFor(15s);
  DamageLog(&cluster, victim);
  cluster.Start(victim);
  cluster.RunFor(30s);
  ASSERT_EQ(Quarantined(&cluster, victim), 1) << "nobody comes to it";
  for (int node = 1; node <= 3; ++node) {
    if (node != victim) cluster.host(victim).Call(NodeId(static_cast<uint64_t>(node)));
  }
  EXPECT_TRUE(cluster.RunUntil([&] { return Quarantined(&cluster, victim) == 0; }, 10s));
}

// The child of a split whose node fails between the flush of its state and its first record.
TEST(HostDamage, ANotedBeginningNeedsNoRecordInALogThatLostSome) {
  MiniCluster cluster({});
  const int victim = Other(cluster.WaitForLeader());
  Write(&cluster, 60, "k", 500);
  cluster.Crash(victim, Loss::kProcess);
  DamageLog(&cluster, victim);
  cluster.Start(victim);
  ASSERT_TRUE(cluster.wal(victim).lost_records());
  ASSERT_TRUE(cluster.RunUntil([&] { return Quarantined(&cluster, victim) == 0; }));
  const GroupId noted(3);
  storage::WriteBatch batch;
  cluster.host(victim).NoteBeginning(noted, &batch);
  cluster.store(victim).Put(std::move(batch));
  cluster.store(victim).Flush([](const Status&) {});
  cluster.RunFor(1s);
  cluster.Crash(victim, Loss::kPower);
  cluster.Start(victim);
  const int64_t others = Quarantined(&cluster, victim);
  cluster.StartReplica(victim, noted);
  EXPECT_EQ(Quarantined(&cluster, victim), others) << "it was never here";
  cluster.StartReplica(victim, GroupId(2));
  EXPECT_EQ(Quarantined(&cluster, victim), others + 1) << "it may have voted";
  // It says nothing before the note is gone for good: from then on it may have voted, too.
  cluster.RunFor(1s);
  cluster.Crash(victim, Loss::kPower);
  cluster.Start(victim);
  EXPECT_EQ(*cluster.store(victim).Get(NoteKey(noted)), std::nullopt);
  cluster.StartReplica(victim, noted);
  EXPECT_EQ(Quarantined(&cluster, victim), others) << "its first record is in the log";
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

// Likewise, and a page with its keys was lost. (The other group's loss keeps the store from
// forgetting it before the test has begun this one.)
TEST(HostDamage, AReplicaThatBeginsOverAHoleInItsStateWaitsForASnapshot) {
  MiniCluster cluster({});
  const int victim = Other(cluster.WaitForLeader());
  const GroupId child(2);
  for (int node = 1; node <= 3; ++node) {
    const auto spans = KvMachine(child, cluster.store(node)).Spans();
    storage::WriteBatch batch;
    batch.Put(storage::MakeKey(std::string(storage::KeyBody(spans[0].first)) + "key"), "value");
    cluster.store(node).Put(std::move(batch));
    cluster.store(node).Flush([](const Status&) {});
  }
  cluster.RunFor(1s);
  const auto own = cluster.machine(victim).Spans();
  const auto lost = KvMachine(child, cluster.store(victim)).Spans();
  cluster.Crash(victim, Loss::kPower);
  cluster.LoseRange(victim, own[0].first, own[0].second);
  cluster.LoseRange(victim, lost[0].first, lost[0].second);
  cluster.Start(victim);
  ASSERT_EQ(Quarantined(&cluster, victim), 1);
  cluster.StartReplica(victim, child);
  EXPECT_EQ(Quarantined(&cluster, victim), 2);
  for (int node = 1; node <= 3; ++node) {
    if (node != victim) cluster.StartReplica(node, child);
  }
  ASSERT_TRUE(cluster.RunUntil([&] { return Quarantined(&cluster, victim) == 0; }));
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(child); }));
  EXPECT_EQ(cluster.machine(victim, child).Dump().size(), 1u);
}

// A chunk takes longer than the replica waits before it asks again, or than a sender has patience.
TEST(HostDamage, AHalfReceivedSnapshotIsKeptWhileChunksArrive) {
  for (const uint64_t rate : {100 << 10, 20 << 10}) {
    MiniCluster::Options options;
    options.host.snapshot_bytes_per_second = rate;
    MiniCluster cluster(options);
    const int leader = cluster.WaitForLeader();
    const int victim = Other(leader);
    Write(&cluster, 100, "k", 10'000);
    cluster.Crash(victim, Loss::kProcess);
    DamageLog(&cluster, victim);
    cluster.Start(victim);
    ASSERT_EQ(Quarantined(&cluster, victim), 1);
    ASSERT_TRUE(cluster.RunUntil([&] { return Quarantined(&cluster, victim) == 0; },
                                 std::chrono::seconds(3 * (1 << 20) / rate)))
        << rate;
    ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  }
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

// What a replica promised or acknowledged before its log was damaged may still be on its way, and
// it does not know of it any more: whoever lifts it leads in a term above all that.
TEST(HostDamage, AReplicaVotesInNoTermInWhichItMayHaveForgottenItsVote) {
  MiniCluster::Options options;
  options.groups = 2;
  MiniCluster cluster(options);
  const int leader = cluster.WaitForLeader();
  cluster.WaitForLeader(GroupId(2));
  const int victim = Other(leader);
  Write(&cluster, 60, "k", 500);
  cluster.RunFor(1s);
  const Term term = cluster.group(leader)->soft_state().term;
  cluster.Isolate(victim);
  const auto vote_in = [&](GroupId group, Term voted) {
    Message vote{NodeId(Other(victim)), NodeId(victim), voted, RequestVote{}};
    auto& request = std::get<RequestVote>(vote.body);
    request.leadership_transfer = true;
    request.last_log_index = LogIndex(1000);
    request.last_log_term = voted;
    cluster.host(victim).OnMessages({{group, vote}});
    cluster.RunFor(10ms);
  };
  vote_in(kGroup, term + 7);
  for (uint64_t i = 0; i < 40; ++i) vote_in(GroupId(2), term + 10 + i);
  cluster.Crash(victim, Loss::kProcess);
  DamageLog(&cluster, victim, 600);
  cluster.Start(victim);
  ASSERT_EQ(Quarantined(&cluster, victim), 2);
  cluster.Heal();
  ASSERT_TRUE(cluster.RunUntil([&] { return Quarantined(&cluster, victim) == 0; }));
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }));
  EXPECT_GT(cluster.group(victim)->soft_state().term, term + 7);
  EXPECT_GT(cluster.group(cluster.Leader())->soft_state().term, term + 7);
}

// Its leader leads in a term above that, and is not missed for long meanwhile.
TEST(HostDamage, AQuarantinedReplicaCostsItsGroupNoWholeElectionTimeout) {
  MiniCluster cluster({});
  const int leader = cluster.WaitForLeader();
  const int victim = Other(leader);
  Write(&cluster, 60, "k", 500);
  const Term term = cluster.group(leader)->soft_state().term;
  cluster.Crash(victim, Loss::kProcess);
  DamageLog(&cluster, victim);
  cluster.Start(victim);
  Instant led = cluster.world().now();
  Duration longest{0};
  for (int turn = 0; turn < 2000 && Quarantined(&cluster, victim) != 0; ++turn) {
    cluster.RunFor(5ms);
    if (cluster.Leader() == 0) continue;
    longest = std::max<Duration>(longest, cluster.world().now() - led);
    led = cluster.world().now();
  }
  EXPECT_EQ(Quarantined(&cluster, victim), 0);
  EXPECT_EQ(cluster.Leader(), leader);
  EXPECT_GT(cluster.group(leader)->soft_state().term, term);
  EXPECT_LT(longest, 100ms);
}

// One that comes back again and again, damaged, delays nobody else's repair.
TEST(HostDamage, AnothersStreamGoesOnBesideAReplicaThatIsDamagedAgainAndAgain) {
  MiniCluster::Options options = ShortLog();
  options.nodes = 5;
  options.host.snapshot_bytes_per_second = 1 << 20;
  MiniCluster cluster(options);
  const int leader = cluster.WaitForLeader();
  const int behind = leader % 5 + 1;
  const int victim = behind % 5 + 1;
  cluster.Crash(behind, Loss::kPower);
  Write(&cluster, 100, "k", 50'000);    // 5 s at that rate
  cluster.RunFor(kStreamTimeout + 2s);  // what was begun before the leader noticed is given up
  cluster.Crash(victim, Loss::kPower);
  DamageLog(&cluster, victim);
  const Term term = cluster.group(leader)->soft_state().term;
  cluster.Start(behind);
  for (int time = 0; time < 8; ++time) {
    cluster.Start(victim);
    ASSERT_EQ(Quarantined(&cluster, victim), 1);
    cluster.RunFor(1s);
    if (!cluster.machine(behind).installed.empty()) break;
    cluster.Crash(victim, Loss::kProcess);
  }
  EXPECT_EQ(cluster.machine(behind).installed.size(), 1u);
  EXPECT_GT(cluster.group(leader)->soft_state().term, term + 4 * (uint64_t{1} << 20));
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }, 60s));
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
