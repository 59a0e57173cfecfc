// What a node's groups keep of their logs, together: the division of a budget, and hosts that hold
// themselves to it.
#include "raft/host/log_budget.h"

#include <gtest/gtest.h>

#include <numeric>

#include "base/random.h"
#include "tests/raft/host/mini_cluster.h"

namespace quorate::raft {
namespace {

size_t Kept(const std::vector<LogShare>& shares, const std::vector<size_t>& allowed) {
  size_t kept = 0;
  for (size_t i = 0; i < shares.size(); ++i) kept += std::min(shares[i].bytes, allowed[i]);
  return kept;
}

TEST(DivideBudget, LeavesEverybodyWhatTheyHaveIfThereIsRoom) {
  const std::vector<LogShare> shares = {{100, 0s}, {900, 0s}, {0, 0s}};
  EXPECT_EQ(DivideBudget(shares, 1000, 5000), (std::vector<size_t>{5000, 5000, 5000}));
  EXPECT_TRUE(DivideBudget({}, 1000, 5000).empty());
}

TEST(DivideBudget, CutsWhoeverKeepsMost) {
  const std::vector<LogShare> shares = {{100, 0s}, {900, 0s}, {5000, 0s}};
  EXPECT_EQ(DivideBudget(shares, 1500, 5000), (std::vector<size_t>{700, 700, 700}));
}

TEST(DivideBudget, HalvesWhatWasNotUsedForAWhile) {
  const std::vector<LogShare> shares = {{1000, 0s}, {1000, 1s}, {1000, 2s}, {1000, 10min}};
  EXPECT_EQ(DivideBudget(shares, 700, 5000), (std::vector<size_t>{400, 200, 100, 0}));
  const std::vector<LogShare> back = {{1000, -5s}};
  EXPECT_EQ(DivideBudget(back, 700, 5000), (std::vector<size_t>{700})) << "a clock that went back";
}

TEST(DivideBudget, StaysWithinItAndGivesNearlyAllOfIt) {
  Random random(7);
  for (int round = 0; round < 2000; ++round) {
    std::vector<LogShare> shares(random.Below(12));
    for (LogShare& share : shares) {
      share.bytes = random.Below(3000);
      share.unused =
          random.Chance(0.5) ? Duration{} : static_cast<int64_t>(random.Below(10)) * kLogHalfLife;
    }
    const size_t budget = random.Below(8000);
    const size_t most = random.Below(3000);
    const std::vector<size_t> allowed = DivideBudget(shares, budget, most);
    ASSERT_EQ(allowed.size(), shares.size());
    ASSERT_LE(Kept(shares, allowed), budget);
    // All of it is used, but for the byte that each could have more if there were one for all.
    size_t wanted = 0;
    for (const LogShare& share : shares) wanted += std::min(most, share.bytes);
    ASSERT_GE(Kept(shares, allowed) + shares.size(), std::min(budget, wanted));
  }
}

TEST(DivideBudget, WhatNobodyNeedsIsLeftToThoseThatWereUsedLongAgo) {
  constexpr size_t kMiB = 1 << 20;
  std::vector<LogShare> shares;
  for (int i = 0; i < 1000; ++i) shares.push_back({33 << 10, std::chrono::seconds(i * 60 / 1000)});
  EXPECT_GE(Kept(shares, DivideBudget(shares, 28 * kMiB, 8 * kMiB)), 27 * kMiB);
}

// ---- hosts --------------------------------------------------------------------------------------

constexpr int kGroups = 4;
constexpr size_t kBudget = 64 << 10;
constexpr size_t kEntry = 256;

MiniCluster::Options Tight() {
  MiniCluster::Options options;
  options.groups = kGroups;
  options.host.log_bytes_max = kBudget;
  options.host.log_lacking_bytes_max = 2 * kBudget;
  options.host.quiesce_ticks = 0;
  return options;
}

GroupId Id(int group) { return GroupId(static_cast<uint64_t>(group)); }

size_t LogBytes(MiniCluster& cluster, int node) {
  return static_cast<size_t>(cluster.metrics(node).GetGauge("quorate_raft_log_bytes", "").Value());
}

void Write(MiniCluster& cluster, int group, int entries) {
  static int number = 0;  // no key twice
  for (int i = 0; i < entries; ++i) {
    const std::string payload = fmt::format("k{}={}", ++number, std::string(kEntry, 'x'));
    const auto outcome = cluster.Propose(cluster.WaitForLeader(Id(group)), payload, Id(group));
    ASSERT_TRUE(cluster.RunUntil([&] { return outcome->status.has_value(); }));
    ASSERT_TRUE(outcome->ok()) << outcome->status->ToString();
  }
}

uint64_t Installed(MiniCluster& cluster) {
  uint64_t installed = 0;
  for (int node = 1; node <= 3; ++node) {
    installed += cluster.Count(node, "quorate_raft_snapshots_installed_total");
  }
  return installed;
}

bool AgreeAll(MiniCluster& cluster) {
  for (int group = 1; group <= kGroups; ++group) {
    if (!cluster.Agree(Id(group))) return false;
  }
  return true;
}

TEST(LogBudget, IsOneForAllGroupsWhateverTheStoreHasFlushed) {
  MiniCluster::Options options = Tight();
  options.store.flush_interval = std::chrono::hours(1);
  MiniCluster cluster(options);
  for (int round = 0; round < 4; ++round) {
    for (int group = 1; group <= kGroups; ++group) Write(cluster, group, 80);
    cluster.RunFor(100ms);  // two ticks
    for (int node = 1; node <= 3; ++node) EXPECT_LE(LogBytes(cluster, node), kBudget);
  }
  for (int node = 1; node <= 3; ++node) EXPECT_GE(LogBytes(cluster, node), kBudget / 2);
  ASSERT_TRUE(cluster.RunUntil([&] { return AgreeAll(cluster); }));
  // Nothing of it was flushed: all is still in the WAL.
  cluster.Crash(1, MiniCluster::Loss::kPower);
  cluster.Start(1);
  ASSERT_TRUE(cluster.RunUntil([&] { return AgreeAll(cluster); }));
  EXPECT_EQ(Installed(cluster), 0u);
}

TEST(LogBudget, AFollowerThatIsHeardOfIsNotMadeToTakeASnapshot) {
  MiniCluster::Options options = Tight();
  options.host.log_keep_entries = 16;  // it is behind by more than this tail
  options.store.flush_interval = 100ms;
  options.host.log_lacking_bytes_max = 4 * kBudget;
  options.host.append_bytes_max = kEntry;
  options.loss = 0.2;  // some of them are behind now and then
  MiniCluster cluster(options);
  for (int round = 0; round < 5; ++round) {
    for (int group = 1; group <= kGroups; ++group) Write(cluster, group, 30);
  }
  cluster.set_loss(0);
  ASSERT_TRUE(cluster.RunUntil([&] { return AgreeAll(cluster); }));
  EXPECT_EQ(Installed(cluster), 0u);
  cluster.RunFor(1s);
  for (int node = 1; node <= 3; ++node) EXPECT_LE(LogBytes(cluster, node), kBudget);
}

// What is not applied has a bound of its own: others' followers are not cut off for it.
TEST(LogBudget, WhatIsNotAppliedTakesNothingFromOthers) {
  MiniCluster::Options options = Tight();
  options.host.unapplied_bytes_max = 8 * kBudget;
  MiniCluster cluster(options);
  const int leader = cluster.WaitForLeader(Id(1));
  Write(cluster, 1, 60);
  ASSERT_TRUE(cluster.RunUntil([&] { return AgreeAll(cluster); }));
  cluster.Isolate(leader);
  for (int i = 0; i < 900; ++i) {
    (void)cluster.Propose(leader, "k=" + std::string(kEntry, 'x'), Id(1));
  }
  cluster.RunFor(1ms);
  const size_t before = LogBytes(cluster, leader);
  EXPECT_GT(before, 3 * kBudget);
  cluster.RunFor(200ms);  // some ticks, and it does not know yet that it leads nobody
  EXPECT_GE(LogBytes(cluster, leader), before);
  cluster.Heal();
  ASSERT_TRUE(cluster.RunUntil([&] { return AgreeAll(cluster); }));
  EXPECT_EQ(Installed(cluster), 0u);
}

TEST(LogBudget, OneThatIsNotHeardOfTakesOneInTheEnd) {
  MiniCluster cluster(Tight());
  cluster.WaitForLeader();
  cluster.Isolate(3);
  cluster.RunFor(3s);  // others lead
  for (int group = 1; group <= kGroups; ++group) Write(cluster, group, 100);
  cluster.RunFor(2s);
  for (int node = 1; node <= 2; ++node) EXPECT_LE(LogBytes(cluster, node), kBudget);
  cluster.Heal();
  ASSERT_TRUE(cluster.RunUntil([&] { return AgreeAll(cluster); }));
  EXPECT_GT(Installed(cluster), 0u);
}

TEST(LogBudget, ASilentGroupKeepsNothing) {
  MiniCluster::Options options = Tight();
  options.host.log_bytes_max = 32 << 20;
  options.host.quiesce_ticks = 8;
  options.store.flush_interval = 2s;
  MiniCluster cluster(options);
  const uint64_t empty = cluster.wal(1).LiveBytes();
  for (int group = 1; group <= kGroups; ++group) Write(cluster, group, 20);
  EXPECT_GE(LogBytes(cluster, 1), 20 * kEntry) << "the last one at least is not silent yet";
  cluster.RunFor(10s);
  for (int node = 1; node <= 3; ++node) {
    EXPECT_EQ(LogBytes(cluster, node), 0u);
    EXPECT_LT(cluster.wal(node).LiveBytes(), empty + kEntry);
  }
  // And goes on from there, with a node that was gone, and has lost nothing.
  cluster.Crash(2, MiniCluster::Loss::kPower);
  cluster.RunFor(1s);
  cluster.Start(2);
  for (int group = 1; group <= kGroups; ++group) Write(cluster, group, 3);
  ASSERT_TRUE(cluster.RunUntil([&] { return AgreeAll(cluster); }));
  EXPECT_EQ(Installed(cluster), 0u);
}

TEST(LogBudget, ASilentGroupKeepsWhatAMemberLacksThatIsGone) {
  MiniCluster::Options options = Tight();
  options.host.quiesce_ticks = 8;
  options.store.flush_interval = 1s;
  MiniCluster cluster(options);
  const int leader = cluster.WaitForLeader();
  ASSERT_TRUE(cluster.RunUntil([&] { return AgreeAll(cluster); }));
  const int gone = leader == 3 ? 2 : 3;
  cluster.Crash(gone, MiniCluster::Loss::kProcess);
  Write(cluster, 1, 10);
  cluster.RunFor(60s);
  EXPECT_GE(LogBytes(cluster, leader), 10 * kEntry);
  cluster.Start(gone);
  ASSERT_TRUE(cluster.RunUntil([&] { return AgreeAll(cluster); }));
  EXPECT_EQ(Installed(cluster), 0u);
}

TEST(LogBudget, WalIsBoundedForAllGroups) {
  MiniCluster::Options options = Tight();
  options.store.flush_interval = 100ms;
  options.host.wal_kept_bytes_max = kBudget;
  MiniCluster cluster(options);
  for (int group = 1; group <= kGroups; ++group) Write(cluster, group, 200);
  cluster.RunFor(1s);
  for (int node = 1; node <= 3; ++node) {
    EXPECT_LE(cluster.wal(node).LiveBytes(), kBudget);
    EXPECT_GE(cluster.wal(node).LiveBytes(), kBudget / 4);
  }
}

// ---- what a leader may put on others ------------------------------------------------------------

TEST(LogBudget, AFollowerWithASlowStoreTakesNoMoreThanItHasRoomFor) {
  MiniCluster::Options options;
  options.slow = 3;
  options.slow_kv = {.latency_min = 3s, .latency_max = 3s};
  options.store.flush_bytes = 16 << 10;
  options.store.bytes_max = kBudget;
  options.host.append_bytes_max = kEntry;  // little is under way
  options.host.log_keep_entries = 16;
  MiniCluster cluster(options);
  cluster.WaitForLeader();
  ASSERT_TRUE(cluster.RunUntil([&] {
    if (cluster.Leader() == 3) (void)cluster.group(3)->TransferLeadership(NodeId(1));
    return cluster.Leader() == 1 || cluster.Leader() == 2;
  }));
  size_t most = 0;
  for (int i = 0; i < 20; ++i) {
    Write(cluster, 1, 30);
    most = std::max(most, cluster.store(3).OverlayBytes());
  }
  EXPECT_GT(most, kBudget + kBudget / 4);
  EXPECT_LT(most, kBudget + kBudget / 4 + 32 * kEntry);
  const int leader = cluster.WaitForLeader();
  EXPECT_EQ(cluster.group(leader)->TransferLeadership(NodeId(3)).code(), Code::kFailedPrecondition);
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(); }, 120s));
  EXPECT_EQ(Installed(cluster), 0u);
}

