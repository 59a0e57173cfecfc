#include "base/last_words.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace quorate {
namespace {

constexpr int kPatienceMs = 1000;
// A pipe that is writable takes this much at once (PIPE_BUF), so that the write does not wait.
constexpr size_t kAtOnce = 4096;

}  // namespace

void WriteLastWords(std::string_view text) noexcept {
  const int saved = errno;
  pollfd error{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  while (!text.empty() && ::poll(&error, 1, kPatienceMs) == 1 && (error.revents & POLLOUT) != 0) {
    const ssize_t n = ::write(STDERR_FILENO, text.data(), std::min(text.size(), kAtOnce));
    if (n <= 0) break;
    text.remove_prefix(static_cast<size_t>(n));
  }
  errno = saved;
}

}  // namespace quorate
