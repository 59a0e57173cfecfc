#include "schema/table_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "schema/descriptors.h"
#include "schema/message_diff.h"
#include "schema/path.h"

namespace quorate::schema {
namespace {

bool SameValue(const v1::Column& a, const v1::Column& b) {
  return NumbersOf(a) == NumbersOf(b) && a.type() == b.type();
}

// What absent fields are in it.
bool SameAbsence(const v1::Column& a, const v1::Column& b) {
  return a.has_presence() == b.has_presence() && a.has_default_value() == b.has_default_value() &&
         a.default_value() == b.default_value();
}

// Paths and oneofs, which may change under an element that stays.
bool SameNames(const v1::Column& a, const v1::Column& b) {
  if (a.path() != b.path() || a.steps_size() != b.steps_size()) return false;
  return std::ranges::equal(a.steps(), b.steps(), [](const v1::PathStep& x, const v1::PathStep& y) {
    return std::ranges::equal(x.oneof_siblings(), y.oneof_siblings());
  });
}

template <class Columns>
bool SameKey(const Columns& a, const Columns& b) {
  return std::ranges::equal(a, b, [](const v1::KeyColumn& x, const v1::KeyColumn& y) {
    return x.descending() == y.descending() && SameValue(x.column(), y.column());
  });
}

bool Same(const v1::IndexDescriptor& a, const v1::IndexDescriptor& b) {
  return a.unique() == b.unique() && SameKey(a.columns(), b.columns()) &&
         std::ranges::equal(a.storing(), b.storing(), {}, &v1::StoredField::number,
                            &v1::StoredField::number);
}

bool Same(const v1::Check& a, const v1::Check& b) {
  return a.has_at_least() == b.has_at_least() && a.at_least() == b.at_least() &&
         a.has_at_most() == b.has_at_most() && a.at_most() == b.at_most() &&
         std::ranges::equal(a.one_of(), b.one_of()) &&
         a.has_size_at_least() == b.has_size_at_least() && a.size_at_least() == b.size_at_least() &&
         a.has_size_at_most() == b.has_size_at_most() && a.size_at_most() == b.size_at_most();
}

bool Same(const v1::ConstraintDescriptor& a, const v1::ConstraintDescriptor& b) {
  return SameValue(a.column(), b.column()) && a.not_null() == b.not_null() &&
         Same(a.check(), b.check());
}

uint32_t IdOf(const v1::IndexDescriptor& index) { return index.index_id(); }
uint32_t IdOf(const v1::ConstraintDescriptor& constraint) { return constraint.constraint_id(); }

// Which element of the catalog an element of the file is: by name, then by its former name.
template <class Element>
struct Matching {
  std::map<std::string, const Element*> of;  // name in the file -> in the catalog
  std::set<uint32_t> matched;                // ids
};

class TablePlanner {
 public:
  TablePlanner(const v1::TableDescriptor& table, const TableSpec& spec)
      : table_(table), spec_(spec), after_(spec.table) {}

  TablePlan Run() {
    if (const std::string why = UnderWay(table_); !why.empty()) {
      Refuse("", why, "apply the file again when that has ended, or end it");
      return std::move(plan_);
    }
    PrimaryKey();
    Message();
    const auto indexes =
        Match(table_.indexes(), after_.indexes(), spec_.indexes_renamed_from, "index ");
    const auto constraints = Match(table_.constraints(), after_.constraints(),
                                   spec_.constraints_renamed_from, "constraint ");
    Renames(indexes, after_.indexes(), v1::STEP_RENAME_INDEX, "index");
    Renames(constraints, after_.constraints(), v1::STEP_RENAME_CONSTRAINT, "constraint");
    DropConstraints(constraints);
    DropIndexes(indexes);
    DropFills();
    ChangeMessage(indexes, constraints);
    AddFills();
    AddIndexes(indexes);
    AddConstraints(constraints);
    if (!plan_.refusals.empty()) plan_.steps.clear();
    return std::move(plan_);
  }

