// ReadIndex (thesis 6.4): reads wait for one heartbeat round that was started after they were
// asked, and then for the commit index of that moment.
//
// Rounds are numbered by the leader and never re-used in a term; an answer names its round, never a
// client's context, so a late answer cannot confirm a younger read (RC28).
#pragma once

#include <cstdint>
#include <vector>

#include "raft/core/ready.h"

namespace quorate::raft {

class ReadIndexQueue {
 public:
  void Ask(uint64_t context) { asked_.push_back(context); }
  // Whether something was asked that no round covers yet.
  bool HasAsked() const { return !asked_.empty(); }
  bool HasPending() const { return !rounds_.empty(); }
  // Everything asked so far is covered by `round`, which starts now with this commit index.
  void Start(uint64_t round, LogIndex commit);
  // A quorum has answered `round` or a later one: moves what that confirms to `reads`, in the order
  // in which it was asked.
  void Confirm(uint64_t round, std::vector<ReadState>* reads);
  // Leadership is lost: moves every context to `failed`, in order.
  void Fail(std::vector<uint64_t>* failed);

 private:
  struct Round {
    uint64_t round;
    LogIndex commit;
    std::vector<uint64_t> contexts;
  };
  std::vector<uint64_t> asked_;
  std::vector<Round> rounds_;  // ascending
};

}  // namespace quorate::raft
