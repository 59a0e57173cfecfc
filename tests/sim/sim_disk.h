// The simulated disk of one node.
//
// Fault model. A write is visible at once and pending until a sync of its file completes. A killed
// process loses nothing (the kernel keeps what was written). Power loss keeps, drops or tears each
// pending write per 512-byte sector, independently, and undoes a random tail of directory changes
// (create, rename, remove) that were not followed by a directory sync. A sync takes virtual time;
// it can stall, and it can fail: then what was pending is dropped *and* counts as clean, as on
// Linux.
#pragma once

#include <map>
#include <memory>
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
  double stall_chance = 0;  // of one sync
  Duration stall = std::chrono::milliseconds(500);
  double sync_failure_chance = 0;
  uint64_t capacity_bytes = 64ull << 30;
};

// Outlives the node's incarnations.
class SimDisk {
 public:
  SimDisk(World& world, std::string name, DiskOptions options);

  // Files of one incarnation; callbacks run on its executor and only while it lives.
  std::unique_ptr<storage::FileSystem> Mount(Executor& executor);
  void PowerLoss();
  DiskOptions& options() { return options_; }
  uint64_t syncs() const { return syncs_; }
  // Told of every byte range that becomes durable; outlives the disk's use of it.
  void Watch(Observer* observer) { observer_ = observer; }

 private:
  friend class SimFile;
  friend class SimFileSystem;

  struct PendingWrite {
    uint64_t id;
    uint64_t offset;
    std::string before;  // content it replaced, possibly shorter than `after` (file grew)
    std::string after;
  };
  struct Inode {
    std::string content;                // visible
    std::vector<PendingWrite> pending;  // in order
    uint64_t durable_size = 0;
  };
  struct DirectoryOp {
    enum Kind { kCreate, kRename, kRemove } kind;
    std::string path;
    std::string to;
    std::shared_ptr<Inode> replaced;  // by the rename
    std::shared_ptr<Inode> inode;
  };

  Status WriteTo(Inode& inode, uint64_t offset, std::string_view bytes);
  void Synced(Inode& inode, uint64_t up_to);
  void DropPending(Inode& inode);
  Duration SyncLatency();

  World& world_;
  const std::string name_;
  Random random_;
  DiskOptions options_;
  std::map<std::string, std::shared_ptr<Inode>> files_;
  std::map<std::string, bool> directories_;
  std::vector<DirectoryOp> directory_pending_;
  std::map<std::string, std::weak_ptr<int>> locks_;
  Observer* observer_ = nullptr;
  uint64_t last_write_ = 0;
  uint64_t syncs_ = 0;
};

}  // namespace quorate::sim
