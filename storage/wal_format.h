// Layout of the write-ahead log's files (docs/formats.md).
//
//   segment   header (4 KiB, zero-padded) | record | record | ... | whatever was there before
//   header    "QUORWAL\n" | version u32 | number u64 | log id u64 | crc u32 over the above
//   record    frame (32 bytes) | body
//   frame     crc u32 | body crc u32 | body length u32 | offset u32 | batch u32 | seq u32 | group
//   u64 body      of a group: flags u8 | incarnation | [term vote commit] | [mark index term]
//                         | [first index | count | count x (term | type u8 | length | payload)]
//             of a note (group 0): oldest | previous end | flags u8 | [log id u64]
//                         | [count | count x (group | seq | segment | offset)]
//
// Little-endian; unnamed widths are varints. The frame's crc is seeded with the log's id and the
// segment's number, and the frame names its own offset: a record that lies in another place than it
// was written for, or is left from the segment's earlier life, is not valid there (ST7). A frame
// has a crc of its own so that a damaged body can still be attributed to its group, and be skipped.
//
// `batch` is the offset at which the write that carried the record began. A batch is written only
// after the one before it was synced, so everything before the last batch was acknowledged, and
// damage there is never a torn write (wal_recovery.h). `seq` numbers the records of a group without
// gaps from 1, which tells whether a group lost a record in a damaged place; behind the last number
// comes 2, since 1 is that of a group's first record (NextSeq).
//
// A note is the first record of every segment and may appear later; the newest one says which
// segment is the oldest needed. It may carry a digest: where the last record of each group lies, of
// all groups in a segment's first note, of those with a record in the segment in later ones (seq 0:
// the group is gone). A group whose last record is found where the digest says lost nothing before
// it. The first note also repeats the log's id, since the header may be damaged.
//
// Version 1 had no digests, no log id in notes and no copied records (kCopied). Its segments are
// read; the one that is appended to becomes one of this version first.
#pragma once

#include <absl/functional/function_ref.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "storage/wal.h"

namespace quorate::storage {

inline constexpr uint32_t kWalVersion = 2;
inline constexpr size_t kSegmentHeaderBytes = 4096;
inline constexpr size_t kFrameBytes = 32;
inline constexpr GroupId kNoteGroup{0};

struct SegmentHeader {
  uint64_t number = 0;
  uint64_t log_id = 0;
  uint32_t version = kWalVersion;
};
std::string EncodeSegmentHeader(const SegmentHeader& header);
enum class HeaderState : uint8_t { kValid, kInvalid, kNewerVersion };
HeaderState DecodeSegmentHeader(std::string_view bytes, SegmentHeader* header);
// The log's id as the first note of segment `number` repeats it; `bytes` begin with the segment.
std::optional<uint64_t> LogIdOfFirstNote(std::string_view bytes, uint64_t number);

std::string SegmentName(uint64_t number);
// False if `name` is not a segment's.
bool ParseSegmentName(std::string_view name, uint64_t* number);
// What the frame checksums of a segment start from.
uint32_t SegmentSeed(uint64_t log_id, uint64_t number);

struct Frame {
  uint32_t body_crc = 0;
  uint32_t length = 0;
  uint32_t offset = 0;
  uint32_t batch = 0;
  uint32_t seq = 0;
  GroupId group;
};
// Fills in the frame that was left open at `at` in `out`, with the body behind it up to the end.
// `frame` gives offset, batch, seq and group.
void SealRecord(std::string* out, size_t at, uint32_t seed, Frame frame);
// The frame at `offset` of a segment's bytes; false if none is valid there. The body may lie beyond
// the end of `segment`, or be damaged.
bool ParseFrame(std::string_view segment, uint64_t offset, uint32_t seed, Frame* frame);

inline constexpr uint32_t NextSeq(uint32_t seq) { return seq == UINT32_MAX ? 2 : seq + 1; }

// What a record says beyond the change that a caller asked for.
struct RecordFlags {
  // Kept with the state, so that a replica that lost records stays known as such over further
  // restarts.
  bool damaged = false;
  // It repeats what the log holds in an older segment. Its entries take the place of the same ones
  // there, and those behind them stay.
  bool copied = false;
};
void EncodeBody(const WalRecord& record, RecordFlags flags, std::string* out);
// False for anything that EncodeBody would not have written: what cannot be meant is damage.
bool DecodeBody(std::string_view body, WalRecord* record, RecordFlags* flags);

// Where a record lies.
struct Place {
  uint64_t segment = 0;  // 0: nowhere
  uint64_t offset = 0;
  friend auto operator<=>(const Place&, const Place&) = default;
};

struct Note {
  uint64_t oldest = 0;        // segments below are not needed
  uint64_t previous_end = 0;  // where the records of the segment before this one end; 0: unknown
  bool lost = false;          // WalImpl::lost_records
  // What followed here was lost, and nothing but this note says so any more: whatever is known of a
  // group from before it may be incomplete.
  bool tail_lost = false;
  uint64_t log_id = 0;  // 0: not said

  enum class Digest : uint8_t { kNone, kOfLog, kOfSegment } digest = Digest::kNone;
  struct Last {
    GroupId group;
    uint32_t seq = 0;  // 0: the group is gone
    Place place;
    friend bool operator==(const Last&, const Last&) = default;
  };
  std::vector<Last> last_records;  // ascending by group
};
void EncodeNote(const Note& note, std::string* out);
bool DecodeNote(std::string_view body, Note* note);

}  // namespace quorate::storage
