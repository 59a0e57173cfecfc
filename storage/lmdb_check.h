// Whether an LMDB file may be trusted. LMDB has no checksums of its own, and follows what a damaged
// page says wherever that leads.
//
// Each value is stored with a CRC-32C over key and value behind it: verified at every read. At open
// the whole file is read once, in a process of its own, since a damaged page may crash it:
//
//   pairs       keys ascend, checksums fit, there are as many as the meta page says: nothing is
//               changed or missing
//   free pages  are free: none of them is a page just read, all others are accounted for, so that
//               later commits overwrite nothing that lives
//
// What this cannot see: damage that leads from one intact page to an older copy of the right one,
// or a free list that names one of the few branch pages. A meta page that is damaged so that the
// other one is taken yields the checkpoint before the last: a state that was once true, and behind
// the log, which the replicas notice.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace quorate::storage {

inline constexpr size_t kSealBytes = 4;

// Writes `value` and its checksum to `out`, which has room for value.size() + kSealBytes.
void Seal(std::string_view key, std::string_view value, char* out);
// The value within `stored`; nullopt: it was not sealed with this key.
std::optional<std::string_view> Unseal(std::string_view key, std::string_view stored);

// OK if `directory` holds no store yet, or one that can be trusted; CORRUPTION with what is wrong.
// Blocking, reads all of it.
Status CheckLmdb(const std::string& directory);

}  // namespace quorate::storage
