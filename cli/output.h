// Standard output and standard error: the one place where bytes leave the program.
//
// What was printed has to arrive. Output is buffered here, written with write(2), and its first
// error kept; FinishOutput, at the end of main, turns an error into a message and an exit code.
//
// No control byte reaches a terminal or breaks a row, whoever chose it: a key or value goes through
// EscapeBytes first, and Text escapes what is left (names and addresses that nodes report, words of
// the command line in a message). Only Bytes, for --raw, is exact.
//
// Main thread only.
#pragma once

#include <fmt/format.h>

#include <string>
#include <string_view>

namespace quorate::cli {

// Keys and values as people read them, in one line: printable UTF-8 as it is; backslash, line feed
// and tab as \\ \n \t; every other byte as \xNN. `quorate txn` reads the same escapes in quotes.
std::string EscapeBytes(std::string_view bytes);
// A range of keys for people: "[start, 'm')", "['\xe0', end)".
std::string RangeText(std::string_view from, std::string_view to);
// Of a whole text: line feeds, tabs and backslashes stay.
std::string EscapeControls(std::string_view text);

class Output {
 public:
  explicit Output(int fd);

  void Text(std::string_view text);
  void Bytes(std::string_view bytes);
  void Flush();
  bool is_terminal() const { return is_terminal_; }
  // A terminal on which what was printed can be printed over: not one that TERM calls dumb.
  bool redraws() const { return redraws_; }
  // Of a line of the terminal, as COLUMNS or the terminal itself says; 0: of any length.
  size_t columns() const;
  // errno of the first write that failed; 0: none. What follows a failure is dropped.
  int error() const { return error_; }

 private:
  const int fd_;
  const bool is_terminal_;
  const bool redraws_;
  int error_ = 0;
  std::string buffer_;
};

// Standard output.
Output& Out();

template <class... A>
void Say(fmt::format_string<A...> format, A&&... arguments) {
  Out().Text(fmt::format(format, std::forward<A>(arguments)...));
}

// "quorate: TEXT" on standard error, behind what standard output got so far.
void Complain(std::string_view text);

// Closed standard files are opened on /dev/null the wrong way round, so that using them fails and
// no other descriptor takes their numbers. Before anything else runs: system calls only.
void OpenStandardFiles();
// At the start of main. A closed pipe is an error of a write from then on, not the end of the
// program: `demo` has nodes to stop.
void PrepareStandardFiles();
// At the end of main: the exit code, given the command's own. If output was lost, says so, and what
// would have been 0 or 4 becomes 5; with a closed pipe it ends by SIGPIPE instead, as other
// programs do (unless that signal was ignored from the start).
int FinishOutput(int exit_code);

}  // namespace quorate::cli
