// Descriptors of this process: their limit, a spare one for when they run out, and connections that
// may be given up to get some back.
//
// The kernel gives a new descriptor the lowest free number. So a number tells how many are in use
// at least: a connection whose descriptor is below a bound leaves all above it to others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "base/clock.h"
#include "base/status.h"

namespace quorate {

// Owns a descriptor. -1: none.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& o) noexcept {
    std::swap(fd_, o.fd_);
    return *this;
  }
  ~Descriptor() { Close(); }

  int get() const { return fd_; }
  int Release() { return std::exchange(fd_, -1); }
  void Close();

 private:
  int fd_ = -1;
};

// Raises the soft limit to the hard one; the limit in force. FAILED_PRECONDITION, with both limits:
// it stays below `wanted`.
Result<size_t> RaiseDescriptorLimit(size_t wanted);
// In force now. Somebody else may change it at any time.
size_t DescriptorLimit();
// In use now; reads a directory of that size.
size_t OpenDescriptors();

// One descriptor that is given away when there is no other.
class SpareDescriptor {
 public:
  SpareDescriptor() { Refill(); }
  // True: there is room for one more now.
  bool Spend();
  void Refill();

 private:
  Descriptor spare_;
};

// Ends, by shutdown, the TCP connections on `local_port` from which nothing was received for the
// longest: a 64th of them, at least one, and none that was heard of within `busy`. Who serves them
// sees their end and closes them. Returns their number. Looks at all descriptors.
size_t EndIdlestConnections(int local_port, Duration busy);

}  // namespace quorate
