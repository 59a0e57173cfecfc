#include "schema/compatible.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>

#include <set>
#include <string>
#include <utility>
#include <vector>

namespace quorate::schema {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

std::string KindOfField(const FieldDescriptor& field) {
  return fmt::format("{}{}", field.is_repeated() ? "repeated " : "", field.type_name());
}

}  // namespace

Status CheckCompatible(const Descriptor& program, const Descriptor& catalog) {
  using Pair = std::pair<const Descriptor*, const Descriptor*>;
  std::set<Pair> seen{{&program, &catalog}};
  std::vector<Pair> open{{&program, &catalog}};
  while (!open.empty()) {
    const auto [ours, theirs] = open.back();
    open.pop_back();
    for (int i = 0; i < ours->field_count(); ++i) {
      const FieldDescriptor& field = *ours->field(i);
      const FieldDescriptor* other = theirs->FindFieldByNumber(field.number());
      if (other == nullptr) continue;
      if (field.type() != other->type() || field.is_repeated() != other->is_repeated()) {
        return {Code::kFailedPrecondition,
                fmt::format("{} is {} in this program, and {} in the catalog: build the program "
                            "with the file that was applied",
                            field.full_name(), KindOfField(field), KindOfField(*other))};
      }
      if (field.message_type() == nullptr) continue;
      const Pair inside{field.message_type(), other->message_type()};
      if (seen.insert(inside).second) open.push_back(inside);
    }
  }
  return Status::Ok();
}

}  // namespace quorate::schema
