// MetricSample: one value of one metric at one moment, for whoever exports them.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace quorate {

struct MetricSample {
  enum class Kind : uint8_t { kCounter, kGauge, kHistogram } kind = Kind::kCounter;
  std::string_view name;   // as Prometheus names metrics: quorate_client_commits_total
  std::string_view help;   // a sentence
  std::string_view label;  // one `key="value"` pair, or empty
  int64_t value = 0;       // kHistogram: how many were recorded
  uint64_t sum = 0;        // kHistogram: of all that were recorded
};
// The views live as long as the call.
using MetricVisitor = std::function<void(const MetricSample&)>;

}  // namespace quorate
