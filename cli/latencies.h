// Latencies of finished operations, in microseconds; all are kept, so that percentiles are exact.
#pragma once

#include <cstdint>
#include <vector>

#include "base/clock.h"

namespace quorate::cli {

class Latencies {
 public:
  void Add(Duration latency) {
    micros_.push_back(static_cast<uint32_t>(latency / std::chrono::microseconds(1)));
  }
  size_t count() const { return micros_.size(); }
  // The smallest latency that at least this fraction of them do not exceed; 0 if there are none.
  uint32_t Percentile(double fraction);

 private:
  std::vector<uint32_t> micros_;
};

}  // namespace quorate::cli
