#include "shard/size_meter.h"

#include <algorithm>

#include "base/check.h"
#include "shard/keys.h"

namespace quorate::shard {
namespace {

// Below, a measurement costs more than it tells.
constexpr uint64_t kWrittenMin = 1 << 20;
constexpr uint64_t kWrittenPart = 8;  // of what was measured last
constexpr size_t kSamplesMax = 256;   // so the middle is found within half a percent
constexpr uint64_t kStrideFirst = 16 << 10;

}  // namespace

bool SizeMeter::due() const {
  return hurry_ || under_way_ ||
         written_ >= std::max(kWrittenMin, measured_.value_or(0) / kWrittenPart);
}

void SizeMeter::Reset() {
  *this = SizeMeter();
  hurry_ = true;
}

bool SizeMeter::Step(const storage::KvReader& store, const Span& span, size_t versions) {
  const auto [from, to] = StoreSpan(Tag::kVersions, span.from, span.to);
  if (!std::exchange(under_way_, true)) {
    hurry_ = false;
    written_ = 0;
    next_ = from;
    sum_ = 0;
    stride_ = kStrideFirst;
    samples_.clear();
  }
  size_t seen = 0;
  bool more = false;
  const Status status = store.Scan(next_, to, [&](std::string_view key, std::string_view value) {
    if (seen == versions) {
      next_ = key;
      more = true;
      return false;
    }
    ++seen;
    const uint64_t last = samples_.empty() ? 0 : samples_.back().first;
    if (sum_ - last >= stride_) samples_.emplace_back(sum_, UserKey(key));
    sum_ += key.size() + value.size();
    if (samples_.size() < kSamplesMax) return true;
    for (size_t i = 0; 2 * i + 1 < samples_.size(); ++i)
      samples_[i] = std::move(samples_[2 * i + 1]);
    samples_.resize(samples_.size() / 2);
    stride_ *= 2;
    return true;
  });
  CHECK(status.ok(), "reading the store: {}", status.ToString());
  if (!more) Finish(span);
  return !more;
}

void SizeMeter::Finish(const Span& span) {
  under_way_ = false;
  measured_ = sum_;
  middle_.reset();
  uint64_t best = sum_;
  for (auto& [below, key] : samples_) {
    const uint64_t off = below > sum_ / 2 ? below - sum_ / 2 : sum_ / 2 - below;
    if (off >= best || key <= span.from) continue;
    best = off;
    middle_ = std::move(key);
  }
  samples_.clear();
}

}  // namespace quorate::shard
