// .proto files as people write them, read without protoc.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace quorate::cli {

// A serialised FileDescriptorSet of `file` and of all that it imports. Imports are looked for in
// `paths`, in their order; with none, in the file's own directory. quorate/options.proto and
// google/protobuf/... are this program's own where they are not found. INVALID_ARGUMENT: each
// mistake with file, line and column, a line each.
Result<std::string> ReadProtoFiles(const std::string& file, std::vector<std::string> paths);

}  // namespace quorate::cli
