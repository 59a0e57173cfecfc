// `quorate recover`: a node that survived goes on alone, in the groups whose majority is lost for
// good (raft/host/survivor.h). Offline: on the data directory of a node that does not run.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/strong_type.h"

namespace quorate::server {

// raft::Survivor, as it is told to a person.
struct RecoveredGroup {
  enum class Fate : uint8_t { kUntouched, kAlone, kStuck };
  GroupId group;
  std::vector<NodeId> members;  // that vote, ascending
  uint64_t last_term = 0;       // where the log ends here
  uint64_t last_index = 0;
  uint64_t committed_index = 0;
  Fate fate = Fate::kUntouched;
  std::string why;  // kStuck: a sentence
};

struct Recovery {
  NodeId node;  // whose directory it is
  std::vector<RecoveredGroup> groups;
};

// With `dry_run` log and store are opened as a start opens them, and nothing of what they say is
// changed. Otherwise every group that can goes on alone: durably, when this returns. Once is as
// good as twice. INVALID_ARGUMENT, FAILED_PRECONDITION, CORRUPTION, NO_SPACE, IO_ERROR: no such
// directory, a node runs on it, it is no member's, or it cannot be used: nothing was changed; but
// after an error of writing, what is done of it is found by another --dry-run. Blocking.
Result<Recovery> RecoverDirectory(const std::string& path, const std::set<NodeId>& lost,
                                  bool dry_run);

}  // namespace quorate::server
