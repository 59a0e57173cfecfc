#include "schema/compile_table.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/unknown_field_set.h>

#include <algorithm>
#include <set>

#include "base/bytes.h"
#include "quorate/options.pb.h"
#include "schema/descriptors.h"
#include "schema/path.h"
#include "schema/row_codec.h"

namespace quorate::schema {
namespace {

namespace pb = google::protobuf;

bool IsScalar(const pb::FieldDescriptor& field) { return field.message_type() == nullptr; }

class TableCompiler {
 public:
  TableCompiler(const pb::Descriptor& message, Problems* problems)
      : message_(message), problems_(problems) {
    spec_.file = message.file()->name();
    spec_.table.set_message(message.full_name());
  }

  TableSpec Run() {
    const size_t before = problems_->found();
    const TableOptions& options = message_.options().GetExtension(quorate::table);
    if (HasUnknownOptions(options)) Unknown("(quorate.table)");
    CheckName(options.name(), "name");
    spec_.table.set_name(options.name());
    if (!options.renamed_from().empty()) {
      CheckName(options.renamed_from(), "renamed_from");
      spec_.renamed_from = options.renamed_from();
    }
    if (message_.options().message_set_wire_format()) {
      Add("", "a MessageSet is no row", "make it a message with fields of its own");
    }
    Contents();
    PrimaryKey(options);
    Indexes(options);
    for (int i = 0; i < message_.field_count(); ++i) Field(*message_.field(i));
    if (static_cast<size_t>(spec_.table.constraints_size()) > kConstraintsMax) {
      Add("",
          fmt::format("{} constraints, {} at most", spec_.table.constraints_size(),
                      kConstraintsMax),
          "check some of it in the service");
    }
    if (problems_->found() == before) CheckWhole();
    return std::move(spec_);
  }

 private:
  void Add(std::string field, std::string reason, std::string fix) {
    problems_->Add(
        {spec_.file, message_.full_name(), std::move(field), std::move(reason), std::move(fix)});
  }
  void Unknown(std::string where) {
    Add(std::move(where), "has options that this version does not know", "upgrade quorate");
  }
  void CheckName(const std::string& name, std::string where) {
    if (IsName(name)) return;
    Add(std::move(where), fmt::format("\"{}\" is no name", Printable(name)),
        fmt::format("use 1 to {} of a-z, 0-9 and _, and begin with a letter", kNameBytesMax));
  }

  // What the row consists of, as the catalog keeps it.
  void Contents() {
    const auto reached = Reached(message_);
    if (reached.size() > kReachedMax) {
      return Add("", fmt::format("a row consists of more than {} messages", kReachedMax),
                 "keep what is seldom needed as bytes");
    }
    for (const pb::Descriptor* inner : reached) {
      if (inner == &message_ || inner->options().HasExtension(quorate::table)) continue;
      for (int i = 0; i < inner->field_count(); ++i) {
        if (!inner->field(i)->options().HasExtension(quorate::field)) continue;
        problems_->Add({inner->file()->name(), inner->full_name(), inner->field(i)->name(),
                        "has (quorate.field), and is inside of a row: nobody would keep to it",
                        "put constraints on fields of the table's own message"});
      }
    }
    spec_.table.set_files(ReducedFiles(reached));
    if (spec_.table.files().size() > kTableFilesBytesMax) {
      Add("",
          fmt::format("its descriptors have {} bytes, {} at most", spec_.table.files().size(),
                      kTableFilesBytesMax),
          "keep what is seldom needed as bytes");
    }
    for (int i = 0; i < message_.field_count(); ++i) {
      v1::RowField* field = spec_.table.add_fields();
      field->set_number(static_cast<uint32_t>(message_.field(i)->number()));
      field->set_name(message_.field(i)->name());
      const v1::Column column = ColumnOf(*message_.field(i));
      if (column.has_default_value()) field->set_default_value(column.default_value());
    }
    std::ranges::sort(*spec_.table.mutable_fields(), {}, &v1::RowField::number);
  }

