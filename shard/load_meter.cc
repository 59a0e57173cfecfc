#include "shard/load_meter.h"

#include <algorithm>

namespace quorate::shard {
namespace {

constexpr Duration kSecond = std::chrono::seconds(1);
constexpr double kAveragedOver = 60;  // seconds
constexpr double kSampledOver = 10;   // seconds that the samples are about
constexpr size_t kSamplesMin = 64;
// A key in the middle leaves at least this part of the requests on either side, in percent: less
// is not worth a split.
constexpr size_t kSidePercentMin = 20;

}  // namespace

void LoadMeter::Reset(Instant now) {
  begun_ = second_ = now;
  counted_ = 0;
  rate_ = 0;
  step_ = 1;
  next_ = 0;
  samples_.clear();
}

// A second without requests counts as one with none.
void LoadMeter::Roll(Instant now) {
  const auto seconds = (now - second_) / kSecond;
  if (seconds <= 0) return;
  const double age = static_cast<double>((now - begun_) / kSecond);
  const double weight = std::min(1.0, static_cast<double>(seconds) / std::min(kAveragedOver, age));
  rate_ += weight * (static_cast<double>(counted_) / static_cast<double>(seconds) - rate_);
  counted_ = 0;
  second_ += seconds * kSecond;
  step_ = std::max<uint64_t>(1, static_cast<uint64_t>(rate_ * kSampledOver) / kSamples);
}

void LoadMeter::Count(Instant now, std::string_view key) {
  Roll(now);
  ++counted_;
  if (step_ > 1 && random_.Below(step_) != 0) return;
  if (samples_.size() < kSamples) {
    samples_.emplace_back(key);
    return;
  }
  samples_[next_] = key;
  next_ = (next_ + 1) % kSamples;
}

uint64_t LoadMeter::PerSecond(Instant now) {
  Roll(now);
  return now - begun_ < kAgeMin ? 0 : static_cast<uint64_t>(rate_);
}

LoadMeter::Spread LoadMeter::Look() const {
  Spread spread;
  if (samples_.size() < kSamplesMin) return spread;
  std::vector<std::string_view> sorted(samples_.begin(), samples_.end());
  std::sort(sorted.begin(), sorted.end());
  const size_t all = sorted.size(), least = all * kSidePercentMin / 100;
  size_t busiest = 0, best = all;
  for (size_t begin = 0; begin < all;) {
    const size_t end = std::upper_bound(sorted.begin() + static_cast<int64_t>(begin), sorted.end(),
                                        sorted[begin]) -
                       sorted.begin();
    busiest = std::max(busiest, end - begin);
    const size_t off = begin < all / 2 ? all / 2 - begin : begin - all / 2;
    if (off < best && begin >= least && all - begin >= least) {
      best = off;
      spread.middle = sorted[begin];
    }
    begin = end;
  }
  spread.busiest_percent = static_cast<uint32_t>(busiest * 100 / all);
  return spread;
}

}  // namespace quorate::shard
