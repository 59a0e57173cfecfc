// storage/wal_format: segment headers, names, frames, records and notes.
#include "storage/wal_format.h"

#include "base/check.h"
#include "tests/fuzz/fuzz.h"

namespace quorate::fuzz {
namespace {

using namespace quorate::storage;

void CheckBody(std::string_view input) {
  WalRecord record;
  RecordFlags flags;
  if (!DecodeBody(input, &record, &flags)) return;
  std::string encoded;
  EncodeBody(record, flags, &encoded);
  WalRecord same;
  RecordFlags same_flags;
  CHECK(DecodeBody(encoded, &same, &same_flags) && same_flags.damaged == flags.damaged &&
        same_flags.copied == flags.copied);
  CHECK(same.incarnation == record.incarnation && same.hard_state == record.hard_state &&
        same.entries == record.entries && same.mark == record.mark && same.reset == record.reset &&
        same.destroy == record.destroy);
}

void CheckNote(std::string_view input) {
  Note note;
  if (!DecodeNote(input, &note)) return;
  std::string encoded;
  EncodeNote(note, &encoded);
  Note same;
  CHECK(DecodeNote(encoded, &same) && same.oldest == note.oldest &&
        same.previous_end == note.previous_end && same.lost == note.lost &&
        same.tail_lost == note.tail_lost && same.log_id == note.log_id &&
        same.digest == note.digest && same.last_records == note.last_records);
}

}  // namespace

void Run(std::string_view input) {
  SegmentHeader header;
  if (DecodeSegmentHeader(input, &header) == HeaderState::kValid) {
    SegmentHeader same;
    CHECK(DecodeSegmentHeader(EncodeSegmentHeader(header), &same) == HeaderState::kValid);
    CHECK(same.number == header.number && same.log_id == header.log_id);
  }
  uint64_t number = 0;
  if (ParseSegmentName(input, &number)) {
    uint64_t same = 0;
    CHECK(ParseSegmentName(SegmentName(number), &same) && same == number);
  }
  LogIdOfFirstNote(input, 1);
  Frame frame;
  ParseFrame(input, 0, 0, &frame);
  CheckBody(input);
  CheckNote(input);
}

std::vector<std::string> Seeds() {
  WalRecord record;
  record.incarnation = 2;
  record.hard_state = WalHardState{7, 3, 40};
  record.mark = WalMark{12, 5};
  record.entries = {{13, 6, 0, "payload"}, {14, 7, 1, ""}};
  std::string whole, empty, note;
  EncodeBody(record, {.damaged = true}, &whole);
  WalRecord destroy;
  destroy.destroy = true;
  EncodeBody(destroy, {}, &empty);
  EncodeNote({.oldest = 3, .previous_end = 4096, .lost = true}, &note);
  std::string digest;
  EncodeNote({.oldest = 3,
              .log_id = 77,
              .digest = Note::Digest::kOfLog,
              .last_records = {{GroupId(2), 9, {3, 5000}}, {GroupId(7), 0, {}}}},
             &digest);
  std::string sealed(kFrameBytes, '\0');
  sealed += whole;
  SealRecord(&sealed, 0, 0, {.offset = 0, .batch = 0, .seq = 1, .group = GroupId(9)});
  return {whole,
          empty,
          note,
          digest,
          sealed,
          SegmentName(17),
          EncodeSegmentHeader({.number = 1, .log_id = 77}).substr(0, 64)};
}

}  // namespace quorate::fuzz
