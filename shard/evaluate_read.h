// Evaluation of a read at one timestamp: who is in the way, and what is there. Pure looks at
// applied state and lock table; reads.cc waits, checks horizon and lease, and answers.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "base/status.h"
#include "shard/lock_table.h"
#include "shard/mvcc.h"
#include "shard/table.h"
#include "txn/judge.h"

namespace quorate::v1 {
class KeyValue;
class ReadRequest;
class ReadResponse;
class ScanResult;
}  // namespace quorate::v1

namespace quorate::shard {

struct ScanAsk {
  Span span;
  size_t limit = 0;
  bool reverse = false;
  bool keys_only = false;
  size_t limit_bytes = 0;
};

struct ReadAsk {
  TxnId reader;                        // zero: none
  std::vector<std::string_view> keys;  // views into the request
  size_t keys_bytes = 0;               // of their values; the first that fit are answered
  std::vector<ScanAsk> scans;
};

ReadAsk AskOf(const Judged<v1::ReadRequest>& request);

bool OwnsAll(const ReadAsk& ask, const Span& span);

// A lock that may turn out to be a write at or below `at`; nullptr: nothing is in the way.
const PreparedLock* BlockerOf(const ReadAsk& ask, Timestamp at, const LockTable& locks);

// One Read under way. Precondition: no blocker. Its scans share the rows and bytes of one answer
// and the versions that may be looked at; a scan for which nothing is left says from where to go
// on.
class Reading {
 public:
  // `ask` and `response` outlive it.
  Reading(const ReadAsk& ask, Timestamp at, size_t versions_max, v1::ReadResponse* response);

  // Looks at about `versions_max` versions, or copies what takes as long: the row that reaches that
  // is the last. True: all is read, or all that fits.
  bool Step(const Table& table, const LockTable& locks, size_t versions_max);

 private:
  // False: its value does not fit, and it is not the first.
  bool ReadKey(std::string_view key, const Table& table, const LockTable& locks);
  // Both return how many versions they looked at, about.
  size_t StepForward(const ScanAsk& scan, const Table& table, const LockTable& locks, size_t max);
  size_t StepBack(const ScanAsk& scan, const Table& table, const LockTable& locks, size_t max);
  void AddRow(const ScanAsk& scan, std::string_view key, Timestamp commit_ts,
              std::string_view value);
  bool full(const ScanAsk& scan) const;
  // This step has copied enough.
  bool paused() const;
  // What is left of the scan, if anything, is for another Read.
  void Cut(const ScanAsk& scan);
  void EndScan();

  const ReadAsk& ask_;
  const Timestamp at_;
  v1::ReadResponse* const response_;
  size_t rows_left_ = limits::kScanRowsMax;
  size_t bytes_left_ = limits::kReadBytesMax;
  size_t versions_left_;
  size_t step_bytes_ = 0;      // copied in this step,
  size_t step_bytes_max_ = 0;  // and when it ends
  size_t key_ = 0;             // the first that is not read
  size_t key_bytes_ = 0;
  size_t scan_ = 0;  // the one under way
  Span rest_;        // of it
  v1::ScanResult* result_ = nullptr;
  size_t scan_bytes_ = 0;
};

}  // namespace quorate::shard
