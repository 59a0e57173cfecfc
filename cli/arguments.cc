#include "cli/arguments.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "base/status_macros.h"

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

// CLI11 takes an empty value behind a = for one that is still to come.
void AddOption(const std::string& word, std::vector<std::string>* options) {
  const bool empty = word.starts_with("--") && word.find('=') == word.size() - 1;
  options->push_back(empty ? NameIn(word) : word);
  if (empty) options->emplace_back();
}

struct CommonOption {
  std::string_view name;
  bool takes_value;
};
constexpr std::array<CommonOption, 3> kBeforeCommand = {
    {{"--cluster", true}, {"--timeout", true}, {"--json", false}}};

const CommonOption* FindCommon(std::string_view name) {
  const auto* found =
      std::find_if(kBeforeCommand.begin(), kBeforeCommand.end(),
                   [name](const CommonOption& option) { return option.name == name; });
  return found == kBeforeCommand.end() ? nullptr : found;
}

// As it is typed: "node drain".
std::string PathOf(const CLI::App& command) {
  std::string path = command.get_name();
  for (const CLI::App* up = command.get_parent(); up != nullptr && up->get_parent() != nullptr;
       up = up->get_parent()) {
    path = up->get_name() + " " + path;
  }
  return path;
}

const CLI::App* FindCommand(const CLI::App& among, const std::string& name) {
  const auto found =
      among.get_subcommands([&](const CLI::App* each) { return each->get_name() == name; });
  return found.empty() ? nullptr : found.front();
}

// One that only stands before others needs one of them.
Status CheckComplete(const CLI::App& command, const std::vector<std::string>& words) {
  if (command.get_require_subcommand_min() == 0) return Status::Ok();
  std::vector<std::string> names;
  for (const CLI::App* each : command.get_subcommands([](const CLI::App*) { return true; })) {
    names.push_back(each->get_name());
  }
  return InvalidArgument(
      fmt::format("{} `quorate {}`: there {} {}",
                  words.empty() ? std::string("a command is missing behind")
                                : fmt::format("'{}' is not a command of", words.front()),
                  PathOf(command), names.size() == 1 ? "is" : "are", fmt::join(names, ", ")));
}

// `next` stands where the value of the option `name` is expected. One that was forgotten must not
// be made up from an option: only what is none is taken for a value without a =.
template <class IsOption>
Status CheckValue(const std::string& name, const std::string& next, IsOption is_option) {
  if (!LooksLikeOption(next) || !is_option(NameIn(next))) return Status::Ok();
  return InvalidArgument(
      fmt::format("{}: its value is missing: '{}' is an option; as a value it is given as {}{}{}",
                  name, next, name, name.starts_with("--") ? "=" : "", next));
}

Status NoSuchOption(const CLI::App& command, std::string_view word) {
  const std::string name = PathOf(command);
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
      "'{}' is one word too many: `quorate {}` takes {}", words[most], PathOf(command),
      names.empty() ? std::string("options only") : fmt::format("{}", fmt::join(names, " "))));
}

}  // namespace

Result<std::vector<std::string>> ArrangeArguments(const CLI::App& app,
                                                  const std::vector<std::string>& words) {
  std::vector<std::string> options;
  size_t at = 0;
  for (; at < words.size() && LooksLikeOption(words[at]); ++at) {
    const CommonOption* common = FindCommon(NameIn(words[at]));
    if (common == nullptr) return words;  // --help and --version; or CLI11 refuses it
    AddOption(words[at], &options);
    if (common->takes_value && !HoldsValue(words[at]) && at + 1 < words.size()) {
      RETURN_IF_ERROR(CheckValue(words[at], words[at + 1], [](const std::string& name) {
        return FindCommon(name) != nullptr;
      }));
      options.push_back(words[++at]);
    }
  }
  if (at == words.size()) return InvalidArgument("a command is missing");
  const CLI::App* command = FindCommand(app, words[at]);
  if (command == nullptr) return InvalidArgument(fmt::format("'{}' is not a command", words[at]));
  std::vector<std::string> arranged{command->get_name()};
  while (at + 1 < words.size()) {
    const CLI::App* below = FindCommand(*command, words[at + 1]);
    if (below == nullptr) break;
    command = below;
    arranged.push_back(words[++at]);
  }
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
    if (option->get_items_expected_max() == 0 && HoldsValue(words[at])) {
      return InvalidArgument(fmt::format("{} takes no value: '{}'", name, words[at]));
    }
    AddOption(words[at], &options);
    if (option->get_items_expected_max() == 0 || HoldsValue(words[at])) continue;
    // CLI11 would take for it what is put behind the options.
    if (at + 1 == words.size() || words[at + 1] == "--") {
      return InvalidArgument(fmt::format("{}: its value is missing", name));
    }
    RETURN_IF_ERROR(CheckValue(name, words[at + 1], [command](const std::string& other) {
      return command->get_option_no_throw(other) != nullptr;
    }));
    options.push_back(words[++at]);
    if (option->get_items_expected_max() == 1) continue;
    while (at + 1 < words.size() && !words[at + 1].starts_with("-")) {
      options.push_back(name);
      options.push_back(words[++at]);
    }
  }
  const bool help = std::any_of(options.begin(), options.end(), [](const std::string& option) {
    return option == "--help" || option == "-h";
  });
  if (Status status = help ? Status::Ok() : CheckComplete(*command, others); !status.ok()) {
    return status;
  }
  if (Status status = CheckCount(*command, others); !status.ok()) return status;
  arranged.insert(arranged.end(), options.begin(), options.end());
  if (!others.empty()) arranged.emplace_back("--");
  arranged.insert(arranged.end(), others.begin(), others.end());
  return arranged;
}

}  // namespace quorate::cli
