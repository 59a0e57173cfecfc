#include "tests/support/script.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace quorate::script {
namespace {

constexpr std::string_view kSeparator = "----";

int64_t ToNumber(std::string_view text) {
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    Fail("not a number: '" + std::string(text) + "'");
  }
  return value;
}

// Takes one token off the front; quotes group blanks and are dropped.
bool NextToken(std::string_view* text, std::string* token) {
  size_t start = text->find_first_not_of(" \t");
  if (start == std::string_view::npos) return false;
  token->clear();
  bool quoted = false;
  size_t i = start;
  for (; i < text->size(); ++i) {
    char c = (*text)[i];
    if (c == '"') {
      quoted = !quoted;
    } else if (!quoted && (c == ' ' || c == '\t')) {
      break;
    } else {
      token->push_back(c);
    }
  }
  if (quoted) Fail("quote is not closed");
  text->remove_prefix(i);
  return true;
}

struct Block {
  int line = 0;                    // of its first line, from 1
  std::vector<std::string> lines;  // commands, or prose
  bool runnable = false;
  std::vector<std::string> expected;
};

std::vector<Block> ReadBlocks(const std::string& path) {
  std::ifstream in(path);
  if (!in) Fail("cannot read " + path);
  std::vector<Block> blocks;
  bool open = false;
  int number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) {
      open = false;
      continue;
    }
    if (!open) {
      blocks.emplace_back();
      blocks.back().line = number;
      open = true;
    }
    Block& block = blocks.back();
    if (line == kSeparator && !block.runnable) {
      block.runnable = true;
    } else {
      (block.runnable ? block.expected : block.lines).push_back(line);
    }
  }
  return blocks;
}

void AppendLines(const std::string& text, std::vector<std::string>* lines) {
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    line.erase(line.find_last_not_of(" \t\r") + 1);
    if (!line.empty()) lines->push_back(line);
  }
}

std::vector<std::string> RunBlock(const Block& block, const Handler& handler) {
  std::vector<std::string> output;
  for (size_t i = 0; i < block.lines.size(); ++i) {
    int line = block.line + static_cast<int>(i);
    try {
      Command command = ParseCommand(block.lines[i], line);
      AppendLines(handler(command), &output);
      for (const auto& [key, value] : command.options) {
        if (!command.read.contains(key)) Fail("option '" + key + "' is not known");
      }
    } catch (const std::runtime_error& error) {
      throw std::runtime_error("line " + std::to_string(line) + ": " + error.what());
    }
  }
  if (output.empty()) output.push_back("ok");
  return output;
}

std::string Join(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

void WriteBlocks(const std::string& path, const std::vector<Block>& blocks) {
  std::ofstream out(path, std::ios::trunc);
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (i > 0) out << "\n";
    out << Join(blocks[i].lines);
    if (blocks[i].runnable) out << kSeparator << "\n" << Join(blocks[i].expected);
  }
}

}  // namespace

void Fail(const std::string& why) { throw std::runtime_error(why); }

const std::string& Command::Word(size_t i) const {
  if (i >= words.size()) Fail(verb + ": argument " + std::to_string(i + 1) + " is missing");
  return words[i];
}

int64_t Command::Number(size_t i) const { return ToNumber(Word(i)); }

std::vector<uint64_t> Command::Numbers(size_t i) const {
  std::vector<uint64_t> numbers;
  for (; i < words.size(); ++i) numbers.push_back(static_cast<uint64_t>(ToNumber(words[i])));
  return numbers;
}

bool Command::Has(std::string_view key) const {
  read.emplace(key);
  return options.contains(std::string(key));
}

std::string Command::Option(std::string_view key, std::string_view otherwise) const {
  return Has(key) ? options.at(std::string(key)) : std::string(otherwise);
}

int64_t Command::OptionNumber(std::string_view key, int64_t otherwise) const {
  return Has(key) ? ToNumber(options.at(std::string(key))) : otherwise;
}

std::vector<uint64_t> Command::OptionNumbers(std::string_view key) const {
  std::vector<uint64_t> numbers;
  std::istringstream in(Option(key));
  for (std::string item; std::getline(in, item, ',');) {
    numbers.push_back(static_cast<uint64_t>(ToNumber(item)));
  }
  return numbers;
}

Command ParseCommand(std::string_view text, int line) {
  Command command;
  command.line = line;
  if (!NextToken(&text, &command.verb)) Fail("empty command");
  for (std::string token; NextToken(&text, &token);) {
    size_t equals = token.find('=');
    if (equals == std::string::npos || equals == 0) {
      command.words.push_back(token);
    } else {
      command.options[token.substr(0, equals)] = token.substr(equals + 1);
    }
  }
  return command;
}

void RunFile(const std::string& path, const Handler& handler) {
  const char* rewrite = std::getenv("REWRITE");
  bool rewriting = rewrite != nullptr && std::string_view(rewrite) == "1";
  try {
    std::vector<Block> blocks = ReadBlocks(path);
    for (Block& block : blocks) {
      if (!block.runnable) continue;
      std::vector<std::string> actual = RunBlock(block, handler);
      if (rewriting) {
        block.expected = std::move(actual);
      } else if (actual != block.expected) {
        // What follows would only repeat the same difference.
        ADD_FAILURE() << path << ":" << block.line << "\n"
                      << Join(block.lines) << "---- expected\n"
                      << Join(block.expected) << "---- actual\n"
                      << Join(actual);
        return;
      }
    }
    if (rewriting) WriteBlocks(path, blocks);
  } catch (const std::runtime_error& error) {
    ADD_FAILURE() << path << ": " << error.what();
  }
}

void RunFolder(const std::string& folder, const std::function<Handler()>& make_handler) {
  std::vector<std::string> paths;
  for (const auto& item : std::filesystem::directory_iterator(folder)) {
    if (item.path().extension() == ".txt") paths.push_back(item.path().string());
  }
  std::sort(paths.begin(), paths.end());
  ASSERT_FALSE(paths.empty()) << "no scripts in " << folder;
  const char* only = std::getenv("SCRIPT");
  for (const std::string& path : paths) {
    if (only != nullptr && path.find(only) == std::string::npos) continue;
    SCOPED_TRACE(path);
    RunFile(path, make_handler());
  }
}

}  // namespace quorate::script
