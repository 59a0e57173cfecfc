#include "schema/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "schema/table_plan.h"

namespace quorate::schema {
namespace {

class Planner {
 public:
  Planner(const v1::Catalog& catalog, const Compiled& compiled)
      : catalog_(catalog), compiled_(compiled) {
    plan_.set_catalog_version(catalog.version());
    for (const v1::TableDescriptor& table : catalog.tables()) by_name_[table.name()] = &table;
  }

  v1::Plan Run() {
    for (const std::string& name : compiled_.drop_tables) Drop(name);
    Match();
    for (const TableSpec& spec : compiled_.tables) Rename(spec);
    for (const TableSpec& spec : compiled_.tables) Create(spec);
    if (static_cast<size_t>(catalog_.tables_size()) + created_ > kTablesMax) {
      Refuse("", "", fmt::format("the cluster would have more than {} tables", kTablesMax),
             "drop some, or keep several kinds of rows in one");
    }
    for (const TableSpec& spec : compiled_.tables) {
      const auto at = matched_.find(spec.table.name());
      if (at == matched_.end()) continue;
      TablePlan part = PlanTable(*at->second, spec);
      for (v1::Step& step : part.steps) *plan_.add_steps() = std::move(step);
      for (v1::Refusal& refusal : part.refusals) *plan_.add_refusals() = std::move(refusal);
    }
    if (!plan_.refusals().empty()) plan_.clear_steps();
    return std::move(plan_);
  }

 private:
  void Refuse(const std::string& table, std::string element, std::string reason, std::string fix) {
    v1::Refusal* refusal = plan_.add_refusals();
    refusal->set_table(table);
    refusal->set_element(std::move(element));
    refusal->set_reason(std::move(reason));
    refusal->set_fix(std::move(fix));
  }

  v1::Step* Add(v1::StepKind kind, v1::StepEffect effect, const std::string& table,
                uint32_t table_id, std::string what) {
    v1::Step* step = plan_.add_steps();
    step->set_kind(kind);
    step->set_effect(effect);
    step->set_table(table);
    step->set_table_id(table_id);
    step->set_what(std::move(what));
    step->set_older_messages_fit(kind != v1::STEP_DROP_TABLE);
    return step;
  }

  void Drop(const std::string& name) {
    const auto at = by_name_.find(name);
    if (at == by_name_.end() || at->second->state() == v1::TABLE_HIDDEN) return;
    if (const std::string why = UnderWay(*at->second); !why.empty()) {
      return Refuse(name, "", why, "apply the file again when that has ended, or end it");
    }
    dropped_.insert(name);
    Add(v1::STEP_DROP_TABLE, v1::EFFECT_DELETES_LATER, name, at->second->table_id(),
        "drop table, with all of its rows");
  }

  // Which table of the catalog each one of the file is: by name, then by its former name.
  void Match() {
    std::set<std::string> are;
    for (const TableSpec& spec : compiled_.tables) are.insert(spec.table.name());
    for (const TableSpec& spec : compiled_.tables) {
      const std::string& name = spec.table.name();
      auto at = by_name_.find(name);
      if (at == by_name_.end() && !spec.renamed_from.empty()) {
        at = by_name_.find(spec.renamed_from);
        if (at == by_name_.end()) continue;
        if (are.contains(spec.renamed_from) || dropped_.contains(spec.renamed_from)) {
          Refuse(name, "",
                 fmt::format("it is renamed from {}, which is {}", spec.renamed_from,
                             are.contains(spec.renamed_from) ? "in the file as well" : "dropped"),
                 "take renamed_from away, or the other one");
          refused_.insert(name);
          continue;
        }
      }
      if (at != by_name_.end()) matched_[name] = at->second;
    }
  }

  void Rename(const TableSpec& spec) {
    const std::string& name = spec.table.name();
    const auto at = matched_.find(name);
    if (at == matched_.end() || at->second->name() == name) return;
    Add(v1::STEP_RENAME_TABLE, v1::EFFECT_INSTANT, name, at->second->table_id(),
        fmt::format("rename table {}", at->second->name()))
        ->set_name(name);
  }

  void Create(const TableSpec& spec) {
    const std::string& name = spec.table.name();
    if (matched_.contains(name) || refused_.contains(name)) return;
    ++created_;
    v1::Step* step = Add(v1::STEP_CREATE_TABLE, v1::EFFECT_INSTANT, name, 0,
                         fmt::format("create table of {}, primary key {}", spec.table.message(),
                                     Describe(spec.table.primary_key())));
    for (const v1::IndexDescriptor& index : spec.table.indexes()) {
      step->add_details("index " + Describe(index));
    }
    for (const v1::ConstraintDescriptor& constraint : spec.table.constraints()) {
      step->add_details("constraint " + Describe(constraint));
    }
    for (const v1::FillDescriptor& fill : spec.table.fills()) {
      step->add_details(fmt::format("{} takes over from {}", fill.to().path(), fill.from().path()));
    }
    *step->mutable_created() = spec.table;
  }

  const v1::Catalog& catalog_;
  const Compiled& compiled_;
  v1::Plan plan_;
  std::map<std::string, const v1::TableDescriptor*> by_name_;
  std::map<std::string, const v1::TableDescriptor*> matched_;
  std::set<std::string> dropped_, refused_;
  size_t created_ = 0;
};

std::string_view TextOf(v1::StepEffect effect) {
  switch (effect) {
    case v1::EFFECT_INSTANT:
      return "instant";
    case v1::EFFECT_READS_ROWS:
      return "reads every row";
    case v1::EFFECT_BACKFILL:
      return "backfill: reads every row, and writes";
    case v1::EFFECT_DELETES_LATER:
      return "instant; deletes in the background";
    default:
      return "";
  }
}

}  // namespace

v1::Plan MakePlan(const v1::Catalog& catalog, const Compiled& compiled) {
  return Planner(catalog, compiled).Run();
}

std::string Format(const v1::Plan& plan) {
  std::string text;
  for (const v1::Step& step : plan.steps()) {
    text += fmt::format("{}: {} [{}]\n", step.table(), step.what(), TextOf(step.effect()));
    for (const std::string& line : step.details()) text += fmt::format("  {}\n", line);
    if (!step.older_messages_fit()) text += "  programs with the message of before are refused\n";
  }
  for (const v1::Refusal& refusal : plan.refusals()) {
    text += "refused: " + refusal.table();
    if (!refusal.element().empty()) {
      text += (refusal.table().empty() ? "" : ": ") + refusal.element();
    }
    text += fmt::format(": {}\n  fix: {}\n", refusal.reason(), refusal.fix());
  }
  return text.empty() ? "nothing to do\n" : text;
}

}  // namespace quorate::schema
