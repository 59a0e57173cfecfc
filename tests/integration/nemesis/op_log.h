// What clients did, as files that others judge: Jepsen's EDN operations and the times of
// acknowledged writes. Any thread may call.
//
// A line is in the file, handed to the kernel, within a second of the event, so that an interrupted
// run leaves a history too.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace quorate::nemesis {

// CLOCK_MONOTONIC, which the orchestrator's time.monotonic() reads too.
int64_t MonotonicNanos();

// One workload's operations, one EDN map a line:
//   {:index 7, :type :ok, :process 3, :f :txn, :value [[:r "s01/x" 5]], :time 123}
class OpLog {
 public:
  explicit OpLog(const std::string& path);
  ~OpLog();

  // `type`: invoke, ok, fail (nothing happened) or info (unknown); `more`: further pairs, or empty.
  void Write(std::string_view type, int process, std::string_view f, std::string_view value,
             std::string_view more = {});
  void Flush();

 private:
  std::mutex mutex_;
  std::FILE* file_;
  uint64_t index_ = 0;
};

// Counts answers, and writes "<nanoseconds> <shard>" for each shard of each acknowledged write.
class AckLog {
 public:
  AckLog(const std::string& path, int shards);
  ~AckLog();

  void Acknowledged(const std::vector<int>& shards);
  void Read() { ++reads_; }
  void Refused() { ++refused_; }
  void Unknown() { ++unknown_; }

  // Counts since the last call, as one line of JSON; flushes the file.
  std::string Second();

 private:
  std::mutex mutex_;
  std::FILE* file_;
  uint64_t writes_ = 0;
  std::vector<uint64_t> by_shard_;
  std::atomic<uint64_t> reads_{0};
  std::atomic<uint64_t> refused_{0};
  std::atomic<uint64_t> unknown_{0};
};

}  // namespace quorate::nemesis
