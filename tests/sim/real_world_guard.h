// The real world is out of bounds while events run: a call that reads a real clock, sleeps, starts
// a thread, opens a file or socket, or draws real randomness would make a run depend on more than
// its seed. Such a call prints its name and a stack, and aborts.
//
// It is found by definitions of those functions in this program, which the dynamic linker prefers
// to the C library's, also for calls from shared libraries. The allocator may read the clock: what
// it does with it is not seen by the simulation. Not in sanitizer builds, whose run-times define
// the same names.
#pragma once

namespace quorate::sim {

// Forbids those calls for as long as one exists.
class RealWorldGuard {
 public:
  RealWorldGuard();
  RealWorldGuard(const RealWorldGuard&) = delete;
  ~RealWorldGuard();
};

}  // namespace quorate::sim
