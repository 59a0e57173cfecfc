#include "storage/lmdb_damage.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <sstream>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/status_macros.h"

namespace quorate::storage {
namespace {

constexpr char kName[] = "/DAMAGED";
constexpr char kTitle[] = "quorate damaged store";
constexpr char kNoBound[] = "-";
constexpr char kUnexplained[] = "unexplained";

Status Failed(std::string_view call, const std::string& path) {
  const Code code = errno == ENOSPC || errno == EDQUOT ? Code::kNoSpace : Code::kIoError;
  return {code, fmt::format("{} {}: {}", call, path, std::strerror(errno))};
}

std::string Bound(const std::string& key) { return key.empty() ? kNoBound : ToHex(key); }
bool ParseBound(const std::string& text, std::string* key) {
  key->clear();
  return text == kNoBound || FromHex(text, key);
}

}  // namespace

Status MakeDurable(const std::string& directory) {
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool ok = fd >= 0 && ::fsync(fd) == 0;
  const Status status = ok ? Status::Ok() : Failed("sync", directory);
  if (fd >= 0) ::close(fd);
  return status;
}

Result<std::optional<DamageNote>> ReadDamageNote(const std::string& directory) {
  const std::string path = directory + kName;
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return std::optional<DamageNote>();
    return Failed("stat", path);
  }
  std::ifstream file(path);
  std::stringstream content;
  content << file.rdbuf();
  if (!file) return Failed("read", path);
  const std::string text = content.str();
  const auto damaged = Corruption(path + " is damaged itself");
  const size_t crc_at = text.rfind("crc ");
  if (crc_at == std::string::npos || text.back() != '\n') return damaged;
  uint32_t crc = 0;
  const char* const end = text.data() + text.size() - 1;
  if (std::from_chars(text.data() + crc_at + 4, end, crc, 16).ptr != end ||
      crc != Crc32c(std::string_view(text).substr(0, crc_at))) {
    return damaged;
  }
  std::istringstream lines(text.substr(0, crc_at));
  std::string line;
  if (!std::getline(lines, line) || line != kTitle) return damaged;
  DamageNote note;
  while (std::getline(lines, line)) {
    if (line == kUnexplained) {
      note.unexplained = true;
      continue;
    }
    std::istringstream words(line);
    std::string word;
    std::string from;
    std::string to;
    LeafRange leaf;
    if (!(words >> word >> leaf.page >> from >> to) || word != "leaf" ||
        !ParseBound(from, &leaf.from) || !ParseBound(to, &leaf.to)) {
      return damaged;
    }
    note.leaves.push_back(std::move(leaf));
  }
  return std::optional(std::move(note));
}

Status WriteDamageNote(const std::string& directory, const DamageNote& note) {
  std::string text = fmt::format("{}\n", kTitle);
  if (note.unexplained) text += fmt::format("{}\n", kUnexplained);
  for (const LeafRange& leaf : note.leaves) {
    text += fmt::format("leaf {} {} {}\n", leaf.page, Bound(leaf.from), Bound(leaf.to));
  }
  text += fmt::format("crc {:08x}\n", Crc32c(text));
  const std::string path = directory + kName;
  const std::string temporary = path + ".new";
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return Failed("open", temporary);
  const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                       ::fsync(fd) == 0;
  const Status status = written ? Status::Ok() : Failed("write", temporary);
  ::close(fd);
  RETURN_IF_ERROR(status);
  if (::rename(temporary.c_str(), path.c_str()) != 0) return Failed("rename", temporary);
  return MakeDurable(directory);
}

Status RemoveDamageNote(const std::string& directory) {
  const std::string path = directory + kName;
  if (::unlink(path.c_str()) == 0) return MakeDurable(directory);
  return errno == ENOENT ? Status::Ok() : Failed("remove", path);
}

}  // namespace quorate::storage
