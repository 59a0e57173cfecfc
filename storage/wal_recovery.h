// Start-up: what the WAL's files say, and the place where appending goes on.
//
// A batch is one write, and it is begun only after the one before it was synced. So of all that is
// found, only the last batch may be incomplete by a crash alone:
//
//   last batch        cut at the first record that is not valid; the rest of it, valid or not, was
//                     never acknowledged. What was cut is overwritten with zeros and synced, or it
//                     would reappear behind newer records (ST3). What is kept is written again and
//                     synced: it may be in the page cache only (wal.h).
//   anything earlier  not readable means damaged (ST4), and so does a record whose checksum is
//                     right and which makes no sense. If the frame is valid, its group lost the
//                     record. If not, or if a whole segment is missing, any group may have: a group
//                     is cleared only if the numbers of its records go on without a gap behind the
//                     damage, or start anew there (first record, or whole state), or if a digest
//                     behind the damage names the record of it that was found last.
//
//   no segment at all  a new log; a member's (Options::expected) lost all records. The first
//                     note says so, in the write that makes the log: a crash before it leaves
//                     nothing, and the next start finds the same.
//   in doubt          (Options::doubted) as if the log went on behind its end, and all of that were
//                     damaged: every group is. The note that says so is synced here.
//
//   no readable id    in the header and the first note of every segment: the same, once the
//                     segments are gone. A node that is no member has no log to lose: refused.
//
// What was found damaged is written down behind everything else, as a verdict on each group that it
// concerns, so that it outlives the damaged place. Groups that were cleared need none: what cleared
// them lies behind the damage and goes later, or before it and goes together with it (last_gap). So
// a start that finds only what the one before found writes nothing, and a node that dies at every
// start does not fill its disk.
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
  WalLive live{WalLive::Entries::kKept};
  uint64_t log_id = 0;
  uint64_t oldest = 0;
  std::set<GroupId> verdicts;  // damaged, and no record says so
  std::set<GroupId> touched;   // have a record in the segment to append to; may be gone
  bool lost = false;
  // The newest segment with damage that may concern any group; 0: none. Segments before it hold the
  // numbers that cleared groups of it: without them the next start would condemn whoever goes on
  // behind the damage. So none of these goes before all can.
  uint64_t last_gap = 0;
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
