#include "storage/low_space.h"

#include <gtest/gtest.h>

#include "tests/support/ram_files.h"
#include "tests/support/test_env.h"

namespace quorate::storage {
namespace {

constexpr uint64_t kMiB = 1 << 20;

TEST(LowSpace, WatermarkIsTwoPercentOrTheMinimum) {
  EXPECT_EQ(LowSpace::Watermark(10'000 * kMiB, 256 * kMiB), 256 * kMiB);
  EXPECT_EQ(LowSpace::Watermark(100'000 * kMiB, 256 * kMiB), 2'000 * kMiB);
  EXPECT_EQ(LowSpace::Watermark(0, 256 * kMiB), 256 * kMiB);
}

class LowSpaceTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kTotal = 10'000 * kMiB;

  LowSpace Watch() {
    LowSpace::Options options;
    options.directory = "data";
    options.reserve_bytes = 8 * kMiB;
    options.owed = [this] { return owed_; };
    options.starved = [this] { return starved_; };
    return LowSpace(world_.env, files_, std::move(options));
  }
  void Free(uint64_t bytes) {
    disk_.SetFreeBytes(bytes, kTotal);
    world_.executor.RunFor(1s);
  }
  bool reserve_there() { return files_.Exists("data/RESERVE").value(); }

  TestEnv world_;
  RamDisk disk_;
  RamFiles files_{world_.executor, disk_};
  uint64_t owed_ = 0;
  bool starved_ = false;
};

TEST_F(LowSpaceTest, IsLowBelowTheWatermarkAndFineWellAbove) {
  disk_.SetFreeBytes(300 * kMiB, kTotal);
  const LowSpace space = Watch();
  EXPECT_FALSE(space.low());
  Free(255 * kMiB);
  EXPECT_TRUE(space.low());
  EXPECT_FALSE(space.full());
  Free(257 * kMiB);
  EXPECT_TRUE(space.low()) << "it does not flap";
  Free(290 * kMiB);
  EXPECT_FALSE(space.low());
}

TEST_F(LowSpaceTest, LooksAtOnce) {
  disk_.SetFreeBytes(1, kTotal);
  EXPECT_TRUE(Watch().low());
}

TEST_F(LowSpaceTest, CountsWhatIsStillToBeWritten) {
  disk_.SetFreeBytes(300 * kMiB, kTotal);
  const LowSpace space = Watch();
  owed_ = 100 * kMiB;
  Free(300 * kMiB);
  EXPECT_TRUE(space.low());
  owed_ = 0;
  Free(300 * kMiB);
  EXPECT_FALSE(space.low());
}

TEST_F(LowSpaceTest, GivesTheReserveUpWhenTheDiskIsFullAndMakesItAgain) {
  disk_.SetFreeBytes(1000 * kMiB, kTotal);
  const LowSpace space = Watch();
  EXPECT_EQ(space.reserve_bytes(), 8 * kMiB);
  EXPECT_EQ(disk_.Find("data/RESERVE")->size(), 8 * kMiB);
  Free(100 * kMiB);
  EXPECT_TRUE(reserve_there()) << "low is not full";
  Free(3 * kMiB);
  EXPECT_FALSE(reserve_there());
  EXPECT_EQ(space.reserve_bytes(), 0u);
  EXPECT_FALSE(space.full()) << "the reserve is for what was taken already, and for deletions";
  Free(kMiB / 2);
  EXPECT_TRUE(space.full());
  Free(285 * kMiB);
  EXPECT_FALSE(space.full());
  EXPECT_FALSE(reserve_there()) << "making it would take what was just won";
  Free(1000 * kMiB);
  EXPECT_TRUE(reserve_there());
  EXPECT_FALSE(space.low());
}

TEST_F(LowSpaceTest, GivesTheReserveUpForWhoWaits) {
  disk_.SetFreeBytes(1000 * kMiB, kTotal);
  const LowSpace space = Watch();
  starved_ = true;  // by a quota, which is not seen in what is free
  Free(1000 * kMiB);
  EXPECT_FALSE(reserve_there());
  EXPECT_TRUE(space.low());
  EXPECT_TRUE(space.full());
  starved_ = false;
  Free(1000 * kMiB);
  EXPECT_FALSE(space.full());
  EXPECT_TRUE(reserve_there());
}

TEST_F(LowSpaceTest, AHalfMadeReserveIsNone) {
  disk_.SetFreeBytes(1, kTotal);
  ASSERT_TRUE(files_.Open("data/RESERVE", OpenMode::kCreate).value()->Write(0, "x").ok());
  EXPECT_EQ(Watch().reserve_bytes(), 0u);
  disk_.SetFreeBytes(1000 * kMiB, kTotal);
  EXPECT_EQ(Watch().reserve_bytes(), 8 * kMiB);
}

TEST_F(LowSpaceTest, TheReserveGrowsWithTheWatermarkWithinBounds) {
  EXPECT_EQ(LowSpace::ReserveBytes(256 * kMiB), 64 * kMiB);
  EXPECT_EQ(LowSpace::ReserveBytes(40 * kMiB), 10 * kMiB);
  EXPECT_EQ(LowSpace::ReserveBytes(0), kMiB);
  EXPECT_EQ(LowSpace::ReserveBytes(10'000 * kMiB), 64 * kMiB);
}

}  // namespace
}  // namespace quorate::storage
