// What a replicated state machine (a shard, the placement service) implements for the host.
//
// Apply is a function of the state and the entry alone: no clock, no randomness, no hash order, so
// that every replica comes to the same state. It writes through the WriteBatch it is given, which
// the host applies to the OrderedStore together with the index.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "raft/core/ready.h"
#include "storage/kv_store.h"

namespace quorate::raft {

// Whatever the state machine wants its proposer to learn; opaque to the host.
struct ApplyResult {
  Status status;        // kOk, or why the entry had no effect (it is in the log all the same)
  std::string payload;  // encoded by the state machine
  // Not empty: this replica cannot apply the entry, and why. Nothing of the batch is stored, the
  // entry does not count as applied, and the replica is quarantined (group.h): it asks its leader
  // for a snapshot, whose leader could. Where none can, the group stands still and its node does
  // not. To be said of the same entry each time: after a restart it comes again.
  std::string stuck;
  // Not empty: not yet, and why. Nothing was done, in memory or in the batch, and nothing behind it
  // is applied before it is asked again, at each tick. For what this node alone has in the way and
  // is about to be rid of: the state that comes of it is everybody's.
  std::string waits;
};

class StateMachine {
 public:
  virtual ~StateMachine() = default;

  // Called in log order, once per committed normal entry. `term` is the term of the log entry.
  virtual ApplyResult Apply(LogIndex index, Term term, std::string_view payload,
                            storage::WriteBatch* batch) = 0;

  // Called in log order with Apply, once per committed configuration entry: these are the members
  // from `index` on (thesis 4.3; a joint configuration names both majorities).
  virtual void ApplyMembers(LogIndex index, const Configuration& members,
                            storage::WriteBatch* batch) = 0;

  // Leadership as the core sees it; called in the order in which it happened. On gaining it, the
  // state machine proposes what it must before it serves (LeaderStart).
  virtual void OnSoftState(const SoftState& state) = 0;

  // The store's spans ([from, to) pairs of store keys) that hold this group's state: what a
  // snapshot consists of and what installing one replaces. Disjoint, also from those of every other
  // replica on the node that HasState().
  virtual std::vector<std::pair<std::string, std::string>> Spans() const = 0;
  // Whether there is a state to apply entries to: what the group began with, or what came of it.
  // Without one (what this member was told at the beginning is gone, and nothing was flushed since)
  // the replica waits for its leader's snapshot; it cannot replay its log.
  virtual bool HasState() const = 0;
  // Whether a pair of a snapshot is one that this version could have stored: bytes of a peer, which
  // may be of another version. Asked before the pair is stored; a snapshot that has another one is
  // refused from there on, and the replica waits for one that it understands.
  virtual bool Understands(std::string_view key, std::string_view value) const = 0;
  // The store's content under Spans() was replaced by a snapshot at `index`: reload what is cached.
  // For some time before it was incomplete; nothing was applied, and the machine did not lead.
  virtual void OnSnapshotInstalled(LogIndex index) = 0;

  // What the group began with, if this replica was made with it: written with the group's first
  // entry, whatever that is, so that a snapshot is never without it.
  virtual void StoreFirstState(storage::WriteBatch* batch) = 0;
};

}  // namespace quorate::raft
