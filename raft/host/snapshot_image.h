// SnapshotImage: a group's state at one applied index, copied out of the store, in chunks.
//
// Format: the first chunk begins with the spans (count, then from and to, length-prefixed); the
// rest of it, and every other chunk, is a sequence of (key, value), length-prefixed, in store
// order; no pair straddles chunks. Each chunk travels with its CRC32C (snapshot_stream.h).
//
// A copy takes many turns of a bounded size; its owner holds back the group's applies meanwhile, so
// that all of it is the state at one index. No read transaction is held between turns.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "raft/core/types.h"
#include "storage/kv_store.h"

namespace quorate::raft {

using Spans = std::vector<std::pair<std::string, std::string>>;

struct SnapshotImage {
  SnapshotMeta meta;
  std::vector<std::string> chunks;  // never empty
};

class SnapshotCopy {
 public:
  SnapshotCopy(SnapshotMeta meta, Spans spans);
  // Copies about `bytes` more (at least one pair): true when everything is copied.
  Result<bool> Step(const storage::KvReader& store, size_t bytes);
  const SnapshotMeta& meta() const { return image_.meta; }
  size_t bytes() const { return bytes_; }  // copied so far
  // Once Step said true.
  std::shared_ptr<const SnapshotImage> Take();

 private:
  SnapshotImage image_;
  Spans spans_;
  size_t bytes_ = 0;
  size_t span_ = 0;           // being copied
  std::string resume_after_;  // last key copied of it; empty: none yet
};

// The other direction: takes chunks in order and builds what OrderedStore::Replace wants.
class SnapshotLoad {
 public:
  // Whether the state machine could have stored the pair (StateMachine::Understands).
  using PairJudge = absl::FunctionRef<bool(std::string_view key, std::string_view value)>;
  // False if malformed, with a key outside the snapshot's own spans or a span of reserved keys, or
  // with a pair that is not understood.
  bool Add(std::string_view chunk, PairJudge understood);
  Spans TakeSpans() { return std::move(spans_); }
  storage::WriteBatch TakeBatch() { return std::move(batch_); }
  size_t bytes() const { return bytes_; }

 private:
  bool AddSpans(std::string_view* chunk);

  bool begun_ = false;
  Spans spans_;
  size_t span_ = 0;
  storage::WriteBatch batch_;
  size_t bytes_ = 0;
};

}  // namespace quorate::raft
