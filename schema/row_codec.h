// What a row is in the key space, by the catalog alone: its key, its entries in each index, and
// what a transaction that changes it has to check, put and delete. Pure: who uses it reads and
// writes.
//
// By the catalog, not by what was compiled into a program: a binary that was built before an index
// keeps it up as soon as its catalog names it.
//
// Writers and states. A change takes entries of the former row away and puts those of the new one:
//
//   state of the index   takes away                             puts
//   ABSENT               nothing                                nothing
//   DELETE_ONLY          what changes, in key or in value       nothing
//   others               keys that the new row does not have    what changes, in key or in value
//
// Invariants, with at most two adjacent states in use at a time: an entry is never there for a row
// that does not have it (whoever puts is met by others that take away), and once nobody writes
// under DELETE_ONLY, every row written since has all of its entries. What is taken away is deleted
// also where it is not there: the deletion tells a backfill that somebody was here.
//
// Unique indexes. The key of an entry does not name its row, so two rows can claim one key. Put and
// Delete therefore say `row`: the writer reads the key first; with an entry of another row, a Put
// is a violation (UniqueViolation), and a Delete is left out: the entry is not this row's.
//
// Who fills a unique index from a snapshot cannot take every newer deletion for a reason to leave
// an entry out: it may be of a former row that had the values too. Whether the row has the entry
// now decides. In other indexes an entry is of one row alone, and whoever deletes it keeps that row
// up.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "quorate/v1/schema.pb.h"
#include "schema/fill.h"
#include "schema/limits.h"
#include "schema/row_reader.h"
#include "schema/tuple.h"
#include "txn/key_span.h"

namespace quorate::schema {

// Why a row cannot be written. Nothing happened.
struct Violation {
  enum class Kind : uint8_t {
    kNotNull,
    kCheck,
    kUnique,
    kRow,
    kKeyTooLong,
    kTooManyEntries,
    kFill
  };
  Kind kind = Kind::kRow;
  std::string table;
  std::string element;    // the constraint, index or fill; empty for kRow
  std::string field;      // its path; empty if there is no single one
  std::string row;        // the row's primary key as text: (7, "x"); empty if it has none
  std::string other_row;  // kUnique: the row that has the values already
  std::string reason;     // one line, with the bound that was passed

  // FAILED_PRECONDITION for kNotNull, kCheck and kFill; ALREADY_EXISTS for kUnique;
  // INVALID_ARGUMENT for the others. Names all of the above.
  Status ToStatus() const;
};

template <class T>
struct OrViolation {
  std::optional<T> value;
  Violation violation;  // if there is no value

  OrViolation(T v) : value(std::move(v)) {}              // NOLINT: implicit by design
  OrViolation(Violation v) : violation(std::move(v)) {}  // NOLINT: implicit by design
  bool ok() const { return value.has_value(); }
  T& operator*() { return *value; }
  const T& operator*() const { return *value; }
  T* operator->() { return &*value; }
  const T* operator->() const { return &*value; }
};

struct Entry {
  uint32_t index_id = 0;
  std::string key;
  std::string value;
  bool operator==(const Entry&) const = default;
};

// One key that a change writes.
struct EntryChange {
  enum class Kind : uint8_t { kPut, kDelete };
  Kind kind = Kind::kPut;
  uint32_t index_id = 0;
  std::string key;
  std::string value;  // of a put
  // Of a unique index: the tuple of this row's primary key, to be compared with that of the entry
  // that is there (EntryRow). Empty: nothing is to be read first.
  std::string row;
};

struct Change {
  std::string key;                   // of the row
  std::optional<std::string> value;  // what to put there; nullopt: the row is deleted
  std::vector<EntryChange> entries;  // by index, and by key within an index
};

// What an entry says.
struct DecodedEntry {
  std::vector<Value> columns;
  std::vector<Value> primary_key;
  std::string row_key;
  std::string_view stored;  // borrows from the value: a message with the stored fields set
};

class RowCodec {
 public:
  // INVALID_ARGUMENT: names the table and what is wrong with its descriptor. Whatever comes in is
  // judged: a catalog is read from a log that another version wrote.
  static Result<RowCodec> Make(const v1::TableDescriptor& table);

  const std::string& table() const { return name_; }
  uint32_t table_id() const { return table_id_; }
  uint64_t version() const { return version_; }

