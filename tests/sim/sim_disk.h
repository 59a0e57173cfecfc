// The simulated disk of one node.
//
// Fault model. A write is visible at once and pending until a sync of its file completes. A killed
// process loses nothing (the kernel keeps what was written). Power loss keeps, drops or tears each
// pending write per 512-byte sector, independently, and undoes a random tail of directory changes
// (create, rename, remove) that were not followed by a directory sync. A sync takes virtual time;
// it can stall, and it can fail: then what was pending counts as clean, as on Linux, and is either
// gone at once or stays readable in the page cache, beyond the process's death, until it is evicted
// or power is lost. Calls can fail with an I/O error, the space can be taken by others, and content
// can be damaged from outside (bit rot, writes that went elsewhere, old images): faults_disk.cc
// says which damage must be survived.
//
// A blocking call takes no virtual time in the background, beyond that of its batch of calls. On
// the executor's thread a directory's sync stops the process for as long as it takes.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "storage/file.h"
#include "tests/sim/checks/observer.h"
#include "tests/sim/world.h"

namespace quorate::sim {

struct DiskOptions {
  Duration sync_min = std::chrono::microseconds(150);
  Duration sync_max = std::chrono::milliseconds(2);
  uint64_t capacity_bytes = 64ull << 30;
};

// Faults in force, by themselves off.
struct DiskFaults {
  double stall_chance = 0;  // of one sync
  Duration stall{0};
  Duration slower{0};  // every sync
  double sync_failure = 0;
  bool failed_sync_stays_cached = false;
  bool fail_next_log_sync = false;  // once; it stays cached
  Duration slow_directory{0};       // every sync of a directory
  double write_failure = 0;
  double read_failure = 0;
  uint64_t log_reads_until_failure = 0;  // one read fails, of the log; 0: none
  bool misdirect_next_write = false;     // of the log
  uint64_t taken_bytes = 0;              // by others on the same file system
};

// Moments at which a process can die: right behind each, nothing else has happened yet.
enum class DiskPoint : uint8_t {
  kSyncBegun,  // written, not synced
  kSynced,     // synced, the caller does not know yet
  kCreated,
  kRenamed,
  kRemoved,
  kDirectorySynced,
};

enum class PowerLossMode : uint8_t { kSome, kNothingUnsynced, kTearEveryWrite };

// Outlives the node's incarnations.
class SimDisk {
 public:
  SimDisk(World& world, std::string name, DiskOptions options);

  // Files of one incarnation; callbacks run on its executor and only while it lives.
  std::unique_ptr<storage::FileSystem> Mount(Process& process);
  // Whatever the files mounted so far still do has no effect: the process is about to be gone.
  void Detach();
  void PowerLoss(PowerLossMode mode);
  // What a failed sync left in the page cache is gone; reads find what is on the disk.
  void Evict();
  // Called when a process syncs a directory on its executor's thread.
  void OnBlocked(std::function<void(const std::string& path)> hook) {
    blocked_hook_ = std::move(hook);
  }
  // Whether any file shows bytes that are not on the disk and count as clean.
  bool HoldsCachedOnly() const;

  DiskFaults& faults() { return faults_; }
  // Called at each point; must not touch the disk.
  void AtPoint(std::function<void(DiskPoint, const std::string& path)> hook);
  uint64_t syncs() const { return syncs_; }
  uint64_t used() const { return Used(); }
  uint64_t free() const { return Free(); }
  // Told of every byte range that becomes durable, once; outlives the disk's use of it.
  void Watch(Observer* observer) { observer_ = observer; }

  // ---- content, from outside ------------------------------------------------------------------
  // Everything on the disk at one moment, as a process that starts now would find it.
  struct Image {
    std::map<std::string, std::string> files;
    std::map<std::string, bool> directories;
  };
  Image TakeImage() const;
  void Restore(const Image& image);
  std::vector<std::string> Paths(const std::string& prefix) const;
  const std::string* Content(const std::string& path) const;
  // Replaces bytes within a file's content, synced or not.
  void Damage(const std::string& path, uint64_t offset, std::string_view bytes);
  void ReplaceFile(const std::string& path, std::string content);
  void LoseFile(const std::string& path);
  // Where the last batch of the log began, and in which segment: behind it, damage cannot be told
  // from a torn write.
  const std::string& last_log_path() const { return last_log_path_; }
  uint64_t last_log_offset() const { return last_log_offset_; }

 private:
  friend class SimFile;
  friend class SimFileSystem;

  struct PendingWrite {
    uint64_t id;
    uint64_t offset;
    std::string before;  // content it replaced, possibly shorter than `after` (file grew)
    std::string after;
    uint64_t meant;  // the offset that was asked for
  };
  struct Inode {
    std::string path;                   // as last opened
    std::string content;                // visible
    std::vector<PendingWrite> pending;  // in order
    uint64_t durable_size = 0;
    // What is on the disk, where a failed sync left the page cache with more: without `pending`.
    std::optional<std::string> on_disk;
  };
  struct DirectoryOp {
    enum Kind { kCreate, kRename, kRemove } kind;
    std::string path;
    std::string to;
    std::shared_ptr<Inode> replaced;  // by the rename
    std::shared_ptr<Inode> inode;
  };

  Status WriteTo(Inode& inode, uint64_t offset, std::string_view bytes);
  void Put(Inode& inode, uint64_t offset, std::string_view bytes, uint64_t meant);
  // Whether there is another place for it; then it is there.
  bool Misdirect(Inode& inode, uint64_t offset, std::string_view bytes);
  static bool IsBatch(uint64_t offset, std::string_view bytes);
  static bool HasBatchBehind(const Inode& inode, uint64_t id, uint64_t up_to);
  static std::string OnDisk(const Inode& inode, uint64_t offset, size_t size);
  void Synced(Inode& inode, uint64_t up_to);
  void DropPending(Inode& inode);
  // Whether this sync fails; then it has.
  bool SyncFails(Inode& inode);
  bool ReadFails(const Inode& inode);
  void UndoDirectoryChanges(size_t keep);
  Duration SyncLatency();
  uint64_t Used() const;
  uint64_t Free() const;
  void Reached(DiskPoint point, const std::string& path);
  void Replaced();

  World& world_;
  const std::string name_;
  Random random_;
  const DiskOptions options_;
  DiskFaults faults_;
  std::function<void(DiskPoint, const std::string&)> hook_;
  std::function<void(const std::string&)> blocked_hook_;
  uint64_t mount_ = 0;
  std::map<std::string, std::shared_ptr<Inode>> files_;
  std::map<std::string, bool> directories_;
  std::vector<DirectoryOp> directory_pending_;
  std::map<std::string, std::weak_ptr<int>> locks_;
  // The write that went elsewhere, until a later one of the log is synced: as long as it is the
  // last, its absence looks like a torn write, and a stop puts it right.
  struct Misdirected {
    std::shared_ptr<Inode> inode;
    uint64_t id = 0;
    uint64_t offset = 0;
    std::string bytes;
  };
  std::optional<Misdirected> misdirected_;
  std::string last_log_path_;
  uint64_t last_log_offset_ = 0;
  Observer* observer_ = nullptr;
  uint64_t last_write_ = 0;
  uint64_t syncs_ = 0;
};

}  // namespace quorate::sim
