// Options of the client library.
#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "txn/given_name.h"

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
  // With a name the transaction takes effect at most once for an hour, however often and from
  // wherever it is run: GivenName::Make(Unix milliseconds, random). Every run of the closure, at
  // any time, must write `name_key`, and it must be the same for all runs of one name.
  GivenName name;
  std::string name_key;
};

}  // namespace quorate::client
