#include "cli/txn_script.h"

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/status_macros.h"

namespace quorate::cli {
namespace {

struct Word {
  std::string text;
  bool quoted = false;
};

constexpr std::string_view kBlanks = " \t\r";

// A line and how far it is read. Errors name the column where they are.
class LineReader {
 public:
  LineReader(int number, std::string_view line) : number_(number), line_(line) {}

  Result<std::vector<Word>> Words() {
    std::vector<Word> words;
    while (true) {
      at_ = std::min(line_.find_first_not_of(kBlanks, at_), line_.size());
      if (at_ == line_.size() || line_[at_] == '#') return words;
      Word& word = words.emplace_back();
      if (line_[at_] == '"') {
        word.quoted = true;
        RETURN_IF_ERROR(TakeQuoted(&word.text));
      } else {
        const size_t end = std::min(line_.find_first_of(kBlanks, at_), line_.size());
        word.text = line_.substr(at_, end - at_);
        at_ = end;
      }
    }
  }

 private:
  Status Wrong(size_t at, std::string_view what) const {
    return InvalidArgument(fmt::format("line {}, column {}: {}", number_, at + 1, what));
  }

  Status TakeQuoted(std::string* word) {
    const size_t start = at_;
    for (++at_; at_ < line_.size(); ++at_) {
      const char c = line_[at_];
      if (c == '"') {
        ++at_;
        if (at_ == line_.size() || kBlanks.find(line_[at_]) != std::string_view::npos) {
          return Status::Ok();
        }
        return Wrong(at_, "a blank must follow the closing quote (a quote within is \\\")");
      }
      if (c != '\\') {
        *word += c;
      } else if (!TakeEscape(word)) {
        return Wrong(at_, "an unknown escape: those in quotes are \\\" \\\\ \\n \\t \\xNN");
      }
    }
    return Wrong(start, "a quoted word is not ended in its line");
  }

  // At the backslash; leaves the reader at the escape's last character if it is one.
  bool TakeEscape(std::string* word) {
    const char escape = at_ + 1 < line_.size() ? line_[at_ + 1] : '\0';
    std::string byte;
    if (escape == 'x') {
      const std::string_view digits = line_.substr(at_ + 2, 2);
      if (digits.size() < 2 || !FromHex(digits, &byte)) return false;
      at_ += 2;
    } else if (escape == 'n' || escape == 't') {
      byte = escape == 'n' ? '\n' : '\t';
    } else if (escape == '"' || escape == '\\') {
      byte = escape;
    } else {
      return false;
    }
    ++at_;
    *word += byte;
    return true;
  }

  const int number_;
  const std::string_view line_;
  size_t at_ = 0;
};

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
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  if (text.starts_with("\xff\xfe") || text.starts_with("\xfe\xff")) {
    return InvalidArgument("the script is UTF-16 text; save it as UTF-8");
  }
  std::vector<TxnStep> steps;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    auto words = LineReader(number, line).Words();
    RETURN_IF_ERROR(words.ok() ? Status::Ok() : words.status());
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
  if (steps.empty()) {
    return InvalidArgument("the script holds no step: it is empty, or all of it is comments");
  }
  return steps;
}

}  // namespace quorate::cli
