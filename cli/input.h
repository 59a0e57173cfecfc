// What commands read: files and standard input, whole and bounded.
#pragma once

#include <string>

#include "base/status.h"

namespace quorate::cli {

// The bytes of the file at `path`, or of standard input if it is "-". INVALID_ARGUMENT, naming it
// and the reason, if it cannot be read to its end or holds more than `bytes_max`.
Result<std::string> ReadInput(const std::string& path, size_t bytes_max);

}  // namespace quorate::cli
