// Bounds of tables. Those of keys, values and transactions are in base/limits.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/limits.h"

namespace quorate::schema {

// ---- of one file and its tables -----------------------------------------------------------------
inline constexpr size_t kFileSetBytesMax = 4 << 20;  // a FileDescriptorSet as it comes in
inline constexpr size_t kFilesMax = 500;
inline constexpr size_t kMessagesMax = 20'000;            // messages and enums in a set
inline constexpr size_t kNestingMax = 32;                 // of messages declared inside each other
inline constexpr size_t kFieldsMax = 2'000;               // of one message that belongs to a row
inline constexpr size_t kReachedMax = 1'000;              // messages that a row consists of
inline constexpr size_t kTableFilesBytesMax = 512 << 10;  // TableDescriptor.files
inline constexpr size_t kTablesFilesBytesMax = 16 << 20;  // of all tables of one set
inline constexpr size_t kFullNameBytesMax = 512;          // of what is declared in a set
inline constexpr size_t kProblemsMax = 100;               // told at once; what is behind is counted

inline constexpr size_t kNameBytesMax = 63;    // of a table, index or constraint
inline constexpr size_t kTablesMax = 1'000;    // in a file, and in a catalog
inline constexpr size_t kIndexesMax = 32;      // of a table, in a file
inline constexpr size_t kIndexesKeptMax = 64;  // with those that are retired or being built
inline constexpr size_t kKeyColumnsMax = 16;
inline constexpr size_t kStoringMax = 64;
inline constexpr size_t kChecksMax = 8;         // of a field
inline constexpr size_t kConstraintsMax = 256;  // of a table
inline constexpr size_t kOneOfMax = 256;
inline constexpr size_t kFillsMax = 16;
inline constexpr size_t kStepsMax = 8;  // of a path
inline constexpr size_t kLiteralBytesMax = 1'024;

// ---- of one row ---------------------------------------------------------------------------------
inline constexpr size_t kRowBytesMax = limits::kValueBytesMax;
inline constexpr size_t kRowNestingMax = 100;  // of groups, as protobuf's own
inline constexpr size_t kElementsMax =
    10'000;                                   // of one repeated field that an index or check reads
inline constexpr size_t kEntriesMax = 1'000;  // distinct entries of one row in one index

static_assert(kEntriesMax * kIndexesMax < limits::kTxnKeysMax, "a row fits one transaction");
static_assert(kTableFilesBytesMax <= kFileSetBytesMax && kFileSetBytesMax <= kTablesFilesBytesMax);

}  // namespace quorate::schema
