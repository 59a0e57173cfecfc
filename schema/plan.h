// What has to be done so that the catalog is as a file describes it, in one order, or why that
// cannot be. Pure: the same catalog and file give the same plan. Whatever is not in the file and
// not in its drop_table stays as it is.
//
// Order, so that every step can rely on those before it, and names are free before they are taken:
//   drop tables; rename tables; create tables; then table by table, in order of names:
//   rename indexes and constraints; drop constraints; drop indexes; drop fills; change the message
//   (all that is instant: fields, names, defaults, enum values, at once); add fills; restore, add
//   and replace indexes; add and replace constraints.
//
// Refused (docs/schema.md has each with its fix): what schema/message_diff.h refuses; a changed
// primary key; a changed default or presence where a column depends on it; a rename whose former
// name is still in the file; names that clash; a fill whose pair is changed; the older field of a
// fill that goes before every row is filled; a table that is hidden, or has a migration under way.
#pragma once

#include <string>

#include "base/status.h"
#include "quorate/v1/schema.pb.h"
#include "schema/compile.h"

namespace quorate::schema {

// `compiled` has no problems. If there are refusals, there are no steps.
v1::Plan MakePlan(const v1::Catalog& catalog, const Compiled& compiled);

// The catalog once a plan is done: every step completed, nothing to be taken back any more. With
// it, the plan of the same file is empty. FAILED_PRECONDITION: the plan was made against another
// version of the catalog. INVALID_ARGUMENT: it has a refusal, or a step names what is not there.
Result<v1::Catalog> Finished(const v1::Catalog& catalog, const v1::Plan& plan);

// For people: a line per step, its details below it; refusals as reason and fix.
std::string Format(const v1::Plan& plan);

}  // namespace quorate::schema
