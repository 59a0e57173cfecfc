// storage/wal_format: segment headers, names, frames, records and notes.
#include "storage/wal_format.h"

#include "base/check.h"
#include "tests/fuzz/fuzz.h"

namespace quorate::fuzz {
namespace {

using namespace quorate::storage;

void CheckBody(std::string_view input) {
  WalRecord record;
  bool damaged = false;
  if (!DecodeBody(input, &record, &damaged)) return;
  std::string encoded;
  EncodeBody(record, damaged, &encoded);
  WalRecord same;
  bool same_damaged = false;
  CHECK(DecodeBody(encoded, &same, &same_damaged) && same_damaged == damaged);
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
        same.tail_lost == note.tail_lost);
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
  EncodeBody(record, true, &whole);
  WalRecord destroy;
  destroy.destroy = true;
  EncodeBody(destroy, false, &empty);
  EncodeNote({3, 4096, true}, &note);
  std::string sealed(kFrameBytes, '\0');
  sealed += whole;
  SealRecord(&sealed, 0, 0, {.offset = 0, .batch = 0, .seq = 1, .group = GroupId(9)});
  return {whole,  empty,           note,
          sealed, SegmentName(17), EncodeSegmentHeader({.number = 1, .log_id = 77}).substr(0, 64)};
}

}  // namespace quorate::fuzz
