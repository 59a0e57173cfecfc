// From paths as people write them to columns, and from literals of enums to numbers.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "quorate/v1/schema.pb.h"

namespace google::protobuf {
class Descriptor;
class FieldDescriptor;
}  // namespace google::protobuf

namespace quorate::schema {

// What a column may be used for.
enum class ColumnUse : uint8_t {
  kPrimaryKey,  // a value, and not through a repeated field
  kIndex,       // a value
  kField,       // any field: for constraints, which ask more themselves
};

// A path of quorate/options.proto in this message. INVALID_ARGUMENT: the reason, of one line.
Result<v1::Column> ResolvePath(const google::protobuf::Descriptor& message, std::string_view path,
                               ColumnUse use);
// The same with a direction behind the path.
Result<v1::KeyColumn> ResolveKeyColumn(const google::protobuf::Descriptor& message,
                                       std::string_view text, ColumnUse use);

// One field as a column of its message.
v1::Column ColumnOf(const google::protobuf::FieldDescriptor& field);

// Other members of the field's oneof, if it is in one that was written as one.
std::vector<uint32_t> OneofSiblings(const google::protobuf::FieldDescriptor& field);

// A literal in the form in which the catalog keeps it: enums by number, numbers as Format writes
// them. INVALID_ARGUMENT: it is none of this field's type.
Result<std::string> CanonicalLiteral(const google::protobuf::FieldDescriptor& field,
                                     std::string_view literal);

// "1.4.2": what a path is when names do not count.
std::string NumbersOf(const v1::Column& column);
// The same up to its repeated step; empty if there is none. Columns with one such part have a value
// per element of the same repeated field, unless it is the last step: then "5!", to be told from
// the others.
std::string RepeatedPart(const v1::Column& column);

}  // namespace quorate::schema