 private:
  void Refuse(std::string element, std::string reason, std::string fix) {
    v1::Refusal refusal;
    refusal.set_table(after_.name());
    refusal.set_element(std::move(element));
    refusal.set_reason(std::move(reason));
    refusal.set_fix(std::move(fix));
    plan_.refusals.push_back(std::move(refusal));
  }

  v1::Step* Add(v1::StepKind kind, v1::StepEffect effect, std::string what) {
    v1::Step& step = plan_.steps.emplace_back();
    step.set_kind(kind);
    step.set_effect(effect);
    step.set_table(after_.name());
    step.set_table_id(table_.table_id());
    step.set_what(std::move(what));
    step.set_older_messages_fit(true);
    return &step;
  }

  void PrimaryKey() {
    const bool same = SameKey(table_.primary_key(), after_.primary_key());
    if (!same) {
      return Refuse("primary key",
                    fmt::format("it was {}, and is {}", Describe(table_.primary_key()),
                                Describe(after_.primary_key())),
                    "make a new table with the other key, and copy the rows");
    }
    for (int i = 0; i < after_.primary_key_size(); ++i) {
      Absence("primary key", table_.primary_key(i).column(), after_.primary_key(i).column());
    }
  }

  // Rows of before would have other values in this column, and nobody would write them anew.
  void Absence(const std::string& element, const v1::Column& before, const v1::Column& after) {
    if (SameAbsence(before, after)) return;
    const bool presence = before.has_presence() != after.has_presence();
    Refuse(element,
           fmt::format("{} of {} changed, on which it depends",
                       presence ? "presence" : "the default", after.path()),
           presence ? "leave `optional` as it was, or drop this first"
                    : "leave the default as it was, or drop this first");
  }

  void Message() {
    Problems problems;
    const auto before = Descriptors::Build(table_.files(), &problems);
    const auto after = Descriptors::Build(after_.files(), &problems);
    const auto* was = before == nullptr ? nullptr : before->FindMessage(table_.message());
    const auto* is = after == nullptr ? nullptr : after->FindMessage(after_.message());
    if (was == nullptr || is == nullptr) {
      return Refuse(
          "message " + (was == nullptr ? table_.message() : after_.message()),
          problems.empty() ? "it is not in its own files" : problems.list().front().ToString(),
          "upgrade quorate: another version wrote the catalog");
    }
    MessageDiff diff = Diff(*was, *is);
    for (const v1::Refusal& refusal : diff.refusals) {
      Refuse(refusal.element(), refusal.reason(), refusal.fix());
    }
    changes_ = std::move(diff.changes);
    std::map<uint32_t, const v1::RowField*> fields;
    for (const v1::RowField& field : table_.fields()) fields[field.number()] = &field;
    for (const v1::RowField& field : after_.fields()) {
      const auto at = fields.find(field.number());
      if (at == fields.end()) continue;
      const auto text = [](const v1::RowField& of) {
        return of.has_default_value() ? "\"" + of.default_value() + "\"" : "none";
      };
      // Those of proto2 are in the messages, and told there.
      const std::string line =
          fmt::format("{}.{} = {}: default was {}, is {}", after_.message(), field.name(),
                      field.number(), text(*at->second), text(field));
      if (text(*at->second) != text(field) && !Told(field)) changes_.push_back(line);
    }
  }

  bool Told(const v1::RowField& field) const {
    const std::string begin =
        fmt::format("{}.{} = {}: default was", after_.message(), field.name(), field.number());
    return std::ranges::any_of(changes_, [&](const auto& line) { return line.starts_with(begin); });
  }

