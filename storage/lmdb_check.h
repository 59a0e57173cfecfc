// Whether what an LMDB file says may be believed. LMDB has no checksums of its own, and follows
// what a damaged page says wherever that leads; so its pages are read here, without LMDB, by plain
// file reads that check every number before they use it.
//
// Each value is stored with a CRC-32C over key and value behind it (Seal): verified at every read.
// That leaves what is absent: a pair that a damaged page hides. So a page is verified before
// anything is concluded from it, once since the file was opened:
//
//   meta and branch pages, and the list of free pages
//            when the file is opened (CheckSkeleton): a hundredth of it. A page names itself; keys
//            ascend within what the parent says; numbers of pages are in the file, and each is used
//            once; a page's pieces fill it without a gap, so that none can be missing.
//   leaf pages, and values in pages of their own
//            by the first read or write that needs them, or by the scrubber, which reads all of
//            them in the background and begins again when it is through (CheckLeaves). The same
//            rules, and all checksums.
//
// So a read says what was committed, or fails. What this cannot see: a page put back as a whole to
// an older content that fits where it stands (a write that the disk lost), and, until the scrubber
// comes by again, damage to what was verified before and read from the disk once more. Nor, before
// its leaf is read, that a value in pages of its own is also in the list of free pages: LMDB may
// write over it, which its checksum tells then.
//
// CORRUPTION means that: the bytes were read, and cannot be what was written. Any other error (no
// rights, no memory, a disk that does not answer) says nothing about the file, which is left alone.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace quorate::storage {

inline constexpr size_t kSealBytes = 4;

// Writes `value` and its checksum to `out`, which has room for value.size() + kSealBytes.
void Seal(std::string_view key, std::string_view value, char* out);
// The value within `stored`; nullopt: it was not sealed with this key.
std::optional<std::string_view> Unseal(std::string_view key, std::string_view stored);
// What stands in a leaf page that was damaged (Excise): no pair of anybody's.
inline bool IsExcised(std::string_view stored) { return stored.empty(); }

// A leaf page, and the keys that lie in it and nowhere else: [from, to), empty: without bound.
struct LeafRange {
  uint64_t page = 0;
  std::string from;
  std::string to;
};

// One file. Calls from several threads at once are fine; whoever asks about pages keeps them from
// being used anew meanwhile (a read transaction, or being the only writer).
class LmdbCheck {
 public:
  // NOT_FOUND: there is no such file.
  static Result<std::unique_ptr<LmdbCheck>> Open(const std::string& path);
  ~LmdbCheck();
  LmdbCheck(const LmdbCheck&) = delete;

  // Of one of LMDB's two tables.
  struct Tree {
    uint64_t root = 0;
    uint64_t depth = 0;  // 0: empty
    uint64_t branch_pages = 0;
    uint64_t leaf_pages = 0;
    uint64_t overflow_pages = 0;
  };
  struct Meta {
    uint64_t transaction = 0;
    uint64_t last_page = 0;
    Tree free;
    Tree pairs;
  };
  // The newest.
  Result<Meta> ReadMeta() const;
  // The one of a transaction; NOT_FOUND: two later ones have taken its place.
  Result<Meta> ReadMeta(uint64_t transaction) const;

  // All but the leaf pages of the pairs.
  Status CheckSkeleton(const Meta& meta) const;

  // Verifies the leaf that `key` belongs to, unless that was done before. `end` (if not null):
  // where the leaf's keys end. CORRUPTION: *damaged says which leaf; page 0: not one leaf, but what
  // leads to it.
  Status VerifyLeaf(const Meta& meta, std::string_view key, std::string* end, LeafRange* damaged);

  // Likewise, with all leaves under the same parent, and beside that either the one next to them on
  // both sides (a cursor that leaves them steps there), or all under both parents next to it (a
  // deletion may join leaves of one parent, then the parents, then leaves again). `from`, `end`:
  // where the keys under the key's own parent begin and end; empty: with the first and the last.
  enum class Beside : uint8_t { kLeaves, kParents };
  Status VerifyAround(const Meta& meta, std::string_view key, Beside beside, std::string* from,
                      std::string* end, LeafRange* damaged);

  // Reads leaves from the one that holds `from` on, whether verified before or not, until `bytes`
  // are read. *next: where to go on; empty: the end was reached. Damaged leaves are added to
  // `damaged` and skipped.
  struct Progress {
    std::string next;
    uint64_t bytes = 0;
  };
  Result<Progress> CheckLeaves(const Meta& meta, std::string_view from, uint64_t bytes,
                               std::vector<LeafRange>* damaged);

  // Puts a leaf with one pair of nobody's in the place of a damaged one, durably. LMDB is not open.
  Status Excise(const LeafRange& leaf) const;

  // OK: what was written to the file since Open is on the disk, whoever wrote it, for the kernel
  // tells each descriptor once that it could not write back. IO_ERROR: some of it may be lost, and
  // the next Sync need not say so again.
  Status Sync() const;

 private:
  struct Rep;
  explicit LmdbCheck(std::unique_ptr<Rep> rep);
  std::unique_ptr<Rep> rep_;
};

}  // namespace quorate::storage
