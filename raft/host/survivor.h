// Survivor: a replica that goes on alone because the majority of its group is lost for good
// (`quorate recover`). This is no consensus: whatever is in its log counts as committed, and what
// it never got, although others acknowledged it, is gone. Nothing else in this project does that.
//
// How: one record behind all that its log has, with a configuration of which it is the only
// member, in a term far above all in which the others can have voted or acknowledged anything. At
// the next start it elects itself, and the group goes on from there as any other. A member that
// was called lost and is not never hears of that: it must not run again with its directory.
//
// Crash windows: the record is there, or it is not; without it the group is as it was.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "raft/core/types.h"
#include "raft/host/log_store.h"

namespace quorate::raft {

struct Survivor {
  GroupId group;
  Configuration members;  // the newest that its log knows of
  Term last_term;         // of its newest entry
  LogIndex last;
  LogIndex committed;  // as far as it knows: what is above may never have been answered
  enum class Fate : uint8_t {
    kUntouched,  // a majority of its members is not lost
    kAlone,      // `records` make it the only member
    kStuck,      // `why`
  } fate = Fate::kUntouched;
  std::string why;
  std::vector<storage::WalRecord> records;  // to be made durable, in this order
};

// What becomes of `self`'s replica when the nodes in `lost` are.
Survivor GoOnAlone(GroupId group, Stored stored, NodeId self, const std::set<NodeId>& lost);

}  // namespace quorate::raft