  // Columns of a key, each once. What is wrong is told under `where`.
  template <class Texts, class Columns>
  void KeyColumns(const Texts& texts, ColumnUse use, const std::string& where, Columns* columns) {
    if (texts.empty()) return Add(where, "names no field", "name one at least");
    if (static_cast<size_t>(texts.size()) > kKeyColumnsMax) {
      return Add(where, fmt::format("names {} fields, {} at most", texts.size(), kKeyColumnsMax),
                 "leave some out");
    }
    std::set<std::string> seen, repeated;
    for (const std::string& text : texts) {
      auto column = ResolveKeyColumn(message_, text, use);
      if (!column.ok()) {
        Add(where, fmt::format("\"{}\": {}", Printable(text, 200), column.status().message()),
            "name fields of the message by path, with \" desc\" behind it if need be");
        continue;
      }
      if (!seen.insert(NumbersOf(column->column())).second) {
        Add(where, fmt::format("\"{}\" is named twice", Printable(text, 200)), "name it once");
      }
      if (std::string through = RepeatedPart(column->column()); !through.empty()) {
        repeated.insert(std::move(through));
      }
      *columns->Add() = std::move(column).value();
    }
    if (repeated.size() > 1) {
      Add(where, "has two repeated fields: a row would have an entry for each pair",
          "make two indexes");
    }
  }

  void PrimaryKey(const TableOptions& options) {
    KeyColumns(options.primary_key(), ColumnUse::kPrimaryKey, "primary_key",
               spec_.table.mutable_primary_key());
  }

  void Storing(const IndexOptions& options, const std::string& where, v1::IndexDescriptor* index) {
    if (static_cast<size_t>(options.storing_size()) > kStoringMax) {
      return Add(where,
                 fmt::format("stores {} fields, {} at most", options.storing_size(), kStoringMax),
                 "leave some out");
    }
    std::set<uint32_t> seen;
    for (const std::string& name : options.storing()) {
      const pb::FieldDescriptor* field = message_.FindFieldByName(name);
      if (field == nullptr) {
        Add(where, fmt::format("{} has no field \"{}\"", message_.full_name(), Printable(name)),
            "store fields of the message itself");
        continue;
      }
      if (!seen.insert(static_cast<uint32_t>(field->number())).second) {
        Add(where, fmt::format("stores {} twice", name), "name it once");
        continue;
      }
      v1::StoredField* stored = index->add_storing();
      stored->set_number(static_cast<uint32_t>(field->number()));
      stored->set_name(name);
      for (const uint32_t sibling : OneofSiblings(*field)) stored->add_oneof_siblings(sibling);
    }
    std::ranges::sort(*index->mutable_storing(), {}, &v1::StoredField::number);
  }

  void Indexes(const TableOptions& options) {
    if (static_cast<size_t>(options.index_size()) > kIndexesMax) {
      return Add("index", fmt::format("{} indexes, {} at most", options.index_size(), kIndexesMax),
                 "leave some out");
    }
    std::set<std::string> names, former;
    for (const IndexOptions& each : options.index()) {
      const std::string where = "index " + Printable(each.name());
      if (HasUnknownOptions(each)) Unknown(where);
      CheckName(each.name(), where);
      if (!names.insert(each.name()).second) {
        Add(where, "is described twice", "give one of both another name");
      }
      if (!each.renamed_from().empty()) {
        CheckName(each.renamed_from(), where + ": renamed_from");
        if (!former.insert(each.renamed_from()).second) {
          Add(where, fmt::format("two indexes were {}", Printable(each.renamed_from())),
              "say renamed_from in one of them");
        }
        spec_.indexes_renamed_from[each.name()] = each.renamed_from();
      }
      v1::IndexDescriptor* index = spec_.table.add_indexes();
      index->set_name(each.name());
      index->set_unique(each.unique());
      KeyColumns(each.fields(), ColumnUse::kIndex, where, index->mutable_columns());
      Storing(each, where, index);
    }
  }

  void Field(const pb::FieldDescriptor& field) {
    const FieldOptions& options = field.options().GetExtension(quorate::field);
    if (HasUnknownOptions(options)) Unknown(field.name());
    if (options.not_null() && !field.is_required()) NotNull(field);
    if (field.is_required()) AddConstraint(field, field.name() + "_not_null")->set_not_null(true);
    if (static_cast<size_t>(options.check_size()) > kChecksMax) {
      Add(field.name(), fmt::format("{} checks, {} at most", options.check_size(), kChecksMax),
          "leave some out");
      return;
    }
    for (const CheckOptions& check : options.check()) Check(field, check);
    if (options.has_default_value()) Default(field, options);
    if (!options.fill_from().empty()) FillFrom(field, options);
  }

