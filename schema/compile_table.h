// One message with a table option as a table.
#pragma once

#include <string>
#include <string_view>

#include "schema/compile.h"

namespace google::protobuf {
class Descriptor;
class Message;
}  // namespace google::protobuf

namespace quorate::schema {

// Adds what is wrong to `problems`; the result then means nothing.
TableSpec CompileTable(const google::protobuf::Descriptor& message, Problems* problems);

// A name of a table, index or constraint (quorate/options.proto).
bool IsName(std::string_view name);
// Whether a later version wrote something there that this one does not know.
bool HasUnknownOptions(const google::protobuf::Message& options);

}  // namespace quorate::schema
