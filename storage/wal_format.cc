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
  kAllFlags = 63,
};
constexpr uint8_t kNoteLost = 1;
constexpr uint8_t kNoteTailLost = 2;
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
  PutFixed32(&bytes, kWalVersion);
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
  uint32_t version = 0;
  GetFixed32(&rest, &version);
  if (version > kWalVersion) return HeaderState::kNewerVersion;
  GetFixed64(&rest, &header->number);
  GetFixed64(&rest, &header->log_id);
  return HeaderState::kValid;
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

void EncodeBody(const WalRecord& record, bool damaged, std::string* out) {
  uint8_t flags = 0;
  if (record.hard_state) flags |= kHasHardState;
  if (record.mark) flags |= kHasMark;
  if (record.reset) flags |= kReset;
  if (record.destroy) flags |= kDestroy;
  if (damaged) flags |= kDamaged;
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

bool DecodeBody(std::string_view body, WalRecord* record, bool* damaged) {
  if (body.empty()) return false;
  const auto flags = static_cast<uint8_t>(body.front());
  body.remove_prefix(1);
  if ((flags & ~kAllFlags) != 0) return false;
  record->reset = (flags & kReset) != 0;
  record->destroy = (flags & kDestroy) != 0;
  *damaged = (flags & kDamaged) != 0;
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
  out->push_back(
      static_cast<char>((note.lost ? kNoteLost : 0) | (note.tail_lost ? kNoteTailLost : 0)));
}

bool DecodeNote(std::string_view body, Note* note) {
  if (!GetVarint(&body, &note->oldest) || !GetVarint(&body, &note->previous_end)) return false;
  if (body.size() != 1) return false;
  note->lost = (body.front() & kNoteLost) != 0;
  note->tail_lost = (body.front() & kNoteTailLost) != 0;
  return true;
}

}  // namespace quorate::storage
