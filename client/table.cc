#include "client/table.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>

#include "base/status_macros.h"
#include "quorate/options.pb.h"
#include "schema/value.h"

namespace quorate::client {
namespace {

namespace pb = google::protobuf;

// Serialisers of proto3 write a text that is not UTF-8, and parsers refuse the whole message then.
// That of proto2 is refused as well: its message may become one of proto3 at once.
Status CheckTexts(const pb::Message& message) {
  const pb::Reflection& reflection = *message.GetReflection();
  std::vector<const pb::FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const pb::FieldDescriptor* field : fields) {
    const bool text = field->type() == pb::FieldDescriptor::TYPE_STRING;
    if (!text && field->cpp_type() != pb::FieldDescriptor::CPPTYPE_MESSAGE) continue;
    const int elements = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
    for (int i = 0; i < elements; ++i) {
      if (!text) {
        RETURN_IF_ERROR(CheckTexts(field->is_repeated()
                                       ? reflection.GetRepeatedMessage(message, field, i)
                                       : reflection.GetMessage(message, field)));
        continue;
      }
      std::string copy;
      const std::string& value =
          field->is_repeated() ? reflection.GetRepeatedStringReference(message, field, i, &copy)
                               : reflection.GetStringReference(message, field, &copy);
      if (schema::IsUtf8(value)) continue;
      return InvalidArgument(fmt::format(
          "field {} of a row is not UTF-8: fields of bytes take anything", field->full_name()));
    }
  }
  return Status::Ok();
}

}  // namespace

Result<std::string> TableNameOf(const pb::Descriptor& message) {
  if (message.options().HasExtension(quorate::table)) {
    return message.options().GetExtension(quorate::table).name();
  }
  return InvalidArgument(
      fmt::format("message {} has no option (quorate.table)", message.full_name()));
}

Result<std::string> RowOf(const pb::Message& message) {
  if (!message.IsInitialized()) {
    return InvalidArgument(fmt::format("a row of {} without what is required in it: {}",
                                       message.GetTypeName(), message.InitializationErrorString()));
  }
  RETURN_IF_ERROR(CheckTexts(message));
  return message.SerializePartialAsString();
}

}  // namespace quorate::client
