#include "storage/posix_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>

#include "base/status_macros.h"

namespace quorate::storage {
namespace {

Status Failed(std::string_view call, std::string_view path, int error) {
  std::string message = fmt::format("{} {}: {}", call, path, std::strerror(error));
  switch (error) {
    case ENOENT:
      return NotFound(std::move(message));
    case ENOSPC:
    case EDQUOT:
      return {Code::kNoSpace, std::move(message)};
    default:
      return IoError(std::move(message));
  }
}

constexpr mode_t kFileMode = 0600;
constexpr mode_t kDirectoryMode = 0700;

struct Descriptor {
  Descriptor(int fd, std::string path) : fd(fd), path(std::move(path)) {}
  Descriptor(const Descriptor&) = delete;
  ~Descriptor() { ::close(fd); }
  const int fd;
  const std::string path;
};

Result<std::shared_ptr<Descriptor>> OpenDescriptor(const std::string& path, int flags) {
  int fd;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, kFileMode);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return Failed("open", path, errno);
  return std::make_shared<Descriptor>(fd, path);
}

Status WriteAll(const Descriptor& file, uint64_t offset, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(file.fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Failed("write", file.path, errno);
    if (n == 0) return Failed("write", file.path, EIO);
    offset += static_cast<uint64_t>(n);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return Status::Ok();
}

// A sync is not retried, on EINTR either: after any failure the pages may already count as clean.
// Nor may lack of space look like a call that was refused before anything happened.
Status SyncFailed(std::string_view call, std::string_view path) {
  return IoError(Failed(call, path, errno).message());
}

Status DataSync(const Descriptor& file) {
  return ::fdatasync(file.fd) == 0 ? Status::Ok() : SyncFailed("fdatasync", file.path);
}

Status SyncNames(const std::string& directory) {
  ASSIGN_OR_RETURN(const auto file, OpenDescriptor(directory, O_RDONLY | O_DIRECTORY));
  return ::fsync(file->fd) == 0 ? Status::Ok() : SyncFailed("fsync", directory);
}

std::string ParentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash + 1);
}

// A directory that was there: a start that ended right behind mkdir has not synced its name. That
// start could; where nobody can, it was made by somebody else.
Status SyncNameOf(const std::string& found) {
  const int fd = ::open(ParentOf(found).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Status::Ok();
  const Descriptor parent(fd, ParentOf(found));
  if (::fsync(fd) == 0 || errno == EINVAL || errno == EROFS || errno == ENOSYS) {
    return Status::Ok();
  }
  return SyncFailed("fsync", parent.path);
}

}  // namespace

// Runs blocking calls in the order of asking and reports on the executor.
class PosixFileSystem::Worker {
 public:
  using Calls = absl::AnyInvocable<Status()>;

  explicit Worker(Executor& executor) : executor_(executor), thread_([this] { Run(); }) {}
  ~Worker() { Stop(); }

  void Add(Calls calls, File::Done done) {
    {
      std::lock_guard lock(mutex_);
      if (stopped_) return;
      queue_.push_back({std::move(calls), std::move(done)});
    }
    wake_.notify_one();
  }

  void Stop() {
    {
      std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    wake_.notify_one();
    if (thread_.joinable()) thread_.join();
  }

 private:
  struct Request {
    Calls calls;
    File::Done done;
  };

  void Run() {
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [this] { return stopped_ || !queue_.empty(); });
      if (stopped_) return;
      Request request = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      Status status = request.calls();
      executor_.Post([done = std::move(request.done), status = std::move(status)]() mutable {
        done(std::move(status));
      });
      request = {};
      lock.lock();
    }
  }

  Executor& executor_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Request> queue_;
  bool stopped_ = false;
  std::thread thread_;  // last: it uses everything above
};

namespace {

class PosixFile final : public File {
  // Where blocks cannot be had without writing.
  static constexpr uint64_t kFillBytes = 1 << 20;

 public:
  PosixFile(std::shared_ptr<Descriptor> file, std::shared_ptr<PosixFileSystem::Worker> thread)
      : file_(std::move(file)), thread_(std::move(thread)) {}

