// A codec from a table's descriptor, which is judged here.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/bytes.h"
#include "base/status_macros.h"
#include "schema/path.h"
#include "schema/row_codec.h"

namespace quorate::schema {
namespace {

Status InTable(const v1::TableDescriptor& table, const Status& status) {
  if (status.ok()) return status;
  return InvalidArgument(fmt::format("table {} (id {}, version {}): {}", Printable(table.name()),
                                     table.table_id(), table.version(), status.message()));
}

bool IsRepeated(const v1::Column& column) {
  return std::ranges::any_of(column.steps(), [](const auto& step) { return step.repeated(); });
}

Status CheckSide(const v1::Column& column) {
  if (column.steps_size() != 1 || IsRepeated(column)) {
    return InvalidArgument("is no single field of the row itself");
  }
  if (!column.steps(0).oneof_siblings().empty()) return InvalidArgument("is in a oneof");
  return Status::Ok();
}

Result<Fill> MakeFill(const v1::FillDescriptor& descriptor, RowReader* reader) {
  Fill fill;
  fill.id = descriptor.fill_id();
  for (const bool older : {true, false}) {
    const v1::Column& column = older ? descriptor.from() : descriptor.to();
    FillSide& side = older ? fill.from : fill.to;
    Status checked = CheckSide(column);
    auto place = checked.ok() ? reader->AddColumn(column) : Result<size_t>(std::move(checked));
    if (!place.ok()) {
      return InvalidArgument(fmt::format("fill {}: {}: {}", fill.id, Printable(column.path()),
                                         place.status().message()));
    }
    side = {*place, column.path(), column.steps(0).number(), column.type(), column.has_presence()};
  }
  if (!fill.to.has_presence || fill.from.number == fill.to.number ||
      !Convertible(fill.from.type, fill.to.type)) {
    return InvalidArgument(fmt::format("fill {}: {} and {} cannot be one value", fill.id,
                                       Printable(fill.from.path), Printable(fill.to.path)));
  }
  return fill;
}

// What a fill writes must not move a row away from the key at which it was read.
template <class Columns>
Status CheckOutsideKey(const Fill& fill, const Columns& primary_key) {
  for (const v1::KeyColumn& key : primary_key) {
    const uint32_t number = key.column().steps(0).number();
    if (number != fill.from.number && number != fill.to.number) continue;
    return InvalidArgument(
        fmt::format("fill {}: {} is in the primary key", fill.id, Printable(key.column().path())));
  }
  return Status::Ok();
}

template <class Descriptors>
Status CheckCount(const Descriptors& of, size_t most, const char* what) {
  if (static_cast<size_t>(of.size()) <= most) return Status::Ok();
  return InvalidArgument(fmt::format("has {} {}, {} at most", of.size(), what, most));
}

Status CheckCounts(const v1::TableDescriptor& table) {
  if (table.table_id() == 0) return InvalidArgument("has no id");
  if (table.primary_key().empty()) return InvalidArgument("has no primary key");
  RETURN_IF_ERROR(CheckCount(table.primary_key(), kKeyColumnsMax, "columns in its primary key"));
  RETURN_IF_ERROR(CheckCount(table.indexes(), kIndexesKeptMax, "indexes"));
  RETURN_IF_ERROR(CheckCount(table.constraints(), kConstraintsMax, "constraints"));
  return CheckCount(table.fills(), kFillsMax, "fills");
}

}  // namespace

Result<RowCodec> RowCodec::Make(const v1::TableDescriptor& table) {
  RowCodec codec;
  codec.name_ = table.name();
  codec.table_id_ = table.table_id();
  codec.version_ = table.version();
  RETURN_IF_ERROR(InTable(table, CheckCounts(table)));
  for (const v1::KeyColumn& column : table.primary_key()) {
    RETURN_IF_ERROR(InTable(table, codec.AddKeyColumn(column, &codec.primary_key_)));
    if (!codec.primary_key_.back().repeated.empty()) {
      return InTable(table, InvalidArgument("its primary key has a repeated column"));
    }
  }
  for (const v1::IndexDescriptor& index : table.indexes()) {
    RETURN_IF_ERROR(InTable(table, codec.AddIndex(index)));
  }
  std::ranges::sort(codec.indexes_, {}, &Index::id);
  if (std::ranges::adjacent_find(codec.indexes_, {}, &Index::id) != codec.indexes_.end()) {
    return InTable(table, InvalidArgument("two indexes have one id"));
  }
  for (const v1::ConstraintDescriptor& constraint : table.constraints()) {
    RETURN_IF_ERROR(InTable(table, codec.AddConstraint(constraint)));
  }
  std::ranges::sort(codec.constraints_, {}, &Constraint::id);
  for (const v1::FillDescriptor& descriptor : table.fills()) {
    if (descriptor.state() == v1::FILL_ABSENT) continue;
    auto fill = MakeFill(descriptor, &codec.reader_);
    if (!fill.ok()) return InTable(table, fill.status());
    RETURN_IF_ERROR(InTable(table, CheckOutsideKey(*fill, table.primary_key())));
    codec.fills_.push_back(std::move(fill).value());
  }
  return codec;
}

Status RowCodec::AddKeyColumn(const v1::KeyColumn& column, std::vector<KeyColumn>* columns) {
  ASSIGN_OR_RETURN(const size_t place, reader_.AddColumn(column.column()));
  const v1::ColumnType type = column.column().type();
  if (KindOf(type) == Kind::kPresent) {
    return InvalidArgument(
        fmt::format("column {}: a message is in no key", Printable(column.column().path())));
  }
  columns->push_back(
      {place,
       {KindOf(type), IsNarrow(type), column.descending() ? Order::kDescending : Order::kAscending},
       column.column().path(),
       RepeatedPart(column.column())});
  return Status::Ok();
}

Status RowCodec::AddIndex(const v1::IndexDescriptor& descriptor) {
  const auto wrong = [&](std::string_view why) {
    return InvalidArgument(fmt::format("index {} (id {}): {}", Printable(descriptor.name()),
                                       descriptor.index_id(), why));
  };
  Index index;
  index.id = descriptor.index_id();
  index.name = descriptor.name();
  index.unique = descriptor.unique();
  index.state = descriptor.state();
  if (index.id == 0) return wrong("has no id");
  if (!v1::IndexState_IsValid(index.state)) return wrong("is in a state that this version lacks");
  if (descriptor.columns().empty()) return wrong("has no columns");
  Status counted = CheckCount(descriptor.columns(), kKeyColumnsMax, "columns");
  if (counted.ok()) counted = CheckCount(descriptor.storing(), kStoringMax, "stored fields");
  if (!counted.ok()) return wrong(counted.message());
  for (const v1::KeyColumn& column : descriptor.columns()) {
    if (Status status = AddKeyColumn(column, &index.columns); !status.ok()) {
      return wrong(status.message());
    }
  }
  std::set<std::string> repeated;
  for (const KeyColumn& column : index.columns) {
    if (!column.repeated.empty()) repeated.insert(column.repeated);
  }
  if (repeated.size() > 1) return wrong("has two repeated columns");
  for (const v1::StoredField& field : descriptor.storing()) {
    if (Status status = reader_.AddStored(field); !status.ok()) return wrong(status.message());
    index.storing.push_back(field.number());
  }
  std::ranges::sort(index.storing);
  indexes_.push_back(std::move(index));
  return Status::Ok();
}

Status RowCodec::AddConstraint(const v1::ConstraintDescriptor& descriptor) {
  const auto wrong = [&](std::string_view why) {
    return InvalidArgument(fmt::format("constraint {} (id {}): {}", Printable(descriptor.name()),
                                       descriptor.constraint_id(), why));
  };
  Constraint constraint;
  constraint.id = descriptor.constraint_id();
  constraint.name = descriptor.name();
  constraint.path = descriptor.column().path();
  constraint.enforced = descriptor.state() != v1::CONSTRAINT_ABSENT;
  constraint.not_null = descriptor.not_null();
  constraint.repeated = IsRepeated(descriptor.column());
  if (constraint.id == 0) return wrong("has no id");
  if (descriptor.not_null() == descriptor.has_check()) return wrong("is not one of both kinds");
  if (constraint.not_null && constraint.repeated) return wrong("a repeated column is never null");
  auto place = reader_.AddColumn(descriptor.column());
  if (!place.ok()) return wrong(place.status().message());
  constraint.column = *place;
  const v1::ColumnType type = descriptor.column().type();
  const v1::Check& check = descriptor.check();
  std::string unreadable;
  const auto literal = [&](const std::string& text) -> std::optional<Value> {
    auto value = ParseLiteral(type, text);
    if (value.ok()) return std::move(value).value();
    unreadable = value.status().message();
    return std::nullopt;
  };
  if (check.has_at_least()) constraint.at_least = literal(check.at_least());
  if (check.has_at_most()) constraint.at_most = literal(check.at_most());
  if (check.one_of_size() > static_cast<int>(kOneOfMax)) return wrong("has too many values");
  for (const std::string& text : check.one_of()) {
    constraint.one_of.push_back(literal(text).value_or(Value()));
  }
  if (!unreadable.empty()) return wrong(unreadable);
  std::ranges::sort(constraint.one_of,
                    [](const Value& a, const Value& b) { return Compare(a, b) < 0; });
  if (check.has_size_at_least()) constraint.size_at_least = check.size_at_least();
  if (check.has_size_at_most()) constraint.size_at_most = check.size_at_most();
  constraints_.push_back(std::move(constraint));
  return Status::Ok();
}

}  // namespace quorate::schema
