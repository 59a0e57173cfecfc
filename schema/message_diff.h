// Two versions of a row's message, and everything it consists of: what changed, and whether rows
// and binaries of before can live with it. Fields are matched by number, types by what they consist
// of: names of fields, messages and enum values are only names.
//
// Refused, since a row of before, or a row that a binary of before writes, would be read wrongly:
// - another type, or another number of a name: a string that is read as a number;
// - singular and repeated fields, messages and maps and groups, made into each other;
// - a number that is used again, a field or enum value that is gone without `reserved`, a
//   `reserved` that is gone: sooner or later somebody uses the number again;
// - a field that goes into or out of a oneof, or a oneof that joins fields: a binary of before
//   would keep both, one of after drops one. A new oneof around one field is harmless;
// - `required` that comes or goes: the other side's binaries cannot parse what is written.
// Presence and defaults that come or go are changes here; where a column depends on them,
// schema/plan.h refuses them.
#pragma once

#include <string>
#include <vector>

#include "quorate/v1/schema.pb.h"

namespace google::protobuf {
class Descriptor;
}  // namespace google::protobuf

namespace quorate::schema {

struct MessageDiff {
  std::vector<std::string> changes;   // a line each: "add field shop.Account.nickname = 5"
  std::vector<v1::Refusal> refusals;  // without `table`
};

// At most kDiffLinesMax changes and as many refusals; the last line says that there are more.
inline constexpr size_t kDiffLinesMax = 500;
MessageDiff Diff(const google::protobuf::Descriptor& before,
                 const google::protobuf::Descriptor& after);

}  // namespace quorate::schema