  // ---- keys ----
  // The key of the row with these values; as many, and of the kinds, that the primary key has. Null
  // is refused. INVALID_ARGUMENT: says which value, or that the key is too long.
  Result<std::string> KeyOf(const std::vector<Value>& primary_key) const;
  OrViolation<std::string> RowKey(std::string_view row) const;
  // INVALID_ARGUMENT: it is no row key of this table.
  Result<std::vector<Value>> DecodeRowKey(std::string_view key) const;
  // The range of rows, or entries (`index_id`), whose first values are these; all without any.
  Result<Span> SpanOf(uint32_t index_id, const std::vector<Value>& first) const;

  // ---- entries ----
  // All entries that this row has in one index, in order, whatever the index's state.
  OrViolation<std::vector<Entry>> EntriesOf(uint32_t index_id, std::string_view row) const;
  Result<DecodedEntry> DecodeEntry(uint32_t index_id, std::string_view key,
                                   std::string_view value) const;
  // The primary key's tuple that an entry of a unique index names in its value; empty if its key
  // ends with it. INVALID_ARGUMENT: it is no such value.
  Result<std::string_view> EntryRow(std::string_view value) const;
  // For a Put whose key has the entry of another row. What is malformed in it is told as that.
  Violation UniqueViolation(const EntryChange& put, std::string_view value_there) const;

  // ---- writes ----
  // Takes the row at one key from `before` to `after` (nullopt: it is not there); at least one is.
  // `after` is checked against every constraint that is enforced, its fields are kept in step
  // (schema/fill.h), and it has the primary key of `before`. Bytes that nobody knows stay.
  // The former row is not checked; one whose bytes are malformed has no entries that could be
  // found, and is a violation (kRow): it was not written through here.
  OrViolation<Change> MakeChange(std::optional<std::string_view> before,
                                 std::optional<std::string_view> after) const;
  // The first constraint that the row breaks, by id; `constraint_id` 0: of all that are enforced.
  std::optional<Violation> Check(std::string_view row, uint32_t constraint_id = 0) const;

 private:
  struct KeyColumn {
    size_t column = 0;  // of the reader
    Expected expected;
    std::string path;
    std::string repeated;  // RepeatedPart of its column
  };
  struct Index {
    uint32_t id = 0;
    std::string name;
    bool unique = false;
    v1::IndexState state = v1::INDEX_ABSENT;
    std::vector<KeyColumn> columns;
    std::vector<uint32_t> storing;  // ascending
  };
  struct Constraint {
    uint32_t id = 0;
    std::string name;
    std::string path;
    size_t column = 0;
    bool enforced = false;
    bool not_null = false;
    bool repeated = false;
    std::optional<Value> at_least, at_most;
    std::vector<Value> one_of;  // sorted
    std::optional<uint64_t> size_at_least, size_at_most;
  };
  using Row = RowReader::Row;

  RowCodec() = default;
  Status AddKeyColumn(const v1::KeyColumn& column, std::vector<KeyColumn>* columns);
  Status AddIndex(const v1::IndexDescriptor& index);
  Status AddConstraint(const v1::ConstraintDescriptor& constraint);
  const Index* Find(uint32_t index_id) const;
  Violation Broken(Violation::Kind kind, std::string element, std::string field, std::string reason,
                   std::string_view key_tuple) const;
  std::string TextOf(std::string_view primary_key_tuple) const;

  OrViolation<Row> Read(std::string_view row,
                        RowReader::Judge judge = RowReader::Judge::kValues) const;
  OrViolation<std::string> PrimaryKey(const Row& row) const;  // the tuple
  OrViolation<std::vector<Entry>> EntriesOf(const Index& index, const Row& row,
                                            std::string_view primary_key) const;
  std::optional<Violation> CheckOne(const Constraint& constraint, const Row& row,
                                    std::string_view primary_key) const;
  std::optional<Violation> CheckAll(const Row& row, std::string_view primary_key) const;
  // A row on its way in: slices of `row` borrow from `bytes`.
  struct WrittenRow {
    std::string bytes;
    Row row;
    std::string primary_key;
  };
  // Brings it into the form in which it may be written, or says why there is none.
  std::optional<Violation> Bring(const Row* before, WrittenRow* after) const;
  std::optional<Violation> ChangeIndex(const Index& index, const Row* before, const Row* after,
                                       std::string_view primary_key,
                                       std::vector<EntryChange>* changes) const;

  std::string name_;
  uint32_t table_id_ = 0;
  uint64_t version_ = 0;
  RowReader reader_;
  std::vector<KeyColumn> primary_key_;
  std::vector<Index> indexes_;           // by id
  std::vector<Constraint> constraints_;  // by id
  std::vector<Fill> fills_;
};

}  // namespace quorate::schema
