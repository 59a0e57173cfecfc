#include "raft/host/snapshot_image.h"

#include <algorithm>

#include "base/check.h"
#include "base/coding.h"
#include "base/limits.h"
#include "base/status_macros.h"

namespace quorate::raft {
namespace {

constexpr size_t kSpansMax = 64;

bool Below(std::string_view key, std::string_view to) {
  return to.empty() || storage::KeyLess()(key, to);
}

// A key that MakeKey could have built: its last byte is the length of a suffix that fits in.
bool WellFormed(std::string_view key) {
  return !key.empty() && key.size() <= limits::kLmdbKeyBytesMax &&
         static_cast<uint8_t>(key.back()) < key.size();
}

// Whether [from, to) holds keys that belong to the node, not to a state machine.
bool TouchesReserved(std::string_view from, std::string_view to) {
  const std::string first = storage::MakeKey(std::string(1, storage::kStorageTag));
  const std::string end = storage::MakeKey(std::string(1, storage::kStorageTag + 1));
  return (from.empty() || storage::KeyLess()(from, end)) && Below(first, to);
}

}  // namespace

SnapshotCopy::SnapshotCopy(SnapshotMeta meta, Spans spans) : spans_(std::move(spans)) {
  image_.meta = std::move(meta);
  // The receiver takes pairs in store order only.
  std::sort(spans_.begin(), spans_.end(),
            [](const auto& a, const auto& b) { return storage::KeyLess()(a.first, b.first); });
  CHECK(spans_.size() <= kSpansMax, "{} spans", spans_.size());
  std::string head;
  PutVarint(&head, spans_.size());
  for (const auto& [from, to] : spans_) {
    CHECK(!TouchesReserved(from, to), "a state machine's span holds keys of the node");
    PutLengthPrefixed(&head, from);
    PutLengthPrefixed(&head, to);
  }
  bytes_ = head.size();
  image_.chunks.push_back(std::move(head));
}

Result<bool> SnapshotCopy::Step(const storage::KvReader& store, size_t bytes) {
  size_t copied = 0;
  while (span_ < spans_.size()) {
    const auto& [from, to] = spans_[span_];
    bool stopped = false;
    const auto visit = [&](std::string_view key, std::string_view value) {
      if (key == resume_after_) return true;
      std::string* chunk = &image_.chunks.back();
      if (chunk->size() >= limits::kSnapshotChunkBytes) chunk = &image_.chunks.emplace_back();
      const size_t before = chunk->size();
      PutLengthPrefixed(chunk, key);
      PutLengthPrefixed(chunk, value);
      copied += chunk->size() - before;
      bytes_ += chunk->size() - before;
      resume_after_.assign(key);
      stopped = copied >= bytes;
      return !stopped;
    };
    // A key of its own, since the scan must not borrow what the visitor changes.
    const std::string start = resume_after_.empty() ? from : resume_after_;
    RETURN_IF_ERROR(store.Scan(start, to, visit));
    if (stopped) return false;
    ++span_;
    resume_after_.clear();
  }
  return true;
}

std::shared_ptr<const SnapshotImage> SnapshotCopy::Take() {
  return std::make_shared<const SnapshotImage>(std::move(image_));
}

bool SnapshotLoad::AddSpans(std::string_view* chunk) {
  uint64_t count = 0;
  if (!GetVarint(chunk, &count) || count > kSpansMax) return false;
  for (uint64_t i = 0; i < count; ++i) {
    std::string_view from;
    std::string_view to;
    if (!GetLengthPrefixed(chunk, &from) || !GetLengthPrefixed(chunk, &to)) return false;
    if ((!from.empty() && !WellFormed(from)) || (!to.empty() && !WellFormed(to))) return false;
    if (TouchesReserved(from, to)) return false;
    spans_.emplace_back(from, to);
  }
  return true;
}

bool SnapshotLoad::Add(std::string_view chunk, PairJudge understood) {
  bytes_ += chunk.size();
  if (!begun_ && !AddSpans(&chunk)) return false;
  begun_ = true;
  while (!chunk.empty()) {
    std::string_view key;
    std::string_view value;
    if (!GetLengthPrefixed(&chunk, &key) || !GetLengthPrefixed(&chunk, &value)) return false;
    if (!WellFormed(key)) return false;
    while (span_ < spans_.size() && !Below(key, spans_[span_].second)) ++span_;
    if (span_ == spans_.size()) return false;
    const std::string& from = spans_[span_].first;
    if (!from.empty() && storage::KeyLess()(key, from)) return false;
    if (!understood(key, value)) return false;
    batch_.Put(std::string(key), std::string(value));
  }
  return true;
}

}  // namespace quorate::raft
