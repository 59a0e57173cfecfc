// Connections: the TCP connections that were handed to gRPC, by the name that gRPC gives their
// other end. It closes them without a word, so what is found here is looked at before it is
// believed.
//
// Threads: executor's thread only.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace quorate::server {

class Connections {
 public:
  // `fd` belongs to gRPC from now on. The one that had the number before is gone.
  void Add(int fd);
  // Bytes that came from `peer` so far, as the kernel counts them; nothing if its connection is not
  // known (any more).
  std::optional<uint64_t> Received(const std::string& peer) const;

 private:
  std::map<std::string, int> numbers_;
  std::map<int, std::string> peers_;
};

}  // namespace quorate::server
