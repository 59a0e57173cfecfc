// A group's state at one applied index, in chunks: where they are read from, and what becomes of
// them on the other side.
//
// Format: the first chunk begins with the spans (count, then from and to, length-prefixed); the
// rest of it, and every other chunk, is a sequence of (key, value), length-prefixed, in store
// order; no pair straddles chunks. Each chunk travels with its CRC32C (snapshot_stream.h).
//
// Nothing is copied ahead of need: the state is pinned in the store (storage::KvView), goes on
// being changed above that, and is read a chunk at a time. The same source cut at the same size
// gives the same chunks.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "raft/core/types.h"
#include "storage/ordered_store.h"

namespace quorate::raft {

using Spans = storage::OrderedStore::Spans;

// The pin ends with the last stream that reads from it.
struct SnapshotSource {
  SnapshotMeta meta;
  Spans spans;  // disjoint, in any order
  std::unique_ptr<storage::KvView> view;
};

// Executor's thread.
class ChunkReader {
 public:
  ChunkReader(std::shared_ptr<const SnapshotSource> source, size_t chunk_bytes);
  struct Chunk {
    std::string data;
    bool last = false;
  };
  // In a later turn, unless the reader is gone by then. KvView::Read says which errors there are.
  using Done = absl::AnyInvocable<void(Result<Chunk>)>;
  // The next chunk, of about the size, or of one pair that is larger. One call at a time.
  void Next(Done done);

 private:
  void ReadMore();
  void Take(Result<storage::KvView::Run> run);

  const std::shared_ptr<const SnapshotSource> source_;
  const size_t chunk_bytes_;
  Spans spans_;        // of the source, in store order
  size_t span_ = 0;    // being read
  std::string after_;  // last key read of it; empty: none yet
  Chunk chunk_;        // the next one, so far
  Done done_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// The other direction: takes chunks in order, and gives what is to be stored of each.
class SnapshotLoad {
 public:
  // Whether the state machine could have stored the pair (StateMachine::Understands).
  using PairJudge = absl::FunctionRef<bool(std::string_view key, std::string_view value)>;
  // False if malformed, with a key outside the snapshot's own spans, or not behind the one before
  // it, or a span of reserved keys, or with a pair that is not understood.
  bool Add(std::string_view chunk, PairJudge understood);
  const Spans& spans() const { return spans_; }
  // Of the chunks since the last call.
  storage::WriteBatch TakeBatch() { return std::exchange(batch_, {}); }

 private:
  bool AddSpans(std::string_view* chunk);

  bool begun_ = false;
  Spans spans_;
  size_t span_ = 0;
  std::string last_key_;
  storage::WriteBatch batch_;
};

}  // namespace quorate::raft
