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

TEST(LowSpace, RefusesGrowthBelowTheWatermarkAndAcceptsItWellAbove) {
  TestEnv world;
  RamDisk disk;
  RamFiles files(world.executor, disk);
  disk.SetFreeBytes(300 * kMiB, 10'000 * kMiB);
  const LowSpace space(world.env, files, {.directory = "data"});
  EXPECT_TRUE(space.CheckGrowth().ok());
  disk.SetFreeBytes(255 * kMiB, 10'000 * kMiB);
  world.executor.RunFor(1s);
  EXPECT_TRUE(space.low());
  EXPECT_EQ(space.CheckGrowth().code(), Code::kNoSpace);
  disk.SetFreeBytes(257 * kMiB, 10'000 * kMiB);
  world.executor.RunFor(1s);
  EXPECT_TRUE(space.low()) << "it does not flap";
  disk.SetFreeBytes(290 * kMiB, 10'000 * kMiB);
  world.executor.RunFor(1s);
  EXPECT_FALSE(space.low());
}

TEST(LowSpace, LooksAtOnce) {
  TestEnv world;
  RamDisk disk;
  RamFiles files(world.executor, disk);
  disk.SetFreeBytes(1, 10'000 * kMiB);
  const LowSpace space(world.env, files, {.directory = "data"});
  EXPECT_TRUE(space.low());
}

}  // namespace
}  // namespace quorate::storage
