// What damage and failed syncs do to the log, and what it says of them afterwards.
#include <gtest/gtest.h>

#include "base/probe.h"
#include "storage/wal_format.h"
#include "storage/wal_reader.h"
#include "storage/wal_writer.h"
#include "tests/storage/wal_fixture.h"

namespace quorate::storage {
namespace {

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

// The files are a whole and sound log, of an earlier time.
TEST_F(WalTest, InDoubtEveryGroupIsDamagedAndStaysSo) {
  Open();
  Write(Entries(1, 1, {"a"}));
  Write(Entries(2, 1, {"b"}));
  Kill();
  doubted_ = true;
  Open();
  EXPECT_TRUE(Damaged(1));
  EXPECT_TRUE(Damaged(2));
  EXPECT_TRUE(wal_->lost_records()) << "there may have been more groups";
  // It is known to the next start, even if nothing else was written.
  wal_.reset();
  files_.reset();
  world_.executor.Clear();
  disk_.Crash(world_.env.random);
  doubted_ = false;
  Open();
  EXPECT_TRUE(Damaged(1));
  EXPECT_TRUE(Damaged(2));
  EXPECT_TRUE(wal_->lost_records());
  WalRecord lifted = Marked(1, 7);
  lifted.reset = true;
  lifted.hard_state.emplace();
  Write(std::move(lifted));
  Write(Entries(1, 8, {"c"}));
  Reopen();
  EXPECT_FALSE(Damaged(1));
  EXPECT_TRUE(Damaged(2));
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

// ---- a failed sync, and what the page cache shows of it -----------------------------------------

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

// The sync behind a note of a loss fails, and the next start reads the note from the cache.
TEST_F(WalTest, ANoteOfALossHidesNoBatchThatIsOnlyInThePageCache) {
  Random random(4);
  for (int i = 0; i < 20; ++i) {
    disk_ = RamDisk();
    Open();
    Write(Entries(2, 1, {"to be damaged"}));
    Write(Entries(1, 1, {"a"}));
    disk_.FailNextSync(IoError("injected"));
    wal_->Append(Entries(1, 2, {"b"}), [] { FAIL() << "the sync failed"; });
    world_.executor.RunFor(10ms);
    Kill();
    (*disk_.Find(kFirst))[Items()[0].begin] ^= 1;
    disk_.FailNextSync(IoError("injected"));
    ASSERT_FALSE(TryOpen().ok());
    Kill();
    Open();
    ASSERT_TRUE(wal_->lost_records());
    ASSERT_EQ(Payloads(1), (Strings{"a", "b"})) << "the cache shows it";
    Kill();
    disk_.Crash(random);
    Open();
    ASSERT_EQ(Payloads(1), (Strings{"a", "b"})) << "what a start counted on is gone";
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

// ---- digests ------------------------------------------------------------------------------------

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

// What cleared a group was its record before the damaged place and the one behind it. The segment
// of the former is let go once nothing in it is live, while the damage is still there.
TEST_F(WalTest, WhoWasClearedStaysClearedWhenWhatClearedItIsNotNeededAnyMore) {
  Open();
  for (uint64_t group = 1; group <= 3; ++group) Write(Entries(group, 1, {"x"}));
  for (uint64_t i = 1; i <= 3; ++i) Write(Entries(9, i, {std::string(kSegmentBytes / 3, 'x')}));
  for (uint64_t group = 1; group <= 3; ++group) {
    Write(Entries(group, 2, {"y"}));
    Write(Marked(group, 1));
  }
  Kill();
  const std::string second = "wal/" + SegmentName(2);
  ASSERT_NE(disk_.Find(second), nullptr);
  (*disk_.Find(second))[kSegmentHeaderBytes] ^= 1;
  Open();
  EXPECT_TRUE(wal_->lost_records());
  for (const uint64_t group : {1, 2, 3, 9}) EXPECT_FALSE(Damaged(group)) << group;
  for (uint64_t i = 4; i <= 40; ++i) {
    ASSERT_NO_FATAL_FAILURE(Write(Entries(9, i, {std::string(kSegmentBytes / 3, 'x')})));
    ASSERT_NO_FATAL_FAILURE(Write(Marked(9, i)));
    ASSERT_NO_FATAL_FAILURE(Reopen());
    for (const uint64_t group : {1, 2, 3, 9}) ASSERT_FALSE(Damaged(group)) << group << " " << i;
  }
  EXPECT_EQ(disk_.Find(second), nullptr) << "is held no longer than it has to be";
  EXPECT_LE(wal_->SegmentCount(), 8u);
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

}  // namespace
}  // namespace quorate::storage
