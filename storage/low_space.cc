#include "storage/low_space.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/probe.h"

namespace quorate::storage {

uint64_t LowSpace::Watermark(uint64_t total_bytes, uint64_t min_free_bytes) {
  return std::max(total_bytes / 50, min_free_bytes);
}

LowSpace::LowSpace(Env& env, FileSystem& files, Options options)
    : env_(env),
      files_(files),
      options_(std::move(options)),
      free_gauge_(env.metrics.GetGauge("quorate_disk_free_bytes", "free bytes under --data")) {
  Look();
  Arm();
}

LowSpace::~LowSpace() { env_.executor.Cancel(timer_); }

void LowSpace::Arm() {
  timer_ = env_.executor.After(options_.interval, [this] {
    Look();
    Arm();
  });
}

void LowSpace::Look() {
  const Result<uint64_t> free = files_.FreeBytes(options_.directory);
  const Result<uint64_t> total = files_.TotalBytes(options_.directory);
  if (!free.ok() || !total.ok()) return;
  free_ = *free;
  free_gauge_.Set(static_cast<int64_t>(free_));
  watermark_ = Watermark(*total, options_.min_free_bytes);
  const bool low = free_ < (low_ ? watermark_ + watermark_ / 10 : watermark_);
  if (low && !low_) {
    PROBE("low space");
    env_.log.Warn("disk: {} bytes free under {}, below {}: writes are refused", free_,
                  options_.directory, watermark_);
  } else if (!low && low_) {
    env_.log.Info("disk: {} bytes free under {}: writes are accepted again", free_,
                  options_.directory);
  }
  low_ = low;
}

Status LowSpace::CheckGrowth() const {
  if (!low_) return Status::Ok();
  return {Code::kNoSpace, fmt::format("{} bytes free on the node's disk, writes need {}: delete "
                                      "data or add space",
                                      free_, watermark_)};
}

}  // namespace quorate::storage
