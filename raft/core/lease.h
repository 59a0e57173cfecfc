// The leader lease: two halves of one promise, each on its own node's boot clock.
//
//   leader     sends round r at s ───────────── may serve reads until s + lease ──┤
//   follower        hears it at h >= s ──── grants no vote until h + lease * 10/9 ────┤
//
// The tenth between them is the drift that is tolerated. The follower also waits for
// election_ticks_min ticks, which is stickiness (RC19) and usually longer. A follower that restarts
// has forgotten h and waits as if it had heard a leader just then (RC31). The leader takes s from
// RoundTimes, or from the first sending of an entry that was acknowledged (progress.h).
#pragma once

#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "raft/core/types.h"

namespace quorate::raft {

// Follower's half.
class VotePromise {
 public:
  VotePromise(Duration lease, int ticks_min) : lease_(lease), ticks_min_(ticks_min) {}

  // `leader` was heard, or (0) the replica started and does not know.
  void Make(Instant now, ReplicaId leader) {
    until_ = now + lease_ + lease_ / 9;
    ticks_ = 0;
    to_ = leader;
  }
  // This replica led, and its own lease is over: no promise to anyone is left.
  void Drop() {
    until_ = Instant::min();
    ticks_ = ticks_min_;
    to_ = ReplicaId();
  }
  void Tick() {
    if (ticks_ < ticks_min_) ++ticks_;
  }
  // Whether a vote for `candidate` would break the promise. The leader to whom it was made may be
  // voted for: it asks because it leads no more (RC25).
  bool Forbids(Instant now, ReplicaId candidate) const {
    return (ticks_ < ticks_min_ || now < until_) && !(to_ && candidate == to_);
  }

 private:
  Duration lease_;
  int ticks_min_;
  int ticks_ = 0;
  Instant until_ = Instant::min();
  ReplicaId to_;
};

// Leader's half: when heartbeat rounds were sent. Rounds that left almost together share the time
// of the earliest, so that the list stays short under many ReadIndex rounds.
class RoundTimes {
 public:
  void Clear() { rounds_.clear(); }
  void Sent(uint64_t round, Instant now, Duration lease);
  // A time at or before which `round` was sent; Instant::min() if no longer known.
  Instant SentAt(uint64_t round) const;

 private:
  struct Item {
    uint64_t round;
    Instant sent;
  };
  std::vector<Item> rounds_;  // ascending in both
};

}  // namespace quorate::raft
