// Ready: everything the core wants done after it was fed, and the only place that states the order.
//
//   1. send `messages` at once: they depend on nothing that is not durable yet (appends to
//      followers, heartbeats: the leader sends while its own write is still on the way);
//   2. make `hard_state` and `entries` (in that record) durable in the log;
//   3. only then call Node::Persisted(persist_id); what it releases (votes, append answers, the
//      leader's own acknowledgement) comes with the next Ready as `messages` (RC36, RC37);
//   4. apply `committed` in order, then call Node::Applied(index). Committed entries may be applied
//      before this node's own copy of them is durable: a quorum has them.
//   5. answer `reads` once the applied index has reached their index.
//
// Writes may be pipelined: a new Ready may be taken before Persisted of the last one; Persisted is
// called in order. The host carries this out and never decides.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "raft/core/message.h"
#include "raft/core/types.h"

namespace quorate::raft {

enum class Role : uint8_t { kFollower, kPreCandidate, kCandidate, kLeader, kLearner };

// What outsiders may know; published as one value so that term and leader always belong together.
struct SoftState {
  Role role = Role::kFollower;
  Term term;
  ReplicaId leader;  // 0: unknown
  friend bool operator==(const SoftState&, const SoftState&) = default;
};

// A ReadIndex request (thesis 6.4) that a quorum confirmed after it was made.
struct ReadState {
  uint64_t context = 0;
  LogIndex index;
};

struct Ready {
  std::optional<SoftState> soft_state;  // if it changed
  std::vector<Message> messages;

  std::optional<HardState> hard_state;  // if it changed
  std::vector<Entry> entries;           // replace what is stored at and above entries.front().index
  // Set when hard_state or entries (or an installed snapshot) are there; passed to Persisted.
  uint64_t persist_id = 0;
  // A received snapshot: the host has already installed its state; log and mark are reset to it in
  // the same durable record.
  std::optional<SnapshotMeta> snapshot;

  std::vector<Entry> committed;
  std::vector<ReadState> reads;
  // ReadIndex requests that can no longer be confirmed (leadership lost): nothing was read.
  std::vector<uint64_t> reads_failed;

  bool empty() const {
    return !soft_state && messages.empty() && persist_id == 0 && committed.empty() &&
           reads.empty() && reads_failed.empty();
  }
};

}  // namespace quorate::raft
