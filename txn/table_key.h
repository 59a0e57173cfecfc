// Keys of tables, as far as everybody has to know them: which table a key is of. What else they
// say: schema/keys.h.
//
// The door. Rows and index entries are written only by what keeps both in step (client/table.h). So
// a transaction that writes keys of tables names each of these tables, with the version of the
// schema that it was written by (TableVersion, txn.proto); nobody takes one that does not
// (txn/judge.h), and raw writes there are refused where they are made (client/transaction.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace quorate {

inline constexpr std::string_view kTablePrefix("\xfftbl", 4);
inline constexpr size_t kTablesOfTxnMax = 1'000;

inline bool IsTableKey(std::string_view key) {
  return key.substr(0, kTablePrefix.size()) == kTablePrefix;
}

// Ids in keys are a length (1 byte) and as few bytes as can be, big-endian: they sort by number.
void PutTableId(std::string* out, uint32_t id);
// Takes one off the front. False: it is no id as PutTableId writes them.
bool GetTableId(std::string_view* input, uint32_t* id);

// Of a write that names no table. INVALID_ARGUMENT: only tables write there. What no table has may
// be deleted: it is of before there were tables.
enum class WriteKind : bool { kPut, kDeletion };
Status CheckRawWrite(std::string_view key, WriteKind kind);

// nullopt: no key of a table; or one with the prefix that no version writes.
std::optional<uint32_t> TableIdOf(std::string_view key);

}  // namespace quorate
