// The version of this build, as `quorate --version` and every node say it.
#pragma once

#include <string_view>

namespace quorate {

std::string_view Version();

}  // namespace quorate
