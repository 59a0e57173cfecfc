// Files and directories as quorate uses them: the seam that the simulated disk replaces.
//
// Durability rules that callers rely on, and the simulator enforces: bytes written are visible at
// once and durable only after a sync; a new or renamed file exists for good only after its
// directory was synced; after any failed sync the file's unsynced content is unknown and must not
// be trusted. A failed sync is never retried (fsyncgate, ST1).
//
// What a failed sync leaves is a trap: the bytes stay readable, count as clean, and are not on the
// disk. They go with the page cache, and a later sync of the same file succeeds without them. Only
// what is written again after the failure, and synced, is durable.
//
// Blocking calls are for start-up and for Background. A node that runs makes none on its executor's
// thread: any of them may wait for a journal commit behind writeback, for longer than a lease.
// WriteAndSync is the log's hot path and has a thread of its own in the real world; Background has
// another, so that a slow directory does not delay a batch. In the simulated world both take
// virtual time.
#pragma once

#include <absl/functional/any_invocable.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace quorate::storage {

class File {
 public:
  virtual ~File() = default;
  // Reads up to `size` bytes at `offset`; fewer at the end of the file.
  virtual Result<std::string> Read(uint64_t offset, size_t size) const = 0;
  virtual Status Write(uint64_t offset, std::string_view bytes) = 0;
  // Never NO_SPACE: a sync that fails for lack of space is an IO_ERROR like any other failed sync.
  virtual Status Sync() = 0;
  virtual Result<uint64_t> Size() const = 0;
  virtual Status Truncate(uint64_t size) = 0;
  // The file is at least `size` bytes long, and has the space for them. NO_SPACE: not all of it.
  virtual Status Allocate(uint64_t size) = 0;

  // One write and one data sync; `done` runs on the executor's thread. Calls on one file complete
  // in order. At most a few may be outstanding: the WAL keeps one in flight.
  //
  // NO_SPACE says that the write did not fit and no sync was tried: the same bytes may be written
  // to the same place again, which then says of all of them whether they are durable.
  using Done = absl::AnyInvocable<void(Status)>;
  using Bytes = std::shared_ptr<const std::string>;
  virtual void WriteAndSync(uint64_t offset, Bytes bytes, Done done) = 0;
};

// Held by whoever owns a directory; released on destruction or process death.
class DirectoryLock {
 public:
  virtual ~DirectoryLock() = default;
};

enum class OpenMode : uint8_t { kMustExist, kCreate };

class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual Result<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) = 0;
  virtual Result<bool> Exists(const std::string& path) = 0;
  // Names (not paths) in the directory, sorted.
  virtual Result<std::vector<std::string>> List(const std::string& directory) = 0;
  // Also creates parents. OK if it exists. For this user only, as are files.
  virtual Status CreateDirectory(const std::string& path) = 0;
  // Takes others' rights to `directory` and what is in it away, wherever it may; the first error.
  virtual Status MakePrivate(const std::string& directory) { return Status::Ok(); }
  virtual Status Rename(const std::string& from, const std::string& to) = 0;
  virtual Status Remove(const std::string& path) = 0;
  // Never NO_SPACE, as Sync.
  virtual Status SyncDirectory(const std::string& path) = 0;
  // FAILED_PRECONDITION if another process (or another node in the simulation) holds it.
  virtual Result<std::unique_ptr<DirectoryLock>> Lock(const std::string& directory) = 0;
  // Bytes that an unprivileged writer can still use on the file system of `path`.
  virtual Result<uint64_t> FreeBytes(const std::string& path) = 0;
  // Runs `calls`, blocking calls on this file system and its files, away from the executor's
  // thread; `done` runs on it with what they returned. One after the other, in the order of asking.
  // `calls` shares with the rest of the process only what it owns and what never changes.
  virtual void Background(absl::AnyInvocable<Status()> calls, File::Done done) = 0;
  // Size of the file system of `path`; 0: not known.
  virtual Result<uint64_t> TotalBytes(const std::string& path) { return uint64_t{0}; }
};

}  // namespace quorate::storage
