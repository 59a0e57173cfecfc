// Configurations as values: who votes, how one change leads to the next. Pure functions; encoding
// is declared in types.h and implemented here.
//
//   C_old ── EnterJoint(target) ─► C_old,new ── LeaveJoint ─► C_new
//
// A voter that becomes a learner is listed in voters_outgoing and in learners while the
// configuration is joint: it votes until the joint configuration is left.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "raft/core/types.h"

namespace quorate::raft {

// In either set of voters.
bool IsVoter(const Configuration& configuration, ReplicaId id);
// Voter or learner.
bool IsMember(const Configuration& configuration, ReplicaId id);
// Every member once, in ascending order.
std::vector<ReplicaId> Members(const Configuration& configuration);

// Checks what DecodeConfiguration promises: sorted, free of duplicates, no 0, some voter, and no
// learner among `voters`.
bool IsValid(const Configuration& configuration);

// The configuration that a change to `voters` and `learners` (in any order) starts with: joint, or
// final at once if no vote changes hands (the quorums stay the same). INVALID_ARGUMENT names what
// is wrong with the target. `current` must not be joint.
Result<Configuration> EnterJoint(const Configuration& current, std::vector<ReplicaId> voters,
                                 std::vector<ReplicaId> learners);
// The configuration that follows a joint one.
Configuration LeaveJoint(const Configuration& joint);

// "1 2 3", "1 2 4 & 1 2 3 learners 5" for logs and scripts.
std::string ToString(const Configuration& configuration);

}  // namespace quorate::raft
