// A history: what clients saw, as data. Shares no code with the database it judges.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace quorate::history {

// One step of a list-append transaction.
struct MicroOp {
  enum class Kind : uint8_t { kAppend, kRead } kind = Kind::kRead;
  std::string key;
  int64_t element = 0;        // append: unique over the whole history of the key
  std::vector<int64_t> list;  // read: what was seen
};

enum class Outcome : uint8_t { kOk, kFail, kUnknown };

struct Transaction {
  int process = 0;
  int64_t invoked = 0;    // any monotone clock shared by all clients
  int64_t completed = 0;  // meaningful for kOk only
  Outcome outcome = Outcome::kUnknown;
  std::vector<MicroOp> ops;
};

struct Anomaly {
  std::string name;         // Adya's and Elle's words: G0, G1a, G1b, G1c, G-single, G2, ...
  std::string explanation;  // a sentence a person can follow
};

}  // namespace quorate::history