  Result<std::string> Read(uint64_t offset, size_t size) const override {
    // The file's size bounds the allocation, whatever the caller asked for.
    ASSIGN_OR_RETURN(const uint64_t end, Size());
    if (offset >= end) return std::string();
    std::string bytes(std::min<uint64_t>(size, end - offset), '\0');
    size_t got = 0;
    while (got < bytes.size()) {
      const ssize_t n = ::pread(file_->fd, bytes.data() + got, bytes.size() - got,
                                static_cast<off_t>(offset + got));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return Failed("read", file_->path, errno);
      if (n == 0) break;
      got += static_cast<size_t>(n);
    }
    bytes.resize(got);
    return bytes;
  }

  Status Write(uint64_t offset, std::string_view bytes) override {
    return WriteAll(*file_, offset, bytes);
  }

  Status Sync() override {
    return ::fsync(file_->fd) == 0 ? Status::Ok() : SyncFailed("fsync", file_->path);
  }

  Result<uint64_t> Size() const override {
    struct stat info {};
    if (::fstat(file_->fd, &info) != 0) return Failed("stat", file_->path, errno);
    return static_cast<uint64_t>(info.st_size);
  }

  Status Truncate(uint64_t size) override {
    if (::ftruncate(file_->fd, static_cast<off_t>(size)) != 0) {
      return Failed("truncate", file_->path, errno);
    }
    return Status::Ok();
  }

  Status Allocate(uint64_t size) override {
    if (::fallocate(file_->fd, 0, 0, static_cast<off_t>(size)) == 0) return Status::Ok();
    if (errno != EOPNOTSUPP) return Failed("fallocate", file_->path, errno);
    ASSIGN_OR_RETURN(uint64_t at, Size());
    for (; at < size; at += kFillBytes) {
      RETURN_IF_ERROR(Write(at, std::string(std::min<uint64_t>(kFillBytes, size - at), '\0')));
    }
    return Status::Ok();
  }

  void WriteAndSync(uint64_t offset, Bytes bytes, Done done) override {
    thread_->Add(
        [file = file_, offset, bytes = std::move(bytes)]() -> Status {
          RETURN_IF_ERROR(WriteAll(*file, offset, *bytes));
          return DataSync(*file);
        },
        std::move(done));
  }

 private:
  std::shared_ptr<Descriptor> file_;
  std::shared_ptr<PosixFileSystem::Worker> thread_;
};

class PosixLock final : public DirectoryLock {
 public:
  explicit PosixLock(std::shared_ptr<Descriptor> file) : file_(std::move(file)) {}

 private:
  std::shared_ptr<Descriptor> file_;  // closing it releases the lock
};

}  // namespace

PosixFileSystem::PosixFileSystem(Executor& executor)
    : thread_(std::make_shared<Worker>(executor)),
      background_(std::make_unique<Worker>(executor)) {}

// Files may outlive the file system; their WriteAndSync then does nothing.
PosixFileSystem::~PosixFileSystem() {
  background_->Stop();
  thread_->Stop();
}

void PosixFileSystem::Background(absl::AnyInvocable<Status()> calls, File::Done done) {
  background_->Add(std::move(calls), std::move(done));
}

Result<std::unique_ptr<File>> PosixFileSystem::Open(const std::string& path, OpenMode mode) {
  const int flags = O_RDWR | (mode == OpenMode::kCreate ? O_CREAT : 0);
  ASSIGN_OR_RETURN(auto file, OpenDescriptor(path, flags));
  return std::unique_ptr<File>(std::make_unique<PosixFile>(std::move(file), thread_));
}

Result<bool> PosixFileSystem::Exists(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0) return true;
  if (errno == ENOENT) return false;
  return Failed("stat", path, errno);
}

Result<std::vector<std::string>> PosixFileSystem::List(const std::string& directory) {
  DIR* stream = ::opendir(directory.c_str());
  if (stream == nullptr) return Failed("list", directory, errno);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(stream)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
    errno = 0;
  }
  const int error = errno;
  ::closedir(stream);
  if (error != 0) return Failed("list", directory, error);
  std::sort(names.begin(), names.end());
  return names;
}

