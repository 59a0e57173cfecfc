// Mutants: known bugs, compiled in on purpose, so that the simulator can show that it finds them
// (docs/testing.md). Only a build with -DQUORATE_MUTANTS=ON contains them; everywhere else
// MUTANT(name) is `false` and the name is not even in the binary.
//
//   if (!MUTANT("wal-directory-not-synced")) RETURN_IF_ERROR(files_.SyncDirectory(directory));
//
// Several places may carry one name: together they are one bug. What each breaks is said in
// tests/sim/mutants_catalogue.cc.
#pragma once

#ifdef QUORATE_MUTANTS

#include <atomic>
#include <string_view>

#include "base/status_macros.h"

namespace quorate {

// The one bug that is on in this process; set before anything of the product runs.
inline std::string_view active_mutant;
// How often its places were passed.
inline std::atomic<uint64_t> mutant_passed{0};

inline bool PassMutant(bool on) {
  if (on) mutant_passed.fetch_add(1, std::memory_order_relaxed);
  return on;
}

}  // namespace quorate

#define MUTANT(name)                                           \
  ([] {                                                        \
    static const bool on = ::quorate::active_mutant == (name); \
    return ::quorate::PassMutant(on);                          \
  }())

#else

#define MUTANT(name) false

#endif
