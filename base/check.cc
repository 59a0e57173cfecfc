#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace quorate {

void CheckFailed(const char* file, int line, const char* condition, std::string_view message) {
  fmt::print(stderr, "{}:{}: invariant broken: {} {}\n", file, line, condition, message);
  std::fflush(stderr);
  std::abort();
}

}  // namespace quorate
