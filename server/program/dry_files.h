// DryFiles: another file system as it would be if what is written now had been written. Reads go
// through, writes stay in memory: to find out what a start would find, without doing it.
//
// Threads: one. For recovery only: WriteAndSync is not there, and Background is done at once.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "storage/file.h"

namespace quorate::server {

class DryFiles final : public storage::FileSystem {
 public:
  // Outlives this and its files.
  explicit DryFiles(storage::FileSystem& under) : under_(under) {}

  Result<std::unique_ptr<storage::File>> Open(const std::string& path,
                                              storage::OpenMode mode) override;
  Result<bool> Exists(const std::string& path) override;
  Result<std::vector<std::string>> List(const std::string& directory) override;
  Status CreateDirectory(const std::string&) override { return Status::Ok(); }
  Status Rename(const std::string& from, const std::string& to) override;
  Status Remove(const std::string& path) override;
  Status SyncDirectory(const std::string&) override { return Status::Ok(); }
  // Nobody is kept out, and nobody keeps this out.
  Result<std::unique_ptr<storage::DirectoryLock>> Lock(const std::string&) override {
    return std::make_unique<storage::DirectoryLock>();
  }
  void Background(absl::AnyInvocable<Status()> calls, storage::File::Done done) override {
    done(calls());
  }
  Result<uint64_t> FreeBytes(const std::string& path) override { return under_.FreeBytes(path); }
  Result<uint64_t> TotalBytes(const std::string& path) override { return under_.TotalBytes(path); }

 private:
  class DryFile;

  storage::FileSystem& under_;
  std::map<std::string, std::shared_ptr<std::string>> written_;  // whole content, by path
  std::set<std::string> removed_;
};

}  // namespace quorate::server
