// Contents: a reference model of the whole database, rebuilt from the acknowledged commits in the
// order of their commit timestamps, which every read of a run must match. Damage that is the same
// on all replicas is seen here, since nothing of the database is used.
//
// Judged, in the words of docs/transactions.md:
//   T1  timestamps follow real time: what begins after a commit was answered lies above it
//   S1  strict serializability in commit_ts order: between the timestamp at which a committed
//       transaction read and the one at which it committed, nobody else wrote what it read (ranges
//       included), and no two commits write one key at one timestamp
//   S2  a read at R sees exactly the newest versions at or below R, then and ever after
//   A2  nothing acknowledged is missing, nothing aborted is seen
// Reads outside of transactions have no timestamp; per key they must be linearizable.
//
// A commit whose outcome nobody was told may or may not be there, at any timestamp above its
// reads, until a read shows it; from then on it must stay.
#pragma once

#include <string>
#include <vector>

#include "tests/sim/checks/record.h"

namespace quorate::sim {

// What is wrong, as sentences; at most a few of each kind.
std::vector<std::string> JudgeContents(const Record& record);

}  // namespace quorate::sim
