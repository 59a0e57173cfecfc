#include "base/check.h"

#include <cstdlib>

#include "base/last_words.h"

namespace quorate {

void CheckFailed(const char* file, int line, const char* condition, std::string_view message) {
  WriteLastWords(fmt::format("{}:{}: invariant broken: {} {}\n", file, line, condition, message));
  std::abort();
}

}  // namespace quorate
