// FakeGroup: one Raft group whose log does what a test says. Every replica has its own store;
// entries are proposed at the leader, and committed (on every replica, in order) or lost when told.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "raft/host/host.h"
#include "storage/memory_store.h"
#include "storage/ordered_store.h"

namespace quorate::testing {

class FakeGroup {
 public:
  FakeGroup(Env& env, GroupId id, size_t replicas);
  ~FakeGroup();

  storage::OrderedStore& store(size_t replica);
  raft::GroupHandle* handle(size_t replica);
  void Start(size_t replica, raft::StateMachine* machine);

  // Begins a term led by `replica`. Of the entries that are not committed, the first `keep` are in
  // the new leader's log and are committed at once; the others are lost. An old leader that is
  // `deaf` does not learn of it: it goes on believing, applies nothing, and its proposals stay
  // without effect, until it hears.
  void Elect(size_t replica, size_t keep = 0, bool deaf = false);
  void Hear(size_t replica);
  size_t leader() const { return leader_; }
  raft::Term term() const { return term_; }

  struct Entry {
    raft::Term term;
    std::string payload;
    size_t proposer;
    raft::GroupHandle::ProposeDone done;
  };
  const std::deque<Entry>& pending() const { return pending_; }
  // Payloads that were lost, oldest first.
  const std::vector<std::string>& lost() const { return lost_; }
  // Commits the oldest pending entry and returns what applying it gave.
  raft::ApplyResult CommitOne();
  // Appends `payload` to the leader's log as it is, whoever made it.
  void Append(std::string payload);

  // From now on, proposals are answered with this (nothing happens); OK: no longer.
  void FailProposals(Status status) { failure_ = std::move(status); }
  // Whether the replica's state is whole (GroupHandle::has_state).
  void SetHasState(size_t replica, bool has);
  void SetLease(Instant until) { lease_until_ = until; }

 private:
  struct Replica;
  void Tell(Replica* replica);
  void CatchUp(Replica* replica);
  void Propose(size_t replica, std::string payload, std::optional<raft::Term> expected,
               raft::GroupHandle::ProposeDone done);

  Env& env_;
  GroupId id_;
  std::vector<std::unique_ptr<Replica>> replicas_;
  size_t leader_ = 0;
  raft::Term term_;
  std::deque<Entry> pending_;
  std::vector<Entry> log_;  // committed
  std::vector<std::string> lost_;
  Status failure_;
  Instant lease_until_ = Instant::max();
};

}  // namespace quorate::testing