  template <class Elements, class Element = typename Elements::value_type>
  Matching<Element> Match(const Elements& before, const Elements& after,
                          const std::map<std::string, std::string>& renamed_from,
                          const std::string& what) {
    Matching<Element> matching;
    std::map<std::string, const Element*> were;
    std::set<std::string> are;
    for (const Element& element : before) {
      if (!IsRetired(element)) were[element.name()] = &element;
    }
    for (const Element& element : after) are.insert(element.name());
    for (const Element& element : after) {
      auto at = were.find(element.name());
      if (at == were.end()) {
        const auto former = renamed_from.find(element.name());
        if (former == renamed_from.end()) {
          const Element* same = SameUnnamed(before, element, are);
          if (same == nullptr) continue;
          matching.of[element.name()] = same;
          matching.matched.insert(IdOf(*same));
          continue;
        }
        at = were.find(former->second);
        if (at == were.end()) continue;
        if (are.contains(former->second)) {
          Refuse(what + element.name(),
                 fmt::format("it is renamed from {}, which is in the file as well", former->second),
                 "take renamed_from away, or the other one");
          continue;
        }
      }
      matching.of[element.name()] = at->second;
      matching.matched.insert(IdOf(*at->second));
    }
    return matching;
  }
  // Nobody gave a not-null constraint its name: it is the one of its field.
  static const v1::ConstraintDescriptor* SameUnnamed(
      const google::protobuf::RepeatedPtrField<v1::ConstraintDescriptor>& before,
      const v1::ConstraintDescriptor& element, const std::set<std::string>& are) {
    if (!element.not_null()) return nullptr;
    for (const v1::ConstraintDescriptor& was : before) {
      if (was.not_null() && !are.contains(was.name()) &&
          SameValue(was.column(), element.column())) {
        return &was;
      }
    }
    return nullptr;
  }
  static const v1::IndexDescriptor* SameUnnamed(
      const google::protobuf::RepeatedPtrField<v1::IndexDescriptor>&, const v1::IndexDescriptor&,
      const std::set<std::string>&) {
    return nullptr;
  }
  static bool IsRetired(const v1::IndexDescriptor& index) {
    return index.state() == v1::INDEX_RETIRED;
  }
  static bool IsRetired(const v1::ConstraintDescriptor&) { return false; }

  template <class M, class Elements>
  void Renames(const M& matching, const Elements& after, v1::StepKind kind, const char* what) {
    for (const auto& element : after) {
      const auto at = matching.of.find(element.name());
      if (at == matching.of.end() || at->second->name() == element.name()) continue;
      v1::Step* step =
          Add(kind, v1::EFFECT_INSTANT,
              fmt::format("rename {} {} to {}", what, at->second->name(), element.name()));
      step->set_element_id(IdOf(*at->second));
      step->set_name(element.name());
    }
  }

  void DropConstraints(const Matching<v1::ConstraintDescriptor>& matching) {
    for (const v1::ConstraintDescriptor& constraint : table_.constraints()) {
      if (matching.matched.contains(constraint.constraint_id())) continue;
      Add(v1::STEP_DROP_CONSTRAINT, v1::EFFECT_INSTANT, "drop constraint " + Describe(constraint))
          ->set_element_id(constraint.constraint_id());
    }
  }

  void DropIndexes(const Matching<v1::IndexDescriptor>& matching) {
    for (const v1::IndexDescriptor& index : table_.indexes()) {
      if (IsRetired(index) || matching.matched.contains(index.index_id())) continue;
      Add(v1::STEP_DROP_INDEX, v1::EFFECT_DELETES_LATER, "drop index " + Describe(index))
          ->set_element_id(index.index_id());
    }
  }

  static const v1::FillDescriptor* SameFill(
      const google::protobuf::RepeatedPtrField<v1::FillDescriptor>& fills,
      const v1::FillDescriptor& fill) {
    const auto at = std::ranges::find_if(fills, [&](const v1::FillDescriptor& other) {
      return SameValue(other.from(), fill.from()) && SameValue(other.to(), fill.to());
    });
    return at == fills.end() ? nullptr : &*at;
  }

  bool HasField(uint32_t number) const {
    return std::ranges::any_of(after_.fields(),
                               [&](const auto& field) { return field.number() == number; });
  }

