// The command line before CLI11 reads it, and options whose values are judged strictly.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/status.h"

namespace quorate::cli {

// `words` (without the program's name) as COMMAND OPTIONS -- WORDS, so that a key or value may look
// like anything: `-5` and `++`, and whatever stands behind `--`. --cluster, --timeout and --json
// may stand before the command as well. INVALID_ARGUMENT for a word that begins with - and is no
// option of the command: it may be meant as a value, or be a slip. Likewise for one of its options
// where the value of another is expected, unless that is given as --option=value.
Result<std::vector<std::string>> ArrangeArguments(const CLI::App& app,
                                                  const std::vector<std::string>& words);

// A decimal number in [min, max] and nothing else: no sign +, blank, exponent of a whole number,
// nan or infinity.
template <class T>
std::optional<T> ParseNumber(std::string_view text, T min, T max) {
  T number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if constexpr (std::is_floating_point_v<T>) {
    if (!std::isfinite(number)) return std::nullopt;
  }
  if (number < min || number > max) return std::nullopt;
  return number;
}

// An option, or a word without --, with a number in [min, max]; `*value` is its default. Exit 2
// names option, text, range.
template <class T>
CLI::Option* AddNumber(CLI::App* command, const std::string& name, T* value,
                       std::type_identity_t<T> min, std::type_identity_t<T> max,
                       const std::string& help) {
  const auto set = [name, value, min, max](const std::string& text) {
    const auto number = ParseNumber<T>(text, min, max);
    if (!number) {
      throw CLI::ValidationError(
          name.find("--") == std::string::npos ? name : name.substr(name.find("--")),
          fmt::format("'{}' is not a {}number in {}..{}", text,
                      std::is_floating_point_v<T> ? "" : "whole ", min, max));
    }
    *value = *number;
  };
  return command->add_option_function<std::string>(name, set, help)
      ->type_name("N")
      ->default_str(fmt::format("{}", *value));
}

}  // namespace quorate::cli