  v1::ConstraintDescriptor* AddConstraint(const pb::FieldDescriptor& field,
                                          const std::string& name) {
    if (!constraint_names_.insert(name).second) {
      Add(field.name(), fmt::format("there are two constraints {}", Printable(name)),
          "give one of both another name");
    }
    v1::ConstraintDescriptor* constraint = spec_.table.add_constraints();
    constraint->set_name(name);
    *constraint->mutable_column() = ColumnOf(field);
    return constraint;
  }

  void NotNull(const pb::FieldDescriptor& field) {
    if (!field.has_presence()) {
      Add(field.name(), "is not_null, and cannot be null: it has no presence",
          field.is_repeated() ? "write check { size_at_least: 1 } if it must not be empty"
                              : "write `optional`, or a check of its value");
      return;
    }
    if (ColumnOf(field).has_default_value()) {
      Add(field.name(), "is not_null, and cannot be null: it has a default",
          "take one of both away");
      return;
    }
    AddConstraint(field, field.name() + "_not_null")->set_not_null(true);
  }

  void Check(const pb::FieldDescriptor& field, const CheckOptions& options) {
    const std::string where = field.name() + ": check " + Printable(options.name());
    if (HasUnknownOptions(options)) Unknown(where);
    CheckName(options.name(), where);
    if (!options.renamed_from().empty()) {
      CheckName(options.renamed_from(), where + ": renamed_from");
      spec_.constraints_renamed_from[options.name()] = options.renamed_from();
    }
    const bool values =
        options.has_at_least() || options.has_at_most() || options.one_of_size() > 0;
    const bool sizes = options.has_size_at_least() || options.has_size_at_most();
    if (!values && !sizes) return Add(where, "asks for nothing", "say what the value may be");
    if (values && (!IsScalar(field) || field.type() == pb::FieldDescriptor::TYPE_BOOL)) {
      return Add(where, "only numbers, strings, bytes and enums are compared with literals",
                 "check sizes, or fields inside of it in the service");
    }
    const bool text = field.cpp_type() == pb::FieldDescriptor::CPPTYPE_STRING;
    if (sizes && !field.is_repeated() && !text) {
      return Add(where, "only strings, bytes, repeated fields and maps have a size",
                 "compare the value with at_least and at_most");
    }
    if (static_cast<size_t>(options.one_of_size()) > kOneOfMax) {
      return Add(where,
                 fmt::format("{} values in one_of, {} at most", options.one_of_size(), kOneOfMax),
                 "make it an enum");
    }
    if (options.has_size_at_least() && options.has_size_at_most() &&
        options.size_at_least() > options.size_at_most()) {
      return Add(where, "no size is that large and that small", "exchange both");
    }
    v1::Check check;
    if (options.has_size_at_least()) check.set_size_at_least(options.size_at_least());
    if (options.has_size_at_most()) check.set_size_at_most(options.size_at_most());
    if (!Literals(field, options, where, &check)) return;
    *AddConstraint(field, options.name())->mutable_check() = std::move(check);
  }

  bool Literals(const pb::FieldDescriptor& field, const CheckOptions& options,
                const std::string& where, v1::Check* check) {
    const auto canonical = [&](const std::string& literal, std::string* out) {
      auto text = CanonicalLiteral(field, literal);
      if (!text.ok()) {
        Add(where, text.status().message(), "write a literal of the field's type");
        return false;
      }
      *out = std::move(text).value();
      return true;
    };
    if (options.has_at_least() && !canonical(options.at_least(), check->mutable_at_least())) {
      return false;
    }
    if (options.has_at_most() && !canonical(options.at_most(), check->mutable_at_most())) {
      return false;
    }
    std::set<std::string> values;
    for (const std::string& literal : options.one_of()) {
      std::string value;
      if (!canonical(literal, &value)) return false;
      values.insert(value);
    }
    for (const std::string& value : values) check->add_one_of(value);
    if (!check->has_at_least() || !check->has_at_most()) return true;
    const v1::ColumnType type = ColumnOf(field).type();
    const auto low = ParseLiteral(type, check->at_least());
    const auto high = ParseLiteral(type, check->at_most());
    if (!low.ok() || !high.ok() || Compare(*low, *high) <= 0) return true;
    Add(where, "no value is that large and that small", "exchange both");
    return false;
  }