  void DropFills() {
    for (const v1::FillDescriptor& fill : table_.fills()) {
      if (SameFill(after_.fills(), fill) != nullptr) continue;
      Add(v1::STEP_DROP_FILL, v1::EFFECT_INSTANT,
          HasField(fill.from().steps(0).number())
              ? fmt::format("end the fill of {} from {}", fill.to().path(), fill.from().path())
              : fmt::format("{} takes over from {}", fill.to().path(), fill.from().path()))
          ->set_element_id(fill.fill_id());
      // Binaries of before write the one that is gone alone, and nobody writes the other for them.
      older_messages_fit_ &= HasField(fill.from().steps(0).number());
      older_messages_fit_ &= HasField(fill.to().steps(0).number());
    }
  }

  void AddFills() {
    for (const v1::FillDescriptor& fill : after_.fills()) {
      if (SameFill(table_.fills(), fill) != nullptr) continue;
      const uint32_t to = fill.to().steps(0).number();
      if (std::ranges::any_of(table_.fields(), [&](const auto& f) { return f.number() == to; })) {
        Refuse("field " + fill.to().path(),
               "it was there before, so rows may have both fields, and not the same in both",
               "let a new field take over");
        continue;
      }
      *Add(v1::STEP_ADD_FILL, v1::EFFECT_BACKFILL,
           fmt::format("fill {} from {}", fill.to().path(), fill.from().path()))
           ->mutable_fill() = fill;
    }
  }

  // All that a new message makes of what stays. Rows and entries are the same under it.
  template <class M, class Elements, class Put>
  bool Moved(const M& matching, const Elements& after, Put put) {
    bool moved = false;
    for (const auto& element : after) {
      const auto at = matching.of.find(element.name());
      if (at != matching.of.end()) moved |= put(*at->second, element);
    }
    return moved;
  }

  void ChangeMessage(const Matching<v1::IndexDescriptor>& indexes,
                     const Matching<v1::ConstraintDescriptor>& constraints) {
    v1::TableDescriptor changed;
    changed.set_message(after_.message());
    changed.set_files(after_.files());
    *changed.mutable_fields() = after_.fields();
    for (const v1::RowField& field : table_.fields()) {
      if (HasField(field.number())) continue;
      v1::RowField* gone = changed.add_fields();
      *gone = field;
      if (field.state() == v1::FIELD_PUBLIC) gone->set_state(v1::FIELD_HIDDEN);
    }
    std::ranges::sort(*changed.mutable_fields(), {}, &v1::RowField::number);
    *changed.mutable_primary_key() = after_.primary_key();
    bool moved = !std::ranges::equal(
        table_.primary_key(), after_.primary_key(),
        [](const auto& a, const auto& b) { return SameNames(a.column(), b.column()); });
    moved |= Moved(indexes, after_.indexes(), [&](const auto& was, const auto& is) {
      if (!Same(was, is)) return false;  // it is replaced
      for (int i = 0; i < is.columns_size(); ++i) {
        Absence("index " + is.name(), was.columns(i).column(), is.columns(i).column());
      }
      v1::IndexDescriptor* kept = changed.add_indexes();
      *kept = is;
      kept->set_index_id(was.index_id());
      return !std::ranges::equal(was.columns(), is.columns(), [](const auto& a, const auto& b) {
        return SameNames(a.column(), b.column());
      }) || !std::ranges::equal(was.storing(), is.storing(), [](const auto& a, const auto& b) {
        return a.name() == b.name() && std::ranges::equal(a.oneof_siblings(), b.oneof_siblings());
      });
    });
    moved |= Moved(constraints, after_.constraints(), [&](const auto& was, const auto& is) {
      if (!Same(was, is)) return false;
      Absence("constraint " + is.name(), was.column(), is.column());
      v1::ConstraintDescriptor* kept = changed.add_constraints();
      *kept = is;
      kept->set_constraint_id(was.constraint_id());
      return !SameNames(was.column(), is.column());
    });
    for (const v1::FillDescriptor& fill : table_.fills()) {
      const v1::FillDescriptor* is = SameFill(after_.fills(), fill);
      if (is == nullptr) continue;
      v1::FillDescriptor* kept = changed.add_fills();
      *kept = *is;
      kept->set_fill_id(fill.fill_id());
      moved |= !SameNames(fill.from(), is->from()) || !SameNames(fill.to(), is->to());
    }
    if (changes_.empty() && !moved) return;
    v1::Step* step =
        Add(v1::STEP_CHANGE_MESSAGE, v1::EFFECT_INSTANT, "change message " + after_.message());
    for (std::string& line : changes_) step->add_details(std::move(line));
    step->set_older_messages_fit(older_messages_fit_);
    *step->mutable_changed() = std::move(changed);
  }

