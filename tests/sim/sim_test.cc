// What the simulator shows in every test run: seeds of both workloads, determinism, the number of
// consensus rounds before an answer. Not here: long batches, see docs/testing.md.
#include <gtest/gtest.h>

#include "tests/sim/cluster.h"
#include "tests/sim/run.h"
#include "tests/sim/workloads/workload.h"

namespace quorate::sim {
namespace {

constexpr Duration kChaos = 15s;

void ExpectClean(const Options& options, const std::vector<std::string>& workloads) {
  const Verdict verdict = RunSeed(options, workloads, false);
  for (const auto& violation : verdict.violations) ADD_FAILURE() << violation;
  for (const auto& stall : verdict.stalls) ADD_FAILURE() << stall;
  EXPECT_GT(verdict.acknowledged, 20u) << "the run did next to nothing";
  if (testing::Test::HasFailure())
    GTEST_LOG_(INFO) << "seed " << options.seed << " " << options.ToString();
}

TEST(Simulation, BankSurvivesChaos) {
  for (uint64_t seed = 1'000; seed < 1'006; ++seed) {
    ExpectClean(Options::Draw(seed, kChaos), {"bank"});
  }
}

TEST(Simulation, ListAppendSurvivesChaos) {
  for (uint64_t seed = 2'000; seed < 2'006; ++seed) {
    ExpectClean(Options::Draw(seed, kChaos), {"list-append"});
  }
}

TEST(Simulation, OneSeedIsOneRun) {
  const Options options = Options::Draw(7, kChaos);
  const Verdict first = RunSeed(options, {"bank"}, false);
  const Verdict second = RunSeed(options, {"bank"}, false);
  EXPECT_EQ(first.trace_hash, second.trace_hash);
  EXPECT_EQ(first.next_draw, second.next_draw);
  EXPECT_EQ(first.events, second.events);
  const Verdict other = RunSeed(Options::Draw(8, kChaos), {"bank"}, false);
  EXPECT_NE(first.trace_hash, other.trace_hash);
}

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
  options.network.latency_min = options.network.latency_max = 100us;
  options.disk.sync_min = options.disk.sync_max = kSync;
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

}  // namespace
}  // namespace quorate::sim
