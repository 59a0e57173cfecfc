#include "schema/catalog.h"

#include <fmt/format.h>
#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <set>

#include "base/bytes.h"
#include "base/status_macros.h"
#include "schema/limits.h"
#include "schema/row_codec.h"
#include "schema/table_plan.h"

namespace quorate::schema {
namespace {

// Of one table in one change: versions must never run out.
constexpr uint64_t kVersionsAtOnceMax = 1'000;

// What of a table decides how rows are written and found, and nothing else.
v1::TableDescriptor Essence(v1::TableDescriptor table) {
  table.clear_version();
  table.clear_message();
  table.clear_files();
  table.clear_fields();
  table.clear_next_element_id();
  const auto clear_path = [](v1::KeyColumn& column) { column.mutable_column()->clear_path(); };
  std::ranges::for_each(*table.mutable_primary_key(), clear_path);
  for (v1::IndexDescriptor& index : *table.mutable_indexes()) {
    std::ranges::for_each(*index.mutable_columns(), clear_path);
    for (v1::StoredField& field : *index.mutable_storing()) field.clear_name();
  }
  for (v1::ConstraintDescriptor& constraint : *table.mutable_constraints()) {
    constraint.clear_name();
    constraint.mutable_column()->clear_path();
  }
  for (v1::FillDescriptor& fill : *table.mutable_fills()) {
    fill.mutable_from()->clear_path();
    fill.mutable_to()->clear_path();
  }
  return table;
}

bool IsName(std::string_view name) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  };
  return !name.empty() && name.size() <= kNameBytesMax && name[0] >= 'a' && name[0] <= 'z' &&
         std::ranges::all_of(name, fits);
}

// A table is made whole: with no row, there is nothing to be filled in.
Status CheckStates(const v1::TableDescriptor& table) {
  const auto wrong = [&](std::string_view element) {
    return InvalidArgument(fmt::format("table {}: {} is in no state that a table can begin with",
                                       table.name(), element));
  };
  if (table.state() != v1::TABLE_PUBLIC) return wrong("it");
  std::set<std::string> names;
  for (const v1::IndexDescriptor& index : table.indexes()) {
    if (!IsName(index.name())) return wrong("an index without a name");
    if (index.state() != v1::INDEX_PUBLIC) return wrong("index " + index.name());
    if (names.insert(index.name()).second) continue;
    return InvalidArgument(fmt::format("table {}: two indexes {}", table.name(), index.name()));
  }
  for (const v1::ConstraintDescriptor& constraint : table.constraints()) {
    if (!IsName(constraint.name())) return wrong("a constraint without a name");
    if (constraint.state() != v1::CONSTRAINT_PUBLIC)
      return wrong("constraint " + constraint.name());
  }
  for (const v1::FillDescriptor& fill : table.fills()) {
    if (fill.state() != v1::FILL_PUBLIC) return wrong("a fill");
  }
  return Status::Ok();
}

}  // namespace

bool WrittenAlike(const v1::TableDescriptor& a, const v1::TableDescriptor& b) {
  return google::protobuf::util::MessageDifferencer::Equals(Essence(a), Essence(b));
}

std::string WhyNotYet(const v1::Catalog& catalog, const v1::Step& step) {
  switch (step.kind()) {
    case v1::STEP_CREATE_TABLE:
    case v1::STEP_RENAME_CONSTRAINT:
      return "";
    case v1::STEP_CHANGE_MESSAGE: {
      const auto at =
          std::ranges::find(catalog.tables(), step.table_id(), &v1::TableDescriptor::table_id);
      if (at == catalog.tables().end()) return "the table is not there";
      v1::TableDescriptor after = *at;
      ApplyMessage(step.changed(), &after);
      if (WrittenAlike(*at, after)) return "";
      return "it changes what a key, an index or a constraint is made of, and programs that go by "
             "the version before are not kept out yet";
    }
    case v1::STEP_RENAME_TABLE:
    case v1::STEP_RENAME_INDEX:
      return "programs that know the former name would not find it";
    case v1::STEP_DROP_TABLE:
    case v1::STEP_DROP_INDEX:
    case v1::STEP_DROP_CONSTRAINT:
    case v1::STEP_DROP_FILL:
      return "nothing of a table can be dropped yet";
    default:
      return "nothing can be added to a table that is there yet: rows that are there would have to "
             "be read, and programs that go by the version before kept out";
  }
}

v1::CatalogChange ChangeBetween(const v1::Catalog& before, const v1::Catalog& after) {
  std::map<uint32_t, uint64_t> versions;
  for (const v1::TableDescriptor& table : before.tables()) {
    versions[table.table_id()] = table.version();
  }
  v1::CatalogChange change;
  change.set_version(before.version());
  for (const v1::TableDescriptor& table : after.tables()) {
    const auto had = versions.find(table.table_id());
    if (had != versions.end() && had->second == table.version()) continue;
    *change.add_tables() = table;
  }
  return change;
}

const v1::TableDescriptor* Catalog::Find(std::string_view name) const {
  const auto at = by_name_.find(name);
  return at == by_name_.end() ? nullptr : &tables_.at(at->second);
}

