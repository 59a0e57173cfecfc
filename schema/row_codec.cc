#include "schema/row_codec.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/check.h"
#include "base/coding.h"
#include "base/status_macros.h"
#include "schema/keys.h"

namespace quorate::schema {
namespace {

bool InRange(const Value& value, const Expected& expected) {
  if (!expected.narrow || value.null()) return true;
  return value.kind() == Kind::kInt ? value.integer() >= INT32_MIN && value.integer() <= INT32_MAX
                                    : value.natural() <= UINT32_MAX;
}

// Values by hand come from anywhere; those of rows were judged when they were read.
Status CheckValue(const std::string& path, const Expected& expected, const Value& value) {
  const char* wrong = nullptr;
  if (!value.null() && value.kind() != expected.kind) wrong = "is of another type";
  if (wrong == nullptr && !InRange(value, expected)) wrong = "is out of range";
  if (value.kind() == Kind::kString && !IsUtf8(value.text())) wrong = "is not UTF-8";
  if (value.kind() == Kind::kTimestamp && !IsTimestamp(value.seconds(), value.nanos())) {
    wrong = "is out of range";
  }
  if (value.kind() == Kind::kDuration && !IsDuration(value.seconds(), value.nanos())) {
    wrong = "is out of range";
  }
  if (wrong == nullptr) return Status::Ok();
  return InvalidArgument(fmt::format("{} = {} {}", path, Format(value), wrong));
}

std::string TextOfValues(const std::vector<Value>& values) {
  std::string text;
  for (const Value& value : values) text += (text.empty() ? "" : ", ") + Format(value);
  return "(" + text + ")";
}

template <class Columns>
bool GetTuple(std::string_view* input, const Columns& columns, std::vector<Value>* values) {
  for (const auto& column : columns) {
    if (!GetValue(input, column.expected, &values->emplace_back())) return false;
  }
  return true;
}

Code CodeOf(Violation::Kind kind) {
  switch (kind) {
    case Violation::Kind::kNotNull:
    case Violation::Kind::kCheck:
    case Violation::Kind::kFill:
      return Code::kFailedPrecondition;
    case Violation::Kind::kUnique:
      return Code::kAlreadyExists;
    case Violation::Kind::kRow:
    case Violation::Kind::kKeyTooLong:
    case Violation::Kind::kTooManyEntries:
      return Code::kInvalidArgument;
  }
  return Code::kInternal;
}

}  // namespace

Status Violation::ToStatus() const {
  std::string text = "table " + table;
  if (!row.empty()) text += ", row " + row;
  if (!element.empty()) text += ", " + element;
  if (!field.empty()) text += ", field " + field;
  text += ": " + reason;
  if (!other_row.empty()) text += "; row " + other_row + " has them already";
  return {CodeOf(kind), std::move(text)};
}

const RowCodec::Index* RowCodec::Find(uint32_t index_id) const {
  const auto at = std::ranges::lower_bound(indexes_, index_id, {}, &Index::id);
  return at == indexes_.end() || at->id != index_id ? nullptr : &*at;
}

std::string RowCodec::TextOf(std::string_view primary_key_tuple) const {
  std::vector<Value> values;
  if (primary_key_tuple.empty()) return "";
  if (!GetTuple(&primary_key_tuple, primary_key_, &values)) return "(unreadable)";
  return TextOfValues(values);
}

Violation RowCodec::Broken(Violation::Kind kind, std::string element, std::string field,
                           std::string reason, std::string_view key_tuple) const {
  return {
      kind, name_, std::move(element), std::move(field), TextOf(key_tuple), "", std::move(reason)};
}

// ---- keys ---------------------------------------------------------------------------------------

Result<std::string> RowCodec::KeyOf(const std::vector<Value>& primary_key) const {
  if (primary_key.size() != primary_key_.size()) {
    return InvalidArgument(fmt::format("table {}: the primary key has {} values, {} were given",
                                       name_, primary_key_.size(), primary_key.size()));
  }
  std::string key = IndexPrefix(table_id_, kRowsId);
  for (size_t i = 0; i < primary_key.size(); ++i) {
    Status status = CheckValue(primary_key_[i].path, primary_key_[i].expected, primary_key[i]);
    if (status.ok() && primary_key[i].null()) {
      status = InvalidArgument(primary_key_[i].path + " is null");
    }
    if (!status.ok()) {
      return InvalidArgument(fmt::format("table {}: {}", name_, status.message()));
    }
    PutValue(&key, primary_key[i], primary_key_[i].expected.order);
  }
  if (key.size() <= limits::kKeyBytesMax) return key;
  return InvalidArgument(fmt::format("table {}: the key of row {} has {} bytes, {} at most", name_,
                                     TextOfValues(primary_key), key.size(), limits::kKeyBytesMax));
}

OrViolation<RowCodec::Row> RowCodec::Read(std::string_view row, RowReader::Judge judge) const {
  if (row.size() > kRowBytesMax) {
    return Broken(Violation::Kind::kRow, "", "",
                  fmt::format("a row of {} bytes, {} at most", row.size(), kRowBytesMax), "");
  }
  auto read = reader_.Read(row, judge);
  if (!read.ok()) return Broken(Violation::Kind::kRow, "", "", read.status().message(), "");
  return std::move(read).value();
}

OrViolation<std::string> RowCodec::PrimaryKey(const Row& row) const {
  std::string tuple;
  for (const KeyColumn& column : primary_key_) {
    const Value& value = row.columns[column.column].front();
    if (value.null()) {
      return Broken(Violation::Kind::kNotNull, "primary key", column.path, "is null", "");
    }
    PutValue(&tuple, value, column.expected.order);
  }
  const size_t size = IndexPrefix(table_id_, kRowsId).size() + tuple.size();
  if (size <= limits::kKeyBytesMax) return tuple;
  return Broken(Violation::Kind::kKeyTooLong, "primary key", "",
                fmt::format("its key has {} bytes, {} at most", size, limits::kKeyBytesMax), tuple);
}

OrViolation<std::string> RowCodec::RowKey(std::string_view row) const {
  auto read = Read(row);
  if (!read.ok()) return read.violation;
  auto tuple = PrimaryKey(*read);
  if (!tuple.ok()) return tuple;
  return IndexPrefix(table_id_, kRowsId) + *tuple;
}

Result<std::vector<Value>> RowCodec::DecodeRowKey(std::string_view key) const {
  TableKey parsed;
  std::vector<Value> values;
  if (!ParseTableKey(key, &parsed) || parsed.table_id != table_id_ || parsed.index_id != kRowsId ||
      !GetTuple(&parsed.tuple, primary_key_, &values) || !parsed.tuple.empty()) {
    return InvalidArgument(fmt::format("{} is no row key of table {}", ToHex(key), name_));
  }
  return values;
}

Result<Span> RowCodec::SpanOf(uint32_t index_id, const std::vector<Value>& first) const {
  const Index* index = Find(index_id);
  if (index == nullptr && index_id != kRowsId) {
    return NotFound(fmt::format("table {} has no index {}", name_, index_id));
  }
  const std::vector<KeyColumn>& columns = index == nullptr ? primary_key_ : index->columns;
  if (first.size() > columns.size()) {
    return InvalidArgument(fmt::format("table {}: {} values were given, there are {} columns",
                                       name_, first.size(), columns.size()));
  }
  std::string prefix = IndexPrefix(table_id_, index_id);
  for (size_t i = 0; i < first.size(); ++i) {
    Status status = CheckValue(columns[i].path, columns[i].expected, first[i]);
    if (!status.ok()) {
      return InvalidArgument(fmt::format("table {}: {}", name_, status.message()));
    }
    PutValue(&prefix, first[i], columns[i].expected.order);
  }
  std::string end = PrefixEnd(prefix);
  return Span{std::move(prefix), std::move(end)};
}

// ---- entries ------------------------------------------------------------------------------------

OrViolation<std::vector<Entry>> RowCodec::EntriesOf(const Index& index, const Row& row,
                                                    std::string_view primary_key) const {
  // Repeated columns of one index are of one repeated field: they have as many values.
  size_t elements = 1;
  for (const KeyColumn& column : index.columns) {
    if (!column.repeated.empty()) elements = row.columns[column.column].size();
  }
  std::string stored;
  for (const auto& [number, bytes] : row.stored) {
    if (std::ranges::binary_search(index.storing, number)) stored.append(bytes);
  }
  const std::string element = "index " + index.name;
  std::map<std::string, std::string> entries;
  for (size_t i = 0; i < elements; ++i) {
    std::string key = IndexPrefix(table_id_, index.id);
    bool null = false;
    for (const KeyColumn& column : index.columns) {
      const Values& values = row.columns[column.column];
      CHECK(column.repeated.empty() || values.size() == elements, "elements of two fields");
      const Value& value = values[column.repeated.empty() ? 0 : i];
      null |= value.null();
      PutValue(&key, value, column.expected.order);
    }
    const bool named_by_value = index.unique && !null;
    if (!named_by_value) key.append(primary_key);
    if (key.size() > limits::kKeyBytesMax) {
      return Broken(Violation::Kind::kKeyTooLong, element, "",
                    fmt::format("the key of its entry has {} bytes, {} at most", key.size(),
                                limits::kKeyBytesMax),
                    primary_key);
    }
    std::string value;
    PutLengthPrefixed(&value, named_by_value ? primary_key : "");
    value.append(stored);
    if (value.size() > limits::kValueBytesMax) {
      return Broken(
          Violation::Kind::kRow, element, "",
          fmt::format("its entry has {} bytes, {} at most", value.size(), limits::kValueBytesMax),
          primary_key);
    }
    entries.emplace(std::move(key), std::move(value));
    if (entries.size() > kEntriesMax) {
      return Broken(Violation::Kind::kTooManyEntries, element, "",
                    fmt::format("the row has more than {} entries", kEntriesMax), primary_key);
    }
  }
  std::vector<Entry> list;
  for (auto& [key, value] : entries) list.push_back({index.id, key, std::move(value)});
  return list;
}

OrViolation<std::vector<Entry>> RowCodec::EntriesOf(uint32_t index_id, std::string_view row) const {
  const Index* index = Find(index_id);
  if (index == nullptr) {
    return Broken(Violation::Kind::kRow, fmt::format("index {}", index_id), "", "does not exist",
                  "");
  }
  auto read = Read(row);
  if (!read.ok()) return read.violation;
  auto tuple = PrimaryKey(*read);
  if (!tuple.ok()) return tuple.violation;
  return EntriesOf(*index, *read, *tuple);
}

Result<DecodedEntry> RowCodec::DecodeEntry(uint32_t index_id, std::string_view key,
                                           std::string_view value) const {
  const Index* index = Find(index_id);
  if (index == nullptr) {
    return NotFound(fmt::format("table {} has no index {}", name_, index_id));
  }
  const auto malformed = [&] {
    return InvalidArgument(
        fmt::format("{} is no entry of index {} of table {}", ToHex(key), index->name, name_));
  };
  DecodedEntry entry;
  TableKey parsed;
  std::string_view row;
  if (!ParseTableKey(key, &parsed) || parsed.table_id != table_id_ || parsed.index_id != index_id ||
      !GetTuple(&parsed.tuple, index->columns, &entry.columns) ||
      !GetLengthPrefixed(&value, &row)) {
    return malformed();
  }
  const bool named_by_value = index->unique && std::ranges::none_of(entry.columns, &Value::null);
  if (named_by_value ? !parsed.tuple.empty() : !row.empty()) return malformed();
  std::string_view tuple = named_by_value ? row : parsed.tuple;
  entry.row_key = IndexPrefix(table_id_, kRowsId).append(tuple);
  if (!GetTuple(&tuple, primary_key_, &entry.primary_key) || !tuple.empty()) return malformed();
  entry.stored = value;
  return entry;
}

Result<std::string_view> RowCodec::EntryRow(std::string_view value) const {
  std::string_view row;
  std::vector<Value> values;
  if (!GetLengthPrefixed(&value, &row)) {
    return InvalidArgument(fmt::format("table {}: an entry's value is cut off", name_));
  }
  std::string_view tuple = row;
  if (!row.empty() && (!GetTuple(&tuple, primary_key_, &values) || !tuple.empty())) {
    return InvalidArgument(fmt::format("table {}: an entry names no row", name_));
  }
  return row;
}

Violation RowCodec::UniqueViolation(const EntryChange& put, std::string_view value_there) const {
  const Index* index = Find(put.index_id);
  std::vector<Value> columns;
  TableKey parsed;
  std::string values = "(unreadable)";
  if (index != nullptr && ParseTableKey(put.key, &parsed) &&
      GetTuple(&parsed.tuple, index->columns, &columns)) {
    values = TextOfValues(columns);
  }
  Violation violation =
      Broken(Violation::Kind::kUnique,
             index == nullptr ? fmt::format("index {}", put.index_id) : "index " + index->name, "",
             "it is unique, and the values are " + values, put.row);
  const auto there = EntryRow(value_there);
  violation.other_row = there.ok() ? TextOf(*there) : "(unreadable)";
  return violation;
}

// ---- writes -------------------------------------------------------------------------------------

std::optional<Violation> RowCodec::CheckOne(const Constraint& constraint, const Row& row,
                                            std::string_view primary_key) const {
  const Values& values = row.columns[constraint.column];
  const auto broken = [&](Violation::Kind kind, std::string reason) {
    const char* what = constraint.not_null ? "constraint " : "check ";
    return Broken(kind, what + constraint.name, constraint.path, std::move(reason), primary_key);
  };
  if (constraint.not_null) {
    if (!values.front().null()) return std::nullopt;
    return broken(Violation::Kind::kNotNull, "is null");
  }
  const auto check_size = [&](size_t size, const char* unit) -> std::optional<Violation> {
    if (constraint.size_at_least.has_value() && size < *constraint.size_at_least) {
      return broken(Violation::Kind::kCheck,
                    fmt::format("has {} {}, {} at least", size, unit, *constraint.size_at_least));
    }
    if (constraint.size_at_most.has_value() && size > *constraint.size_at_most) {
      return broken(Violation::Kind::kCheck,
                    fmt::format("has {} {}, {} at most", size, unit, *constraint.size_at_most));
    }
    return std::nullopt;
  };
  if (constraint.repeated) {
    if (auto violation = check_size(values.size(), "elements")) return violation;
  }
  for (const Value& value : values) {
    if (value.null()) continue;
    if (!constraint.repeated) {
      if (auto violation = check_size(value.text().size(), "bytes")) return violation;
    }
    if (constraint.at_least.has_value() && Compare(value, *constraint.at_least) < 0) {
      return broken(Violation::Kind::kCheck,
                    fmt::format("{} is less than {}", Format(value), Format(*constraint.at_least)));
    }
    if (constraint.at_most.has_value() && Compare(value, *constraint.at_most) > 0) {
      return broken(Violation::Kind::kCheck,
                    fmt::format("{} is more than {}", Format(value), Format(*constraint.at_most)));
    }
    if (!constraint.one_of.empty() &&
        !std::ranges::binary_search(constraint.one_of, value, [](const Value& a, const Value& b) {
          return Compare(a, b) < 0;
        })) {
      return broken(Violation::Kind::kCheck,
                    fmt::format("{} is none of the {} values that it may have", Format(value),
                                constraint.one_of.size()));
    }
  }
  return std::nullopt;
}

std::optional<Violation> RowCodec::CheckAll(const Row& row, std::string_view primary_key) const {
  for (const Constraint& constraint : constraints_) {
    if (!constraint.enforced) continue;
    if (auto violation = CheckOne(constraint, row, primary_key)) return violation;
  }
  return std::nullopt;
}

std::optional<Violation> RowCodec::Check(std::string_view row, uint32_t constraint_id) const {
  auto read = Read(row);
  if (!read.ok()) return read.violation;
  auto tuple = PrimaryKey(*read);
  if (!tuple.ok()) return tuple.violation;
  if (constraint_id == 0) return CheckAll(*read, *tuple);
  const auto at = std::ranges::lower_bound(constraints_, constraint_id, {}, &Constraint::id);
  if (at == constraints_.end() || at->id != constraint_id) {
    return Broken(Violation::Kind::kRow, fmt::format("constraint {}", constraint_id), "",
                  "does not exist", *tuple);
  }
  return CheckOne(*at, *read, *tuple);
}

std::optional<Violation> RowCodec::Bring(const Row* before, WrittenRow* after) const {
  for (const Fill& fill : fills_) {
    auto bytes = KeepInStep(fill, before, after->row, after->bytes);
    if (!bytes.ok()) {
      return Broken(Violation::Kind::kFill, "fill", fill.to.path, bytes.status().message(), "");
    }
    if (*bytes == after->bytes) continue;
    after->bytes = std::move(*bytes);
    auto again = Read(after->bytes);
    if (!again.ok()) return again.violation;
    after->row = std::move(*again);
  }
  auto tuple = PrimaryKey(after->row);
  if (!tuple.ok()) return tuple.violation;
  after->primary_key = std::move(*tuple);
  return CheckAll(after->row, after->primary_key);
}

std::optional<Violation> RowCodec::ChangeIndex(const Index& index, const Row* before,
                                               const Row* after, std::string_view primary_key,
                                               std::vector<EntryChange>* changes) const {
  if (index.state == v1::INDEX_ABSENT) return std::nullopt;
  const bool puts = index.state != v1::INDEX_DELETE_ONLY;
  std::vector<Entry> had, has;
  if (before != nullptr) {
    // What is too long or too many was never put: there is nothing to be taken away.
    auto entries = EntriesOf(index, *before, primary_key);
    if (entries.ok()) had = std::move(*entries);
  }
  if (after != nullptr) {
    auto entries = EntriesOf(index, *after, primary_key);
    if (!entries.ok() && puts) return entries.violation;
    if (entries.ok()) has = std::move(*entries);
  }
  const auto add = [&](EntryChange::Kind kind, Entry entry) {
    std::string_view value = entry.value;
    std::string_view row;
    GetLengthPrefixed(&value, &row);
    std::string named(index.unique ? row : "");
    if (kind == EntryChange::Kind::kDelete) entry.value.clear();
    changes->push_back(
        {kind, index.id, std::move(entry.key), std::move(entry.value), std::move(named)});
  };
  auto old = had.begin();
  auto now = has.begin();
  while (old != had.end() || now != has.end()) {
    if (now == has.end() || (old != had.end() && old->key < now->key)) {
      add(EntryChange::Kind::kDelete, std::move(*old++));
    } else if (old == had.end() || now->key < old->key) {
      if (puts) add(EntryChange::Kind::kPut, std::move(*now));
      ++now;
    } else {
      if (old->value != now->value) {
        add(puts ? EntryChange::Kind::kPut : EntryChange::Kind::kDelete,
            puts ? std::move(*now) : std::move(*old));
      }
      ++old;
      ++now;
    }
  }
  return std::nullopt;
}

OrViolation<Change> RowCodec::MakeChange(std::optional<std::string_view> before,
                                         std::optional<std::string_view> after) const {
  CHECK(before.has_value() || after.has_value(), "a change of nothing");
  std::optional<Row> old;
  std::string primary_key;
  if (before.has_value()) {
    auto read = Read(*before, RowReader::Judge::kForm);
    if (!read.ok()) return read.violation;
    auto tuple = PrimaryKey(*read);
    if (!tuple.ok()) return tuple.violation;
    old = std::move(*read);
    primary_key = std::move(*tuple);
  }
  const Row* had = old.has_value() ? &*old : nullptr;
  WrittenRow written;
  Change change;
  if (after.has_value()) {
    written.bytes = std::string(*after);
    auto read = Read(written.bytes);
    if (!read.ok()) return read.violation;
    written.row = std::move(*read);
    if (auto violation = Bring(had, &written)) return *violation;
    if (had != nullptr && primary_key != written.primary_key) {
      return Broken(Violation::Kind::kRow, "primary key", "",
                    fmt::format("a row keeps its primary key, which was {}: delete it and insert "
                                "another",
                                TextOf(primary_key)),
                    written.primary_key);
    }
    primary_key = written.primary_key;
  }
  change.key = IndexPrefix(table_id_, kRowsId) + primary_key;
  for (const Index& index : indexes_) {
    if (auto violation = ChangeIndex(index, had, after.has_value() ? &written.row : nullptr,
                                     primary_key, &change.entries)) {
      return *violation;
    }
  }
  if (after.has_value()) change.value = std::move(written.bytes);
  return change;
}

}  // namespace quorate::schema
