// Small files that are replaced as a whole: a crash leaves the old content or the new one.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "storage/file.h"

namespace quorate::server {

// Bytes of the whole file.
Result<std::string> ReadFile(storage::FileSystem& files, const std::string& path);
// Through a temporary file: write, sync, rename, sync the directory.
Status ReplaceFile(storage::FileSystem& files, const std::string& directory,
                   const std::string& name, std::string_view bytes);

}  // namespace quorate::server
