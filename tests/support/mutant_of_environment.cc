// A unit test's process has the known bug (base/mutant.h) that QUORATE_MUTANT names, if any.
#include <cstdlib>

#include "base/mutant.h"

namespace {

[[maybe_unused]] const bool switched_on = [] {
  const char* name = std::getenv("QUORATE_MUTANT");
  if (name != nullptr) quorate::active_mutant = name;
  return name != nullptr;
}();

}  // namespace