  void Default(const pb::FieldDescriptor& field, const FieldOptions& options) {
    const auto wrong = [&](std::string reason, std::string fix) {
      Add(field.name() + ": default_value", std::move(reason), std::move(fix));
    };
    if (!IsScalar(field) || field.is_repeated()) {
      return wrong("only singular scalars and enums have defaults", "take it away");
    }
    if (!field.has_presence()) {
      return wrong("a field without presence is never absent", "write `optional`");
    }
    if (field.is_required()) return wrong("a required field is never absent", "take it away");
    if (field.real_containing_oneof() != nullptr) {
      return wrong("a member of a oneof has no default: another may be set", "take it away");
    }
    if (field.has_default_value()) {
      return wrong("there is a [default = ...] as well", "take one of both away");
    }
    auto literal = CanonicalLiteral(field, options.default_value());
    if (!literal.ok()) wrong(literal.status().message(), "write a literal of the field's type");
  }

  void FillFrom(const pb::FieldDescriptor& field, const FieldOptions& options) {
    const auto wrong = [&](std::string reason, std::string fix) {
      Add(field.name() + ": fill_from", std::move(reason), std::move(fix));
    };
    const pb::FieldDescriptor* from = message_.FindFieldByName(options.fill_from());
    if (from == nullptr || from == &field) {
      return wrong(fmt::format("there is no other field \"{}\"", Printable(options.fill_from())),
                   "name the field that this one replaces; take fill_from away once that is gone");
    }
    for (const pb::FieldDescriptor* side : {from, &field}) {
      const v1::Column column = ColumnOf(*side);
      if (!IsScalar(*side) || side->is_repeated() || side->real_containing_oneof() != nullptr) {
        return wrong(fmt::format("{} is no singular scalar outside of oneofs", side->name()),
                     "fill it in the service");
      }
      if (column.has_default_value()) {
        return wrong(fmt::format("{} has a default, which fills do not see", side->name()),
                     "take the default away");
      }
      if (!filled_.insert(side->number()).second) {
        return wrong(fmt::format("{} takes part in another fill", side->name()),
                     "replace one field at a time");
      }
      for (const v1::KeyColumn& key : spec_.table.primary_key()) {
        if (NumbersOf(key.column()) != NumbersOf(column)) continue;
        return wrong(fmt::format("{} is in the primary key", side->name()),
                     "make a new table, and copy the rows");
      }
    }
    if (!field.has_presence()) return wrong("the new field has no presence", "write `optional`");
    v1::FillDescriptor fill;
    *fill.mutable_from() = ColumnOf(*from);
    *fill.mutable_to() = ColumnOf(field);
    if (!Convertible(fill.from().type(), fill.to().type())) {
      return wrong(
          fmt::format("a {} cannot be made a {} and back", from->type_name(), field.type_name()),
          "fill it in the service");
    }
    *spec_.table.add_fills() = std::move(fill);
    if (spec_.table.fills_size() > static_cast<int>(kFillsMax)) {
      wrong(fmt::format("{} fills at most", kFillsMax), "replace some fields later");
    }
  }

  // Whoever writes rows will make a codec of this table, so one is made here: what both see
  // differently is told now, and to whom it concerns.
  void CheckWhole() {
    v1::TableDescriptor table = spec_.table;
    table.set_table_id(1);
    uint32_t id = 0;
    for (auto& index : *table.mutable_indexes()) {
      index.set_index_id(++id);
      index.set_state(v1::INDEX_PUBLIC);
    }
    for (auto& constraint : *table.mutable_constraints()) constraint.set_constraint_id(++id);
    for (auto& fill : *table.mutable_fills()) fill.set_state(v1::FILL_PUBLIC);
    if (const auto codec = RowCodec::Make(table); !codec.ok()) {
      Add("", codec.status().message(), "change the options or the default that it names");
    }
  }

  const pb::Descriptor& message_;
  Problems* problems_;
  TableSpec spec_;
  std::set<std::string> constraint_names_;
  std::set<int> filled_;
};

}  // namespace

bool IsName(std::string_view name) {
  const auto letter = [](char c) { return c >= 'a' && c <= 'z'; };
  return !name.empty() && name.size() <= kNameBytesMax && letter(name.front()) &&
         std::ranges::all_of(
             name, [&](char c) { return letter(c) || (c >= '0' && c <= '9') || c == '_'; });
}

bool HasUnknownOptions(const pb::Message& options) {
  return !options.GetReflection()->GetUnknownFields(options).empty();
}

TableSpec CompileTable(const pb::Descriptor& message, Problems* problems) {
  return TableCompiler(message, problems).Run();
}

}  // namespace quorate::schema
