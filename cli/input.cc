#include "cli/input.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace quorate::cli {

Result<std::string> ReadInput(const std::string& path, size_t bytes_max) {
  const bool standard = path == "-";
  const std::string name = standard ? "standard input" : fmt::format("'{}'", path);
  const int fd = standard ? STDIN_FILENO : open(path.c_str(), O_RDONLY | O_CLOEXEC);
  std::string bytes;
  char chunk[64 << 10];
  ssize_t n = -1;
  if (fd >= 0) {
    while (bytes.size() <= bytes_max) {
      n = read(fd, chunk, sizeof chunk);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      bytes.append(chunk, static_cast<size_t>(n));
    }
  }
  const int error = errno;
  if (fd >= 0 && !standard) close(fd);
  if (n < 0) return InvalidArgument(fmt::format("cannot read {}: {}", name, std::strerror(error)));
  if (bytes.size() > bytes_max) {
    return InvalidArgument(fmt::format("{} holds more than {} bytes", name, bytes_max));
  }
  return bytes;
}

}  // namespace quorate::cli
