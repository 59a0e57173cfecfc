// Ids of one kind: never used twice. Part of the replicated state, so that every replica gives the
// same one.
#pragma once

#include <algorithm>
#include <cstdint>

namespace quorate::placement {

class IdAllocator {
 public:
  explicit IdAllocator(uint64_t next = 1) : next_(std::max<uint64_t>(next, 1)) {}
  uint64_t Allocate() { return next_++; }
  // `id` is in use, wherever it came from.
  void Reserve(uint64_t id) { next_ = std::max(next_, id + 1); }
  uint64_t next() const { return next_; }

 private:
  uint64_t next_;
};

}  // namespace quorate::placement