  void AddIndexes(const Matching<v1::IndexDescriptor>& matching) {
    size_t kept = static_cast<size_t>(table_.indexes_size());
    for (const v1::IndexDescriptor& index : after_.indexes()) {
      const auto at = matching.of.find(index.name());
      if (at != matching.of.end()) {
        if (Same(*at->second, index)) continue;
        ++kept;
        v1::Step* step =
            Add(v1::STEP_REPLACE_INDEX, v1::EFFECT_BACKFILL,
                fmt::format("replace index {} by {}", Describe(*at->second), Describe(index)));
        step->set_element_id(at->second->index_id());
        *step->mutable_index() = index;
        continue;
      }
      if (Restored(index)) continue;
      ++kept;
      *Add(v1::STEP_ADD_INDEX, v1::EFFECT_BACKFILL, "add index " + Describe(index))
           ->mutable_index() = index;
    }
    if (kept > kIndexesKeptMax) {
      Refuse("",
             fmt::format("it would have {} indexes for a while, {} at most", kept, kIndexesKeptMax),
             "apply the changes in two files");
    }
  }

  // Whether it is one that was dropped and is still there.
  bool Restored(const v1::IndexDescriptor& index) {
    for (const v1::IndexDescriptor& retired : table_.indexes()) {
      if (!IsRetired(retired) || retired.name() != index.name()) continue;
      if (!Same(retired, index)) {
        Refuse("index " + index.name(),
               "one of that name was dropped, can still be taken back, and is another one",
               "give the new one another name, or end the time in which it can be taken back");
      } else {
        Add(v1::STEP_RESTORE_INDEX, v1::EFFECT_INSTANT, "restore index " + Describe(index))
            ->set_element_id(retired.index_id());
      }
      return true;
    }
    return false;
  }

  void AddConstraints(const Matching<v1::ConstraintDescriptor>& matching) {
    for (const v1::ConstraintDescriptor& constraint : after_.constraints()) {
      const auto at = matching.of.find(constraint.name());
      const bool replaced = at != matching.of.end();
      if (replaced && Same(*at->second, constraint)) continue;
      v1::Step* step = replaced ? Add(v1::STEP_REPLACE_CONSTRAINT, v1::EFFECT_READS_ROWS,
                                      fmt::format("replace constraint {} by {}",
                                                  Describe(*at->second), Describe(constraint)))
                                : Add(v1::STEP_ADD_CONSTRAINT, v1::EFFECT_READS_ROWS,
                                      "add constraint " + Describe(constraint));
      if (replaced) step->set_element_id(at->second->constraint_id());
      *step->mutable_constraint() = constraint;
      if (!constraint.not_null()) continue;
      const uint32_t number = constraint.column().steps(0).number();
      const auto has = [&](const auto& field) { return field.number() == number; };
      const auto fills = [&](const auto& fill) { return fill.to().steps(0).number() == number; };
      if (std::ranges::none_of(table_.fields(), has) &&
          std::ranges::none_of(after_.fills(), fills)) {
        step->add_details(fmt::format("rows of before have no {}: this fails unless there are none",
                                      constraint.column().path()));
      }
    }
  }

