// The log's rules one by one; random workloads are in wal_crash_test.cc.
#include "storage/wal.h"

#include <gtest/gtest.h>

#include "base/probe.h"
#include "storage/wal_format.h"
#include "storage/wal_reader.h"
#include "storage/wal_writer.h"
#include "tests/support/ram_files.h"
#include "tests/support/test_env.h"

namespace quorate::storage {
namespace {

constexpr char kFirst[] = "wal/wal-0000000000000001.log";
constexpr uint64_t kSegmentBytes = 64 << 10;

WalRecord Entries(uint64_t group, uint64_t first, std::vector<std::string> payloads) {
  WalRecord record;
  record.group = GroupId(group);
  record.incarnation = 1;
  for (std::string& payload : payloads) {
    record.entries.push_back({first++, 1, 0, std::move(payload)});
  }
  return record;
}

WalRecord Marked(uint64_t group, uint64_t index) {
  WalRecord record;
  record.group = GroupId(group);
  record.incarnation = 1;
  record.mark = {index, 1};
  return record;
}

class WalTest : public ::testing::Test {
 protected:
  Status TryOpen() {
    files_ = std::make_unique<RamFiles>(world_.executor, disk_);
    auto opened = Wal::Open(world_.env, *files_,
                            {.directory = "wal",
                             .segment_bytes = segment_bytes_,
                             .copy_step_bytes = copy_step_bytes_,
                             .expected = expected_});
    if (opened.ok()) wal_ = std::move(*opened);
    return opened.status();
  }
  void Open() {
    const Status status = TryOpen();
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  // Appends and waits until it is durable.
  void Write(WalRecord record) {
    bool done = false;
    wal_->Append(std::move(record), [&] { done = true; });
    ASSERT_TRUE(world_.executor.RunUntil([&] { return done; }));
  }
  void Kill() {
    wal_.reset();
    files_.reset();
    world_.executor.Clear();
    disk_.Kill();
  }
  void Reopen() {
    Kill();
    Open();
  }
  std::vector<std::string> Payloads(uint64_t group) {
    std::vector<std::string> payloads;
    const auto it = wal_->recovered().find(GroupId(group));
    if (it == wal_->recovered().end()) return payloads;
    for (const WalEntry& entry : it->second.entries) payloads.push_back(entry.payload);
    return payloads;
  }
  bool Damaged(uint64_t group) { return wal_->recovered().at(GroupId(group)).damaged; }
  // The records of the first segment, notes left out.
  std::vector<ScanItem> Items() {
    const std::string& bytes = *disk_.Find(kFirst);
    SegmentHeader header;
    EXPECT_EQ(DecodeSegmentHeader(bytes, &header), HeaderState::kValid);
    auto items = ScanSegment(bytes, SegmentSeed(header.log_id, 1));
    std::erase_if(items, [](const ScanItem& item) { return item.frame.group == kNoteGroup; });
    return items;
  }
  uint64_t Syncs() { return world_.metrics.GetCounter("quorate_wal_syncs_total", "").Value(); }

  using Strings = std::vector<std::string>;
  TestEnv world_;
  RamDisk disk_;
  bool expected_ = false;
  uint64_t segment_bytes_ = kSegmentBytes;
  uint64_t copy_step_bytes_ = 0;
  std::unique_ptr<RamFiles> files_;
  std::unique_ptr<Wal> wal_;
};

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

// ST3: cut at every byte of the last record, whatever the rest of the file holds.
TEST_F(WalTest, TornTailIsCutAndDoesNotComeBack) {
  Open();
  for (const char* payload : {"first", "second", "third"}) {
    Write(Entries(1, Items().size() + 1, {payload}));
  }
  Kill();
  const std::string image = *disk_.Find(kFirst);
  const auto items = Items();
  ASSERT_EQ(items.size(), 3u);
  for (uint64_t cut = items[2].begin; cut < items[2].end; ++cut) {
    for (const char fill : {'\0', 'z'}) {
      SCOPED_TRACE(cut);
      std::string& bytes = *disk_.Find(kFirst);
      bytes = image;
      std::fill(bytes.begin() + static_cast<ptrdiff_t>(cut), bytes.end(), fill);
      disk_.SettleAll();
      ASSERT_NO_FATAL_FAILURE(Open());
      // The last byte of the record may happen to be right.
      const bool whole = bytes.substr(items[2].begin, items[2].end - items[2].begin) ==
                         image.substr(items[2].begin, items[2].end - items[2].begin);
      ASSERT_EQ(Payloads(1),
                whole ? (Strings{"first", "second", "third"}) : (Strings{"first", "second"}));
      ASSERT_FALSE(Damaged(1));
      ASSERT_FALSE(wal_->lost_records());
      Write(Entries(1, 3, {"after"}));
      ASSERT_NO_FATAL_FAILURE(Reopen());
      ASSERT_EQ(Payloads(1), (Strings{"first", "second", "after"}));
      Kill();
    }
  }
}

// Within the last batch anything may be missing: a later record of it proves nothing.
TEST_F(WalTest, TornBatchIsCutAtItsFirstHoleAndWhatFollowedIsGone) {
  Open();
  Write(Entries(1, 1, {"kept"}));
  bool done = false;
  wal_->Append(Entries(1, 2, {std::string(2000, 'x')}), {});
  wal_->Append(Entries(2, 1, {"behind"}), [&] { done = true; });
  ASSERT_TRUE(world_.executor.RunUntil([&] { return done; }));
  Kill();
  const auto items = Items();
  ASSERT_EQ(items.size(), 3u);
  (*disk_.Find(kFirst))[items[1].begin + 700] ^= 1;
  Open();
  EXPECT_EQ(Payloads(1), (Strings{"kept"}));
  EXPECT_FALSE(Damaged(1));
  EXPECT_FALSE(wal_->recovered().contains(GroupId(2)));
  // A record of the same length as the torn one: what followed it must not join up again.
  Write(Entries(1, 2, {std::string(2000, 'y')}));
  Reopen();
  EXPECT_EQ(Payloads(1), (Strings{"kept", std::string(2000, 'y')}));
  EXPECT_FALSE(wal_->recovered().contains(GroupId(2)));
}

// ST4, ST5.
TEST_F(WalTest, DamagedBodyInTheMiddleConcernsItsGroupAlone) {
  Open();
  Write(Entries(1, 1, {"a"}));
  Write(Entries(2, 1, {"b"}));
  Write(Entries(1, 2, {"c"}));
  Kill();
  const auto items = Items();
  (*disk_.Find(kFirst))[items[1].end - 1] ^= 1;
  Open();
  EXPECT_TRUE(Damaged(2));
  EXPECT_FALSE(Damaged(1));
  EXPECT_EQ(Payloads(1), (Strings{"a", "c"}));
  EXPECT_FALSE(wal_->lost_records());
}

// Of a node that lost its store, too, nothing else tells that it had voted and acknowledged.
TEST_F(WalTest, ALogThatIsGoneHasLostAllItsRecords) {
  Open();
  EXPECT_FALSE(wal_->lost_records());
  Kill();
  expected_ = true;
  Open();
  EXPECT_FALSE(wal_->lost_records());
  Kill();
  ASSERT_TRUE(RamFiles(world_.executor, disk_).Remove(kFirst).ok());
  Open();
  EXPECT_TRUE(wal_->lost_records());
  Reopen();
  EXPECT_TRUE(wal_->lost_records());
}

TEST_F(WalTest, DamagedFrameConcernsAllGroupsThatCannotProveOtherwise) {
  Open();
  Write(Entries(1, 1, {"a"}));
  Write(Entries(2, 1, {"b"}));
  Write(Entries(3, 1, {"c"}));
  Write(Entries(2, 2, {"lost"}));
  Write(Entries(1, 2, {"goes on"}));
  Write(Entries(4, 1, {"starts"}));
  Kill();
  const auto items = Items();
  (*disk_.Find(kFirst))[items[3].begin] ^= 1;
  Open();
  EXPECT_FALSE(Damaged(1)) << "its records are numbered without a gap";
  EXPECT_TRUE(Damaged(2));
  EXPECT_TRUE(Damaged(3)) << "the lost record may have been its own";
  EXPECT_FALSE(Damaged(4)) << "its first record came later";
  EXPECT_TRUE(wal_->lost_records());
}

// A lost record that began a new incarnation must not make the one behind it look like the start.
TEST_F(WalTest, ALostFirstRecordOfAnIncarnationIsNoticed) {
  for (const uint64_t lost : {0, 1}) {
    SCOPED_TRACE(lost);
    Kill();
    disk_ = RamDisk();
    Open();
    Write(Entries(1, 1, {"first life"}));
    WalRecord second = Entries(1, 1, {"second life"});
    second.incarnation = 2;
    Write(std::move(second));
    WalRecord vote;
    vote.group = GroupId(1);
    vote.incarnation = 2;
    vote.hard_state = {5, 2, 0};
    Write(std::move(vote));
    Kill();
    (*disk_.Find(kFirst))[Items()[lost].end - 1] ^= 1;
    Open();
    EXPECT_EQ(Damaged(1), true);
  }
}

TEST_F(WalTest, DamageOutlivesRestartsUntilASnapshotReplacesTheLog) {
  Open();
  Write(Entries(1, 1, {"a"}));
  Write(Entries(2, 1, {"b"}));
  Write(Entries(2, 2, {"c"}));
  Kill();
  (*disk_.Find(kFirst))[Items()[0].begin] ^= 1;
  Open();
  EXPECT_FALSE(wal_->recovered().contains(GroupId(1)));
  EXPECT_TRUE(wal_->lost_records());
  world_.executor.RunFor(10ms);
  Reopen();
  EXPECT_TRUE(wal_->lost_records()) << "for good: the note says so";

  Write(Entries(3, 1, {"x"}));
  Write(Entries(4, 1, {"y"}));
  Kill();
  const auto items = Items();
  const auto third = std::find_if(items.begin(), items.end(), [](const ScanItem& item) {
    return item.frame.group == GroupId(3);
  });
  (*disk_.Find(kFirst))[third->end - 1] ^= 1;
  Open();
  EXPECT_TRUE(Damaged(3));
  world_.executor.RunFor(10ms);
  Reopen();
  EXPECT_TRUE(Damaged(3));
  WalRecord snapshot;
  snapshot.group = GroupId(3);
  snapshot.incarnation = 1;
  snapshot.hard_state = {9, 0, 70};
  snapshot.mark = {70, 9};
  snapshot.reset = true;
  Write(std::move(snapshot));
  Reopen();
  EXPECT_FALSE(Damaged(3));
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
  const uint64_t recycled = Probe::Report()["wal segment recycled"];
  const uint64_t copied = Probe::Report()["wal copied forward"];
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
  EXPECT_GT(Probe::Report()["wal segment recycled"] - recycled, 15u);
  EXPECT_GT(Probe::Report()["wal copied forward"] - copied, 0u);
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

// Header and first note lie in different blocks of the disk.
TEST_F(WalTest, TheOnlyHeaderIsDamagedAndTheFirstNoteTellsTheId) {
  Open();
  Write(Entries(1, 1, {"a"}));
  Write(Entries(1, 2, {std::string(8000, 'b')}));
  Kill();
  std::fill_n(disk_.Find(kFirst)->begin(), kSegmentHeaderBytes, '\0');
  disk_.SettleAll();
  Open();
  EXPECT_EQ(Payloads(1).size(), 2u);
  EXPECT_FALSE(Damaged(1));
  EXPECT_FALSE(wal_->lost_records());
  Kill();
  SegmentHeader header;
  EXPECT_EQ(DecodeSegmentHeader(*disk_.Find(kFirst), &header), HeaderState::kValid);
}

// Nothing says whose records these are: of a member they are its own, and lost.
TEST_F(WalTest, ALogWithoutAnIdIsALostLog) {
  Open();
  Write(Entries(1, 1, {"a"}));
  Write(Entries(1, 2, {std::string(8000, 'b')}));
  Kill();
  std::fill_n(disk_.Find(kFirst)->begin(), 2 * kSegmentHeaderBytes, '\0');
  disk_.SettleAll();
  EXPECT_EQ(TryOpen().code(), Code::kCorruption) << "of a node that never had a log";
  Kill();
  EXPECT_EQ(disk_.Find(kFirst)->size(), kSegmentBytes) << "and which is left alone";
  expected_ = true;
  Open();
  EXPECT_TRUE(wal_->recovered().empty());
  EXPECT_TRUE(wal_->lost_records());
  Write(Entries(2, 1, {"after"}));
  Reopen();
  EXPECT_TRUE(wal_->lost_records());
  EXPECT_EQ(Payloads(2), (Strings{"after"}));
}

TEST_F(WalTest, SegmentsOfTwoLogsAreRefused) {
  Open();
  Write(Entries(1, 1, {"a"}));
  Kill();
  const std::string foreign = *disk_.Find(kFirst);
  disk_ = RamDisk();
  Open();
  Write(Entries(1, 1, {std::string(kSegmentBytes / 2, 'x')}));
  Write(Entries(1, 2, {std::string(kSegmentBytes / 2, 'x')}));
  Kill();
  *disk_.Find(kFirst) = foreign;
  disk_.SettleAll();
  EXPECT_EQ(TryOpen().code(), Code::kCorruption);
}

// The segment whose header still tells the log's id may be reused next.
TEST_F(WalTest, ADamagedHeaderIsWrittenAnew) {
  Open();
  Write(Entries(1, 1, {std::string(kSegmentBytes / 2, 'x')}));
  Write(Entries(1, 2, {std::string(kSegmentBytes / 2, 'x')}));
  const std::string newest = "wal/" + SegmentName(2);
  Kill();
  (*disk_.Find(newest))[3] ^= 1;
  Open();
  Kill();
  SegmentHeader header;
  EXPECT_EQ(DecodeSegmentHeader(*disk_.Find(newest), &header), HeaderState::kValid);
  EXPECT_EQ(header.number, 2u);
  (*disk_.Find(kFirst))[3] ^= 1;
  Open();
  EXPECT_EQ(Payloads(1).size(), 2u);
  EXPECT_FALSE(Damaged(1));
}

// What tells of the loss is a file that the opening removes.
TEST_F(WalTest, ALossIsRememberedByACrashRightAfterTheOpening) {
  Open();
  Write(Entries(1, 1, {"a"}));
  Kill();
  const std::string far = "wal/" + SegmentName(9);
  {
    RamFiles files(world_.executor, disk_);
    auto file = files.Open(far, OpenMode::kCreate);
    ASSERT_TRUE(file.ok() && (*file)->Write(0, *disk_.Find(kFirst)).ok());
  }
  disk_.SettleAll();
  Open();
  EXPECT_TRUE(wal_->lost_records());
  Kill();
  EXPECT_EQ(disk_.Find(far), nullptr);
  Open();
  EXPECT_TRUE(wal_->lost_records());
}

// What a right checksum covers may be wrong all the same. It is damage, and no reason to stop.
TEST_F(WalTest, RecordsThatMakeNoSenseAreDamage) {
  const auto note = [](Note note) {
    std::string body;
    EncodeNote(note, &body);
    return body;
  };
  const auto body = [](const WalRecord& record) {
    std::string body;
    EncodeBody(record, {}, &body);
    return body;
  };
  WalRecord older = Entries(1, 3, {"c"});
  older.incarnation = 0;
  WalRecord nowhere = Entries(1, 3, {"c"});
  nowhere.entries[0].index = 0;
  const struct {
    GroupId group;
    std::string body;
  } kCases[] = {{GroupId(1), "\x7fgarbage"},
                {GroupId(1), ""},
                {GroupId(1), body(older)},
                {GroupId(1), body(nowhere)},
                {kNoteGroup, note({.oldest = 9})},
                {kNoteGroup, note({.oldest = 1,
                                   .digest = Note::Digest::kOfLog,
                                   .last_records = {{GroupId(1), 5, {9, 4096}}}})},
                {kNoteGroup, "\xff\xff"}};
  for (const auto& wrong : kCases) {
    SCOPED_TRACE(testing::PrintToString(wrong.body));
    disk_ = RamDisk();
    Open();
    Write(Entries(1, 1, {"a"}));
    Write(Entries(1, 2, {"b"}));
    Write(Entries(2, 1, {"x"}));
    Kill();
    std::string& bytes = *disk_.Find(kFirst);
    const auto items = Items();
    SegmentHeader header;
    ASSERT_EQ(DecodeSegmentHeader(bytes, &header), HeaderState::kValid);
    // Two records, so that the first of them is not the last batch.
    for (int i = 0; i < 2; ++i) {
      const auto at = ScanSegment(bytes, SegmentSeed(header.log_id, 1)).back().end;
      std::string record = bytes.substr(0, at) + std::string(kFrameBytes, '\0');
      record += i == 0 ? wrong.body : body(Entries(2, 2, {"y"}));
      SealRecord(&record, at, SegmentSeed(header.log_id, 1),
                 {.offset = static_cast<uint32_t>(at),
                  .batch = static_cast<uint32_t>(at),
                  .seq = i == 0 ? items[1].frame.seq + 1 : items[2].frame.seq + 1,
                  .group = i == 0 ? wrong.group : GroupId(2)});
      bytes.replace(0, record.size(), record);
    }
    disk_.SettleAll();
    Open();
    EXPECT_TRUE(Damaged(1));
    EXPECT_FALSE(Damaged(2));
    EXPECT_EQ(Payloads(2), (Strings{"x", "y"}));
    Kill();
  }
}

// ---- a failed sync, and what the page cache shows of it
// ------------------------------------------

TEST_F(WalTest, ABatchThatIsOnlyInThePageCacheIsWrittenAgainBeforeItCounts) {
  Random random(3);
  for (int i = 0; i < 20; ++i) {
    disk_ = RamDisk();
    Open();
    Write(Entries(1, 1, {"a"}));
    disk_.FailNextSync(IoError("injected"));
    wal_->Append(Entries(1, 2, {"b"}), [] { FAIL() << "the sync failed"; });
    wal_->Append(Entries(2, 1, {"x"}), [] { FAIL() << "the sync failed"; });
    world_.executor.RunFor(10ms);
    Reopen();
    ASSERT_EQ(Payloads(1), (Strings{"a", "b"})) << "the cache shows it";
    Kill();
    disk_.Crash(random);
    Open();
    ASSERT_EQ(Payloads(1), (Strings{"a", "b"})) << "what a start counted on is gone";
    ASSERT_EQ(Payloads(2), (Strings{"x"}));
    Kill();
  }
}

TEST_F(WalTest, ABatchThatTheCacheLostWasNotAcknowledged) {
  Open();
  Write(Entries(1, 1, {"a"}));
  disk_.FailNextSync(IoError("injected"));
  wal_->Append(Entries(1, 2, {"b"}), {});
  world_.executor.RunFor(10ms);
  Kill();
  disk_.Evict();
  Open();
  EXPECT_EQ(Payloads(1), (Strings{"a"}));
  EXPECT_FALSE(Damaged(1));
  Write(Entries(1, 2, {"c"}));
  Reopen();
  EXPECT_EQ(Payloads(1), (Strings{"a", "c"}));
}

// The sync behind the zeros of a cut fails, and the next start reads those zeros from the cache.
TEST_F(WalTest, ZerosThatAreOnlyInThePageCacheAreWrittenAgain) {
  Open();
  Write(Entries(1, 1, {"kept"}));
  bool done = false;
  wal_->Append(Entries(1, 2, {std::string(2000, 'x')}), {});
  wal_->Append(Entries(2, 1, {"behind"}), [&] { done = true; });
  ASSERT_TRUE(world_.executor.RunUntil([&] { return done; }));
  Kill();
  (*disk_.Find(kFirst))[Items()[1].begin + 700] ^= 1;
  disk_.SettleAll();
  disk_.FailNextSync(IoError("injected"));
  ASSERT_EQ(TryOpen().code(), Code::kIoError);
  Reopen();
  EXPECT_EQ(Payloads(1), (Strings{"kept"}));
  Write(Entries(1, 2, {std::string(2000, 'y')}));
  Kill();
  disk_.Evict();
  Open();
  EXPECT_EQ(Payloads(1), (Strings{"kept", std::string(2000, 'y')}));
  EXPECT_FALSE(wal_->recovered().contains(GroupId(2))) << "it joined up again";
}

// ---- digests
// --------------------------------------------------------------------------------------

TEST_F(WalTest, OfAnUnreadableFrameTheNextSegmentTellsWhomItConcerns) {
  Open();
  for (uint64_t group = 1; group <= 5; ++group) Write(Entries(group, 1, {"x"}));
  Write(Entries(4, 2, {"lost"}));
  for (uint64_t i = 1; i <= 4; ++i) Write(Entries(9, i, {std::string(kSegmentBytes / 3, 'x')}));
  Kill();
  ASSERT_NE(disk_.Find("wal/" + SegmentName(2)), nullptr);
  (*disk_.Find(kFirst))[Items()[5].begin] ^= 1;
  Open();
  EXPECT_TRUE(Damaged(4));
  for (const uint64_t group : {1, 2, 3, 5, 9}) EXPECT_FALSE(Damaged(group)) << group;
  Reopen();
  EXPECT_TRUE(Damaged(4));
  for (const uint64_t group : {1, 2, 3, 5, 9}) EXPECT_FALSE(Damaged(group)) << group;
}

TEST_F(WalTest, OfAnUnreadableFrameTheMarkOfAnIdleLogTellsWhomItConcerns) {
  Open();
  for (uint64_t group = 1; group <= 5; ++group) Write(Entries(group, 1, {"x"}));
  Write(Entries(3, 2, {"lost"}));
  world_.executor.RunFor(2 * kAckMarkDelay);
  Kill();
  (*disk_.Find(kFirst))[Items()[5].begin] ^= 1;
  Open();
  EXPECT_TRUE(Damaged(3));
  for (const uint64_t group : {1, 2, 4, 5}) EXPECT_FALSE(Damaged(group)) << group;
}

// Its only record was in the damaged place.
TEST_F(WalTest, AGroupOfWhichNothingIsLeftIsStillNamed) {
  Open();
  Write(Entries(1, 1, {"x"}));
  Write(Entries(2, 1, {"lost"}));
  world_.executor.RunFor(2 * kAckMarkDelay);
  Kill();
  (*disk_.Find(kFirst))[Items()[1].begin] ^= 1;
  Open();
  EXPECT_FALSE(Damaged(1));
  ASSERT_TRUE(wal_->recovered().contains(GroupId(2)));
  EXPECT_TRUE(Damaged(2));
}

// A later life of the group has a record of the same number, in another place.
TEST_F(WalTest, ADigestIsNotTakenInByAnEarlierLife) {
  Open();
  Write(Entries(1, 1, {"first life"}));
  Write(Entries(2, 1, {"x"}));
  WalRecord gone;
  gone.group = GroupId(1);
  gone.incarnation = 1;
  gone.destroy = true;
  wal_->Append(std::move(gone), {});
  WalRecord again = Entries(1, 1, {"second life"});
  again.incarnation = 2;
  Write(std::move(again));
  world_.executor.RunFor(2 * kAckMarkDelay);
  Kill();
  const auto items = Items();
  for (const size_t i : {2, 3}) (*disk_.Find(kFirst))[items[i].begin] ^= 1;
  Open();
  EXPECT_TRUE(Damaged(1));
  EXPECT_FALSE(Damaged(2));
}

TEST_F(WalTest, ADestructionThatWasLostIsKnownFromTheDigest) {
  for (const bool idle : {true, false}) {
    SCOPED_TRACE(idle);
    disk_ = RamDisk();
    Open();
    Write(Entries(1, 1, {"to go"}));
    Write(Entries(2, 1, {"x"}));
    WalRecord gone;
    gone.group = GroupId(1);
    gone.incarnation = 1;
    gone.destroy = true;
    Write(std::move(gone));
    if (idle) {
      world_.executor.RunFor(2 * kAckMarkDelay);
    } else {
      for (uint64_t i = 1; i <= 4; ++i) Write(Entries(9, i, {std::string(kSegmentBytes / 3, 'x')}));
    }
    Kill();
    (*disk_.Find(kFirst))[Items()[2].begin] ^= 1;
    Open();
    EXPECT_FALSE(wal_->recovered().contains(GroupId(1)));
    EXPECT_FALSE(Damaged(2));
    Kill();
  }
}

TEST_F(WalTest, DigestsAreSmallAgainstWhatIsWritten) {
  Open();
  uint64_t bytes = 0;
  for (uint64_t i = 1; i <= 60; ++i) {
    for (uint64_t group = 1; group <= 200; ++group) {
      wal_->Append(Entries(group, i, {"x"}), {});
      wal_->Append(Marked(group, i), {});
      bytes += 2 * kFrameBytes + 12;
    }
    Write(Marked(1, i));
  }
  EXPECT_LT(world_.metrics.GetCounter("quorate_wal_bytes_total", "").Value(), bytes * 5 / 4);
}

// ---- numbers of records
// ---------------------------------------------------------------------------

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

// ---- copying forward
// ------------------------------------------------------------------------------

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
  const uint64_t copied = Probe::Report()["wal copied forward"];
  for (uint64_t i = 1; i <= 4000 && (files_->Exists(kFirst).value() || i < 10); ++i) {
    ASSERT_NO_FATAL_FAILURE(Write(Entries(2, i, {payload})));
    ASSERT_NO_FATAL_FAILURE(Write(Marked(2, i)));
  }
  EXPECT_FALSE(files_->Exists(kFirst).value());
  EXPECT_EQ(Probe::Report()["wal copied forward"] - copied, 281u);
  EXPECT_LE(disk_.largest_write(), copy_step_bytes_ + 4 * payload.size());
  Reopen();
  ASSERT_EQ(Payloads(1).size(), 283u);
  EXPECT_EQ(Payloads(1)[279], payload);
  EXPECT_EQ(Payloads(1)[282], "replaced");
  EXPECT_EQ(wal_->recovered().at(GroupId(1)).hard_state, (WalHardState{4, 2, 283}));
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

// ---- the executor's thread
// ------------------------------------------------------------------------

TEST_F(WalTest, NothingBlockingIsCalledOnTheExecutorsThread) {
  Open();
  const uint64_t before = disk_.blocking_calls();
  const uint64_t recycled = Probe::Report()["wal segment recycled"];
  for (uint64_t i = 1; i <= 300; ++i) {
    Write(Entries(1, i, {std::string(4000, 'x')}));
    if (i % 60 == 0) Write(Marked(1, i));
  }
  EXPECT_GT(Probe::Report()["wal segment recycled"], recycled);
  EXPECT_EQ(disk_.blocking_calls(), before);
}

// ---- memory
// ---------------------------------------------------------------------------------------

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

// ---- the format before
// ----------------------------------------------------------------------------

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
