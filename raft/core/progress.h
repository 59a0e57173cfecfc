// Progress: a leader's view of one follower, and how much may be sent to it.
//
//            ack                       reject, lost connection
//   kProbe ───────► kReplicate ─────────────────────────────► kProbe
//     │ its next entry is compacted                              ▲
//     └──────────────────────────► kSnapshot ────────────────────┘
//                                      snapshot sent, failed, or no longer needed
//
// kProbe sends one append and waits for its answer; kReplicate sends ahead, up to a number of
// unanswered appends and of bytes in them; kSnapshot sends nothing. A follower that is sated is
// sent no entries in any of them, until it says that it is not.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "raft/core/types.h"

namespace quorate::raft {

// Appends sent to one follower and not answered yet, oldest first.
class Inflight {
 public:
  // `evidence`: when the append was sent, if an answer to it proves that the follower heard this
  // leader no earlier than that; else Instant::min().
  void Add(LogIndex last, size_t bytes, Instant evidence) {
    items_.push_back({last, bytes, evidence});
    bytes_ += bytes;
  }
  // Everything up to `match` was answered. Returns the latest evidence among it.
  Instant FreeTo(LogIndex match);
  void Clear();
  size_t size() const { return items_.size() - head_; }
  size_t bytes() const { return bytes_; }

 private:
  struct Item {
    LogIndex last;
    size_t bytes;
    Instant evidence;
  };
  size_t head_ = 0;
  size_t bytes_ = 0;
  std::vector<Item> items_;
};

struct Progress {
  enum class State : uint8_t { kProbe, kReplicate, kSnapshot };

  Progress(ReplicaId replica, LogIndex next_index, LogIndex last, uint64_t tick)
      : id(replica), next(next_index), sent_high(last), heard_tick(tick) {}

  // Whether nothing may be sent now.
  bool Paused(size_t inflight_max, size_t bytes_max) const;
  // Goes back to asking where the logs agree, from `match` on.
  void BecomeProbe();
  void BecomeReplicate();
  void BecomeSnapshot(LogIndex index);
  // An append leaves at `now`; its entries, if any, have this much payload and end at `last`.
  void Sent(Instant now, LogIndex last, bool has_entries, size_t bytes);
  // The follower has everything up to `index` durable. True if that is news.
  bool Acknowledged(LogIndex index);
  // The follower does not have `rejected` with the term that the append named; its log may agree up
  // to `hint`. False if this answers an older append.
  bool Rejected(LogIndex rejected, LogIndex hint);

  // It answered, at the leader's `tick`.
  void Heard(uint64_t tick) {
    heard_tick = tick;
    gone = false;
  }

  ReplicaId id;
  State state = State::kProbe;
  // kProbe: an append or heartbeat is on its way. Cleared by every answer and every heartbeat tick.
  bool probe_sent = false;
  LogIndex match;           // durable at the follower
  LogIndex next;            // first index to send
  LogIndex applied;         // as it last told
  LogIndex commit_sent;     // highest commit index that it can have learned from what was sent
  LogIndex snapshot_index;  // kSnapshot: what is being sent
  // Highest index ever sent in this term, at first the leader's last index when it won: only the
  // first sending of an entry dates an answer (see Sent).
  LogIndex sent_high;
  LogIndex stall_match;              // match at the last heartbeat tick
  uint64_t heard_tick;               // leader's tick count when it last answered
  bool gone = false;                 // its node is silent, and it has not answered since
  bool sated = false;                // it would drop entries
  uint64_t round_acked = 0;          // highest heartbeat round answered
  bool quiesced = false;             // it has said so in answer to the current round
  Instant contact = Instant::min();  // it heard this leader at this time or later
  Inflight inflight;
};

}  // namespace quorate::raft
