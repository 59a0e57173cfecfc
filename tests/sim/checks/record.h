// Record: everything that clients asked for and saw in one run, whatever the workload, for the
// checkers to judge afterwards.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "client/options.h"
#include "client/transaction.h"
#include "tests/sim/world.h"
#include "txn/id.h"

namespace quorate::sim {

// A value as it is kept and compared: itself, or the beginning, the length and a hash of a long
// one. Absent: nullopt.
using Value = std::optional<std::string>;
Value Keep(const Value& value);

// What one read call returned. A single key is the range of that key.
struct ReadSeen {
  std::string from;
  std::string to;  // exclusive; empty: to the end
  size_t limit = 0;
  bool reverse = false;
  std::vector<std::pair<std::string, Value>> rows;
  std::map<std::string, Value> own;  // what the transaction itself had written there by then
};

struct AttemptSeen {
  enum class State : uint8_t {
    kRunning,     // its closure did not end: nothing was sent to be committed
    kCommitting,  // sent; no answer, or UNKNOWN_OUTCOME
    kCommitted,
    kAborted,
  };
  std::string who;
  State state = State::kRunning;
  int64_t began = 0;    // virtual time
  int64_t settled = 0;  // when the outcome was known; 0: never
  TxnId id;
  Timestamp start_ts;       // zero: it read nothing
  client::StaleRead stale;  // wanted: it read the past
  Timestamp commit_ts;      // zero: it wrote nothing, or the client was not told
  std::vector<ReadSeen> reads;
  std::map<std::string, Value> writes;
};

// A read outside of transactions: of one key, at a time that the client is not told.
struct SingleRead {
  std::string who;
  std::string key;
  Value value;
  int64_t began = 0;
  int64_t ended = 0;
};

// What the witness (witness.h) was answered. One that nobody answers judges nothing.
struct Witnessed {
  uint64_t slots = 0;
  uint64_t reads = 0;
  uint64_t commits = 0;
};

class Record {
 public:
  explicit Record(World& world) : world_(world) {}

  // References stay valid.
  AttemptSeen& Begin(std::string who);
  // The outcome that a client was told. Two that contradict each other are a violation.
  void Committed(AttemptSeen* attempt, Timestamp commit_ts);
  void Aborted(AttemptSeen* attempt);
  // The attempt of that id; nullptr: none.
  AttemptSeen* Find(const TxnId& id);
  void AddSingle(SingleRead read) { singles_.push_back(std::move(read)); }
  void Violation(std::string text) { violations_.push_back(std::move(text)); }

  // No wall clock was wrong: the oracle's time is the world's, by and large.
  bool clocks_true() const { return !world_.clocks_moved; }
  int64_t Now() const { return world_.now().time_since_epoch().count(); }
  const std::deque<AttemptSeen>& attempts() const { return attempts_; }
  const std::vector<SingleRead>& singles() const { return singles_; }
  const std::vector<std::string>& violations() const { return violations_; }

 private:
  World& world_;
  std::deque<AttemptSeen> attempts_;
  std::vector<SingleRead> singles_;
  std::vector<std::string> violations_;
};

// "c3 bank, at 12.345 s": for messages.
std::string Describe(const AttemptSeen& attempt);
std::string Describe(const Value& value);

}  // namespace quorate::sim
