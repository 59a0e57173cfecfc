// Evaluation of a read at one timestamp: who is in the way, and what is there. Pure looks at
// applied state and lock table; reads.cc waits, checks horizon and lease, and answers.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "shard/lock_table.h"
#include "shard/table.h"

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
  size_t step_versions = 0;  // looked at in one step
};

struct ReadAsk {
  TxnId reader;                        // zero: none
  std::vector<std::string_view> keys;  // views into the request
  std::vector<ScanAsk> scans;
};

// INVALID_ARGUMENT if the request breaks a limit; no state is looked at.
Result<ReadAsk> ParseRead(const v1::ReadRequest& request, size_t scan_step_versions);

bool OwnsAll(const ReadAsk& ask, const Span& span);

// A lock that may turn out to be a write at or below `at`; nullptr: nothing is in the way.
const PreparedLock* BlockerOf(const ReadAsk& ask, Timestamp at, const LockTable& locks);

// Precondition: no blocker. INVALID_ARGUMENT if the values asked for fit no answer.
Status ReadKeys(const ReadAsk& ask, Timestamp at, const Table& table, const LockTable& locks,
                v1::ReadResponse* response);

// Scans forward until a bound is reached.
void ScanForward(const ScanAsk& ask, Timestamp at, const Table& table, const LockTable& locks,
                 v1::ScanResult* result);

// The store is read forward only: a reverse scan reads its whole span and keeps the last rows, a
// chunk per Step, so that nobody else has to wait for all of it. What was read stays true between
// steps: nothing at or below `at` changes any more (S2), as long as the horizon does not pass it.
class ReverseScan {
 public:
  ReverseScan(ScanAsk ask, Timestamp at) : ask_(std::move(ask)), at_(at), rest_(ask_.span) {}
  // False: there is more to read.
  bool Step(const Table& table, const LockTable& locks);
  void Finish(v1::ScanResult* result);

 private:
  struct Row {
    std::string key;
    std::string value;
    Timestamp commit_ts;
  };
  ScanAsk ask_;
  Timestamp at_;
  Span rest_;
  std::deque<Row> rows_;
  size_t bytes_ = 0;
  bool cut_ = false;
};

}  // namespace quorate::shard
