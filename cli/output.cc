#include "cli/output.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "cli/arguments.h"
#include "cli/command.h"

namespace quorate::cli {
namespace {

constexpr size_t kBufferBytes = 64 << 10;
constexpr size_t kColumnsMax = 100'000;
bool pipe_signal_was_ignored = false;

bool MovesCursor() {
  const char* term = std::getenv("TERM");
  return term == nullptr || std::string_view(term) != "dumb";
}

bool IsPlainAscii(char c) { return c >= 0x20 && c < 0x7f; }

// Bytes of the UTF-8 character at the front of `bytes`, and the character; 0: it is none.
size_t TakeCharacter(std::string_view bytes, uint32_t* character) {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  const uint8_t first = at(0);
  const size_t size = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (size == 0 || first > 0xf4 || bytes.size() < size) return 0;
  *character = size == 1 ? first : first & (0xffu >> (size + 1));
  for (size_t i = 1; i < size; ++i) {
    if ((at(i) & 0xc0) != 0x80) return 0;
    *character = *character << 6 | (at(i) & 0x3f);
  }
  constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = *character >= 0xd800 && *character < 0xe000;
  return *character < kSmallest[size] || *character > 0x10ffff || surrogate ? 0 : size;
}

// Characters that act on the terminal or on the order and shape of the line around them.
bool IsControl(uint32_t c) {
  const auto in = [c](uint32_t from, uint32_t to) { return c >= from && c <= to; };
  return in(0, 0x1f) || in(0x7f, 0x9f) || c == 0xad || c == 0x61c || in(0x200b, 0x200f) ||
         in(0x2028, 0x202e) || in(0x2060, 0x206f) || in(0xd800, 0xf8ff) || c == 0xfeff ||
         in(0xfff0, 0xfffb) || c >= 0xe0000;
}

std::string Escape(std::string_view bytes, bool one_line) {
  std::string text;
  text.reserve(bytes.size());
  while (!bytes.empty()) {
    const char c = bytes.front();
    uint32_t character = 0;
    size_t size = TakeCharacter(bytes, &character);
    if (one_line && (c == '\\' || c == '\n' || c == '\t')) {
      text += c == '\\' ? "\\\\" : c == '\n' ? "\\n" : "\\t";
    } else if (c == '\n' || c == '\t' || (size > 0 && !IsControl(character))) {
      text += bytes.substr(0, size);
    } else {
      size = std::max<size_t>(size, 1);
      for (const char byte : bytes.substr(0, size)) {
        text += fmt::format("\\x{:02x}", static_cast<uint8_t>(byte));
      }
    }
    bytes.remove_prefix(size);
  }
  return text;
}

// 0, or the errno of what failed.
int WriteAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {  // a terminal or pipe that somebody made non-blocking
      usleep(1000);
      continue;
    }
    if (n < 0) return errno;
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return 0;
}

void OpenIfClosed(int fd, int flags) {
  // open() takes the lowest free number, and those below are open by now.
  if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) (void)open("/dev/null", flags);
}

}  // namespace

std::string EscapeBytes(std::string_view bytes) { return Escape(bytes, true); }

std::string RangeText(std::string_view from, std::string_view to) {
  const auto bound = [](std::string_view key, std::string_view if_empty) {
    return key.empty() ? std::string(if_empty) : fmt::format("'{}'", EscapeBytes(key));
  };
  return fmt::format("[{}, {})", bound(from, "start"), bound(to, "end"));
}

std::string EscapeControls(std::string_view text) { return Escape(text, false); }

Output::Output(int fd)
    : fd_(fd), is_terminal_(isatty(fd) == 1), redraws_(is_terminal_ && MovesCursor()) {}

size_t Output::columns() const {
  if (!is_terminal_) return 0;
  const char* told = std::getenv("COLUMNS");
  if (const auto given = ParseNumber<size_t>(told == nullptr ? "" : told, 1, kColumnsMax)) {
    return *given;
  }
  winsize size{};
  return ioctl(fd_, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

void Output::Text(std::string_view text) {
  const bool plain =
      std::all_of(text.begin(), text.end(), [](char c) { return IsPlainAscii(c) || c == '\n'; });
  Bytes(plain ? text : EscapeControls(text));
}

void Output::Bytes(std::string_view bytes) {
  if (error_ != 0) return;
  buffer_ += bytes;
  if (buffer_.size() >= kBufferBytes) Flush();
}

void Output::Flush() {
  if (error_ == 0) error_ = WriteAll(fd_, buffer_);
  buffer_.clear();
}

Output& Out() {
  static Output out(STDOUT_FILENO);
  return out;
}

void Complain(std::string_view text) {
  Out().Flush();
  // Nothing is left to tell it with if this fails.
  (void)WriteAll(STDERR_FILENO, EscapeControls(fmt::format("quorate: {}\n", text)));
}

void OpenStandardFiles() {
  OpenIfClosed(STDIN_FILENO, O_WRONLY);
  OpenIfClosed(STDOUT_FILENO, O_RDONLY);
  OpenIfClosed(STDERR_FILENO, O_RDONLY);
}

void PrepareStandardFiles() {
  struct sigaction before {};
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &ignore, &before);
  pipe_signal_was_ignored = before.sa_handler == SIG_IGN;
}

int FinishOutput(int exit_code) {
  Out().Flush();
  int error = Out().error();
  // Quotas and remote files may refuse as late as this.
  if (close(STDOUT_FILENO) != 0 && error == 0) error = errno;
  if (error == 0) return exit_code;
  const bool done = exit_code == kExitDone || exit_code == kExitAbsent;
  if (error == EPIPE && done && !pipe_signal_was_ignored) {
    signal(SIGPIPE, SIG_DFL);
    raise(SIGPIPE);
  }
  Complain(fmt::format("{}standard output cannot be written: {}",
                       done ? "done, but its output is lost: " : "", std::strerror(error)));
  return done ? kExitOutputLost : exit_code;
}

}  // namespace quorate::cli
