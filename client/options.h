// Options of the client library.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"

namespace quorate::client {

struct Options {
  // Addresses (HOST:PORT) of some nodes; the rest is learned.
  std::vector<std::string> cluster = {"127.0.0.1:7400"};
  // For every call that names none. At most limits::kRequestTimeoutMax.
  Duration timeout = std::chrono::seconds(10);
};

struct TransactOptions {
  Duration timeout{0};   // 0: Options::timeout; covers all attempts
  int attempts_max = 0;  // 0: as many as the timeout allows
};

}  // namespace quorate::client
