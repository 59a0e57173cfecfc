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
    auto opened =
        Wal::Open(world_.env, *files_,
                  {.directory = "wal", .segment_bytes = kSegmentBytes, .expected = expected_});
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

TEST_F(WalTest, RefusesWhatItCannotAttribute) {
  Open();
  Write(Entries(1, 1, {"a"}));
  Write(Entries(1, 2, {std::string(8000, 'b')}));
  Kill();
  const std::string image = *disk_.Find(kFirst);
  (*disk_.Find(kFirst))[3] ^= 1;  // the only header
  EXPECT_EQ(TryOpen().code(), Code::kCorruption);
  Kill();
  *disk_.Find(kFirst) = image;
  Open();
  EXPECT_EQ(Payloads(1).size(), 2u);
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

TEST_F(WalTest, RefusesANoteOfAnOldestSegmentBeyondTheNewest) {
  Open();
  Kill();
  std::string& bytes = *disk_.Find(kFirst);
  SegmentHeader header;
  ASSERT_EQ(DecodeSegmentHeader(bytes, &header), HeaderState::kValid);
  std::string note;
  EncodeNote({.oldest = 9}, &note);
  const std::string frame(kFrameBytes, '\0');
  std::string record = bytes.substr(0, kSegmentHeaderBytes) + frame + note;
  SealRecord(
      &record, kSegmentHeaderBytes, SegmentSeed(header.log_id, 1),
      {.offset = kSegmentHeaderBytes, .batch = kSegmentHeaderBytes, .seq = 0, .group = kNoteGroup});
  bytes.replace(0, record.size(), record);
  EXPECT_EQ(TryOpen().code(), Code::kCorruption);
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
