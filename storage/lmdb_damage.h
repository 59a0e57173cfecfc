// DIR/store/DAMAGED: which ranges of keys the store lost to damaged pages, until the replicas that
// have keys there were fetched from their peers again.
//
//   quorate damaged store
//   leaf 1234 0012ab.. 0013..    page, first key, end of keys, in hex; "-": without bound
//   crc 1a2b3c4d                 CRC-32C of the lines above
//
// A note without a leaf says that something is damaged, and not what. Written before the page is
// replaced, to a temporary file, synced, renamed, directory synced.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "storage/lmdb_check.h"

namespace quorate::storage {

struct DamageNote {
  std::vector<LeafRange> leaves;  // page 0: damage, and not one leaf's
  // Damage was met, not one leaf's, and the start behind that read every page and found it sound.
  bool unexplained = false;
};

// LMDB creates its files but does not make their names durable (ST9).
Status MakeDurable(const std::string& directory);
// nullopt: there is none. CORRUPTION: nobody knows what was lost.
Result<std::optional<DamageNote>> ReadDamageNote(const std::string& directory);
Status WriteDamageNote(const std::string& directory, const DamageNote& note);
// OK if there is none.
Status RemoveDamageNote(const std::string& directory);

}  // namespace quorate::storage
