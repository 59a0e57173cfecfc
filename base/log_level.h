// How much a log line matters.
#pragma once

#include <cstdint>

namespace quorate {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarn, kError };

}  // namespace quorate
