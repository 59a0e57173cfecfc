#include "storage/wal_reader.h"

#include <algorithm>
#include <cstring>

#include "base/crc32c.h"

namespace quorate::storage {
namespace {

constexpr char kZeroBytes[256] = {};
constexpr std::string_view kZeros(kZeroBytes, sizeof(kZeroBytes));

// The next offset at or after `from` with a valid frame; the size if there is none. Looks at every
// byte, since after damage the length of what is there is unknown.
uint64_t FindFrame(std::string_view segment, uint64_t from, uint32_t seed) {
  Frame frame;
  for (uint64_t offset = from; offset + kFrameBytes <= segment.size();) {
    uint32_t own;
    std::memcpy(&own, segment.data() + offset + 12, 4);
    // Most of it was never written, and no frame lies at offset 0.
    if (own == 0 && segment.substr(offset + 12, kZeros.size()) == kZeros) {
      offset += kZeros.size() - sizeof(own) + 1;
      continue;
    }
    if (own == static_cast<uint32_t>(offset) && ParseFrame(segment, offset, seed, &frame)) {
      return offset;
    }
    ++offset;
  }
  return segment.size();
}

}  // namespace

std::vector<ScanItem> ScanSegment(std::string_view segment, uint32_t seed) {
  std::vector<ScanItem> items;
  uint64_t offset = kSegmentHeaderBytes;
  while (offset < segment.size()) {
    ScanItem item;
    item.begin = offset;
    if (ParseFrame(segment, offset, seed, &item.frame)) {
      const uint64_t body = offset + kFrameBytes;
      const bool whole = item.frame.length <= segment.size() - body;
      item.end = whole ? body + item.frame.length : segment.size();
      item.body = segment.substr(body, item.end - body);
      const bool good = whole && Crc32c(item.body) == item.frame.body_crc;
      item.kind = good ? ScanItem::Kind::kRecord : ScanItem::Kind::kBadBody;
    } else {
      item.end = FindFrame(segment, offset, seed);
      if (item.end == segment.size()) break;
      item.kind = ScanItem::Kind::kGap;
    }
    offset = item.end;
    items.push_back(item);
  }
  return items;
}

}  // namespace quorate::storage
