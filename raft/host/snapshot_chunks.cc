#include "raft/host/snapshot_chunks.h"

#include <algorithm>

#include "base/check.h"
#include "base/coding.h"
#include "base/limits.h"
#include "base/mutant.h"

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

ChunkReader::ChunkReader(std::shared_ptr<const SnapshotSource> source, size_t chunk_bytes)
    : source_(std::move(source)), chunk_bytes_(chunk_bytes), spans_(source_->spans) {
  // The receiver takes pairs in store order only.
  std::sort(spans_.begin(), spans_.end(),
            [](const auto& a, const auto& b) { return storage::KeyLess()(a.first, b.first); });
  CHECK(!spans_.empty() && spans_.size() <= kSpansMax, "{} spans", spans_.size());
  PutVarint(&chunk_.data, spans_.size());
  for (const auto& [from, to] : spans_) {
    CHECK(!TouchesReserved(from, to), "a state machine's span holds keys of the node");
    PutLengthPrefixed(&chunk_.data, from);
    PutLengthPrefixed(&chunk_.data, to);
  }
}

void ChunkReader::Next(Done done) {
  CHECK(done_ == nullptr && span_ < spans_.size(), "no chunk can be asked for");
  done_ = std::move(done);
  ReadMore();
}

void ChunkReader::ReadMore() {
  const auto& [from, to] = spans_[span_];
  const size_t size = chunk_.data.size();
  source_->view->Read(
      {from, to, after_}, size < chunk_bytes_ ? chunk_bytes_ - size : 1,
      storage::KvView::What::kPairs,
      [this, alive = std::weak_ptr<bool>(alive_)](Result<storage::KvView::Run> run) {
        if (!alive.expired()) Take(std::move(run));
      });
}

void ChunkReader::Take(Result<storage::KvView::Run> run) {
  if (!run.ok()) return std::exchange(done_, nullptr)(run.status());
  chunk_.data += run->pairs;
  after_ = std::move(run->last);
  if (run->end) {
    ++span_;
    after_.clear();
  }
  chunk_.last = span_ == spans_.size();
  if (!chunk_.last && chunk_.data.size() < chunk_bytes_) return ReadMore();
  std::exchange(done_, nullptr)(std::exchange(chunk_, {}));  // may destroy this
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
    const bool behind = last_key_.empty() || storage::KeyLess()(last_key_, key);
    if (!behind && !MUTANT("raft-snapshot-repeat-taken-for-next")) return false;
    last_key_.assign(key);
    if (!understood(key, value)) return false;
    batch_.Put(std::string(key), std::string(value));
  }
  return true;
}

}  // namespace quorate::raft
