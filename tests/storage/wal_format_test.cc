#include "storage/wal_format.h"

#include <gtest/gtest.h>

#include "base/random.h"
#include "storage/wal_reader.h"

namespace quorate::storage {
namespace {

constexpr uint64_t kLogId = 77;
constexpr uint64_t kNumber = 3;
const uint32_t kSeed = SegmentSeed(kLogId, kNumber);

WalRecord Sample() {
  WalRecord record;
  record.group = GroupId(9);
  record.incarnation = 2;
  record.hard_state = {5, 3, 10};
  record.mark = {8, 4};
  record.entries = {{9, 4, 1, "a"}, {10, 5, 0, ""}, {11, 5, 2, std::string(300, '\0')}};
  return record;
}

bool Same(const WalRecord& a, const WalRecord& b) {
  return a.incarnation == b.incarnation && a.hard_state == b.hard_state && a.mark == b.mark &&
         a.reset == b.reset && a.destroy == b.destroy && a.entries == b.entries;
}

// A segment that holds `bodies` as records of group 9, each a batch of its own.
std::string Segment(const std::vector<std::string>& bodies, uint64_t number = kNumber) {
  std::string segment = EncodeSegmentHeader({number, kLogId});
  uint32_t seq = 0;
  for (const std::string& body : bodies) {
    const auto at = static_cast<uint32_t>(segment.size());
    segment.resize(at + kFrameBytes);
    segment += body;
    SealRecord(&segment, at, SegmentSeed(kLogId, number),
               {.offset = at, .batch = at, .seq = ++seq, .group = GroupId(9)});
  }
  return segment;
}

TEST(WalFormat, HeaderIsReadBack) {
  const std::string bytes = EncodeSegmentHeader({kNumber, kLogId});
  EXPECT_EQ(bytes.size(), kSegmentHeaderBytes);
  SegmentHeader header;
  ASSERT_EQ(DecodeSegmentHeader(bytes, &header), HeaderState::kValid);
  EXPECT_EQ(header.number, kNumber);
  EXPECT_EQ(header.log_id, kLogId);
  for (size_t i = 0; i < 32; ++i) {
    std::string damaged = bytes;
    damaged[i] ^= 1;
    EXPECT_EQ(DecodeSegmentHeader(damaged, &header), HeaderState::kInvalid) << i;
  }
  EXPECT_EQ(DecodeSegmentHeader("", &header), HeaderState::kInvalid);
}

TEST(WalFormat, NamesSortByNumber) {
  uint64_t number = 0;
  EXPECT_EQ(SegmentName(255), "wal-00000000000000ff.log");
  EXPECT_TRUE(ParseSegmentName(SegmentName(255), &number));
  EXPECT_EQ(number, 255u);
  for (const char* bad : {"", "wal-.log", "wal-00000000000000fg.log", "wal-ff.log",
                          "wal-0000000000000000.log", "LOCK"}) {
    EXPECT_FALSE(ParseSegmentName(bad, &number)) << bad;
  }
}

TEST(WalFormat, BodyIsReadBack) {
  for (const bool damaged : {false, true}) {
    std::string body;
    EncodeBody(Sample(), {.damaged = damaged, .copied = !damaged}, &body);
    WalRecord record;
    RecordFlags flags;
    ASSERT_TRUE(DecodeBody(body, &record, &flags));
    EXPECT_TRUE(Same(record, Sample()));
    EXPECT_EQ(flags.damaged, damaged);
    EXPECT_EQ(flags.copied, !damaged);
  }
}

TEST(WalFormat, BodiesThatCannotBeMeantAreRefused) {
  const auto decodes = [](const WalRecord& record, RecordFlags flags = {}) {
    std::string body;
    EncodeBody(record, flags, &body);
    WalRecord read;
    return DecodeBody(body, &read, &flags);
  };
  WalRecord reset = Sample();
  reset.reset = true;
  EXPECT_TRUE(decodes(reset));
  EXPECT_FALSE(decodes(reset, {.copied = true}));
  reset.mark.reset();
  EXPECT_FALSE(decodes(reset)) << "a reset to nowhere";
  WalRecord gone;
  gone.destroy = true;
  EXPECT_TRUE(decodes(gone));
  EXPECT_FALSE(decodes(gone, {.copied = true}));
  WalRecord entries;
  entries.entries = {{0, 1, 0, "x"}};
  EXPECT_FALSE(decodes(entries)) << "indexes begin at 1";
  entries.entries = {{UINT64_MAX, 1, 0, "x"}};
  EXPECT_FALSE(decodes(entries));
}

TEST(WalFormat, NumbersNeverStopAndNeverStartAnew) {
  EXPECT_EQ(NextSeq(0), 1u);
  EXPECT_EQ(NextSeq(1), 2u);
  EXPECT_EQ(NextSeq(UINT32_MAX - 1), UINT32_MAX);
  EXPECT_EQ(NextSeq(UINT32_MAX), 2u);
}

TEST(WalFormat, ShortOrMutilatedBodiesAreRefused) {
  std::string body;
  EncodeBody(Sample(), {}, &body);
  for (size_t size = 0; size < body.size(); ++size) {
    WalRecord record;
    RecordFlags flags;
    EXPECT_FALSE(DecodeBody(std::string_view(body).substr(0, size), &record, &flags)) << size;
  }
  Random random(1);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = body;
    for (uint64_t n = 1 + random.Below(4); n > 0; --n) {
      bytes[random.Below(bytes.size())] = static_cast<char>(random.Next());
    }
    WalRecord record;
    RecordFlags flags;
    // Whatever it says, nothing is allocated beyond what the bytes can hold.
    if (DecodeBody(bytes, &record, &flags)) EXPECT_LE(record.entries.size(), bytes.size());
  }
}

TEST(WalFormat, NoteIsReadBack) {
  std::string body;
  const std::vector<Note::Last> lasts = {{GroupId(1), 7, {3, 4096}},
                                         {GroupId(2), 0, {}},
                                         {GroupId(uint64_t{1} << 60), UINT32_MAX, {9, 1 << 25}}};
  for (const auto digest : {Note::Digest::kOfLog, Note::Digest::kOfSegment}) {
    std::string bytes;
    EncodeNote({.oldest = 4, .log_id = kLogId, .digest = digest, .last_records = lasts}, &bytes);
    Note read;
    ASSERT_TRUE(DecodeNote(bytes, &read));
    EXPECT_EQ(read.log_id, kLogId);
    EXPECT_EQ(read.digest, digest);
    EXPECT_EQ(read.last_records, lasts);
    for (size_t size = 0; size < bytes.size(); ++size) {
      Note cut;
      EXPECT_FALSE(DecodeNote(std::string_view(bytes).substr(0, size), &cut)) << size;
    }
  }
  EncodeNote({.oldest = 4, .previous_end = 5000, .lost = true, .tail_lost = true}, &body);
  Note note;
  ASSERT_TRUE(DecodeNote(body, &note));
  EXPECT_EQ(note.digest, Note::Digest::kNone);
  EXPECT_EQ(note.oldest, 4u);
  EXPECT_EQ(note.previous_end, 5000u);
  EXPECT_TRUE(note.lost);
  EXPECT_TRUE(note.tail_lost);
  EXPECT_FALSE(DecodeNote(body + "x", &note));
}

TEST(WalFormat, TheFirstNoteTellsTheLogsId) {
  std::string note;
  EncodeNote({.oldest = 1, .log_id = kLogId}, &note);
  std::string segment(kSegmentHeaderBytes + kFrameBytes, '\0');
  segment += note;
  SealRecord(&segment, kSegmentHeaderBytes, kSeed,
             {.offset = kSegmentHeaderBytes, .batch = kSegmentHeaderBytes, .group = kNoteGroup});
  EXPECT_EQ(LogIdOfFirstNote(segment, kNumber), kLogId);
  EXPECT_EQ(LogIdOfFirstNote(segment, kNumber + 1), std::nullopt) << "of the file's earlier life";
  EXPECT_EQ(LogIdOfFirstNote("", kNumber), std::nullopt);
  for (size_t i = kSegmentHeaderBytes; i < segment.size(); ++i) {
    std::string damaged = segment;
    damaged[i] ^= 1;
    EXPECT_EQ(LogIdOfFirstNote(damaged, kNumber), std::nullopt) << i;
  }
}

// ST7: a record is valid only in the place for which it was written.
TEST(WalFormat, RecordsInAnotherPlaceAreNotValid) {
  const std::string segment = Segment({"one", "two"});
  const auto items = ScanSegment(segment, kSeed);
  ASSERT_EQ(items.size(), 2u);
  Frame frame;
  EXPECT_TRUE(ParseFrame(segment, items[1].begin, kSeed, &frame));
  EXPECT_FALSE(ParseFrame(segment, items[1].begin, SegmentSeed(kLogId, kNumber + 1), &frame));
  EXPECT_FALSE(ParseFrame(segment, items[1].begin, SegmentSeed(kLogId + 1, kNumber), &frame));
  std::string moved = segment;
  moved.replace(items[1].begin, items[1].end - items[1].begin,
                segment.substr(items[0].begin, items[0].end - items[0].begin));
  EXPECT_FALSE(ParseFrame(moved, items[1].begin, kSeed, &frame));
}

TEST(WalReader, FindsRecordsBehindDamage) {
  const std::string segment = Segment({"one", "two", std::string(500, 'x'), "four"});
  const auto whole = ScanSegment(segment, kSeed);
  ASSERT_EQ(whole.size(), 4u);
  for (size_t i = 0; i < whole[2].end - whole[2].begin; ++i) {
    std::string damaged = segment;
    damaged[whole[2].begin + i] ^= 0x40;
    const auto items = ScanSegment(damaged, kSeed);
    ASSERT_EQ(items.size(), 4u) << i;
    EXPECT_EQ(items[2].kind, i < kFrameBytes ? ScanItem::Kind::kGap : ScanItem::Kind::kBadBody);
    EXPECT_EQ(items[2].begin, whole[2].begin);
    EXPECT_EQ(items[2].end, whole[2].end);
    EXPECT_EQ(items[3].body, "four");
  }
}

TEST(WalReader, EndsWithTheLastValidFrame) {
  std::string segment = Segment({"one"});
  const size_t end = segment.size();
  segment += std::string(3000, 'z');
  auto items = ScanSegment(segment, kSeed);
  ASSERT_EQ(items.size(), 1u);
  EXPECT_EQ(items[0].end, end);
  // What an earlier life of the file left is not seen.
  const std::string old = Segment({"an older", "life of the", "same file"}, kNumber - 1);
  std::string recycled = Segment({"one"});
  recycled += old.substr(recycled.size());
  EXPECT_EQ(ScanSegment(recycled, kSeed).size(), 1u);
  EXPECT_TRUE(ScanSegment("", kSeed).empty());
}

}  // namespace
}  // namespace quorate::storage
