// Numbers in sentences.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace quorate {

// "1 node", "2 nodes"; of words that only take an s.
template <class Number>
std::string Plural(Number number, std::string_view word) {
  return fmt::format("{} {}{}", number, word, number == Number{1} ? "" : "s");
}

}  // namespace quorate
