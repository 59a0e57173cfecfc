// What is wrong with a node's data directory, found without changing it: the offline half of
// `quorate doctor`.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace quorate::server {

struct Finding {
  bool serious = false;  // the node does not start, or has lost something; else: it soon may
  std::string what;      // a sentence
  std::string advice;    // what to do, a sentence
};

struct Examination {
  std::vector<std::string> facts;  // lines `name value`, for a person
  std::vector<Finding> findings;
};

// INVALID_ARGUMENT: there is no such directory, or it cannot be read. Reads all of the log and the
// store unless a node runs on it. Blocking.
Result<Examination> ExamineDirectory(const std::string& path);

}  // namespace quorate::server