  const v1::TableDescriptor& table_;
  const TableSpec& spec_;
  const v1::TableDescriptor& after_;
  TablePlan plan_;
  std::vector<std::string> changes_;
  bool older_messages_fit_ = true;
};

std::string TextOf(const v1::Check& check) {
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (check.has_at_least()) add("at least " + check.at_least());
  if (check.has_at_most()) add("at most " + check.at_most());
  if (check.one_of_size() > 0) add(fmt::format("one of {} values", check.one_of_size()));
  if (check.has_size_at_least()) add(fmt::format("size at least {}", check.size_at_least()));
  if (check.has_size_at_most()) add(fmt::format("size at most {}", check.size_at_most()));
  return text;
}

}  // namespace

TablePlan PlanTable(const v1::TableDescriptor& table, const TableSpec& spec) {
  return TablePlanner(table, spec).Run();
}

std::string UnderWay(const v1::TableDescriptor& table) {
  if (table.state() != v1::TABLE_PUBLIC) return "it was dropped, and can still be taken back";
  const auto moving = [](const std::string& what, const std::string& state) {
    return fmt::format("a migration is under way: {} is {}", what, state);
  };
  for (const v1::IndexDescriptor& index : table.indexes()) {
    if (index.state() == v1::INDEX_PUBLIC || index.state() == v1::INDEX_RETIRED) continue;
    return moving("index " + index.name(), v1::IndexState_Name(index.state()));
  }
  for (const v1::ConstraintDescriptor& constraint : table.constraints()) {
    if (constraint.state() == v1::CONSTRAINT_PUBLIC) continue;
    return moving("constraint " + constraint.name(), v1::ConstraintState_Name(constraint.state()));
  }
  for (const v1::FillDescriptor& fill : table.fills()) {
    if (fill.state() == v1::FILL_PUBLIC) continue;
    return moving("the fill of " + fill.to().path(), v1::FillState_Name(fill.state()));
  }
  return "";
}

std::string Describe(const google::protobuf::RepeatedPtrField<v1::KeyColumn>& columns) {
  std::string text;
  for (const v1::KeyColumn& column : columns) {
    text +=
        (text.empty() ? "" : ", ") + column.column().path() + (column.descending() ? " desc" : "");
  }
  return "(" + text + ")";
}

std::string Describe(const v1::IndexDescriptor& index) {
  std::string text = fmt::format("{} {}", index.name(), Describe(index.columns()));
  if (index.unique()) text += " unique";
  for (int i = 0; i < index.storing_size(); ++i) {
    text += (i == 0 ? " storing " : ", ") + index.storing(i).name();
  }
  return text;
}

std::string Describe(const v1::ConstraintDescriptor& constraint) {
  if (constraint.not_null()) return constraint.name();
  return fmt::format("{} ({}: {})", constraint.name(), constraint.column().path(),
                     TextOf(constraint.check()));
}

void ApplyMessage(const v1::TableDescriptor& changed, v1::TableDescriptor* table) {
  table->set_message(changed.message());
  table->set_files(changed.files());
  *table->mutable_fields() = changed.fields();
  *table->mutable_primary_key() = changed.primary_key();
  for (const v1::IndexDescriptor& is : changed.indexes()) {
    for (v1::IndexDescriptor& index : *table->mutable_indexes()) {
      if (index.index_id() != is.index_id()) continue;
      *index.mutable_columns() = is.columns();
      *index.mutable_storing() = is.storing();
    }
  }
  for (const v1::ConstraintDescriptor& is : changed.constraints()) {
    for (v1::ConstraintDescriptor& constraint : *table->mutable_constraints()) {
      if (constraint.constraint_id() == is.constraint_id()) {
        *constraint.mutable_column() = is.column();
      }
    }
  }
  for (const v1::FillDescriptor& is : changed.fills()) {
    for (v1::FillDescriptor& fill : *table->mutable_fills()) {
      if (fill.fill_id() != is.fill_id()) continue;
      *fill.mutable_from() = is.from();
      *fill.mutable_to() = is.to();
    }
  }
}

}  // namespace quorate::schema
