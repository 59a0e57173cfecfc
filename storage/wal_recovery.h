// Start-up: what the WAL's files say, and the place where appending goes on.
//
// A batch is one write, and it is begun only after the one before it was synced. So of all that is
// found, only the last batch may be incomplete by a crash alone:
//
//   last batch        cut at the first record that is not valid; the rest of it, valid or not, was
//                     never acknowledged. What was cut is overwritten with zeros and synced, or it
//                     would reappear behind newer records (ST3).
//   anything earlier  not readable means damaged (ST4). If the frame is valid, its group lost the
//                     record. If not, or if a whole segment is missing, any group may have: a group
//                     is cleared only if the numbers of its records go on without a gap behind the
//                     damage, or start anew there (first record, or whole state).
//
//   no segment at all  a new log; a member's (Options::expected) lost all records. The first
//                     note says so, in the write that makes the log: a crash before it leaves
//                     nothing, and the next start finds the same.
//
// After damage the state of every group is written anew with its verdict, so that it outlives both
// the damaged place and later records. Starts that die before all groups are behind the damage go
// on where the one before was: a whole state behind all damage is not written again, or a node that
// dies at every start would fill its disk.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/strong_type.h"
#include "storage/file.h"
#include "storage/wal_live.h"

namespace quorate::storage {

struct WalRecovery {
  WalLive live;
  uint64_t log_id = 0;
  uint64_t oldest = 0;
  bool damaged = false;        // something was found damaged this time
  std::set<GroupId> unjudged;  // something of their state lies before what was found
  bool lost = false;
  // Where to append.
  uint64_t segment = 0;
  uint64_t offset = 0;
  std::unique_ptr<File> file;
  uint64_t previous_end = 0;  // as in Note
  std::vector<std::string> free_files;
};

// Blocking. Creates the log if the directory holds none.
Result<WalRecovery> RecoverWal(Env& env, FileSystem& files, const Wal::Options& options);

}  // namespace quorate::storage
