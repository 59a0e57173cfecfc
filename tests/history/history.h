// A history: what clients asked for and saw, as data. Shares no code with the database it judges.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace quorate::history {

// A value that was written or read: an integer, or a number that stands for another value's text (a
// string, a keyword ...), the same for equal texts. Who adds values needs IsInteger.
int64_t SymbolOf(std::string_view text);
bool IsInteger(int64_t value);
// As in a history; of several, with blanks between.
std::string Text(int64_t value);
std::string Text(std::span<const int64_t> values);

// The key of workloads that are about one thing only (set, counter).
inline constexpr std::string_view kOnlyKey = "it";

// One step of a transaction. Which fields count depends on the workload (check.h): a read saw a
// `list` (list-append, set) or a `value` (everything else; none: the key did not exist).
struct MicroOp {
  enum class Kind : uint8_t {
    kAppend,  // `element` behind the list, or into the set, of `key`
    kRead,
    kWrite,  // the register `key` becomes `element`
    kAdd,    // `element` is added to the counter or balance `key`
  } kind = Kind::kRead;
  std::string key;
  int64_t element = 0;  // append and write: unique among those to the key
  std::vector<int64_t> list;
  std::optional<int64_t> value;
};

enum class Outcome : uint8_t {
  kOk,
  kFail,     // certainly without effect
  kUnknown,  // may have happened, may still happen; what it read does not count
};

struct Transaction {
  int process = 0;        // a client: one transaction at a time, unless the one before is unknown
  int64_t invoked = 0;    // any monotone clock shared by all clients; equal times are concurrent
  int64_t completed = 0;  // meaningful for kOk only
  Outcome outcome = Outcome::kUnknown;
  std::vector<MicroOp> ops;
};

struct Anomaly {
  std::string name;         // as Adya and Elle call it; all names: model.h
  std::string explanation;  // for a person: what was seen, and why it cannot be
};

}  // namespace quorate::history
