// The part of a plan that concerns one table which is there and stays.
#pragma once

#include <string>
#include <vector>

#include "quorate/v1/schema.pb.h"
#include "schema/compile.h"

namespace quorate::schema {

struct TablePlan {
  std::vector<v1::Step> steps;  // in order, without the table's own rename
  std::vector<v1::Refusal> refusals;
};

// What takes `table` of the catalog to what `spec` describes, whatever their names.
TablePlan PlanTable(const v1::TableDescriptor& table, const TableSpec& spec);

// Why nothing can be planned for a table now: it is hidden, or an element is on its way from one
// state to another. Empty: nothing stands in the way.
std::string UnderWay(const v1::TableDescriptor& table);

// For people: "by_owner (owner, opened_at desc) storing cents", "(id)", "owner_not_null on owner".
std::string Describe(const v1::IndexDescriptor& index);
std::string Describe(const google::protobuf::RepeatedPtrField<v1::KeyColumn>& columns);
std::string Describe(const v1::ConstraintDescriptor& constraint);

// Puts columns, fields and files of `changed` into `table`, element by element, by their ids: those
// that `changed` does not have stay as they are.
void ApplyMessage(const v1::TableDescriptor& changed, v1::TableDescriptor* table);

}  // namespace quorate::schema