Status CreateDirectories(const std::string& path) {
  std::string found;  // the deepest one that was there: what was made before it is durable
  for (size_t end = 0; end != std::string::npos;) {
    end = path.find('/', end + 1);
    const std::string part = path.substr(0, end);
    if (::mkdir(part.c_str(), kDirectoryMode) == 0) {
      RETURN_IF_ERROR(SyncNames(ParentOf(part)));
    } else if (errno == EEXIST) {
      found = part;
    } else {
      return Failed("mkdir", part, errno);
    }
  }
  if (!found.empty()) RETURN_IF_ERROR(SyncNameOf(found));
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return Failed("stat", path, errno);
  if (!S_ISDIR(info.st_mode)) return Failed("mkdir", path, ENOTDIR);
  return Status::Ok();
}

Status PosixFileSystem::CreateDirectory(const std::string& path) { return CreateDirectories(path); }

Status PosixFileSystem::MakePrivate(const std::string& directory) {
  struct stat info {};
  if (::lstat(directory.c_str(), &info) != 0) return Failed("stat", directory, errno);
  const bool is_directory = S_ISDIR(info.st_mode);
  if (!is_directory && !S_ISREG(info.st_mode)) return Status::Ok();
  const mode_t mode = info.st_mode & (is_directory ? kDirectoryMode : kFileMode);
  Status result;
  if (mode != (info.st_mode & 07777) && ::chmod(directory.c_str(), mode) != 0) {
    result = Failed("chmod", directory, errno);
  }
  if (!is_directory) return result;
  const auto names = List(directory);
  if (!names.ok()) return result.ok() ? names.status() : result;
  for (const std::string& name : *names) {
    const Status inner = MakePrivate(directory + "/" + name);
    if (result.ok()) result = inner;
  }
  return result;
}

Status PosixFileSystem::Rename(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return Failed("rename", from, errno);
  return Status::Ok();
}

Status PosixFileSystem::Remove(const std::string& path) {
  if (::unlink(path.c_str()) != 0) return Failed("remove", path, errno);
  return Status::Ok();
}

Status PosixFileSystem::SyncDirectory(const std::string& path) { return SyncNames(path); }

namespace {

// " (1234)": who holds the lock, as it has written there; empty if it has not.
std::string HolderOf(int fd) {
  char text[32];
  const ssize_t n = ::pread(fd, text, sizeof text, 0);
  uint64_t pid = 0;
  if (n <= 0 || std::from_chars(text, text + n, pid).ec != std::errc()) return "";
  return fmt::format(" ({})", pid);
}

}  // namespace

Result<std::unique_ptr<DirectoryLock>> PosixFileSystem::Lock(const std::string& directory) {
  ASSIGN_OR_RETURN(auto file, OpenDescriptor(directory + "/LOCK", O_RDWR | O_CREAT));
  if (::flock(file->fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return Failed("lock", directory, errno);
    return Status(Code::kFailedPrecondition,
                  fmt::format("data directory {} is in use by another process{}", directory,
                              HolderOf(file->fd)));
  }
  // For whoever is refused. On a disk that is full nobody is named.
  const std::string pid = fmt::format("{}\n", ::getpid());
  if (::ftruncate(file->fd, 0) == 0) (void)!::pwrite(file->fd, pid.data(), pid.size(), 0);
  return std::unique_ptr<DirectoryLock>(std::make_unique<PosixLock>(std::move(file)));
}

Result<uint64_t> PosixFileSystem::FreeBytes(const std::string& path) {
  struct statvfs info {};
  if (::statvfs(path.c_str(), &info) != 0) return Failed("statvfs", path, errno);
  return static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
}

Result<uint64_t> PosixFileSystem::TotalBytes(const std::string& path) {
  struct statvfs info {};
  if (::statvfs(path.c_str(), &info) != 0) return Failed("statvfs", path, errno);
  return static_cast<uint64_t>(info.f_blocks) * info.f_frsize;
}

}  // namespace quorate::storage
