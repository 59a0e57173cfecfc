// What must hold of a group as a whole, recomputed from what replicas send and from what their
// disks hold, without asking the core for its opinion. A violation throws std::logic_error.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "raft/core/node.h"

namespace quorate::raft {

// What one replica would find after a crash.
struct Disk {
  HardState hard_state;
  SnapshotMeta snapshot;
  std::vector<Entry> entries;  // above snapshot.index

  LogIndex last() const { return snapshot.index + entries.size(); }
  // Below the snapshot: unknown, but agreed.
  bool Covers(LogIndex index, Term term) const;
  std::optional<Term> TermAt(LogIndex index) const;
  void Append(const std::vector<Entry>& more);
};

class Checker {
 public:
  void OnBootstrap(const Configuration& configuration) {
    configurations_[LogIndex()] = configuration;
  }
  // A message leaves: what it claims must be durable (RC36, RC37), and no replica grants two votes
  // in a term, over any number of crashes.
  void OnSend(const Node& node, const Disk& disk, const Message& message);
  // Committed entries are the same everywhere and come in order (state machine safety).
  void OnCommitted(ReplicaId id, const std::vector<Entry>& entries);
  // A snapshot's configuration and term are those of the log at its index (RC15).
  void OnSnapshot(const SnapshotMeta& meta) const;
  void OnReadAsked(uint64_t context);
  // A read confirmed at an index covers everything that was committed when it was asked.
  void OnRead(const ReadState& read);
  void OnReadFailed(uint64_t context);
  // After every step. `view` is everyone that is up, with disk and clock, and the disks of the
  // rest.
  struct Seen {
    ReplicaId id;
    const Node* node;  // null: down
    const Disk* disk;
    Instant now;
  };
  // `changed` is the one that took the step.
  void AfterStep(const std::vector<Seen>& view, ReplicaId changed);

  LogIndex committed() const {
    return committed_.empty() ? LogIndex() : committed_.rbegin()->first;
  }
  // Whether `disk` holds the entry that was committed at `index`.
  bool HasCommitted(const Disk& disk, LogIndex index) const;
  size_t leaders_seen() const { return leaders_.size(); }
  size_t reads_pending() const { return reads_.size(); }
  size_t reads_confirmed() const { return reads_confirmed_; }

 private:
  void CheckCommit(const std::vector<Seen>& view, const Seen& leader);
  void CheckNewLeader(const Seen& leader);
  void CheckLease(const std::vector<Seen>& view, const Seen& leader) const;

  std::map<LogIndex, Entry> committed_;
  std::map<LogIndex, Configuration> configurations_;  // committed ones
  std::map<Term, ReplicaId> leaders_;
  std::map<std::pair<ReplicaId, Term>, ReplicaId> votes_;
  std::map<std::pair<ReplicaId, Term>, LogIndex> leader_commits_;
  LogIndex acknowledged_;  // highest commit index that a leader has reached
  Term acknowledged_term_;
  std::map<uint64_t, LogIndex> reads_;
  size_t reads_confirmed_ = 0;
};

}  // namespace quorate::raft
