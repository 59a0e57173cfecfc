// One struct per peer message, one closed variant. Field names are those of the paper's figure 2.
#pragma once

#include <variant>
#include <vector>

#include "base/clock.h"
#include "raft/core/types.h"

namespace quorate::raft {

// Also the pre-vote (thesis 9.6): `term` is then the term that the candidate would campaign in.
struct RequestVote {
  bool pre_vote = false;
  // Set by TimeoutNow: the leader itself gave up its lease, so stickiness does not apply.
  bool leadership_transfer = false;
  LogIndex last_log_index;
  Term last_log_term;
};
struct RequestVoteResponse {
  bool pre_vote = false;
  bool granted = false;
};

struct AppendEntries {
  LogIndex prev_log_index;
  Term prev_log_term;
  std::vector<Entry> entries;
  LogIndex leader_commit;
};
struct AppendEntriesResponse {
  bool success = false;
  LogIndex match_index;  // success: durable up to here; failure: the follower's hint to go back to
  // Failure: prev_log_index that did not match; 0: the follower has no configuration yet and needs
  // a snapshot, whatever was sent.
  LogIndex rejected_index;
  LogIndex applied_index;  // so that a slow applier is not chosen for a transfer (RC51)
};

// Carries liveness, the commit index, the lease and ReadIndex rounds.
struct Heartbeat {
  LogIndex leader_commit;  // never above the follower's match index
  uint64_t round = 0;      // unique per leader and term; a round is never re-used (RC28)
  bool quiesce = false;    // the leader would fall silent (quiescence.cc)
};
struct HeartbeatResponse {
  uint64_t round = 0;
  LogIndex applied_index;
  bool quiesced = false;  // this replica misses no heartbeats from now on
};

// Tells a lagging follower that a snapshot replaces its log; the bytes travel in the bulk stream
// (raft/host/snapshot_stream) and reach the core as StepSnapshot.
struct InstallSnapshot {
  SnapshotMeta meta;
};
struct InstallSnapshotResponse {
  bool success = false;
  LogIndex match_index;
};

struct TimeoutNow {};

using MessageBody =
    std::variant<RequestVote, RequestVoteResponse, AppendEntries, AppendEntriesResponse, Heartbeat,
                 HeartbeatResponse, InstallSnapshot, InstallSnapshotResponse, TimeoutNow>;

struct Message {
  ReplicaId from;
  ReplicaId to;
  // Sender's term; for a pre-vote and its grant the term campaigned for (RC23: a rejection carries
  // the responder's real term).
  Term term;
  MessageBody body;
};

}  // namespace quorate::raft
