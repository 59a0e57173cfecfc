// Node: one Raft replica as a pure state machine. It is fed (Tick, Step, Propose, ...) and asked
// for one Ready bundle; it does no I/O, reads no clock, and draws random numbers only from the
// generator it was given. See ready.h for the order of effects.
//
// Deviations from the thesis, each with its reason:
//   - a leader sends entries while its own write is in flight and counts itself only once that is
//     durable (10.2.1 allows it);
//   - pre-vote and check-quorum are always on, with leader stickiness: a vote (or pre-vote) asked
//     within kElectionTicksMin of hearing a leader is refused, except by the presumed leader itself
//     (RC25) or in a leadership transfer. After a start no vote is granted for kElectionTicksMin
//     (RC31): the node may have supported a lease it no longer remembers;
//   - learners answer vote requests (RC4) and never count; a replica that knows no members yet
//     refuses them: it may stand in for a destroyed one, and an old majority be made with it;
//   - configurations are joint, entered and left by two entries; the leave is proposed by the
//   leader,
//     once, when the joint entry is committed in its own view (RC5, RC7). No change is proposed
//     before an entry of the leader's own term is committed (RC1).
//
// Lease (host clock, see lease.h): the leader may serve reads until `lease_until`, counted from the
// sending of a heartbeat round that a quorum has answered.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "base/status.h"
#include "raft/core/config.h"
#include "raft/core/ready.h"

namespace quorate::raft {

// What is known of a replica when it starts.
struct InitialState {
  HardState hard_state;
  SnapshotMeta snapshot;       // mark of the log and the configuration there
  std::vector<Entry> entries;  // log above the mark
  LogIndex applied;            // >= snapshot.index
};

// A leader's view of one follower, for status pages, transfers and snapshot scheduling.
struct ProgressView {
  ReplicaId id;
  LogIndex match;
  LogIndex applied;
  bool active = false;  // heard of within an election timeout
  bool learner = false;
  bool needs_snapshot = false;  // its next entry is no longer in the log
  bool sated = false;           // it takes no entries for now
};

class Node {
 public:
  // `now` is used for the lease only. `fresh` replicas (first start of a new group) may vote at
  // once.
  Node(const Config& config, InitialState initial, Random random, bool fresh);
  ~Node();

  // ---- feeding: each may make a Ready -----------------------------------------------------------
  // One tick (limits::kTick) has passed.
  void Tick(Instant now);
  // A message of this group from a peer. Unknown senders and stale terms are dealt with inside.
  void Step(Instant now, Message message);
  // Appends `payload` to the log. NOT_LEADER (nothing happened), OVERLOADED (too much unapplied),
  // or the entry's position; it is in the log for good only when it comes back as committed with
  // this very term.
  Result<Entry> Propose(std::string payload);
  // Enters a joint configuration towards these; leaving it is automatic. New voters are learners
  // that have caught up: a replica without members, as it is before its first snapshot, may not
  // vote (Config::first_here), and a majority that needs it would wait for it. NOT_LEADER, or
  // FAILED_PRECONDITION while another change is under way or before the first commit of the term.
  Status ProposeConfiguration(const std::vector<ReplicaId>& voters,
                              const std::vector<ReplicaId>& learners);
  // Starts a ReadIndex round (thesis 6.4) for everything asked since the last one. NOT_LEADER, or
  // OVERLOADED before the first commit of the term.
  Status ReadIndex(uint64_t context);
  // Refuses proposals from now on, and once `target` has the whole log and has all but applied it,
  // gives up the lease and tells it to campaign. Ends without effect after kElectionTicksMin.
  // NOT_LEADER, or FAILED_PRECONDITION: `target` is no voter, or another transfer is under way.
  Status TransferLeadership(ReplicaId target);
  // Campaigns now (pre-vote first): after a split, or in tests. Nothing happens while a leader may
  // hold a lease by this replica's promise, for a vote for oneself is a vote too.
  void Campaign(Instant now);

  // ---- feedback from the host -------------------------------------------------------------------
  void Persisted(uint64_t persist_id);
  void Applied(LogIndex index);
  // A snapshot at `meta` is offered: whether its state is to replace this replica's. If not, its
  // sender is told what this log has.
  bool WantsSnapshot(Instant now, ReplicaId from, Term term, const SnapshotMeta& meta);
  // The state at `meta` has been received and installed in the store; false if it is too old to
  // use.
  bool StepSnapshot(Instant now, ReplicaId from, Term term, const SnapshotMeta& meta);
  // Likewise at `index`, up to which the log has everything and knows it committed (it was brought
  // there while the state was on its way): nothing up to there is to be applied any more.
  void StateInstalled(LogIndex index);
  // The host sent (or failed to send) a whole snapshot to `to`.
  void SnapshotSent(ReplicaId to, bool ok, LogIndex index);
  // Drops log entries up to `index` (<= applied), or fewer: what is not durable yet and what must
  // follow a snapshot on its way stays. first_index() tells how far it went.
  void Compact(LogIndex index);
  // The peer cannot be reached: its pipeline falls back to probing.
  void PeerUnreachable(ReplicaId peer);
  // Whether the peer would drop entries that it is sent: it is not sent any.
  void PeerSated(ReplicaId peer, bool sated);
  // Something is going on that the core is not told of (a read by the lease), or a peer may be
  // gone: it is not quiescent, and will not be soon. A follower asks whether its leader is there.
  void Rouse();
  // As Rouse, only to find out whether all are there: if so it is quiescent again at once.
  void LookAgain();
  // It is quiescent as soon as nothing is under way, however short the time since something was.
  void RestSoon();
  // The peer's node has been silent for long. The group may fall silent without it, until it
  // answers: the host wakes it when it hears that node.
  void PeerGone(ReplicaId peer);

  // ---- output -----------------------------------------------------------------------------------
  bool HasReady() const;
  Ready TakeReady();

  // ---- inspection -------------------------------------------------------------------------------
  SoftState soft_state() const;
  // Needs no ticks until something else is fed (quiescence.cc).
  bool quiescent() const;
  bool leader() const { return soft_state().role == Role::kLeader; }
  Term term() const;
  LogIndex commit_index() const;
  LogIndex applied_index() const;
  LogIndex first_index() const;  // of the log in memory
  LogIndex last_index() const;
  size_t log_bytes() const;        // of the entries in memory
  size_t unapplied_bytes() const;  // of what a leader has that is not applied
  // kNotFound if compacted or beyond the end: never a made-up term (RC41).
  Result<Term> TermAt(LogIndex index) const;
  const Configuration& configuration() const;           // newest in the log,
  LogIndex configuration_index() const;                 // which holds from here on, or before
  Configuration ConfigurationAt(LogIndex index) const;  // for a snapshot at `index`
  // Until when this node, if leader, may serve reads by its lease; the epoch if it may not.
  Instant lease_until() const;
  // Whether an entry of the current term has been committed and applied (RC27).
  bool leader_ready() const;
  std::vector<ProgressView> progress() const;
  // Asserts the invariants of invariants.h over the whole state. For tests and the simulator.
  void CheckInvariants() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace quorate::raft
