// Watches the free space of the data directory's file system. Growth is refused while it is low, so
// that the disk never becomes full under the log: reads, deletions and truncation go on.
//
//   low when   free <  max(2 % of the file system, min_free_bytes)
//   fine when  free >= the same, plus a tenth (so that it does not flap)
#pragma once

#include <functional>
#include <string>

#include "base/env.h"
#include "storage/file.h"

namespace quorate::storage {

class LowSpace {
 public:
  struct Options {
    std::string directory;
    uint64_t min_free_bytes = 256 << 20;
    Duration interval = 1s;
  };
  LowSpace(Env& env, FileSystem& files, Options options);
  ~LowSpace();

  // As of the last look.
  bool low() const { return low_; }
  uint64_t free_bytes() const { return free_; }
  // NO_SPACE with the figures, or OK.
  Status CheckGrowth() const;
  // Looks now; also done at every interval. An error of the system call changes nothing.
  void Look();

  static uint64_t Watermark(uint64_t total_bytes, uint64_t min_free_bytes);

 private:
  void Arm();

  Env& env_;
  FileSystem& files_;
  const Options options_;
  bool low_ = false;
  uint64_t free_ = 0;
  uint64_t watermark_ = 0;
  TimerId timer_ = 0;
  Gauge& free_gauge_;
};

}  // namespace quorate::storage
