// ForkGuard: notices that this process is a child of the one in which the guard was made. A child
// has the memory of its parent, but none of its threads, and gRPC's state with nobody to move it.
#pragma once

#include <cstdint>

namespace quorate::client {

class ForkGuard {
 public:
  ForkGuard();
  ForkGuard(const ForkGuard&) = delete;
  ~ForkGuard();

  bool in_child() const;
  // Whether a guard was alive when this process was forked off.
  static bool forked_under_guard();

 private:
  const uint64_t generation_;
};

}  // namespace quorate::client
