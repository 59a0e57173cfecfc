#include "cli/latencies.h"

#include <algorithm>
#include <cmath>

namespace quorate::cli {

uint32_t Latencies::Percentile(double fraction) {
  if (micros_.empty()) return 0;
  const auto rank = static_cast<size_t>(std::ceil(fraction * static_cast<double>(micros_.size())));
  const size_t index = std::clamp<size_t>(rank, 1, micros_.size()) - 1;
  std::nth_element(micros_.begin(), micros_.begin() + static_cast<std::ptrdiff_t>(index),
                   micros_.end());
  return micros_[index];
}

}  // namespace quorate::cli
