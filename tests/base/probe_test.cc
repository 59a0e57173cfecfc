// Probes are known without being reached, and sum over places that share a name.
#include "base/probe.h"

#include <gtest/gtest.h>

namespace quorate {
namespace {

void MaybeReach(bool reach) {
  if (reach) PROBE("test: one place");
}
void MaybeReachBoth(bool first) {
  if (first) {
    PROBE("test: two places");
  } else {
    PROBE("test: two places");
  }
}

TEST(Probe, IsListedWithoutBeingReached) {
  ASSERT_TRUE(Probe::Report().contains("test: one place"));
  EXPECT_EQ(Probe::Report()["test: one place"], 0u);
  MaybeReach(false);
  EXPECT_EQ(Probe::Report()["test: one place"], 0u);
  MaybeReach(true);
  MaybeReach(true);
  EXPECT_EQ(Probe::Report()["test: one place"], 2u);
}

TEST(Probe, SumsOverPlacesOfOneName) {
  MaybeReachBoth(true);
  MaybeReachBoth(false);
  EXPECT_EQ(Probe::Report()["test: two places"], 2u);
}

}  // namespace
}  // namespace quorate
