// The log's segments: full disks, reuse, and copying forward.
#include <gtest/gtest.h>

#include "base/probe.h"
#include "storage/wal_copier.h"
#include "storage/wal_format.h"
#include "storage/wal_reader.h"
#include "storage/wal_writer.h"
#include "tests/storage/wal_fixture.h"

namespace quorate::storage {
namespace {

TEST_F(WalTest, TheLastOfADiskIsNotFilledWithZeros) {
  Open();
  disk_.SetFreeBytes(kSegmentBytes, uint64_t{1} << 40);
  const std::string payload(kSegmentBytes * 2 / 3, 'x');
  Write(Entries(1, 1, {payload}));  // the next segment is made ready
  world_.executor.RunFor(1s);
  const std::string* next = disk_.Find("wal/" + SegmentName(2));
  ASSERT_NE(next, nullptr);
  EXPECT_EQ(next->size(), kSegmentHeaderBytes);
  Write(Entries(1, 2, {payload}));
  EXPECT_GT(next->size(), payload.size());
  Reopen();
  EXPECT_EQ(Payloads(1), (Strings{payload, payload}));
}

TEST_F(WalTest, GoesOnWhereTheNextSegmentCannotBeFilled) {
  Open();
  bool failed = false;
  wal_->OnFailure([&](const Status&) { failed = true; });
  Write(Entries(1, 1, {std::string(kSegmentBytes * 2 / 3, 'x')}));
  ASSERT_TRUE(world_.executor.RunUntil([&] {
    const std::string* next = disk_.Find("wal/" + SegmentName(2));
    return next != nullptr && next->size() > kSegmentHeaderBytes;
  }));
  disk_.FailNextSync({Code::kNoSpace, "taken by somebody else"});
  world_.executor.RunFor(20ms);
  disk_.FailNoMoreFiles();
  Write(Entries(1, 2, {"in the current one"}));
  EXPECT_FALSE(failed);
}

// What was appended meanwhile is durable in its order once there is space, and nothing before.
TEST_F(WalTest, AFullDiskIsWaitedFor) {
  Open();
  bool failed = false;
  wal_->OnFailure([&](const Status&) { failed = true; });
  Write(Entries(1, 1, {"fits"}));
  disk_.SetFull(true);
  std::vector<uint64_t> durable;
  for (uint64_t i = 2; i <= 40; ++i) {
    wal_->Append(Entries(1, i, {std::string(kSegmentBytes / 8, static_cast<char>('a' + i % 26))}),
                 [&durable, i] { durable.push_back(i); });
  }
  world_.executor.RunFor(10s);
  EXPECT_LT(durable.size(), 39u) << "what lies in filled segments is written";
  EXPECT_TRUE(wal_->waits_for_space());
  EXPECT_FALSE(failed);
  const size_t before = durable.size();
  disk_.SetFull(false);
  ASSERT_TRUE(world_.executor.RunUntil([&] { return durable.size() == 39; }));
  EXPECT_GT(durable.size(), before);
  EXPECT_FALSE(wal_->waits_for_space());
  EXPECT_TRUE(std::is_sorted(durable.begin(), durable.end()));
  Reopen();
  EXPECT_EQ(Payloads(1).size(), 40u);
}

TEST_F(WalTest, ACrashOnAFullDiskLosesNothingThatWasAcknowledged) {
  Random random(7);
  for (int round = 0; round < 20; ++round) {
    disk_ = RamDisk();
    Open();
    uint64_t durable = 0;
    for (uint64_t i = 1; i <= 30; ++i) {
      if (i == 5 + random.Below(20)) disk_.SetFull(true);
      wal_->Append(Entries(1, i, {std::string(kSegmentBytes / 8, 'x')}), [&, i] { durable = i; });
      world_.executor.RunFor(1ms);
    }
    wal_.reset();
    files_.reset();
    world_.executor.Clear();
    disk_.Crash(random);
    disk_.SetFull(false);
    Open();
    EXPECT_GE(Payloads(1).size(), durable);
    EXPECT_FALSE(wal_->recovered().contains(GroupId(1)) && Damaged(1));
    Kill();
  }
}

TEST_F(WalTest, SegmentsAreReusedAndOldGroupsCopiedForward) {
  Open();
  const uint64_t recycled = Probe::Report()["wal: segment recycled"];
  const uint64_t copied = Probe::Report()["wal: copied forward"];
  WalRecord idle = Entries(1, 1, {"idle", "group"});
  idle.hard_state = {4, 1, 2};
  Write(std::move(idle));
  for (uint64_t i = 1; i <= 400; ++i) {
    ASSERT_NO_FATAL_FAILURE(Write(Entries(2, i, {std::string(4000, 'x')})));
    if (i % 5 == 0) ASSERT_NO_FATAL_FAILURE(Write(Marked(2, i)));
    ASSERT_LE(wal_->SegmentCount(), 6u);
  }
  EXPECT_LE(disk_.Paths().size(), 10u);
  EXPECT_FALSE(files_->Exists(kFirst).value());
  EXPECT_GT(Probe::Report()["wal: segment recycled"] - recycled, 15u);
  EXPECT_GT(Probe::Report()["wal: copied forward"] - copied, 0u);
  Reopen();
  EXPECT_EQ(Payloads(1), (Strings{"idle", "group"}));
  EXPECT_EQ(wal_->recovered().at(GroupId(1)).hard_state, (WalHardState{4, 1, 2}));
  EXPECT_TRUE(Payloads(2).empty());
  EXPECT_EQ(wal_->recovered().at(GroupId(2)).mark.index, 400u);
}

TEST_F(WalTest, ALogOfLiveEntriesGrowsInsteadOfBeingCopiedInCircles) {
  Open();
  uint64_t bytes = 0;
  for (uint64_t i = 1; i <= 200; ++i) {
    ASSERT_NO_FATAL_FAILURE(
        Write(Entries(1 + i % 10, 1 + i / 10 - (i % 10 == 0), {std::string(4000, 'x')})));
    bytes += 4000;
  }
  EXPECT_GE(wal_->LiveBytes(), bytes);
  EXPECT_LT(world_.metrics.GetCounter("quorate_wal_bytes_total", "").Value(), 3 * bytes);
}

// What a lost segment held needs no room any more; the segments behind it can be emptied.
TEST_F(WalTest, ALostSegmentDoesNotKeepTheLogFromBeingBounded) {
  Open();
  Write(Entries(2, 1, {std::string(kSegmentBytes / 2, 'x')}));
  Write(Entries(2, 2, {std::string(kSegmentBytes / 2, 'x')}));
  Write(Entries(3, 1, {"needed for good"}));
  Kill();
  ASSERT_TRUE(RamFiles(world_.executor, disk_).Remove(kFirst).ok());
  Open();
  EXPECT_TRUE(wal_->lost_records());
  for (uint64_t i = 1; i <= 40; ++i) {
    ASSERT_NO_FATAL_FAILURE(Write(Entries(4, i, {std::string(kSegmentBytes / 2, 'x')})));
    ASSERT_NO_FATAL_FAILURE(Write(Marked(4, i)));
  }
  EXPECT_LE(wal_->SegmentCount(), 8u);
}

// What follows damage is copied forward once, not by every start that finds the damage still there.
TEST_F(WalTest, StartsThatEndAtOnceDoNotFillTheDisk) {
  Open();
  Write(Entries(1, 1, {"to be damaged"}));
  for (uint64_t i = 1; i <= 6; ++i) Write(Entries(2, i, {std::string(kSegmentBytes / 3, 'x')}));
  Kill();
  (*disk_.Find(kFirst))[Items()[0].end - 1] ^= 1;
  std::vector<size_t> files;
  for (int start = 0; start < 6; ++start) {
    ASSERT_NO_FATAL_FAILURE(Open());
    EXPECT_TRUE(Damaged(1));
    EXPECT_FALSE(Damaged(2));
    world_.executor.RunFor(std::chrono::seconds(1));
    files.push_back(disk_.Paths().size());
    Kill();
  }
  EXPECT_LE(files.back(), files[1]) << testing::PrintToString(files);
}

// Nor by starts that end before all of it is copied: each goes on where the one before it was.
TEST_F(WalTest, StartsThatEndWhileTheyCopyDoNotFillTheDisk) {
  Open();
  Write(Entries(1, 1, {"to be damaged"}));
  for (uint64_t group = 2; group <= 13; ++group) {
    Write(Entries(group, 1, {std::string(kSegmentBytes / 3, 'x')}));
  }
  Kill();
  (*disk_.Find(kFirst))[Items()[0].end - 1] ^= 1;
  const size_t before = disk_.Paths().size();
  for (int start = 0; start < 30; ++start) {
    ASSERT_NO_FATAL_FAILURE(Open());
    EXPECT_TRUE(Damaged(1));
    for (uint64_t group = 2; group <= 13; ++group) {
      EXPECT_FALSE(Damaged(group));
      EXPECT_EQ(Payloads(group), (Strings{std::string(kSegmentBytes / 3, 'x')}));
    }
    const uint64_t synced = disk_.syncs();
    world_.executor.RunUntil([&] { return disk_.syncs() >= synced + 3; });
    Kill();
    ASSERT_LE(disk_.Paths().size(), 2 * before + kFreeFilesMax);
  }
}

// ---- copying forward ----------------------------------------------------------------------------

TEST_F(WalTest, AGroupThatLagsIsCopiedInSteps) {
  segment_bytes_ = 4 << 20;
  copy_step_bytes_ = 64 << 10;
  Open();
  // A large live log, some of it replaced within the segment.
  const std::string payload(10 << 10, 'x');
  for (uint64_t i = 1; i <= 300; ++i) wal_->Append(Entries(1, i, {payload}), {});
  wal_->Append(Entries(1, 281, {"twenty", "were", "replaced"}), {});
  WalRecord state;
  state.group = GroupId(1);
  state.incarnation = 1;
  state.hard_state = {4, 2, 283};
  Write(std::move(state));
  disk_.ForgetLargestWrite();
  const uint64_t copied = Probe::Report()["wal: copied forward"];
  for (uint64_t i = 1; i <= 4000 && (files_->Exists(kFirst).value() || i < 10); ++i) {
    ASSERT_NO_FATAL_FAILURE(Write(Entries(2, i, {payload})));
    ASSERT_NO_FATAL_FAILURE(Write(Marked(2, i)));
  }
  EXPECT_FALSE(files_->Exists(kFirst).value());
  EXPECT_EQ(Probe::Report()["wal: copied forward"] - copied, 281u);
  EXPECT_LE(disk_.largest_write(), copy_step_bytes_ + 4 * payload.size());
  Reopen();
  ASSERT_EQ(Payloads(1).size(), 283u);
  EXPECT_EQ(Payloads(1)[279], payload);
  EXPECT_EQ(Payloads(1)[282], "replaced");
  EXPECT_EQ(wal_->recovered().at(GroupId(1)).hard_state, (WalHardState{4, 2, 283}));
}

// Nothing is known of a segment that could not be read.
TEST_F(WalTest, AReadThatFailsIsNoDamage) {
  Open();
  Write(Entries(1, 1, {"whole"}));
  disk_.FailReads(3);
  for (uint64_t i = 1; i <= 100; ++i) {
    ASSERT_NO_FATAL_FAILURE(Write(Entries(3, i, {std::string(4000, 'x')})));
    ASSERT_NO_FATAL_FAILURE(Write(Marked(3, i)));
  }
  EXPECT_TRUE(files_->Exists(kFirst).value()) << "kept until it is copied";
  world_.executor.RunFor(4 * kCopyReadRetry);
  for (uint64_t i = 101; i <= 400 && files_->Exists(kFirst).value(); ++i) {
    ASSERT_NO_FATAL_FAILURE(Write(Entries(3, i, {std::string(4000, 'x')})));
    ASSERT_NO_FATAL_FAILURE(Write(Marked(3, i)));
  }
  EXPECT_FALSE(files_->Exists(kFirst).value());
  Reopen();
  EXPECT_FALSE(Damaged(1));
  EXPECT_EQ(Payloads(1), (Strings{"whole"}));
}

// A replica that has it all in memory goes on, and is fetched again when it starts next.
TEST_F(WalTest, DamageThatCopyingMeetsIsWrittenDown) {
  Open();
  Write(Entries(1, 1, {"whole"}));
  Write(Entries(2, 1, {"to be damaged"}));
  Write(Entries(2, 2, {"and its end"}));
  (*disk_.Find(kFirst))[Items()[1].end - 1] ^= 1;
  for (uint64_t i = 1; i <= 400 && files_->Exists(kFirst).value(); ++i) {
    ASSERT_NO_FATAL_FAILURE(Write(Entries(3, i, {std::string(4000, 'x')})));
    ASSERT_NO_FATAL_FAILURE(Write(Marked(3, i)));
  }
  ASSERT_FALSE(files_->Exists(kFirst).value());
  Write(Entries(2, 3, {"goes on"}));
  Reopen();
  EXPECT_FALSE(Damaged(1));
  EXPECT_EQ(Payloads(1), (Strings{"whole"}));
  EXPECT_TRUE(Damaged(2));
}

}  // namespace
}  // namespace quorate::storage
