// Empties an old segment: what of it is live is written anew at the end of the log.
//
//   read (in the background, once) ──► entries, a step at a time ──► hard states and marks
//
// A step copies about kCopyStepBytes, or looks at kCopyStepLooks records or groups, in one turn;
// the next begins once what the step wrote is durable. So neither a turn nor a batch grows with
// what a group has in the segment, and copying runs no further ahead of the disk than a step.
//
// Whether an entry is live is asked as its record is copied, not before: what was truncated or
// replaced meanwhile is left behind.
//
// A record that was read and is not valid is damage, found while the replica that wrote it still
// has it in memory. Its group is written down as damaged: it goes on, and is fetched again from its
// peers when it starts next (wal.h). A read that fails says nothing about what is on the disk: the
// segment is kept, and read again every kCopyReadRetry.
#pragma once

#include <absl/functional/any_invocable.h>

#include <memory>
#include <string>
#include <vector>

#include "base/env.h"
#include "storage/wal_live.h"
#include "storage/wal_reader.h"

namespace quorate::storage {

inline constexpr uint64_t kCopyStepBytes = 1 << 20;
inline constexpr size_t kCopyStepLooks = 2048;
inline constexpr Duration kCopyReadRetry = 5s;

class WalCopier {
 public:
  // Writes a record to the log. The last of a step comes with what is to run once it is durable.
  using CopyFn =
      absl::AnyInvocable<void(WalRecord record, RecordFlags flags, Wal::Durable durable)>;

  // `live` outlives the copier. `emptied` runs once nothing in the segment is live.
  WalCopier(Env& env, FileSystem& files, WalLive& live, uint64_t step_bytes, CopyFn copy,
            Closure emptied);
  ~WalCopier() { env_.executor.Cancel(read_timer_); }
  WalCopier(const WalCopier&) = delete;

  // Begins with `segment`, a file at `path`. Precondition: idle, and nothing is added to it.
  void Start(uint64_t segment, const std::string& path, uint32_t seed);
  bool idle() const { return segment_ == 0; }

 private:
  struct Content {
    std::string bytes;
    std::vector<ScanItem> items;
  };
  struct Copy {
    WalRecord record;
    RecordFlags flags;
  };

  void Read(const std::string& path, uint32_t seed);
  void Step();
  // Both add to `copies_` and return whether they came to the end.
  bool StepEntries();
  bool StepHeads();
  void CopyEntries(const ScanItem& item);
  template <class F>
  auto Alive(F fn);

  Env& env_;
  FileSystem& files_;
  WalLive& live_;
  const uint64_t step_bytes_;
  CopyFn copy_;
  Closure emptied_;

  uint64_t segment_ = 0;
  std::unique_ptr<Content> content_;  // while entries are copied
  size_t next_item_ = 0;
  GroupId last_group_;  // whose head was looked at
  TimerId read_timer_ = 0;
  // Of the step.
  std::vector<Copy> copies_;
  uint64_t bytes_ = 0;
  size_t looks_ = 0;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace quorate::storage
