// CRC-32C (Castagnoli), as used by iSCSI, ext4 and every checksum in our files and snapshots.
#pragma once

#include <cstdint>
#include <string_view>

namespace quorate {

// Checksum of `data`, continuing from `crc` (0 to start).
uint32_t Crc32c(std::string_view data, uint32_t crc = 0);
// Computed without the processor's instruction; the reference the fast path is tested against.
uint32_t Crc32cPortable(std::string_view data, uint32_t crc = 0);

}  // namespace quorate
