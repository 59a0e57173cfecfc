// Watches the space of the data directory's file system, so that a full disk ends nothing.
//
//   low    free < watermark + owed: growth is refused where this node is needed for a majority
//          (raft/host: CheckRoom), leaderships go elsewhere; reads, deletions and truncation go on
//   full   what is left after the reserve was given up is nearly gone, or something waits for
//          space: nothing is taken that would have to be written, until there is space again
//
//   watermark   max(2 % of the file system, min_free_bytes); a tenth more ends it (no flapping)
//   owed        what is applied and not checkpointed, and the log's next segment
//
// The reserve, DIR/RESERVE, is a file of allocated blocks that is removed when the disk is so full
// that something could fail: what was taken already can still be flushed, the identity be written,
// deletions be logged. It is made again when there is room beside it. A start on a full disk finds
// it, and gives it up (node_identity.h), too.
#pragma once

#include <functional>
#include <string>

#include "base/env.h"
#include "storage/file.h"

namespace quorate::storage {

inline constexpr char kReserveFile[] = "RESERVE";

class LowSpace {
 public:
  struct Options {
    std::string directory;
    uint64_t min_free_bytes = 256 << 20;
    uint64_t reserve_bytes = 0;  // 0: ReserveBytes(min_free_bytes)
    Duration interval = 1s;
    // Bytes that will be written without anybody asking any more; unset: none.
    std::function<uint64_t()> owed;
    // Whether something waits for space now; unset: nothing does.
    std::function<bool()> starved;
  };
  LowSpace(Env& env, FileSystem& files, Options options);
  ~LowSpace();

  // As of the last look.
  bool low() const { return low_; }
  bool full() const { return full_; }
  uint64_t free_bytes() const { return free_; }
  uint64_t total_bytes() const { return total_; }
  uint64_t watermark_bytes() const { return Watermark(total_, options_.min_free_bytes); }
  // 0: given up.
  uint64_t reserve_bytes() const { return reserve_; }
  // Looks now; also done at every interval. An error of the system call changes nothing.
  void Look();
  // Called after each look.
  void OnLook(std::function<void()> callback) { on_look_ = std::move(callback); }
  // For who finds no space and cannot wait for the next look.
  void GiveUpReserve();

  static uint64_t Watermark(uint64_t total_bytes, uint64_t min_free_bytes);
  static uint64_t ReserveBytes(uint64_t min_free_bytes);

 private:
  void Arm();
  void MakeReserve();
  void Judge(uint64_t total);

  Env& env_;
  FileSystem& files_;
  const Options options_;
  const uint64_t reserve_wanted_;
  const std::string reserve_path_;
  bool low_ = false;
  bool full_ = false;
  uint64_t free_ = 0;
  uint64_t total_ = 0;
  uint64_t reserve_ = 0;
  std::function<void()> on_look_;
  TimerId timer_ = 0;
  Gauge& free_gauge_;
  Gauge& low_gauge_;
  Gauge& reserve_gauge_;
};

// Removes the reserve of `directory`; also for who has no LowSpace yet. Whether there was one.
bool RemoveReserve(FileSystem& files, const std::string& directory);

}  // namespace quorate::storage
