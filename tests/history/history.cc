#include "tests/history/history.h"

#include <map>
#include <mutex>
#include <vector>

namespace quorate::history {
namespace {

// Integers below this one are symbols, too, so that no number means two things. INT64_MIN itself is
// the version before any write (graph.h).
constexpr int64_t kIntegerMin = INT64_MIN / 2;

// One table for the process, so that a value means the same in every history.
struct Symbols {
  std::mutex mutex;
  std::map<std::string, int64_t, std::less<>> numbers;
  std::vector<std::string> texts;
};
Symbols& TheSymbols() {
  static Symbols symbols;
  return symbols;
}

}  // namespace

int64_t SymbolOf(std::string_view text) {
  Symbols& symbols = TheSymbols();
  const std::lock_guard lock(symbols.mutex);
  if (const auto it = symbols.numbers.find(text); it != symbols.numbers.end()) return it->second;
  symbols.texts.emplace_back(text);
  const int64_t number = INT64_MIN + static_cast<int64_t>(symbols.texts.size());
  symbols.numbers.emplace(text, number);
  return number;
}

bool IsInteger(int64_t value) { return value >= kIntegerMin; }

std::string Text(int64_t value) {
  if (IsInteger(value)) return std::to_string(value);
  Symbols& symbols = TheSymbols();
  const std::lock_guard lock(symbols.mutex);
  const auto index = static_cast<size_t>(value - INT64_MIN - 1);
  return index < symbols.texts.size() ? symbols.texts[index] : std::to_string(value);
}

std::string Text(std::span<const int64_t> values) {
  std::string text;
  for (const int64_t value : values) text += (text.empty() ? "" : " ") + Text(value);
  return text;
}

}  // namespace quorate::history
