// cli/latencies.h.
#include "cli/latencies.h"

#include <gtest/gtest.h>

namespace quorate::cli {
namespace {

TEST(Latencies, PercentilesAreOrderStatistics) {
  Latencies latencies;
  EXPECT_EQ(latencies.Percentile(0.5), 0u);
  for (int i = 100; i >= 1; --i) latencies.Add(std::chrono::microseconds(i));
  EXPECT_EQ(latencies.count(), 100u);
  EXPECT_EQ(latencies.Percentile(0), 1u);
  EXPECT_EQ(latencies.Percentile(0.5), 50u);
  EXPECT_EQ(latencies.Percentile(0.99), 99u);
  EXPECT_EQ(latencies.Percentile(1), 100u);
}

TEST(Latencies, OneValueIsEveryPercentile) {
  Latencies latencies;
  latencies.Add(7ms);
  EXPECT_EQ(latencies.Percentile(0.001), 7000u);
  EXPECT_EQ(latencies.Percentile(0.999), 7000u);
}

}  // namespace
}  // namespace quorate::cli
