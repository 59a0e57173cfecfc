// What the simulator shows in every test run: seeds of both workloads, determinism, the number of
// consensus rounds before an answer. Not here: long batches, see docs/testing.md.
#include <gtest/gtest.h>

#include "base/status_macros.h"
#include "tests/sim/cluster.h"
#include "tests/sim/run.h"
#include "tests/sim/script.h"
#include "tests/sim/workloads/workload.h"

namespace quorate::sim {
namespace {

constexpr Duration kChaos = 15s;

void ExpectClean(Plan plan, const std::vector<std::string>& workloads) {
  plan.workloads = workloads;
  const Verdict verdict = RunPlan(plan, false);
  for (const auto& violation : verdict.violations) ADD_FAILURE() << violation;
  for (const auto& stall : verdict.stalls) ADD_FAILURE() << stall;
  EXPECT_GT(verdict.acknowledged, 10u) << "the run did next to nothing";
  if (testing::Test::HasFailure()) GTEST_LOG_(INFO) << ToScript(plan, "failed");
}

TEST(Simulation, BankSurvivesChaos) {
  for (uint64_t seed = 1'000; seed < 1'006; ++seed) ExpectClean(Plan::Draw(seed, kChaos), {"bank"});
}

TEST(Simulation, ListAppendSurvivesChaos) {
  for (uint64_t seed = 2'000; seed < 2'006; ++seed) {
    ExpectClean(Plan::Draw(seed, kChaos), {"list-append"});
  }
}

// Whoever is refused everywhere sees nothing wrong.
TEST(Simulation, TheWitnessIsAnswered) {
  Plan plan = Plan::Draw(3'000, kChaos);
  plan.workloads = {"bank"};
  plan.Calm();
  const Verdict verdict = RunPlan(plan, false);
  EXPECT_TRUE(verdict.ok());
  EXPECT_GT(verdict.witnessed.slots, 20u);
  EXPECT_GT(verdict.witnessed.reads, 20u);
  EXPECT_GT(verdict.witnessed.commits, 2u);
}

TEST(Simulation, OneSeedIsOneRun) {
  const Plan plan = Plan::Draw(7, kChaos);
  const Verdict first = RunPlan(plan, false);
  const Verdict second = RunPlan(plan, false);
  EXPECT_EQ(first.trace_hash, second.trace_hash);
  EXPECT_EQ(first.next_draw, second.next_draw);
  EXPECT_EQ(first.events, second.events);
  EXPECT_NE(first.trace_hash, RunPlan(Plan::Draw(8, kChaos), false).trace_hash);
}

TEST(Simulation, AScriptIsThePlanItWasWrittenFrom) {
  const Plan plan = Plan::Draw(9, kChaos);
  const std::string script = ToScript(plan, "a test");
  const Result<Plan> read = ParseScript(script);
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(ToScript(*read, "a test"), script);
  EXPECT_EQ(RunPlan(*read, false).trace_hash, RunPlan(plan, false).trace_hash);
  EXPECT_FALSE(ParseScript("workloads bank\nfault at=1 no-such-kind\n").ok());
  EXPECT_FALSE(ParseScript("options nodes=many\nworkloads bank\n").ok());
}

// Sanitizers define the same functions.
#if !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)
TEST(SimulationDeathTest, TheRealWorldIsOutOfBoundsWhileEventsRun) {
  World world(1);
  EXPECT_GT(::time(nullptr), 0) << "between events everything is allowed";
  world.At(1s, [] { EXPECT_GT(::time(nullptr), 0); });
  EXPECT_DEATH(world.RunUntil(world.now() + 2s), "simulated code must not call time");
}
#endif

// ---- consensus rounds ---------------------------------------------------------------------------

Task<Status> WriteTwo(client::Transaction* txn, std::string a, std::string b) {
  CO_RETURN_IF_ERROR(txn->Put(a, "1"));
  co_return txn->Put(b, "1");
}

struct Timed {
  client::CommitResult result;
  Duration took{0};
  bool done = false;
};

Task<void> CommitTimed(SimClient* client, World* world, std::string a, std::string b,
                       Timed* timed) {
  const Instant begin = world->now();
  timed->result = co_await client->database().TransactAsync(
      [a, b](client::Transaction& txn) { return WriteTwo(&txn, a, b); }, {});
  timed->took = world->now() - begin;
  timed->done = true;
}

Timed RunCommit(World& world, SimClient& client, const std::string& a, const std::string& b) {
  Timed timed;
  client.scope().Spawn(CommitTimed(&client, &world, a, b, &timed));
  world.RunUntil(world.now() + 60s, [&] { return timed.done; });
  return timed;
}

// A consensus round cannot be quicker than one log sync, and here a sync takes 200 ms while a
// message takes 0.1 ms: the time to the answer counts the sequential rounds before it. A commit may
// also find the log busy with another group's sync and wait for that, so the quickest of many
// tells.
constexpr Duration kSync = 200ms;
constexpr int kTries = 25;

Duration QuickestCommit(uint64_t seed, int keys_apart, int shards_expected) {
  Options options;
  options.seed = seed;
  options.shards = 4;
  options.latency_min = options.latency_max = 100us;
  options.sync_min = options.sync_max = kSync;
  World world(options.seed);
  Cluster cluster(world, options, false);
  EXPECT_TRUE(cluster.Bootstrap(60s).ok());
  auto client = cluster.MakeClient("client");
  const std::string a = SpreadKey("k", 0, 4), b = SpreadKey("k", keys_apart, 4);
  Duration quickest = Duration::max();
  for (int i = 0; i < kTries; ++i) {
    const Timed timed = RunCommit(world, *client, a, b);
    EXPECT_TRUE(timed.result.ok()) << timed.result.status.ToString();
    EXPECT_EQ(timed.result.shards, shards_expected);
    EXPECT_GE(timed.took, kSync) << "answered before anything could be durable";
    quickest = std::min(quickest, timed.took);
    world.RunUntil(world.now() + 3370ms);
  }
  return quickest;
}

TEST(Commit, OverTwoShardsTakesOneSequentialConsensusRound) {
  EXPECT_LT(QuickestCommit(1, 3, 2), 2 * kSync) << "more than one sequential round";
}

TEST(Commit, OnOneShardTakesOneConsensusRound) {
  EXPECT_LT(QuickestCommit(2, 0, 1), 2 * kSync) << "more than one sequential round";
}

// ---- damage beyond what must heal ---------------------------------------------------------------

// ---- the disk -----------------------------------------------------------------------------------

class DiskTest : public testing::Test {
 protected:
  std::string Content() { return file_->Read(0, 100).value(); }
  // One sync fails, and what was to be synced stays in the page cache.
  void FailASync() {
    ASSERT_TRUE(file_->Write(0, "aaaa").ok() && file_->Sync().ok());
    disk_.faults().fail_next_log_sync = true;
    ASSERT_TRUE(file_->Write(0, "bb").ok());
    ASSERT_EQ(file_->Sync().code(), Code::kIoError);
    ASSERT_EQ(Content(), "bbaa") << "it can be read";
    ASSERT_TRUE(file_->Sync().ok()) << "and counts as clean";
    ASSERT_TRUE(disk_.HoldsCachedOnly());
  }

  World world_{1};
  ClockModel clock_{world_};
  NullLogger log_;
  Process process_{world_, "n1", &clock_, log_};
  SimDisk disk_{world_, "n1", {}};
  std::unique_ptr<storage::FileSystem> files_ = disk_.Mount(process_);
  std::unique_ptr<storage::File> file_ =
      std::move(*files_->Open("data/wal/a.log", storage::OpenMode::kCreate));
};

TEST_F(DiskTest, WhatAFailedSyncLeftCachedIsGoneWithThePower) {
  ASSERT_TRUE(files_->SyncDirectory("data/wal").ok());
  FailASync();
  disk_.PowerLoss(PowerLossMode::kSome);
  EXPECT_EQ(Content(), "aaaa");
}

TEST_F(DiskTest, WhatAFailedSyncLeftCachedIsGoneWhenItIsEvicted) {
  FailASync();
  ASSERT_TRUE(file_->Write(3, "c").ok());
  disk_.Evict();
  EXPECT_EQ(Content(), "aaac") << "what is dirty stays";
  EXPECT_FALSE(disk_.HoldsCachedOnly());
}

TEST_F(DiskTest, WhatIsWrittenAgainAfterAFailedSyncIsDurable) {
  ASSERT_TRUE(files_->SyncDirectory("data/wal").ok());
  FailASync();
  ASSERT_TRUE(file_->Write(0, "bb").ok() && file_->Sync().ok());
  EXPECT_FALSE(disk_.HoldsCachedOnly());
  disk_.PowerLoss(PowerLossMode::kNothingUnsynced);
  EXPECT_EQ(Content(), "bbaa");
}

TEST_F(DiskTest, WhatIsWrittenAgainBecomesDurableOnce) {
  struct Told final : Observer {
    void OnDurable(const std::string&, uint64_t, std::string_view bytes) override {
      ++times[std::string(bytes)];
    }
    void OnCommitted(const std::string&) override {}
    std::map<std::string, int> times;
  } told;
  disk_.Watch(&told);
  FailASync();
  EXPECT_EQ(told.times["bb"], 0);
  ASSERT_TRUE(file_->Write(0, "bb").ok() && file_->Sync().ok());
  EXPECT_EQ(told.times["bb"], 1) << "it was not durable, though it could be read";
  ASSERT_TRUE(file_->Write(4, "cccc").ok() && file_->Sync().ok());
  ASSERT_TRUE(file_->Write(5, "xx").ok() && file_->Write(4, "cccc").ok() && file_->Sync().ok());
  EXPECT_EQ(told.times["cccc"], 1) << "it was durable, and hidden for a moment";
  ASSERT_TRUE(file_->Write(8, "dddd").ok() && file_->Write(9, "xx").ok());
  ASSERT_TRUE(file_->Write(8, "dddd").ok() && file_->Sync().ok());
  EXPECT_EQ(told.times["dddd"], 1) << "it was written twice and synced once";
  ASSERT_TRUE(file_->Write(4, "eeee").ok() && file_->Sync().ok());
  ASSERT_TRUE(file_->Write(4, "cccc").ok() && file_->Sync().ok());
  EXPECT_EQ(told.times["cccc"], 2) << "it was gone meanwhile";
}

// A start writes the header of the newest segment again.
TEST_F(DiskTest, AMisdirectedHeaderSparesTheLastBatch) {
  constexpr uint64_t kEarlier = 4096, kLast = 20'480;
  const std::string header(4096, 'h'), batches(kLast - kEarlier, 'e'), last(700, 'l');
  ASSERT_TRUE(file_->Write(0, std::string(65'536, '\0')).ok());
  ASSERT_TRUE(file_->Write(kEarlier, batches).ok() && file_->Write(kLast, last).ok());
  ASSERT_TRUE(file_->Sync().ok());
  for (int i = 0; i < 200; ++i) {
    disk_.faults().misdirect_next_write = true;
    ASSERT_TRUE(file_->Write(0, header).ok());
    ASSERT_FALSE(disk_.faults().misdirect_next_write);
    ASSERT_TRUE(file_->Read(kLast, last.size()).value() == last) << i;
  }
  EXPECT_TRUE(file_->Read(kEarlier, batches.size()).value() != batches);
}

TEST_F(DiskTest, ASlowDirectoryStopsWhoWaitsForItOnItsOwnThread) {
  disk_.faults().slow_directory = 2s;
  std::vector<std::string> blocked;
  disk_.OnBlocked([&](const std::string& path) { blocked.push_back(path); });
  const Instant begun = world_.now();
  Instant done{};
  files_->Background([&] { return files_->SyncDirectory("data/wal"); },
                     [&](const Status& status) {
                       EXPECT_TRUE(status.ok());
                       done = world_.now();
                     });
  world_.RunUntil(begun + 5s, [&] { return done != Instant(); });
  EXPECT_GE(done - begun, 2s);
  EXPECT_FALSE(process_.paused());
  EXPECT_TRUE(blocked.empty());
  ASSERT_TRUE(files_->SyncDirectory("data/wal").ok());
  EXPECT_TRUE(process_.paused());
  EXPECT_EQ(blocked.size(), 1u);
}

TEST(Damage, OnAMajorityIsRefusedUntilTheDisksAreBack) {
  Options options;
  options.seed = 3;
  options.shards = 2;
  World world(options.seed);
  Cluster cluster(world, options, false);
  ASSERT_TRUE(cluster.Bootstrap(60s).ok());
  auto client = cluster.MakeClient("client");
  const std::string a = SpreadKey("k", 0, 4), b = SpreadKey("k", 3, 4);
  ASSERT_TRUE(RunCommit(world, *client, a, b).result.ok());
  world.RunUntil(world.now() + 20s);  // checkpointed
  std::vector<SimNode::Image> images;
  for (auto& node : cluster.nodes()) node->Crash();
  for (int i = 0; i < 2; ++i) {
    SimNode& node = *cluster.nodes()[static_cast<size_t>(i)];
    images.push_back(node.TakeImage());
    for (const std::string& path : node.disk().Paths("data/wal/")) node.disk().LoseFile(path);
  }
  for (auto& node : cluster.nodes()) ASSERT_TRUE(node->Start().ok());
  world.RunUntil(world.now() + 20s);
  for (int i = 0; i < 2; ++i) {
    SimNode& node = *cluster.nodes()[static_cast<size_t>(i)];
    EXPECT_GT(node.quarantined(), 0);
    for (const shard::Shard* shard : node.node()->shards()) EXPECT_FALSE(shard->serving());
  }
  EXPECT_FALSE(RunCommit(world, *client, a, b).result.ok());
  for (int i = 0; i < 2; ++i) {
    SimNode& node = *cluster.nodes()[static_cast<size_t>(i)];
    node.Crash();
    // The log's alone: a whole directory that is put back is one that may have promised since.
    for (const std::string& path : node.disk().Paths("data/wal/")) node.disk().LoseFile(path);
    for (const auto& [path, content] : images[static_cast<size_t>(i)].disk.files) {
      if (path.starts_with("data/wal/")) node.disk().ReplaceFile(path, content);
    }
    ASSERT_TRUE(node.Start().ok());
  }
  world.RunUntil(world.now() + 20s);
  EXPECT_TRUE(RunCommit(world, *client, a, b).result.ok());
}

}  // namespace
}  // namespace quorate::sim
