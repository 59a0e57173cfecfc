// cli/load.h.
#include "cli/load.h"

#include <gtest/gtest.h>

namespace quorate::cli {
namespace {

LoadSample Sample(int64_t second) {
  LoadSample sample;
  sample.at = Instant() + std::chrono::seconds(second);
  return sample;
}

TEST(Load, IsWhatCountersGrewByPerSecond) {
  LoadSample before = Sample(10);
  before.nodes[1] = {1'000'000, {{2, 100}, {3, 50}}, {{2, 10}}};
  LoadSample after = Sample(12);
  after.nodes[1] = {4'000'000, {{2, 300}, {3, 50}}, {{2, 20}}};
  const Load load = LoadBetween(before, after);
  EXPECT_DOUBLE_EQ(load.nodes.at(1).cpu, 1.5);
  EXPECT_DOUBLE_EQ(load.nodes.at(1).rates.reads, 100);
  EXPECT_DOUBLE_EQ(load.nodes.at(1).rates.prepares, 5);
  EXPECT_DOUBLE_EQ(load.shards.at(2).reads, 100);
  EXPECT_DOUBLE_EQ(load.shards.at(3).both(), 0);
}

TEST(Load, AShardCountsWhereverItWasLed) {
  LoadSample before = Sample(0);
  before.nodes[1] = {0, {{2, 100}}, {}};
  before.nodes[2] = {0, {{2, 7}}, {}};
  LoadSample after = Sample(1);
  after.nodes[1] = {0, {{2, 110}}, {}};
  after.nodes[2] = {0, {{2, 12}}, {}};
  EXPECT_DOUBLE_EQ(LoadBetween(before, after).shards.at(2).reads, 15);
}

TEST(Load, ACounterThatWentBackBeganAnew) {
  LoadSample before = Sample(0);
  before.nodes[1] = {9'000'000, {{2, 100}}, {{2, 100}}};
  LoadSample after = Sample(1);
  after.nodes[1] = {500'000, {{2, 4}, {3, 6}}, {{2, 0}}};
  const Load load = LoadBetween(before, after);
  EXPECT_DOUBLE_EQ(load.shards.at(2).reads, 4);
  EXPECT_DOUBLE_EQ(load.shards.at(2).prepares, 0);
  EXPECT_DOUBLE_EQ(load.shards.at(3).reads, 6);
  EXPECT_DOUBLE_EQ(load.nodes.at(1).cpu, 0.5);
}

TEST(Load, ANodeThatJustCameIsNotMeasuredYet) {
  LoadSample after = Sample(1);
  after.nodes[1] = {500'000, {{2, 4}}, {}};
  EXPECT_TRUE(LoadBetween(Sample(0), after).nodes.empty());
  EXPECT_TRUE(LoadBetween(Sample(0), after).shards.empty());
}

TEST(Load, TheHottestComeFirstAndTheIdleNotAtAll) {
  Load load;
  load.shards[2] = {1, 0};
  load.shards[3] = {0, 0};
  load.shards[4] = {3, 2};
  load.shards[5] = {0, 1};
  EXPECT_EQ(load.Hottest(10), (std::vector<uint64_t>{4, 2, 5}));
  EXPECT_EQ(load.Hottest(1), (std::vector<uint64_t>{4}));
}

TEST(Load, WhatIsWatchedKeepsItsOrderUnlessOneIsClearlyHotter) {
  Load load;
  load.shards[2] = {100, 0};
  load.shards[3] = {110, 0};
  load.shards[4] = {90, 0};
  const std::vector<uint64_t> shown = {4, 2};
  EXPECT_EQ(load.Hottest(3, {}), (std::vector<uint64_t>{3, 2, 4}));
  EXPECT_EQ(load.Hottest(3, shown), (std::vector<uint64_t>{4, 2, 3}))
      << "about as hot as each other";
  load.shards[3] = {119, 0};
  EXPECT_EQ(load.Hottest(3, shown), (std::vector<uint64_t>{4, 2, 3}))
      << "not a quarter more than 2";
  load.shards[3] = {126, 0};
  EXPECT_EQ(load.Hottest(3, shown), (std::vector<uint64_t>{3, 4, 2}));
  load.shards[4] = {0, 0};
  EXPECT_EQ(load.Hottest(3, shown), (std::vector<uint64_t>{3, 2})) << "the idle are not shown";
  EXPECT_EQ(load.Hottest(1, {2}), (std::vector<uint64_t>{3}));
  EXPECT_EQ(load.Hottest(3, {7}), (std::vector<uint64_t>{3, 2})) << "one that is gone";
}

}  // namespace
}  // namespace quorate::cli
