// The log's rules one by one; damage is in wal_damage_test.cc, space in wal_space_test.cc, random
// workloads in wal_crash_test.cc.
#include <gtest/gtest.h>

#include "base/probe.h"
#include "storage/wal_format.h"
#include "storage/wal_reader.h"
#include "storage/wal_writer.h"
#include "tests/storage/wal_fixture.h"

namespace quorate::storage {
namespace {

TEST_F(WalTest, StartsEmptyAndKeepsWhatIsWritten) {
  Open();
  EXPECT_TRUE(wal_->recovered().empty());
  WalRecord record = Entries(1, 1, {"a", "b"});
  record.hard_state = {3, 2, 1};
  Write(std::move(record));
  Write(Entries(2, 1, {"x"}));
  Reopen();
  const WalGroup& group = wal_->recovered().at(GroupId(1));
  EXPECT_EQ(group.hard_state, (WalHardState{3, 2, 1}));
  EXPECT_EQ(Payloads(1), (Strings{"a", "b"}));
  EXPECT_EQ(Payloads(2), (Strings{"x"}));
  EXPECT_FALSE(group.damaged);
}

TEST_F(WalTest, LaterEntriesReplaceThoseAtAndAboveTheirFirst) {
  Open();
  Write(Entries(1, 1, {"a", "b", "c"}));
  Write(Entries(1, 2, {"B"}));
  Reopen();
  EXPECT_EQ(Payloads(1), (Strings{"a", "B"}));
}

TEST_F(WalTest, MarkDropsWhatItCovers) {
  Open();
  Write(Entries(1, 1, {"a", "b", "c"}));
  Write(Marked(1, 2));
  Reopen();
  EXPECT_EQ(wal_->recovered().at(GroupId(1)).mark, (WalMark{2, 1}));
  EXPECT_EQ(Payloads(1), (Strings{"c"}));
}

TEST_F(WalTest, ResetDropsEverything) {
  Open();
  Write(Entries(1, 1, {"a", "b", "c"}));
  WalRecord record = Marked(1, 50);
  record.reset = true;
  Write(std::move(record));
  Write(Entries(1, 51, {"d"}));
  Reopen();
  EXPECT_EQ(wal_->recovered().at(GroupId(1)).mark.index, 50u);
  EXPECT_EQ(Payloads(1), (Strings{"d"}));
}

// ST19.
TEST_F(WalTest, RecordsOfADestroyedReplicaAreNotReplayedIntoItsSuccessor) {
  Open();
  Write(Entries(1, 1, {"old", "older"}));
  WalRecord gone;
  gone.group = GroupId(1);
  gone.incarnation = 1;
  gone.destroy = true;
  Write(std::move(gone));
  Reopen();
  EXPECT_TRUE(wal_->recovered().empty());
  WalRecord fresh = Entries(1, 1, {"new"});
  fresh.incarnation = 2;
  Write(std::move(fresh));
  Reopen();
  EXPECT_EQ(Payloads(1), (Strings{"new"}));
  // Without a destroy, a higher incarnation says the same.
  fresh = Entries(1, 1, {"newest"});
  fresh.incarnation = 3;
  Write(std::move(fresh));
  Reopen();
  EXPECT_EQ(Payloads(1), (Strings{"newest"}));
  EXPECT_EQ(wal_->recovered().at(GroupId(1)).incarnation, 3u);
}

TEST_F(WalTest, OneSyncCarriesEverythingThatWaits) {
  Open();
  std::vector<int> order;
  for (int i = 0; i < 500; ++i) {
    wal_->Append(Entries(static_cast<uint64_t>(1 + i), 1, {"x"}),
                 [&order, i] { order.push_back(i); });
  }
  ASSERT_TRUE(world_.executor.RunUntil([&] { return !order.empty(); }));
  for (int i = 500; i < 600; ++i) {
    wal_->Append(Entries(static_cast<uint64_t>(1 + i), 1, {"x"}),
                 [&order, i] { order.push_back(i); });
  }
  ASSERT_TRUE(world_.executor.RunUntil([&] { return order.size() == 600; }));
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  EXPECT_EQ(Syncs(), 2u);
}

// The last acknowledged record is safe from being taken for a torn tail once the log was idle.
TEST_F(WalTest, MarksWhatWasAcknowledgedWhenIdle) {
  Open();
  Write(Entries(1, 1, {"a"}));
  world_.executor.RunFor(2 * kAckMarkDelay);
  const uint64_t syncs = Syncs();
  EXPECT_EQ(syncs, 2u);
  world_.executor.RunFor(100 * kAckMarkDelay);
  EXPECT_EQ(Syncs(), syncs) << "an idle log does nothing";
  Kill();
  (*disk_.Find(kFirst))[Items()[0].end - 1] ^= 1;
  Open();
  EXPECT_TRUE(Damaged(1));
}

// ST1.
TEST_F(WalTest, NothingIsAcknowledgedAfterAFailedSync) {
  Open();
  Write(Entries(1, 1, {"a"}));
  disk_.FailNextSync(IoError("injected"));
  int acknowledged = 0;
  Status failure;
  wal_->OnFailure([&](Status status) { failure = std::move(status); });
  wal_->Append(Entries(1, 2, {"b"}), [&] { ++acknowledged; });
  world_.executor.RunFor(10ms);
  EXPECT_EQ(failure.code(), Code::kIoError);
  const uint64_t syncs = disk_.syncs();
  wal_->Append(Entries(1, 3, {"c"}), [&] { ++acknowledged; });
  world_.executor.RunFor(5s);
  EXPECT_EQ(acknowledged, 0);
  EXPECT_EQ(disk_.syncs(), syncs) << "never retried";
}

// ---- numbers of records -------------------------------------------------------------------------

// After so many that 32 bits do not hold them.
TEST_F(WalTest, ARecordsNumberWrapsAround) {
  Open();
  WalRecord state = Entries(1, 1, {"a"});
  state.hard_state = {7, 3, 1};
  Write(std::move(state));
  Kill();
  {
    // As if it were the last but one of the first round.
    std::string& bytes = *disk_.Find(kFirst);
    SegmentHeader header;
    ASSERT_EQ(DecodeSegmentHeader(bytes, &header), HeaderState::kValid);
    const ScanItem item = Items()[0];
    std::string record = bytes.substr(0, item.end);
    Frame frame = item.frame;
    frame.seq = UINT32_MAX - 1;
    SealRecord(&record, item.begin, SegmentSeed(header.log_id, 1), frame);
    bytes.replace(0, record.size(), record);
    disk_.SettleAll();
  }
  Open();
  for (uint64_t i = 2; i <= 5; ++i) {
    Write(Entries(1, i, {std::string(1, static_cast<char>('a' + i - 1))}));
    ASSERT_NO_FATAL_FAILURE(Reopen());
    ASSERT_EQ(Payloads(1).size(), i);
    ASSERT_FALSE(Damaged(1));
    ASSERT_EQ(wal_->recovered().at(GroupId(1)).hard_state, (WalHardState{7, 3, 1}));
  }
  std::vector<uint32_t> numbers;
  for (const ScanItem& item : Items()) numbers.push_back(item.frame.seq);
  EXPECT_EQ(numbers, (std::vector<uint32_t>{UINT32_MAX - 1, UINT32_MAX, 2, 3, 4}));
  // And a gap there is one.
  Write(Entries(2, 1, {"x"}));
  Kill();
  (*disk_.Find(kFirst))[Items()[2].begin] ^= 1;
  Open();
  EXPECT_TRUE(Damaged(1));
}

// ---- the executor's thread ----------------------------------------------------------------------

TEST_F(WalTest, NothingBlockingIsCalledOnTheExecutorsThread) {
  Open();
  const uint64_t before = disk_.blocking_calls();
  const uint64_t recycled = Probe::Report()["wal: segment recycled"];
  for (uint64_t i = 1; i <= 300; ++i) {
    Write(Entries(1, i, {std::string(4000, 'x')}));
    if (i % 60 == 0) Write(Marked(1, i));
  }
  EXPECT_GT(Probe::Report()["wal: segment recycled"], recycled);
  EXPECT_EQ(disk_.blocking_calls(), before);
}

// ---- memory -------------------------------------------------------------------------------------

TEST_F(WalTest, WhatWasRecoveredIsHandedOver) {
  Open();
  Write(Entries(1, 1, {"a", "b"}));
  Reopen();
  const auto taken = wal_->TakeRecovered();
  EXPECT_EQ(taken.at(GroupId(1)).entries.size(), 2u);
  EXPECT_TRUE(wal_->recovered().empty());
  Write(Entries(1, 3, {"c"}));
  Reopen();
  EXPECT_EQ(Payloads(1), (Strings{"a", "b", "c"}));
}

// ---- the format before --------------------------------------------------------------------------

TEST_F(WalTest, ALogOfTheFirstVersionIsReadAndGoesOn) {
  constexpr uint64_t kOldId = 99;
  const auto old_segment = [](uint64_t number, uint64_t previous_end,
                              const std::vector<std::pair<uint32_t, WalRecord>>& records) {
    std::string bytes = EncodeSegmentHeader({number, kOldId, 1});
    const auto add = [&](GroupId group, uint32_t seq, const std::string& body) {
      const auto at = static_cast<uint32_t>(bytes.size());
      bytes.resize(at + kFrameBytes);
      bytes += body;
      SealRecord(&bytes, at, SegmentSeed(kOldId, number),
                 {.offset = at, .batch = at, .seq = seq, .group = group});
    };
    std::string note;
    EncodeNote({.oldest = 1, .previous_end = previous_end}, &note);
    add(kNoteGroup, 0, note);
    for (const auto& [seq, record] : records) {
      std::string body;
      EncodeBody(record, {}, &body);
      add(record.group, seq, body);
    }
    return bytes;
  };
  // As copying forward was: the whole state.
  WalRecord base = Entries(2, 5, {"e", "f"});
  base.hard_state = {3, 1, 5};
  base.mark = {4, 2};
  base.reset = true;
  std::string first = old_segment(1, 0, {{1, Entries(1, 1, {"a"})}, {4, base}});
  const uint64_t end = first.size();
  first.resize(kSegmentBytes);
  std::string second = old_segment(2, end, {{2, Entries(1, 2, {"b"})}});
  second.resize(kSegmentBytes);
  {
    RamFiles files(world_.executor, disk_);
    for (const auto& [number, bytes] : {std::pair(1, first), std::pair(2, second)}) {
      auto file =
          files.Open("wal/" + SegmentName(static_cast<uint64_t>(number)), OpenMode::kCreate);
      ASSERT_TRUE(file.ok() && (*file)->Write(0, bytes).ok());
    }
  }
  disk_.SettleAll();
  Open();
  EXPECT_EQ(Payloads(1), (Strings{"a", "b"}));
  EXPECT_EQ(Payloads(2), (Strings{"e", "f"}));
  EXPECT_FALSE(Damaged(1));
  EXPECT_FALSE(Damaged(2));
  EXPECT_FALSE(wal_->lost_records());
  SegmentHeader header;
  ASSERT_EQ(DecodeSegmentHeader(*disk_.Find("wal/" + SegmentName(2)), &header),
            HeaderState::kValid);
  EXPECT_EQ(header.version, kWalVersion) << "an older program must not read what follows";
  for (uint64_t i = 3; i <= 100; ++i) Write(Entries(1, i, {std::string(4000, 'x')}));
  Reopen();
  EXPECT_EQ(Payloads(1).size(), 100u);
  EXPECT_EQ(Payloads(2), (Strings{"e", "f"}));
  EXPECT_FALSE(Damaged(1));
  EXPECT_FALSE(Damaged(2));
}

TEST_F(WalTest, ACrashDuringCreationLeavesAnEmptyLog) {
  Random random(5);
  for (int i = 0; i < 50; ++i) {
    disk_ = RamDisk();
    disk_.FailNextSync(IoError("injected"));
    ASSERT_EQ(TryOpen().code(), Code::kIoError);
    wal_.reset();
    files_.reset();
    disk_.Crash(random);
    Open();
    EXPECT_TRUE(wal_->recovered().empty());
    EXPECT_FALSE(wal_->lost_records());
    Kill();
  }
}

}  // namespace
}  // namespace quorate::storage