Status Catalog::CheckVersion(const v1::CatalogChange& change) const {
  if (change.version() == version_) return Status::Ok();
  return {Code::kFailedPrecondition,
          fmt::format("the change was made against version {} of the catalog, which is at {} now: "
                      "make it again",
                      change.version(), version_)};
}

Status Catalog::CheckTable(const v1::TableDescriptor& table) const {
  if (!IsName(table.name())) {
    return InvalidArgument(
        fmt::format("'{}' is no name of a table: 1 to {} of a-z, 0-9 and _, a letter first",
                    Printable(table.name()).substr(0, kNameBytesMax), kNameBytesMax));
  }
  const auto at = tables_.find(table.table_id());
  const v1::TableDescriptor* named = Find(table.name());
  if (named != nullptr && named->table_id() != table.table_id()) {
    return InvalidArgument(fmt::format("there is a table {} already", table.name()));
  }
  if (table.files().size() > kTableFilesBytesMax || table.ByteSizeLong() > kTableBytesMax) {
    return InvalidArgument(fmt::format("table {}: its descriptor has {} bytes, {} at most",
                                       table.name(), table.ByteSizeLong(), kTableBytesMax));
  }
  RETURN_IF_ERROR(CheckStates(table));
  RETURN_IF_ERROR(RowCodec::Make(table).status());
  if (at == tables_.end()) {
    if (table.version() == 1) return Status::Ok();
    return InvalidArgument(fmt::format("table {}: a new table has version 1", table.name()));
  }
  if (table.version() <= at->second.version()) {
    return InvalidArgument(
        fmt::format("table {}: it has version {} already", table.name(), at->second.version()));
  }
  if (table.version() - at->second.version() > kVersionsAtOnceMax) {
    return InvalidArgument(fmt::format("table {}: it has version {}, and cannot have {} next",
                                       table.name(), at->second.version(), table.version()));
  }
  if (WrittenAlike(at->second, table)) return Status::Ok();
  return {Code::kFailedPrecondition,
          fmt::format("table {}: rows would be written in another way, and programs that go by the "
                      "version before are not kept out yet; nothing was changed",
                      table.name())};
}

Status Catalog::Check(const v1::CatalogChange& change) const {
  RETURN_IF_ERROR(CheckVersion(change));
  if (change.tables().empty()) return InvalidArgument("a change of nothing");
  if (change.ByteSizeLong() > kChangeBytesMax) {
    return InvalidArgument(
        fmt::format("a change of {} bytes, {} at most: apply files with fewer tables each",
                    change.ByteSizeLong(), kChangeBytesMax));
  }
  size_t bytes = bytes_;
  size_t tables = tables_.size();
  uint32_t next = next_table_id_;
  uint32_t previous = 0;
  std::set<std::string> names;
  for (const v1::TableDescriptor& table : change.tables()) {
    if (table.table_id() <= previous) return InvalidArgument("tables are sorted by id, each once");
    previous = table.table_id();
    if (!names.insert(table.name()).second) {
      return InvalidArgument(fmt::format("two tables {}", Printable(table.name())));
    }
    RETURN_IF_ERROR(CheckTable(table));
    const auto at = tables_.find(table.table_id());
    if (at == tables_.end() && table.table_id() != next) {
      return InvalidArgument(
          fmt::format("table {}: the next id is {}, not {}", table.name(), next, table.table_id()));
    }
    if (at == tables_.end()) ++next;
    bytes += table.ByteSizeLong();
    tables += at == tables_.end() ? 1 : 0;
    if (at != tables_.end()) bytes -= at->second.ByteSizeLong();
  }
  if (tables > kTablesMax) {
    return InvalidArgument(fmt::format("{} tables: the limit is {}", tables, kTablesMax));
  }
  if (bytes <= kCatalogBytesMax) return Status::Ok();
  return InvalidArgument(fmt::format("all tables' descriptors would have {} bytes: the limit is {}",
                                     bytes, kCatalogBytesMax));
}

Status Catalog::Apply(const v1::CatalogChange& change) {
  RETURN_IF_ERROR(CheckVersion(change));
  ++version_;
  // A name may go from one table to another in one change.
  for (const v1::TableDescriptor& table : change.tables()) {
    if (const auto at = tables_.find(table.table_id()); at != tables_.end())
      by_name_.erase(at->second.name());
  }
  for (const v1::TableDescriptor& table : change.tables()) Put(table);
  return Status::Ok();
}

void Catalog::Put(v1::TableDescriptor table) {
  const uint32_t id = table.table_id();
  if (const auto at = tables_.find(id); at != tables_.end()) {
    bytes_ -= at->second.ByteSizeLong();
  }
  bytes_ += table.ByteSizeLong();
  by_name_[table.name()] = id;
  next_table_id_ = std::max(next_table_id_, id + 1);
  tables_[id] = std::move(table);
}

void Catalog::SetVersion(uint64_t version, uint32_t next_table_id) {
  version_ = version;
  next_table_id_ = std::max(next_table_id_, next_table_id);
}

bool Catalog::Load(v1::TableDescriptor table) {
  if (table.table_id() == 0 || tables_.contains(table.table_id())) return false;
  if (by_name_.contains(table.name())) return false;
  Put(std::move(table));
  return true;
}

}  // namespace quorate::schema
