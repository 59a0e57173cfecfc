// The real FileSystem: direct POSIX calls, one thread that performs WriteAndSync, and one for what
// runs in the background, for which no WriteAndSync waits.
//
// One hand-off each way: the executor's thread queues a request, the thread does pwrite and
// fdatasync and posts `done`. Requests of all files run in the order of the calls. A file may be
// closed while its request runs; the descriptor lives until the request is over.
#pragma once

#include <memory>

#include "base/executor.h"
#include "storage/file.h"

namespace quorate::storage {

// FileSystem::CreateDirectory, for who has no file system yet.
Status CreateDirectories(const std::string& path);

class PosixFileSystem final : public FileSystem {
 public:
  explicit PosixFileSystem(Executor& executor);
  // Waits for the requests that are running; queued ones are dropped without `done`, as in a crash.
  ~PosixFileSystem() override;

  Result<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) override;
  Result<bool> Exists(const std::string& path) override;
  Result<std::vector<std::string>> List(const std::string& directory) override;
  Status CreateDirectory(const std::string& path) override;
  Status MakePrivate(const std::string& directory) override;
  Status Rename(const std::string& from, const std::string& to) override;
  Status Remove(const std::string& path) override;
  Status SyncDirectory(const std::string& path) override;
  Result<std::unique_ptr<DirectoryLock>> Lock(const std::string& directory) override;
  Result<uint64_t> FreeBytes(const std::string& path) override;
  Result<uint64_t> TotalBytes(const std::string& path) override;
  void Background(absl::AnyInvocable<Status()> calls, File::Done done) override;

  class Worker;

 private:
  std::shared_ptr<Worker> thread_;  // shared with the files
  std::unique_ptr<Worker> background_;
};

}  // namespace quorate::storage
