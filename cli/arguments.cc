#include "cli/arguments.h"

#include <array>

namespace quorate::cli {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Whether it asks for an option: "-" alone is standard input, "-5" and "-.5" are values.
bool LooksLikeOption(std::string_view word) {
  if (word.size() < 2 || word[0] != '-') return false;
  return !IsDigit(word[1]) && !(word.size() > 2 && word[1] == '.' && IsDigit(word[2]));
}

// "--name" of "--name=value", "-c" of "-c64".
std::string NameIn(std::string_view word) {
  return std::string(word.starts_with("--") ? word.substr(0, word.find('=')) : word.substr(0, 2));
}

bool HoldsValue(std::string_view word) {
  return word.starts_with("--") ? word.find('=') != std::string_view::npos : word.size() > 2;
}

struct CommonOption {
  std::string_view name;
  bool takes_value;
};
constexpr std::array<CommonOption, 3> kBeforeCommand = {
    {{"--cluster", true}, {"--timeout", true}, {"--json", false}}};

Status NoSuchOption(const CLI::App& command, std::string_view word) {
  const std::string& name = command.get_name();
  std::string message = fmt::format("'{}' is not an option of `quorate {}`", word, name);
  bool takes_words = false;
  for (const CLI::Option* option : command.get_options()) takes_words |= option->get_positional();
  message += takes_words ? fmt::format(
                               "; a word that begins with - stands after --, as in "
                               "`quorate {} [OPTIONS] -- ... {}`",
                               name, word)
                         : fmt::format("; `quorate {} --help` lists them", name);
  return InvalidArgument(message);
}

// `words`: those that are no options.
Status CheckCount(const CLI::App& command, const std::vector<std::string>& words) {
  std::vector<std::string> names;
  size_t most = 0;
  for (const CLI::Option* option : command.get_options()) {
    if (!option->get_positional()) continue;
    names.push_back(option->get_name(true));
    most += static_cast<size_t>(option->get_items_expected_max());
  }
  if (words.size() <= most) return Status::Ok();
  return InvalidArgument(fmt::format(
      "'{}' is one word too many: `quorate {}` takes {}", words[most], command.get_name(),
      names.empty() ? std::string("options only") : fmt::format("{}", fmt::join(names, " "))));
}

}  // namespace

Result<std::vector<std::string>> ArrangeArguments(const CLI::App& app,
                                                  const std::vector<std::string>& words) {
  std::vector<std::string> options;
  size_t at = 0;
  for (; at < words.size() && LooksLikeOption(words[at]); ++at) {
    const auto* common = std::find_if(
        kBeforeCommand.begin(), kBeforeCommand.end(),
        [name = NameIn(words[at])](const CommonOption& option) { return option.name == name; });
    if (common == kBeforeCommand.end()) return words;  // --help and --version; or CLI11 refuses it
    options.push_back(words[at]);
    if (common->takes_value && !HoldsValue(words[at]) && at + 1 < words.size()) {
      options.push_back(words[++at]);
    }
  }
  if (at == words.size()) return InvalidArgument("a command is missing");
  const auto found =
      app.get_subcommands([&](const CLI::App* each) { return each->get_name() == words[at]; });
  if (found.empty()) return InvalidArgument(fmt::format("'{}' is not a command", words[at]));
  const CLI::App* command = found.front();
  std::vector<std::string> others;
  for (++at; at < words.size(); ++at) {
    if (words[at] == "--") {
      others.insert(others.end(), words.begin() + static_cast<ptrdiff_t>(at) + 1, words.end());
      break;
    }
    if (!LooksLikeOption(words[at])) {
      others.push_back(words[at]);
      continue;
    }
    const std::string name = NameIn(words[at]);
    const CLI::Option* option = command->get_option_no_throw(name);
    if (option == nullptr) return NoSuchOption(*command, words[at]);
    options.push_back(words[at]);
    if (option->get_items_expected_max() == 0 || HoldsValue(words[at])) continue;
    if (at + 1 < words.size()) options.push_back(words[++at]);
    if (option->get_items_expected_max() == 1) continue;
    while (at + 1 < words.size() && !words[at + 1].starts_with("-")) {
      options.push_back(name);
      options.push_back(words[++at]);
    }
  }
  if (Status status = CheckCount(*command, others); !status.ok()) return status;
  std::vector<std::string> arranged{command->get_name()};
  arranged.insert(arranged.end(), options.begin(), options.end());
  if (!others.empty()) arranged.emplace_back("--");
  arranged.insert(arranged.end(), others.begin(), others.end());
  return arranged;
}

}  // namespace quorate::cli
