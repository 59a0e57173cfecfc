#include "storage/wal_format.h"

#include <fmt/format.h>

#include <charconv>
#include <cstring>

#include "base/check.h"
#include "base/coding.h"
#include "base/crc32c.h"
#include "base/mutant.h"

namespace quorate::storage {
namespace {

constexpr std::string_view kMagic = "QUORWAL\n";
constexpr size_t kHeaderUsed = 8 + 4 + 8 + 8 + 4;
constexpr std::string_view kNamePrefix = "wal-";
constexpr std::string_view kNameSuffix = ".log";

enum Flags : uint8_t {
  kHasHardState = 1,
  kHasMark = 2,
  kReset = 4,
  kDestroy = 8,
  kDamaged = 16,
  kHasEntries = 32,
  kCopied = 64,
  kAllFlags = 127,
};
enum NoteFlags : uint8_t {
  kNoteLost = 1,
  kNoteTailLost = 2,
  kNoteHasLogId = 4,
  kNoteDigestOfLog = 8,
  kNoteDigestOfSegment = 16,
  kNoteAllFlags = 31,
};
// A digest's smallest line: group, number, segment, offset.
constexpr size_t kLastBytesMin = 4;
// An entry's smallest encoding: term, type, length.
constexpr size_t kEntryBytesMin = 3;

void Set32(char* at, uint32_t v) { std::memcpy(at, &v, 4); }
uint32_t Get32(const char* at) {
  uint32_t v;
  std::memcpy(&v, at, 4);
  return v;
}

}  // namespace

std::string EncodeSegmentHeader(const SegmentHeader& header) {
  std::string bytes(kMagic);
  PutFixed32(&bytes, header.version);
  PutFixed64(&bytes, header.number);
  PutFixed64(&bytes, header.log_id);
  PutFixed32(&bytes, Crc32c(bytes));
  CHECK(bytes.size() == kHeaderUsed);
  bytes.resize(kSegmentHeaderBytes);
  return bytes;
}

HeaderState DecodeSegmentHeader(std::string_view bytes, SegmentHeader* header) {
  if (bytes.size() < kHeaderUsed || !bytes.starts_with(kMagic)) return HeaderState::kInvalid;
  const uint32_t crc = Crc32c(bytes.substr(0, kHeaderUsed - 4));
  if (Get32(bytes.data() + kHeaderUsed - 4) != crc) return HeaderState::kInvalid;
  std::string_view rest = bytes.substr(kMagic.size());
  GetFixed32(&rest, &header->version);
  if (header->version > kWalVersion) return HeaderState::kNewerVersion;
  GetFixed64(&rest, &header->number);
  GetFixed64(&rest, &header->log_id);
  return HeaderState::kValid;
}

std::optional<uint64_t> LogIdOfFirstNote(std::string_view bytes, uint64_t number) {
  // Its place and length are known, its seed is what is looked for: the id that it names must be
  // one under which it is valid.
  if (bytes.size() < kSegmentHeaderBytes + kFrameBytes) return std::nullopt;
  const uint64_t length = Get32(bytes.data() + kSegmentHeaderBytes + 8);
  const std::string_view rest = bytes.substr(kSegmentHeaderBytes + kFrameBytes);
  Note note;
  if (length > rest.size() || !DecodeNote(rest.substr(0, length), &note) || note.log_id == 0) {
    return std::nullopt;
  }
  Frame frame;
  const bool valid =
      ParseFrame(bytes, kSegmentHeaderBytes, SegmentSeed(note.log_id, number), &frame) &&
      frame.group == kNoteGroup && Crc32c(rest.substr(0, length)) == frame.body_crc;
  return valid ? std::optional(note.log_id) : std::nullopt;
}

std::string SegmentName(uint64_t number) {
  return fmt::format("{}{:016x}{}", kNamePrefix, number, kNameSuffix);
}

bool ParseSegmentName(std::string_view name, uint64_t* number) {
  if (!name.starts_with(kNamePrefix) || !name.ends_with(kNameSuffix)) return false;
  name.remove_prefix(kNamePrefix.size());
  name.remove_suffix(kNameSuffix.size());
  if (name.size() != 16) return false;
  const auto [end, error] = std::from_chars(name.data(), name.data() + 16, *number, 16);
  return error == std::errc() && end == name.data() + 16 && *number != 0;
}

uint32_t SegmentSeed(uint64_t log_id, uint64_t number) {
  char bytes[16];
  std::memcpy(bytes, &log_id, 8);
  if (MUTANT("wal-recycled-records-valid")) number = 0;
  std::memcpy(bytes + 8, &number, 8);
  return Crc32c({bytes, sizeof(bytes)});
}

void SealRecord(std::string* out, size_t at, uint32_t seed, Frame frame) {
  CHECK(out->size() >= at + kFrameBytes);
  const size_t length = out->size() - at - kFrameBytes;
  CHECK(length <= UINT32_MAX, "a WAL record of {} bytes", length);
  char* p = out->data() + at;
  Set32(p + 4, Crc32c({p + kFrameBytes, length}));
  Set32(p + 8, static_cast<uint32_t>(length));
  Set32(p + 12, frame.offset);
  Set32(p + 16, frame.batch);
  Set32(p + 20, frame.seq);
  const uint64_t group = frame.group.value();
  std::memcpy(p + 24, &group, 8);
  Set32(p, Crc32c({p + 4, kFrameBytes - 4}, seed));
}

bool ParseFrame(std::string_view segment, uint64_t offset, uint32_t seed, Frame* frame) {
  if (offset + kFrameBytes > segment.size()) return false;
  const char* p = segment.data() + offset;
  frame->offset = Get32(p + 12);
  if (frame->offset != offset) return false;
  if (Get32(p) != Crc32c({p + 4, kFrameBytes - 4}, seed)) return false;
  frame->body_crc = Get32(p + 4);
  frame->length = Get32(p + 8);
  frame->batch = Get32(p + 16);
  frame->seq = Get32(p + 20);
  uint64_t group;
  std::memcpy(&group, p + 24, 8);
  frame->group = GroupId(group);
  return frame->batch >= kSegmentHeaderBytes && frame->batch <= offset;
}

void EncodeBody(const WalRecord& record, RecordFlags more, std::string* out) {
  uint8_t flags = 0;
  if (record.hard_state) flags |= kHasHardState;
  if (record.mark) flags |= kHasMark;
  if (record.reset) flags |= kReset;
  if (record.destroy) flags |= kDestroy;
  if (more.damaged) flags |= kDamaged;
  if (more.copied) flags |= kCopied;
  if (!record.entries.empty()) flags |= kHasEntries;
  out->push_back(static_cast<char>(flags));
  PutVarint(out, record.incarnation);
  if (record.hard_state) {
    PutVarint(out, record.hard_state->term);
    PutVarint(out, record.hard_state->vote);
    PutVarint(out, record.hard_state->commit);
  }
  if (record.mark) {
    PutVarint(out, record.mark->index);
    PutVarint(out, record.mark->term);
  }
  if (record.entries.empty()) return;
  uint64_t index = record.entries.front().index;
  PutVarint(out, index);
  PutVarint(out, record.entries.size());
  for (const WalEntry& entry : record.entries) {
    CHECK(entry.index == index++, "entries of one WAL record are contiguous");
    PutVarint(out, entry.term);
    out->push_back(static_cast<char>(entry.type));
    PutLengthPrefixed(out, entry.payload);
  }
}

bool DecodeBody(std::string_view body, WalRecord* record, RecordFlags* more) {
  if (body.empty()) return false;
  const auto flags = static_cast<uint8_t>(body.front());
  body.remove_prefix(1);
  if ((flags & ~kAllFlags) != 0) return false;
  record->reset = (flags & kReset) != 0;
  record->destroy = (flags & kDestroy) != 0;
  more->damaged = (flags & kDamaged) != 0;
  more->copied = (flags & kCopied) != 0;
  if (record->reset && (flags & kHasMark) == 0) return false;
  if (more->copied && (record->reset || record->destroy)) return false;
  if (!GetVarint(&body, &record->incarnation)) return false;
  if ((flags & kHasHardState) != 0) {
    WalHardState& state = record->hard_state.emplace();
    if (!GetVarint(&body, &state.term) || !GetVarint(&body, &state.vote) ||
        !GetVarint(&body, &state.commit)) {
      return false;
    }
  }
  if ((flags & kHasMark) != 0) {
    WalRecord::Mark& mark = record->mark.emplace();
    if (!GetVarint(&body, &mark.index) || !GetVarint(&body, &mark.term)) return false;
  }
  if ((flags & kHasEntries) == 0) return body.empty();
  uint64_t index = 0;
  uint64_t count = 0;
  if (!GetVarint(&body, &index) || !GetVarint(&body, &count)) return false;
  if (count == 0 || count > body.size() / kEntryBytesMin) return false;
  // The first index is 1, and the one behind the last is still a number.
  if (index == 0 || index > UINT64_MAX - count) return false;
  record->entries.reserve(count);
  for (; count > 0; --count) {
    WalEntry entry;
    entry.index = index++;
    std::string_view payload;
    if (!GetVarint(&body, &entry.term) || body.empty()) return false;
    entry.type = static_cast<uint8_t>(body.front());
    body.remove_prefix(1);
    if (!GetLengthPrefixed(&body, &payload)) return false;
    entry.payload = payload;
    record->entries.push_back(std::move(entry));
  }
  return body.empty();
}

void EncodeNote(const Note& note, std::string* out) {
  PutVarint(out, note.oldest);
  PutVarint(out, note.previous_end);
  uint8_t flags = 0;
  if (note.lost) flags |= kNoteLost;
  if (note.tail_lost) flags |= kNoteTailLost;
  if (note.log_id != 0) flags |= kNoteHasLogId;
  if (note.digest == Note::Digest::kOfLog) flags |= kNoteDigestOfLog;
  if (note.digest == Note::Digest::kOfSegment) flags |= kNoteDigestOfSegment;
  out->push_back(static_cast<char>(flags));
  if (note.log_id != 0) PutFixed64(out, note.log_id);
  if (note.digest == Note::Digest::kNone) return;
  PutVarint(out, note.last_records.size());
  GroupId before;
  for (const Note::Last& last : note.last_records) {
    CHECK(last.group > before, "group {} after {} in a digest", last.group, before);
    PutVarint(out, last.group.value() - before.value());
    PutVarint(out, last.seq);
    PutVarint(out, last.place.segment);
    PutVarint(out, last.place.offset);
    before = last.group;
  }
}

bool DecodeNote(std::string_view body, Note* note) {
  if (!GetVarint(&body, &note->oldest) || !GetVarint(&body, &note->previous_end)) return false;
  if (body.empty()) return false;
  const auto flags = static_cast<uint8_t>(body.front());
  body.remove_prefix(1);
  if ((flags & ~kNoteAllFlags) != 0) return false;
  note->lost = (flags & kNoteLost) != 0;
  note->tail_lost = (flags & kNoteTailLost) != 0;
  if ((flags & kNoteHasLogId) != 0) {
    if (!GetFixed64(&body, &note->log_id) || note->log_id == 0) return false;
  }
  const bool of_log = (flags & kNoteDigestOfLog) != 0;
  const bool of_segment = (flags & kNoteDigestOfSegment) != 0;
  if (of_log && of_segment) return false;
  if (!of_log && !of_segment) return body.empty();
  note->digest = of_log ? Note::Digest::kOfLog : Note::Digest::kOfSegment;
  uint64_t count = 0;
  if (!GetVarint(&body, &count) || count > body.size() / kLastBytesMin) return false;
  note->last_records.reserve(count);
  uint64_t group = 0;
  for (; count > 0; --count) {
    uint64_t step = 0;
    uint64_t seq = 0;
    Note::Last last;
    if (!GetVarint(&body, &step) || !GetVarint(&body, &seq) ||
        !GetVarint(&body, &last.place.segment) || !GetVarint(&body, &last.place.offset)) {
      return false;
    }
    if (step == 0 || step > UINT64_MAX - group || seq > UINT32_MAX) return false;
    group += step;
    last.group = GroupId(group);
    last.seq = static_cast<uint32_t>(seq);
    note->last_records.push_back(last);
  }
  return body.empty();
}

}  // namespace quorate::storage
