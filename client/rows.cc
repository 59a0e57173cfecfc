// Rows of tables over Transaction: what is read first, what a change writes (schema/row_codec.h),
// and who is told what.
#include <google/protobuf/descriptor.h>

#include <algorithm>

#include "base/limits.h"
#include "base/mutant.h"
#include "base/status_macros.h"
#include "client/open_table.h"
#include "client/table.h"
#include "schema/compatible.h"
#include "schema/descriptors.h"
#include "schema/keys.h"

namespace quorate::client {
namespace {

using Bytes = std::optional<std::string>;
using schema::Kind;
using schema::Value;

constexpr size_t kPageRowsMax = limits::kScanRowsMax;
constexpr size_t kPageBytesMax = limits::kScanPageBytesMax;
// Rows of entries that are read at once: so many first, and then as many times as before, as long
// as those that are left would not pass kPageBytesMax.
constexpr size_t kRowsAtFirst = 64;
constexpr size_t kRowsGrowth = 4;

template <class T>
std::optional<Value> Number(Kind kind, T value) {
  switch (kind) {
    case Kind::kInt:
      if (!std::in_range<int64_t>(value)) return std::nullopt;
      return Value::Int(static_cast<int64_t>(value));
    case Kind::kUint:
      if (!std::in_range<uint64_t>(value)) return std::nullopt;
      return Value::Uint(static_cast<uint64_t>(value));
    case Kind::kFloat:
      return Value::Float(static_cast<float>(value));
    case Kind::kDouble:
      return Value::Double(static_cast<double>(value));
    default:
      return std::nullopt;
  }
}

// nullopt: no column of that kind takes it.
std::optional<Value> Convert(Kind kind, const KeyPart::Any& any) {
  if (std::holds_alternative<std::nullptr_t>(any)) return Value();
  if (const auto* value = std::get_if<bool>(&any)) {
    if (kind == Kind::kBool) return Value::Bool(*value);
  } else if (const auto* value = std::get_if<int64_t>(&any)) {
    return Number(kind, *value);
  } else if (const auto* value = std::get_if<uint64_t>(&any)) {
    return Number(kind, *value);
  } else if (const auto* value = std::get_if<double>(&any)) {
    if (kind == Kind::kFloat) return Value::Float(static_cast<float>(*value));
    if (kind == Kind::kDouble) return Value::Double(*value);
  } else if (const auto* value = std::get_if<std::string>(&any)) {
    if (kind == Kind::kString) return Value::String(*value);
    if (kind == Kind::kBytes) return Value::Bytes(*value);
  } else if (const auto* value = std::get_if<KeyPart::Time>(&any)) {
    if (kind == Kind::kTimestamp) return Value::Timestamp(value->seconds, value->nanos);
    if (kind == Kind::kDuration) return Value::Duration(value->seconds, value->nanos);
  }
  return std::nullopt;
}

template <class Columns>
Result<std::vector<Value>> ValuesOf(const OpenTable& table, const Columns& columns,
                                    const Key& key) {
  if (key.size() > static_cast<size_t>(columns.size())) {
    return InvalidArgument(fmt::format("table {}: {} values were given, there are {} columns",
                                       table.codec.table(), key.size(), columns.size()));
  }
  std::vector<Value> values;
  for (size_t i = 0; i < key.size(); ++i) {
    const v1::Column& column = columns.Get(static_cast<int>(i)).column();
    auto value = Convert(schema::KindOf(column.type()), key[i].value());
    if (!value) {
      return InvalidArgument(fmt::format("table {}: value {} of the key is of another type than {}",
                                         table.codec.table(), i + 1, column.path()));
    }
    values.push_back(std::move(*value));
  }
  return values;
}

Result<std::string> RowKeyOf(const OpenTable& table, const Key& key) {
  ASSIGN_OR_RETURN(const auto values, ValuesOf(table, table.descriptor.primary_key(), key));
  return table.codec.KeyOf(values);
}

Result<const v1::IndexDescriptor*> FindIndex(const OpenTable& table, const std::string& name) {
  for (const v1::IndexDescriptor& index : table.descriptor.indexes()) {
    if (index.name() != name) continue;
    if (index.state() == v1::INDEX_PUBLIC) return &index;
    return Status(Code::kFailedPrecondition,
                  fmt::format("table {}: index {} is not whole yet", table.codec.table(), name));
  }
  return NotFound(fmt::format("table {} has no index {}", table.codec.table(), name));
}

Status CheckMessage(const OpenTable& table, const google::protobuf::Descriptor& message) {
  schema::Problems problems;
  const auto built = schema::Descriptors::Build(table.descriptor.files(), &problems);
  const auto* catalog = built ? built->FindMessage(table.descriptor.message()) : nullptr;
  if (catalog == nullptr) {
    return Internal(
        fmt::format("table {}: the catalog's message does not build", table.codec.table()));
  }
  const Status fits = schema::CheckCompatible(message, *catalog);
  if (fits.ok()) return fits;
  return {fits.code(), fmt::format("table {}: {}", table.codec.table(), fits.message())};
}

Task<Result<OpenTablePtr>> OpenFor(Transaction* txn, std::string name,
                                   const google::protobuf::Descriptor* message) {
  auto table = co_await txn->tables().Open(std::move(name));
  if (!table.ok() || message == nullptr) co_return table;
  if ((*table)->fitting.contains(message)) co_return table;
  CO_RETURN_IF_ERROR(CheckMessage(**table, *message));
  (*table)->fitting.insert(message);
  co_return table;
}

// Takes the row at one key from `before` to `after`, with all of its entries. In the caller's turn,
// in which `before` was read.
Task<Status> ChangeRow(Transaction* txn, OpenTablePtr table, Bytes before, Bytes after) {
  auto change = table->codec.MakeChange(before, after);
  if (!change.ok()) co_return change.violation.ToStatus();
  std::vector<std::string> keys;
  for (const schema::EntryChange& entry : change->entries) {
    if (!entry.row.empty()) keys.push_back(entry.key);
  }
  std::vector<Bytes> there;
  if (!keys.empty() && !MUTANT("table-unique-not-read")) {
    auto read = co_await txn->GetMany(std::move(keys));
    if (!read.ok()) co_return read.status();
    there = std::move(*read);
  }
  std::vector<BufferedWrite> writes;
  writes.push_back({std::move(change->key), std::move(change->value)});
  size_t next = 0;
  for (schema::EntryChange& entry : change->entries) {
    const bool puts = entry.kind == schema::EntryChange::Kind::kPut;
    if (!entry.row.empty() && next < there.size()) {
      const Bytes& value = there[next++];
      if (value.has_value()) {
        const auto row = table->codec.EntryRow(*value);
        if (!row.ok()) co_return row.status();
        const bool others = *row != entry.row;
        if (others && puts) co_return table->codec.UniqueViolation(entry, *value).ToStatus();
        if (others) continue;
      }
    }
    if (!puts && MUTANT("table-entry-not-deleted")) continue;
    Bytes value;
    if (puts) value = std::move(entry.value);
    writes.push_back({std::move(entry.key), std::move(value)});
  }
  co_return txn->tables().WriteRows(*table, std::move(writes));
}

enum class Mode : uint8_t { kInsert, kPut };

Task<Status> WriteRow(Transaction* txn, OpenTablePtr table, std::string row, Mode mode) {
  const auto key = table->codec.RowKey(row);
  if (!key.ok()) co_return key.violation.ToStatus();
  auto before = co_await txn->Get(*key);
  if (!before.ok()) co_return before.status();
  if (before->has_value() && mode == Mode::kInsert) {
    schema::Violation violation;
    violation.kind = schema::Violation::Kind::kUnique;
    violation.table = table->codec.table();
    violation.element = "primary key";
    const auto values = table->codec.DecodeRowKey(*key);
    if (values.ok()) {
      for (const Value& value : *values) {
        violation.row += (violation.row.empty() ? "(" : ", ") + schema::Format(value);
      }
      violation.row += ")";
    }
    violation.reason = "the row is there already";
    co_return violation.ToStatus();
  }
  co_return co_await ChangeRow(txn, std::move(table), std::move(*before), std::move(row));
}

// The part of `span` that a page begins with.
Result<Span> RestOf(const OpenTable& table, Span span, const RowRange& range) {
  if (range.limit == 0 || range.limit > kPageRowsMax) {
    return InvalidArgument(fmt::format("table {}: a page has 1 to {} rows, not {}",
                                       table.codec.table(), kPageRowsMax, range.limit));
  }
  if (range.cursor.empty()) return span;
  if (!span.Contains(std::string_view(range.cursor))) {
    return InvalidArgument(
        fmt::format("table {}: the cursor is of another range", table.codec.table()));
  }
  (range.reverse ? span.to : span.from) =
      range.reverse ? range.cursor : Span::OfKey(range.cursor).to;
  return span;
}

struct Part {
  std::vector<Row> rows;
  bool all = true;  // nothing of the span is behind them
};

Task<Result<Part>> ScanPart(Transaction* txn, Span span, RowRange range) {
  Part part;
  if (span.empty()) co_return part;
  const ScanOptions options{
      .limit = range.limit, .reverse = range.reverse, .limit_bytes = kPageBytesMax};
  auto read = co_await txn->Scan(std::move(span.from), std::move(span.to), options);
  if (!read.ok()) co_return read.status();
  size_t bytes = 0;
  for (const Row& row : *read) bytes += row.key.size() + row.value.size();
  part.rows = std::move(*read);
  part.all = part.rows.size() < range.limit && bytes < kPageBytesMax;
  co_return part;
}

Result<std::string> RowKeyOfEntry(const OpenTable& table, uint32_t index_id, const Row& entry) {
  auto decoded = table.codec.DecodeEntry(index_id, entry.key, entry.value);
  if (!decoded.ok()) return Internal(decoded.status().message());
  return std::move(decoded->row_key);
}

Status NoRowOfEntry(const OpenTable& table, uint32_t index_id) {
  return Internal(
      fmt::format("table {}: an entry of index {} has no row", table.codec.table(), index_id));
}

// The rows that entries are of, in their order: of the first entries, if all were too much. Some
// that were read may be more than a page takes, and are left out.
Task<Result<RowBytes>> RowsOf(Transaction* txn, OpenTablePtr table, uint32_t index_id,
                              Part entries) {
  RowBytes page;
  size_t bytes = 0;
  size_t batch = kRowsAtFirst;
  while (page.rows.size() < entries.rows.size() && bytes < kPageBytesMax) {
    const size_t done = page.rows.size();
    std::vector<std::string> keys;
    while (keys.size() < batch && done + keys.size() < entries.rows.size()) {
      auto key = RowKeyOfEntry(*table, index_id, entries.rows[done + keys.size()]);
      if (!key.ok()) co_return key.status();
      keys.push_back(std::move(*key));
    }
    auto read = co_await txn->GetMany(std::move(keys));
    if (!read.ok()) co_return read.status();
    for (Bytes& row : *read) {
      if (!row.has_value()) co_return NoRowOfEntry(*table, index_id);
      if (bytes >= kPageBytesMax) break;
      bytes += row->size();
      page.rows.push_back(std::move(*row));
    }
    const size_t left = kPageBytesMax - std::min(bytes, kPageBytesMax);
    const size_t fitting = left / (bytes / page.rows.size() + 1);
    batch = std::clamp<size_t>(fitting, 1, batch * kRowsGrowth);
  }
  if (!entries.all || page.rows.size() < entries.rows.size()) {
    page.cursor = entries.rows[page.rows.size() - 1].key;
  }
  co_return page;
}

}  // namespace

Rows::Rows(std::string table, const google::protobuf::Descriptor* message)
    : name_(std::move(table)), message_(message) {}

Status Rows::NoSuchRow() const {
  return NotFound(fmt::format("table {}: there is no such row", name_));
}

Task<Result<Bytes>> Rows::Get(Transaction& txn, Key key) const {
  auto table = co_await OpenFor(&txn, name_, message_);
  if (!table.ok()) co_return table.status();
  auto row_key = RowKeyOf(**table, key);
  if (!row_key.ok()) co_return row_key.status();
  co_return co_await txn.Get(std::move(*row_key));
}

Task<Result<std::vector<Bytes>>> Rows::GetMany(Transaction& txn, std::vector<Key> keys) const {
  auto table = co_await OpenFor(&txn, name_, message_);
  if (!table.ok()) co_return table.status();
  std::vector<std::string> row_keys;
  for (const Key& key : keys) {
    auto row_key = RowKeyOf(**table, key);
    if (!row_key.ok()) co_return row_key.status();
    row_keys.push_back(std::move(*row_key));
  }
  co_return co_await txn.GetMany(std::move(row_keys));
}

Task<Status> Rows::Insert(Transaction& txn, std::string row) const {
  const Turns::Turn turn(&txn.tables().turns());
  co_await turn.Reached();
  auto table = co_await OpenFor(&txn, name_, message_);
  if (!table.ok()) co_return table.status();
  co_return co_await WriteRow(&txn, std::move(*table), std::move(row), Mode::kInsert);
}

Task<Status> Rows::Put(Transaction& txn, std::string row) const {
  const Turns::Turn turn(&txn.tables().turns());
  co_await turn.Reached();
  auto table = co_await OpenFor(&txn, name_, message_);
  if (!table.ok()) co_return table.status();
  co_return co_await WriteRow(&txn, std::move(*table), std::move(row), Mode::kPut);
}

Task<Status> Rows::Update(Transaction& txn, Key key, Change change) const {
  const Turns::Turn turn(&txn.tables().turns());
  co_await turn.Reached();
  auto table = co_await OpenFor(&txn, name_, message_);
  if (!table.ok()) co_return table.status();
  auto row_key = RowKeyOf(**table, key);
  if (!row_key.ok()) co_return row_key.status();
  auto before = co_await txn.Get(*row_key);
  if (!before.ok()) co_return before.status();
  if (!before->has_value()) co_return NoSuchRow();
  Result<std::string> after = change(**before);
  if (!after.ok()) co_return after.status();
  co_return co_await ChangeRow(&txn, std::move(*table), std::move(*before), std::move(*after));
}

Task<Status> Rows::Replace(Transaction& txn, Key key, std::string before, std::string after) const {
  const Turns::Turn turn(&txn.tables().turns());
  co_await turn.Reached();
  auto table = co_await OpenFor(&txn, name_, message_);
  if (!table.ok()) co_return table.status();
  auto row_key = RowKeyOf(**table, key);
  if (!row_key.ok()) co_return row_key.status();
  // All reads are of one snapshot: only the transaction itself can have changed it.
  const Bytes* own = txn.tables().Buffered(*row_key);
  if (own != nullptr && *own != before) {
    co_return Status(Code::kFailedPrecondition,
                     fmt::format("table {}: the closure of Update changed the row itself, by "
                                 "another call: change it through its argument alone",
                                 (*table)->codec.table()));
  }
  co_return co_await ChangeRow(&txn, std::move(*table), std::move(before), std::move(after));
}

Task<Result<bool>> Rows::Delete(Transaction& txn, Key key) const {
  const Turns::Turn turn(&txn.tables().turns());
  co_await turn.Reached();
  auto table = co_await OpenFor(&txn, name_, message_);
  if (!table.ok()) co_return table.status();
  auto row_key = RowKeyOf(**table, key);
  if (!row_key.ok()) co_return row_key.status();
  auto before = co_await txn.Get(*row_key);
  if (!before.ok()) co_return before.status();
  if (!before->has_value()) co_return false;
  const Status changed =
      co_await ChangeRow(&txn, std::move(*table), std::move(*before), std::nullopt);
  if (!changed.ok()) co_return changed;
  co_return true;
}

Task<Result<RowBytes>> Rows::Scan(Transaction& txn, RowRange range) const {
  auto table = co_await OpenFor(&txn, name_, message_);
  if (!table.ok()) co_return table.status();
  auto values = ValuesOf(**table, (*table)->descriptor.primary_key(), range.first);
  if (!values.ok()) co_return values.status();
  auto span = (*table)->codec.SpanOf(schema::kRowsId, *values);
  if (!span.ok()) co_return span.status();
  auto rest = RestOf(**table, std::move(*span), range);
  if (!rest.ok()) co_return rest.status();
  auto read = co_await ScanPart(&txn, std::move(*rest), std::move(range));
  if (!read.ok()) co_return read.status();
  RowBytes page;
  if (!read->all) page.cursor = read->rows.back().key;
  for (Row& row : read->rows) page.rows.push_back(std::move(row.value));
  co_return page;
}

Task<Result<RowBytes>> Rows::ScanIndex(Transaction& txn, std::string index, RowRange range) const {
  auto table = co_await OpenFor(&txn, name_, message_);
  if (!table.ok()) co_return table.status();
  auto found = FindIndex(**table, index);
  if (!found.ok()) co_return found.status();
  auto values = ValuesOf(**table, (*found)->columns(), range.first);
  if (!values.ok()) co_return values.status();
  const uint32_t id = (*found)->index_id();
  auto span = (*table)->codec.SpanOf(id, *values);
  if (!span.ok()) co_return span.status();
  auto rest = RestOf(**table, std::move(*span), range);
  if (!rest.ok()) co_return rest.status();
  auto read = co_await ScanPart(&txn, std::move(*rest), std::move(range));
  if (!read.ok()) co_return read.status();
  co_return co_await RowsOf(&txn, std::move(*table), id, std::move(*read));
}

Task<Result<Bytes>> Rows::GetByIndex(Transaction& txn, std::string index, Key values) const {
  auto table = co_await OpenFor(&txn, name_, message_);
  if (!table.ok()) co_return table.status();
  auto found = FindIndex(**table, index);
  if (!found.ok()) co_return found.status();
  const v1::IndexDescriptor& descriptor = **found;
  if (!descriptor.unique() || values.size() != static_cast<size_t>(descriptor.columns_size())) {
    co_return InvalidArgument(
        fmt::format("table {}: index {} is {}unique and has {} columns, {} values were given: a "
                    "row is found by "
                    "all columns of a unique index",
                    (*table)->codec.table(), index, descriptor.unique() ? "" : "not ",
                    descriptor.columns_size(), values.size()));
  }
  const auto is_null = [](const KeyPart& part) {
    return std::holds_alternative<std::nullptr_t>(part.value());
  };
  if (std::ranges::any_of(values, is_null)) {
    co_return InvalidArgument(
        fmt::format("table {}: index {}: several rows may have null: scan the index",
                    (*table)->codec.table(), index));
  }
  auto columns = ValuesOf(**table, descriptor.columns(), values);
  if (!columns.ok()) co_return columns.status();
  const uint32_t id = descriptor.index_id();
  auto span = (*table)->codec.SpanOf(id, *columns);
  if (!span.ok()) co_return span.status();
  // All columns are the whole key, so that what is not there is one absent key, and no range.
  auto entry = co_await txn.Get(span->from);
  if (!entry.ok()) co_return entry.status();
  if (!entry->has_value()) co_return Bytes();
  auto row_key = RowKeyOfEntry(**table, id, {span->from, std::move(**entry)});
  if (!row_key.ok()) co_return row_key.status();
  auto row = co_await txn.Get(std::move(*row_key));
  if (row.ok() && !row->has_value()) co_return NoRowOfEntry(**table, id);
  co_return row;
}

}  // namespace quorate::client
