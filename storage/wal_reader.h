// Sequential scan of one WAL segment's bytes into records and damaged places.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "storage/wal_format.h"

namespace quorate::storage {

// A stretch [begin, end) of a segment, in order and without overlap.
struct ScanItem {
  enum class Kind : uint8_t {
    kRecord,   // frame and body are valid
    kBadBody,  // the frame is valid, so group and length are known; the body is not
    kGap,      // not readable, up to the next valid frame
  };
  Kind kind = Kind::kRecord;
  uint64_t begin = 0;
  uint64_t end = 0;
  Frame frame;            // unless kGap
  std::string_view body;  // of a kRecord; borrowed from the segment's bytes
};

// What lies in a segment. Ends with the last valid frame: whatever unreadable bytes follow it are
// not listed, since the tail of a segment is never clean (zeros, or its earlier life).
std::vector<ScanItem> ScanSegment(std::string_view segment, uint32_t seed);

}  // namespace quorate::storage
