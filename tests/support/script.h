// Scenario scripts: protocol tests as text. A script is a file of blocks, separated by blank lines:
//
//   Prose tells the story; a block without a "----" line is prose and is never run.
//
//   propose 1 payload=x          <- one or more command lines: a verb, words, key=value pairs
//   deliver from=1 to=2             ("a b" or key="a b" keeps blanks together)
//   ----
//   1: appended 5/2              <- what the commands of the block must print, exactly
//   2: appended 5/2
//
// A handler turns each command into its output; outputs of one block are joined. Blank lines in an
// output are dropped, and a block that prints nothing prints "ok".
//
// REWRITE=1 in the environment writes the actual output into the scripts instead of comparing
// (the diff is then reviewed like code). A key=value pair that no handler read is an error, so a
// misspelt option cannot pass silently.
//
//   TEST(CommitMachine, Scripts) {
//     script::RunFolder(SCENARIO_DIR, [] {
//       auto world = std::make_shared<World>();
//       return [world](const script::Command& c) { return world->Run(c); };
//     });
//   }
//
// quorate_test(... DATA scenarios/<folder>) defines SCENARIO_DIR; link quorate_test_support.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace quorate::script {

struct Command {
  std::string verb;
  std::vector<std::string> words;              // positional arguments
  std::map<std::string, std::string> options;  // key=value arguments
  int line = 0;                                // in the script, from 1

  // Positional argument `i`; fails the script if there is none.
  const std::string& Word(size_t i) const;
  int64_t Number(size_t i) const;
  // All positional arguments from `i` on, as numbers.
  std::vector<uint64_t> Numbers(size_t i) const;
  // Option `key`, or the default. Reading marks it as known.
  bool Has(std::string_view key) const;
  std::string Option(std::string_view key, std::string_view otherwise = "") const;
  int64_t OptionNumber(std::string_view key, int64_t otherwise) const;
  // "1,2,3" as numbers; empty if the option is absent.
  std::vector<uint64_t> OptionNumbers(std::string_view key) const;

  mutable std::set<std::string, std::less<>> read;  // options that a handler has asked for
};

// Throw this (or call it) from a handler for a command that makes no sense; shown with file and
// line.
[[noreturn]] void Fail(const std::string& why);

using Handler = std::function<std::string(const Command&)>;

// Splits "verb a k=v" into a Command.
Command ParseCommand(std::string_view text, int line);
// Runs one script; each mismatch is a gtest failure that shows a diff-like pair of blocks.
void RunFile(const std::string& path, const Handler& handler);
// Runs every *.txt in `folder` in name order, each with a new handler. An empty folder fails.
// SCRIPT=substring in the environment runs only the files whose name contains it.
void RunFolder(const std::string& folder, const std::function<Handler()>& make_handler);

}  // namespace quorate::script
