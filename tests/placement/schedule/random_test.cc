// Seeds: 100, or those of QUORATE_SEEDS=FIRST-LAST.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "tests/placement/schedule/random_run.h"

namespace quorate::placement::model {
namespace {

TEST(ScheduleRandom, BreaksNoRuleAndEndsAtTheRules) {
  unsigned long long first = 1, last = 100;
  if (const char* seeds = std::getenv("QUORATE_SEEDS")) {
    ASSERT_EQ(std::sscanf(seeds, "%llu-%llu", &first, &last), 2);
  }
  for (uint64_t seed = first; seed <= last; ++seed) {
    const std::string found = RandomRun(seed);
    ASSERT_TRUE(found.empty()) << "seed " << seed << ": " << found;
  }
}

}  // namespace
}  // namespace quorate::placement::model
