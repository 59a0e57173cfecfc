// Options of the client library.
#pragma once

#include <cstddef>
#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/log_level.h"
#include "txn/given_name.h"
#include "txn/timestamp.h"

namespace quorate::client {

struct Options {
  // Addresses (HOST:PORT) of some nodes; the rest is learned.
  std::vector<std::string> cluster = {"127.0.0.1:7400"};
  // For every call that names none. At most limits::kRequestTimeoutMax.
  Duration timeout = std::chrono::seconds(10);
  // Takes the library's log lines, on the library's thread: it should return soon, and what it
  // throws is dropped. Empty: they go to standard error.
  std::function<void(LogLevel level, std::string_view line)> log;
  LogLevel log_level = LogLevel::kWarn;  // lines below it are not made
  // Values that one GetMany may bring; beyond, INVALID_ARGUMENT, and the transaction may go on.
  // 0: no bound.
  size_t read_bytes_max = 0;
};

// A snapshot of the past, which whichever replica is near can answer by itself: also while a shard
// has no leader, and without waiting for whom is being committed. Everything is read at one
// timestamp, the newest one that the first replica asked can tell: a state that the whole database
// had. It may lack what was committed before the call began, by `max_age`. Where no replica is
// asked that can tell it, leaders are.
struct StaleRead {
  Duration max_age{0};  // 1 ms to 60 s, by the oracle's time; 0: a fresh snapshot
  // The snapshot is not older than this: the read timestamp of an earlier one, or the commit_ts of
  // what must be seen. Without it two stale reads may go back in time.
  Timestamp not_before;
  bool wanted() const { return max_age != Duration(0); }
};

struct ScanAllOptions {
  bool reverse = false;
  bool keys_only = false;
  size_t limit = 0;             // rows in all; 0: no bound
  size_t page_bytes = 1 << 20;  // of keys and values: the row that reaches it is the page's last
  Duration page_timeout{0};     // 0: Options::timeout
  // Of an earlier scan that is to go on. Zero: a fresh snapshot.
  Timestamp read_ts;
  StaleRead stale;
};

struct TransactOptions {
  Duration timeout{0};   // 0: Options::timeout; covers all attempts
  int attempts_max = 0;  // 0: as many as the timeout allows
  // With a name the transaction takes effect at most once for an hour, however often and from
  // wherever it is run: GivenName::Make(Unix milliseconds, random). Every run of the closure, at
  // any time, must write `name_key`, and it must be the same for all runs of one name.
  GivenName name;
  std::string name_key;
  // A stop that is requested, by any thread, ends the call soon: CANCELLED, and nothing was
  // committed; or UNKNOWN_OUTCOME if a commit was under way.
  std::stop_token stop = {};
  // Of a Snapshot, and of GetAsync with a callback; of what may write: INVALID_ARGUMENT.
  StaleRead stale = {};
};

}  // namespace quorate::client
