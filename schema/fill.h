// Two fields that are one value in two types, while a service goes from one to the other. Whoever
// writes a row has the other field written for it:
//
//   the older one changed, the newer one did not       newer := older
//   the newer one changed                              older := newer
//   a new row, or one that was not filled, without the newer one: newer := older
//   a new row with the newer one                       older := newer
//
// If both changed, the newer one counts. What a program does not know it keeps as it is, so it
// changes only the field that it knows, and the rule sees which that is.
//
// What is written is appended to the row's bytes: of a scalar the last one counts, so no byte that
// somebody else understands is touched. A field that becomes absent is written as zero if it has no
// presence; one that has is taken out of the bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "quorate/v1/schema.pb.h"
#include "schema/row_reader.h"

namespace quorate::schema {

// One side: a singular scalar of the row's message.
struct FillSide {
  size_t column = 0;  // of the reader
  std::string path;
  uint32_t number = 0;
  v1::ColumnType type = v1::COLUMN_NONE;
  bool has_presence = false;
};

struct Fill {
  uint32_t id = 0;
  FillSide from;
  FillSide to;  // has presence
};

// Whether values of these types have counterparts: integers, bool and enums to each other; integers
// and strings (decimal); float and double; string and bytes; and a type and itself.
bool Convertible(v1::ColumnType from, v1::ColumnType to);
// The counterpart of a value, null of null. INVALID_ARGUMENT: it has none (out of range, no number,
// not UTF-8, not the same number as a float).
Result<Value> Convert(const Value& value, v1::ColumnType to);

// The row's bytes with both fields in step. `before` is the row that is replaced, or null. `row`
// and `before` are what the reader found in the bytes. INVALID_ARGUMENT: names both fields and the
// value that has no counterpart.
Result<std::string> KeepInStep(const Fill& fill, const RowReader::Row* before,
                               const RowReader::Row& row, std::string_view bytes);

}  // namespace quorate::schema
