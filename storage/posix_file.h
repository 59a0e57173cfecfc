// The real FileSystem: direct POSIX calls, and one thread that performs WriteAndSync.
//
// One hand-off each way: the executor's thread queues a request, the sync thread does pwrite and
// fdatasync and posts `done`. Requests of all files run in the order of the calls. A file may be
// closed while its request runs; the descriptor lives until the request is over.
#pragma once

#include <memory>

#include "base/executor.h"
#include "storage/file.h"

namespace quorate::storage {

class PosixFileSystem final : public FileSystem {
 public:
  explicit PosixFileSystem(Executor& executor);
  // Waits for the request that is running; queued ones are dropped without `done`, as in a crash.
  ~PosixFileSystem() override;

  Result<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) override;
  Result<bool> Exists(const std::string& path) override;
  Result<std::vector<std::string>> List(const std::string& directory) override;
  Status CreateDirectory(const std::string& path) override;
  Status Rename(const std::string& from, const std::string& to) override;
  Status Remove(const std::string& path) override;
  Status SyncDirectory(const std::string& path) override;
  Result<std::unique_ptr<DirectoryLock>> Lock(const std::string& directory) override;
  Result<uint64_t> FreeBytes(const std::string& path) override;
  Result<uint64_t> TotalBytes(const std::string& path) override;

  class SyncThread;

 private:
  std::shared_ptr<SyncThread> thread_;
};

}  // namespace quorate::storage
