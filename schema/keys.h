// Where rows and entries are in the key space (docs/decisions/0029-table-keys.md):
//
//   ff 't' 'b' 'l' | table id | 0        | primary key                      a row
//   ff 't' 'b' 'l' | table id | index id | index columns | primary key      an entry
//   ff 't' 'b' 'l' | table id | index id | index columns                    an entry of a unique
//                                                                           index, none of them
//                                                                           null
// Ids sort by number (txn/table_key.h). A table is one range, rows first, then index by index.
// Columns are tuples (schema/tuple.h).
//
// A row's value is the message's bytes as they were given, whatever fields they have. An entry's
// value begins with the length (varint) and the primary key's tuple if the key has no primary key,
// or with length 0 if it has; the stored fields follow, as their bytes stand in the row. So what
// follows is a message of the row's type, in which only these fields are set.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "txn/key_span.h"
#include "txn/table_key.h"

namespace quorate::schema {

inline constexpr uint32_t kRowsId = 0;  // where an index has its id

// Everything that tables have: no raw key of a user is in it.
Span TablesSpan();

// What keys of a table, and of its rows or one index, begin with.
std::string TablePrefix(uint32_t table_id);
std::string IndexPrefix(uint32_t table_id, uint32_t index_id);
Span TableSpan(uint32_t table_id);
Span IndexSpan(uint32_t table_id, uint32_t index_id);

// What a key says of itself; `tuple` borrows from it. False: it is no key of a table, or not as
// this version writes them.
struct TableKey {
  uint32_t table_id = 0;
  uint32_t index_id = 0;
  std::string_view tuple;
};
bool ParseTableKey(std::string_view key, TableKey* parsed);

}  // namespace quorate::schema
