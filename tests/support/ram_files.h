// A FileSystem in memory for tests of what survives a crash.
//
// Fault model: written bytes are visible at once and durable after a sync; a crash keeps of each
// unsynced write any of its sectors (512 bytes), chosen one by one. Names (creation, renaming,
// removal) are durable after SyncDirectory; a crash keeps any prefix of the later changes. A failed
// sync is that of Linux: what was unsynced stays visible, counts as clean, and never becomes
// durable. It outlives the process (Kill), and later syncs succeed without it.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/executor.h"
#include "base/random.h"
#include "storage/file.h"

namespace quorate::storage {

// What outlives the process. At most one RamFiles uses it at a time.
class RamDisk {
 public:
  // The machine loses power: call with all users of the disk gone.
  void Crash(Random& random);
  // As if the process alone had died: everything visible stays, in the page cache or on the disk.
  void Kill();
  // The page cache is short of room: what is clean there is read from the disk next time.
  void Evict();

  // The next sync fails with `status`, and every later one of that file in this process.
  void FailNextSync(Status status) { sync_failure_ = std::move(status); }
  // From now on syncs fail only of files of which one failed.
  void FailNoMoreFiles() { sync_failure_.reset(); }
  void SetFreeBytes(uint64_t free, uint64_t total) {
    free_ = free;
    total_ = total;
  }
  // The next `count` reads fail, as for want of memory.
  void FailReads(int count) { failing_reads_ = count; }
  // No file grows and none is made until it is told otherwise.
  void SetFull(bool full) { full_ = full; }
  // Full, until that file is removed.
  void FillUntilRemoved(const std::string& path) {
    full_ = true;
    ends_full_ = path;
  }
  // Direct access to what a file shows (and, after SettleAll, has durably).
  std::string* Find(const std::string& path);
  // Everything visible becomes durable.
  void SettleAll();
  std::vector<std::string> Paths() const;
  void Erase(const std::string& path);
  uint64_t syncs() const { return syncs_; }
  // Calls on names and directories, and on the disk's room, outside of Background.
  uint64_t blocking_calls() const { return blocking_calls_; }
  // The most bytes of one WriteAndSync, since it was forgotten.
  uint64_t largest_write() const { return largest_write_; }
  void ForgetLargestWrite() { largest_write_ = 0; }

 private:
  friend class RamFiles;
  friend class RamFile;
  friend class RamLock;
  struct Node {
    struct Change {
      uint64_t offset = 0;
      std::string bytes;
      std::optional<uint64_t> truncate;
    };
    std::string visible;
    std::string durable;
    std::vector<Change> pending;
    bool broken = false;
  };
  using NodePtr = std::shared_ptr<Node>;
  struct NameChange {
    std::string path;
    NodePtr node;      // null: removed
    std::string from;  // a renaming is one change: this name goes at the same moment
  };
  Status SyncNode(Node& node);
  bool Fits(const Node& node, uint64_t size) const;
  static Status Full();
  static void ApplyChange(const Node::Change& change, std::string* bytes);
  static void ApplyName(const NameChange& change, std::map<std::string, NodePtr>* names);
  void ChangeName(NameChange change);

  std::map<std::string, NodePtr> names_;
  std::map<std::string, NodePtr> durable_names_;
  std::vector<NameChange> pending_names_;
  std::set<std::string> locked_;
  std::optional<Status> sync_failure_;
  uint64_t free_ = uint64_t{1} << 40;
  uint64_t total_ = uint64_t{1} << 40;
  uint64_t syncs_ = 0;
  bool full_ = false;
  int failing_reads_ = 0;
  uint64_t blocking_calls_ = 0;
  uint64_t largest_write_ = 0;
  std::string ends_full_;
};

class RamFiles final : public FileSystem {
 public:
  RamFiles(Executor& executor, RamDisk& disk, Duration latency = 500us)
      : executor_(executor), disk_(disk), latency_(latency) {}
  ~RamFiles() override {
    disk_.locked_.clear();
    *alive_ = false;
  }

  Result<std::unique_ptr<File>> Open(const std::string& path, OpenMode mode) override;
  Result<bool> Exists(const std::string& path) override;
  Result<std::vector<std::string>> List(const std::string& directory) override;
  Status CreateDirectory(const std::string& path) override { return Status::Ok(); }
  Status Rename(const std::string& from, const std::string& to) override;
  Status Remove(const std::string& path) override;
  Status SyncDirectory(const std::string& path) override;
  Result<std::unique_ptr<DirectoryLock>> Lock(const std::string& directory) override;
  Result<uint64_t> FreeBytes(const std::string& path) override {
    Blocks();
    return disk_.free_;
  }
  void Background(absl::AnyInvocable<Status()> calls, File::Done done) override;
  Result<uint64_t> TotalBytes(const std::string& path) override { return disk_.total_; }

 private:
  void Blocks() {
    if (!in_background_) ++disk_.blocking_calls_;
  }

  Executor& executor_;
  RamDisk& disk_;
  const Duration latency_;
  bool in_background_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace quorate::storage
