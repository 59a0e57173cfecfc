#include "cli/txn_script.h"

#include <fmt/format.h>

#include "base/bytes.h"

namespace quorate::cli {
namespace {

struct Word {
  std::string text;
  bool quoted = false;
};

// Takes one quoted word off the front of `line`, which begins behind the opening quote.
bool TakeQuoted(std::string_view* line, std::string* word) {
  while (!line->empty()) {
    const char c = line->front();
    line->remove_prefix(1);
    if (c == '"') return true;
    if (c != '\\') {
      *word += c;
      continue;
    }
    if (line->empty()) return false;
    const char escape = line->front();
    line->remove_prefix(1);
    if (escape == 'n') {
      *word += '\n';
    } else if (escape == 't') {
      *word += '\t';
    } else if (escape == '"' || escape == '\\') {
      *word += escape;
    } else if (escape == 'x') {
      std::string byte;
      if (line->size() < 2 || !FromHex(line->substr(0, 2), &byte)) return false;
      *word += byte;
      line->remove_prefix(2);
    } else {
      return false;
    }
  }
  return false;
}

std::optional<std::vector<Word>> SplitWords(std::string_view line) {
  std::vector<Word> words;
  while (true) {
    const size_t start = line.find_first_not_of(" \t\r");
    if (start == std::string_view::npos || line[start] == '#') return words;
    line.remove_prefix(start);
    Word& word = words.emplace_back();
    if (line.front() == '"') {
      word.quoted = true;
      line.remove_prefix(1);
      if (!TakeQuoted(&line, &word.text)) return std::nullopt;
    } else {
      const size_t end = std::min(line.find_first_of(" \t\r"), line.size());
      word.text = line.substr(0, end);
      line.remove_prefix(end);
    }
  }
}

std::optional<TxnStep> MakeStep(const std::vector<Word>& words) {
  using Kind = TxnStep::Kind;
  const std::string& verb = words[0].text;
  auto arguments = [&](size_t n) { return words.size() == n + 1; };
  if (verb == "check" && arguments(3) && words[2].text == "==" && !words[2].quoted) {
    TxnStep step{.kind = Kind::kCheck, .key = words[1].text};
    if (words[3].quoted || words[3].text != "absent") step.value = words[3].text;
    return step;
  }
  if (verb == "get" && arguments(1)) return TxnStep{.kind = Kind::kGet, .key = words[1].text};
  if (verb == "put" && arguments(2)) {
    return TxnStep{.kind = Kind::kPut, .key = words[1].text, .value = words[2].text};
  }
  if (verb == "delete" && arguments(1)) {
    return TxnStep{.kind = Kind::kDelete, .key = words[1].text};
  }
  if (verb == "scan" && arguments(2)) {
    return TxnStep{.kind = Kind::kScan, .key = words[1].text, .value = words[2].text};
  }
  return std::nullopt;
}

}  // namespace

Result<std::vector<TxnStep>> ParseTxnScript(std::string_view text) {
  std::vector<TxnStep> steps;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    auto words = SplitWords(line);
    if (!words) {
      return InvalidArgument(
          fmt::format("line {}: a quoted word is not ended, or has an unknown escape", number));
    }
    if (words->empty()) continue;
    auto step = MakeStep(*words);
    if (!step) {
      return InvalidArgument(fmt::format(
          "line {}: '{}' is none of `check KEY == VALUE|absent`, `get KEY`, `put KEY VALUE`, "
          "`delete KEY`, `scan FROM TO`",
          number, Printable(line)));
    }
    step->line = number;
    steps.push_back(std::move(*step));
  }
  return steps;
}

}  // namespace quorate::cli
