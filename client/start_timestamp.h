// StartTimestamp: the one timestamp at which an attempt reads everything.
//
// It comes with the first read: a read of one shard lets the leader take the slot (it is taken
// after the transaction began, and a round trip is saved); a read of several fetches one first.
// Whoever finds it holds a Claim meanwhile, and whatever else wants to read waits for that to end.
#pragma once

#include <vector>

#include "client/core.h"

namespace quorate::client {

class StartTimestamp {
 public:
  // `core` outlives it.
  explicit StartTimestamp(Core* core) : core_(core) {}

  Timestamp get() const { return timestamp_; }  // zero: not found yet
  // Not after the slot was issued.
  Instant asked_at() const { return asked_at_; }
  void Set(Timestamp timestamp) { timestamp_ = timestamp; }

  // The right to find it; wakes the others when it ends, whichever way.
  class Claim {
   public:
    explicit Claim(StartTimestamp* start);
    Claim(const Claim&) = delete;
    ~Claim();

   private:
    StartTimestamp* start_;
  };
  // Until there is a timestamp, or nobody is about to find one.
  Task<void> Await();
  // Takes a fresh slot unless there is a timestamp, or somebody finds one.
  Task<Status> Fetch(Instant deadline);

 private:
  Core* core_;
  Timestamp timestamp_;
  Instant asked_at_;
  bool claimed_ = false;
  std::vector<Promise<bool>> waiters_;
};

}  // namespace quorate::client
