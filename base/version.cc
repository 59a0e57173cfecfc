#include "base/version.h"

namespace quorate {

std::string_view Version() { return QUORATE_VERSION; }

}  // namespace quorate
