#include "client/table.h"

#include <google/protobuf/descriptor.h>

#include "quorate/options.pb.h"

namespace quorate::client {

Result<std::string> TableNameOf(const google::protobuf::Descriptor& message) {
  if (message.options().HasExtension(quorate::table)) {
    return message.options().GetExtension(quorate::table).name();
  }
  return InvalidArgument(
      fmt::format("message {} has no option (quorate.table)", message.full_name()));
}

}  // namespace quorate::client
