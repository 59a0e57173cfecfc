// The catalog behind a plan (schema/plan.h).
#include <fmt/format.h>

#include <algorithm>

#include "base/status_macros.h"
#include "schema/plan.h"
#include "schema/table_plan.h"

namespace quorate::schema {
namespace {

Status Missing(const v1::Step& step) {
  return InvalidArgument(
      fmt::format("a step of table {} names what is not there: {}", step.table(), step.what()));
}

template <class Elements, class Id>
auto Find(Elements* elements, uint32_t id, Id id_of) {
  return std::ranges::find_if(*elements, [&](const auto& element) { return id_of(element) == id; });
}
uint32_t IndexId(const v1::IndexDescriptor& index) { return index.index_id(); }
uint32_t ConstraintId(const v1::ConstraintDescriptor& constraint) {
  return constraint.constraint_id();
}
uint32_t FillId(const v1::FillDescriptor& fill) { return fill.fill_id(); }

uint32_t TakeId(v1::TableDescriptor* table) {
  if (table->next_element_id() == 0) table->set_next_element_id(1);
  const uint32_t id = table->next_element_id();
  table->set_next_element_id(id + 1);
  return id;
}

void AddIndex(v1::IndexDescriptor index, v1::TableDescriptor* table) {
  index.set_index_id(TakeId(table));
  index.set_state(v1::INDEX_PUBLIC);
  *table->add_indexes() = std::move(index);
}

void AddConstraint(v1::ConstraintDescriptor constraint, v1::TableDescriptor* table) {
  constraint.set_constraint_id(TakeId(table));
  constraint.set_state(v1::CONSTRAINT_PUBLIC);
  *table->add_constraints() = std::move(constraint);
}

void AddFill(v1::FillDescriptor fill, v1::TableDescriptor* table) {
  fill.set_fill_id(TakeId(table));
  fill.set_state(v1::FILL_PUBLIC);
  *table->add_fills() = std::move(fill);
}

void Create(const v1::Step& step, v1::Catalog* catalog) {
  if (catalog->next_table_id() == 0) catalog->set_next_table_id(1);
  v1::TableDescriptor* table = catalog->add_tables();
  *table = step.created();
  table->set_table_id(catalog->next_table_id());
  catalog->set_next_table_id(table->table_id() + 1);
  table->set_version(1);
  table->clear_indexes();
  table->clear_constraints();
  table->clear_fills();
  for (const v1::IndexDescriptor& index : step.created().indexes()) AddIndex(index, table);
  for (const v1::ConstraintDescriptor& constraint : step.created().constraints()) {
    AddConstraint(constraint, table);
  }
  for (const v1::FillDescriptor& fill : step.created().fills()) AddFill(fill, table);
}

// Nothing to be taken back any more: what is hidden is gone.
void CompleteFields(v1::TableDescriptor* table) {
  for (v1::RowField& field : *table->mutable_fields()) {
    if (field.state() == v1::FIELD_HIDDEN) field.set_state(v1::FIELD_RESERVED);
  }
}

Status FinishIndex(const v1::Step& step, v1::TableDescriptor* table) {
  auto* indexes = table->mutable_indexes();
  const auto at = Find(indexes, step.element_id(), IndexId);
  if (at == indexes->end()) return Missing(step);
  switch (step.kind()) {
    case v1::STEP_RENAME_INDEX:
      at->set_name(step.name());
      break;
    case v1::STEP_RESTORE_INDEX:
      at->set_state(v1::INDEX_PUBLIC);
      break;
    case v1::STEP_REPLACE_INDEX:
      indexes->erase(at);
      AddIndex(step.index(), table);
      break;
    default:
      indexes->erase(at);
  }
  return Status::Ok();
}

Status FinishConstraint(const v1::Step& step, v1::TableDescriptor* table) {
  auto* constraints = table->mutable_constraints();
  const auto at = Find(constraints, step.element_id(), ConstraintId);
  if (at == constraints->end()) return Missing(step);
  if (step.kind() == v1::STEP_RENAME_CONSTRAINT) {
    at->set_name(step.name());
    return Status::Ok();
  }
  constraints->erase(at);
  if (step.kind() == v1::STEP_REPLACE_CONSTRAINT) AddConstraint(step.constraint(), table);
  return Status::Ok();
}

Status FinishStep(const v1::Step& step, v1::TableDescriptor* table) {
  switch (step.kind()) {
    case v1::STEP_RENAME_TABLE:
      table->set_name(step.name());
      return Status::Ok();
    case v1::STEP_RENAME_INDEX:
    case v1::STEP_RESTORE_INDEX:
    case v1::STEP_REPLACE_INDEX:
    case v1::STEP_DROP_INDEX:
      return FinishIndex(step, table);
    case v1::STEP_RENAME_CONSTRAINT:
    case v1::STEP_REPLACE_CONSTRAINT:
    case v1::STEP_DROP_CONSTRAINT:
      return FinishConstraint(step, table);
    case v1::STEP_DROP_FILL: {
      auto* fills = table->mutable_fills();
      const auto at = Find(fills, step.element_id(), FillId);
      if (at == fills->end()) return Missing(step);
      fills->erase(at);
      return Status::Ok();
    }
    case v1::STEP_CHANGE_MESSAGE:
      ApplyMessage(step.changed(), table);
      CompleteFields(table);
      return Status::Ok();
    case v1::STEP_ADD_INDEX:
      AddIndex(step.index(), table);
      return Status::Ok();
    case v1::STEP_ADD_CONSTRAINT:
      AddConstraint(step.constraint(), table);
      return Status::Ok();
    case v1::STEP_ADD_FILL:
      AddFill(step.fill(), table);
      return Status::Ok();
    default:
      return Missing(step);
  }
}

}  // namespace

Result<v1::Catalog> Finished(const v1::Catalog& catalog, const v1::Plan& plan) {
  if (plan.catalog_version() != catalog.version()) {
    return Status(Code::kFailedPrecondition,
                  fmt::format("the plan was made against version {} of the catalog, which is at {}",
                              plan.catalog_version(), catalog.version()));
  }
  if (!plan.refusals().empty()) return InvalidArgument("the plan has refusals");
  v1::Catalog after = catalog;
  for (const v1::Step& step : plan.steps()) {
    after.set_version(after.version() + 1);
    if (step.kind() == v1::STEP_CREATE_TABLE) {
      Create(step, &after);
      continue;
    }
    auto* tables = after.mutable_tables();
    const auto at = std::ranges::find(*tables, step.table_id(), &v1::TableDescriptor::table_id);
    if (at == tables->end()) return Missing(step);
    if (step.kind() == v1::STEP_DROP_TABLE) {
      tables->erase(at);
      continue;
    }
    at->set_version(at->version() + 1);
    RETURN_IF_ERROR(FinishStep(step, &*at));
  }
  return after;
}

}  // namespace quorate::schema
