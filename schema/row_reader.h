// Finds the values of columns in a row's bytes, as any protobuf parser would: the last one of a
// scalar counts, messages that come in pieces are merged, a member of a oneof ends the others,
// packed and unpacked elements are alike, a field with another wire type is an unknown one.
//
// By walking the bytes, not by dynamic messages, because
// - what a row's entries are must not depend on who reads it: parsers of proto2 move enum numbers
//   that their file does not name to the unknown fields, a walk by number sees what is there;
// - what nobody asks about is skipped and kept: no message is built, and no descriptor, which can
//   be hostile, is needed where rows are written;
// - it allocates for the columns that are asked for, and for nothing else.
//
// Immutable once made; any number of threads may read with one.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "schema/value.h"

namespace quorate::v1 {
class Column;
class StoredField;
}  // namespace quorate::v1

namespace quorate::schema {

// What a row has in one column: one value, or, if a step of it is repeated, one per element, in
// order. A null is a value.
using Values = std::vector<Value>;

class RowReader {
 public:
  // What was found. Slices borrow from the row.
  struct Row {
    std::vector<Values> columns;  // by column, as they were added
    // Bytes of top-level fields that were asked for, tags among them, in the row's order.
    std::vector<std::pair<uint32_t, std::string_view>> stored;
  };

  RowReader();
  ~RowReader();
  RowReader(RowReader&&) noexcept;
  RowReader& operator=(RowReader&&) noexcept;

  // Adds a column and returns its place in Row::columns; the same one again gives the same place.
  // INVALID_ARGUMENT names the column and what is wrong with it: no steps, more than kStepsMax, a
  // number outside 1..2^29-1, two repeated steps, no such type, a default that is no literal of it,
  // or the same path as another type.
  Result<size_t> AddColumn(const v1::Column& column);
  Status AddStored(const v1::StoredField& field);

  // INVALID_ARGUMENT, with what is wrong and where: bytes that no message has, a string in a column
  // that is not UTF-8, a timestamp or duration out of its range, groups nested deeper than
  // kRowNestingMax, more than kElementsMax elements in a column. Nothing else is looked at.
  //
  // kForm: strings, timestamps and durations are taken as they are. For rows that are there: they
  // may be older than the column, and nobody looked then.
  enum class Judge : bool { kForm, kValues };
  Result<Row> Read(std::string_view row, Judge judge) const;

 private:
  struct Node;
  struct Leaf;
  class Walk;

  std::unique_ptr<Node> root_;
  std::vector<Leaf> leaves_;
  std::set<uint32_t> stored_;
  std::map<uint32_t, std::vector<uint32_t>> stored_ends_;  // as the member of a oneof ends others
};

}  // namespace quorate::schema