TEST(LogBudget, AFollowerWithAFullDiskIsSentNoSnapshot) {
  MiniCluster::Options options = Tight();
  MiniCluster cluster(options);
  const int leader = cluster.WaitForLeader();
  const int full = leader == 3 ? 2 : 3;
  cluster.RunFor(1s);
  cluster.host(full).SetSpace({.low = true, .full = true});
  cluster.RunFor(1s);
  for (int group = 1; group <= kGroups; ++group) Write(cluster, group, 400);  // beyond all bounds
  cluster.RunFor(30s);
  for (int node = 1; node <= 3; ++node) {
    EXPECT_EQ(cluster.Count(node, "quorate_raft_snapshots_failed_total"), 0u);
    EXPECT_LE(LogBytes(cluster, node), 2 * kBudget);
  }
  EXPECT_EQ(Installed(cluster), 0u);
  cluster.host(full).SetSpace({});
  ASSERT_TRUE(cluster.RunUntil([&] { return AgreeAll(cluster); }, 120s));
  EXPECT_GT(Installed(cluster), 0u);
}

TEST(LogBudget, WhatIsProposedAndNotAppliedIsBoundedForAllGroups) {
  MiniCluster::Options options;
  options.groups = 2;
  options.host.unapplied_bytes_max = kBudget;
  MiniCluster cluster(options);
  const int leader = cluster.WaitForLeader(Id(1));
  ASSERT_TRUE(cluster.RunUntil([&] {
    const int other = cluster.Leader(Id(2));
    if (other != 0 && other != leader) {
      (void)cluster.group(other, Id(2))->TransferLeadership(NodeId(leader));
    }
    return other == leader && cluster.Leader(Id(1)) == leader;
  }));
  ASSERT_TRUE(cluster.RunUntil([&] { return cluster.Agree(Id(1)) && cluster.Agree(Id(2)); }));
  cluster.Isolate(leader);
  std::vector<std::shared_ptr<Outcome>> outcomes;
  for (int i = 0; i < 400; ++i) {
    outcomes.push_back(cluster.Propose(leader, "k=" + std::string(kEntry, 'x'), Id(1)));
  }
  const auto other = cluster.Propose(leader, "k=" + std::string(kEntry, 'x'), Id(2));
  cluster.RunFor(100ms);
  size_t refused = 0;
  for (const auto& outcome : outcomes) {
    if (!outcome->status) continue;
    EXPECT_EQ(outcome->status->code(), Code::kOverloaded);
    ++refused;
  }
  EXPECT_GT(refused, 130u);
  EXPECT_LT(refused, 160u);
  EXPECT_FALSE(other->status) << "one that has little of it goes on";
}

}  // namespace
}  // namespace quorate::raft
