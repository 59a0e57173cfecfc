#include "base/metrics.h"

#include <gtest/gtest.h>

namespace quorate {
namespace {

TEST(Metrics, ExposesTextInNameOrder) {
  Metrics metrics;
  metrics.GetCounter("quorate_b_total", "Bs.").Add(3);
  metrics.GetCounter("quorate_a_total", "As.", "shard=\"2\"").Add();
  metrics.GetGauge("quorate_g", "G.").Set(-4);
  metrics.GetHistogram("quorate_h_bytes", "H.").Record(5);
  const std::string text = metrics.Exposition();
  EXPECT_LT(text.find("quorate_a_total{shard=\"2\"} 1\n"), text.find("quorate_b_total 3\n"));
  EXPECT_NE(text.find("# TYPE quorate_g gauge\nquorate_g -4\n"), std::string::npos);
  EXPECT_NE(text.find("quorate_h_bytes_bucket{le=\"3\"} 0\n"), std::string::npos);
  EXPECT_NE(text.find("quorate_h_bytes_bucket{le=\"7\"} 1\n"), std::string::npos);
  EXPECT_NE(text.find("quorate_h_bytes_sum 5\n"), std::string::npos);
}

TEST(Metrics, DurationsAreShownInSeconds) {
  Metrics metrics;
  metrics.GetHistogram("quorate_h_seconds", "H.").Record(1500);  // microseconds
  const std::string text = metrics.Exposition();
  EXPECT_NE(text.find("quorate_h_seconds_bucket{le=\"0.001023\"} 0\n"), std::string::npos) << text;
  EXPECT_NE(text.find("quorate_h_seconds_bucket{le=\"0.002047\"} 1\n"), std::string::npos) << text;
  EXPECT_NE(text.find("quorate_h_seconds_sum 0.0015\n"), std::string::npos) << text;
}

TEST(Metrics, OneNameIsOneMetric) {
  Metrics metrics;
  Counter& a = metrics.GetCounter("x", "");
  EXPECT_EQ(&a, &metrics.GetCounter("x", ""));
}

}  // namespace
}  // namespace quorate
