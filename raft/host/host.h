// Host: many Raft groups on one node over one WAL, one store and one transport.
//
//   Propose ─► core ─► Ready ─┬─► messages ─► Transport (one batch per peer and turn, all groups)
//                             ├─► entries  ─► Wal (one write and sync for all groups) ─► Persisted
//                             └─► committed ─► StateMachine::Apply ─► OrderedStore ─► proposer's
//                             answer
//
// A waiting proposal ends exactly once: applied with its own term (answered with Apply's result);
// known never to be (another term's entry was applied at its index): NOT_LEADER; or jumped over by
// a snapshot, which may contain it: UNAVAILABLE. If the node stops first it never ends, like a
// crash.
//
// A group whose log or state is found damaged, or had a part in a damaged page, starts quarantined:
// it grants no vote, acknowledges nothing, and asks its leader for a snapshot (ST4, ST5; group.h).
//
// Turns: whatever is fed marks its group dirty; one posted handler then carries out the Readys of
// all dirty groups, so that a turn's proposals of a group are one record and one message per
// follower.
//
// Quiescence. Of groups in which nothing happens (raft/core/quiescence.cc) no tick is counted and
// nothing is sent; an idle node's work does not grow with their number. In place of their
// heartbeats each node tells those with whom it shares such groups that it is alive. Silence, a
// broken connection, and another `generation` (a start, or the end of a replica that led) wake the
// groups that may need another leader, or whose leader may have lost a member. As nothing else
// would notice a leader that is gone in a way that none of these tells of, every group is also
// looked at once in a few minutes. Without a node that is silent for long its groups fall silent
// too, and are woken when it is heard.
//
// Threads: executor's thread only.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/limits.h"
#include "base/task.h"
#include "raft/core/node.h"
#include "raft/host/state_machine.h"
#include "raft/host/survivor.h"
#include "raft/host/transport.h"
#include "storage/ordered_store.h"
#include "storage/wal.h"

namespace quorate::raft {

struct Proposed {
  LogIndex index;
  Term term;
  ApplyResult result;
};

class Group;

// What somebody wants to add to the log: data, or what makes data go.
enum class Growth : uint8_t { kGrows, kShrinks };

// A handle on one group for its state machine: proposes, reads, transfers.
class GroupHandle {
 public:
  virtual ~GroupHandle() = default;
  virtual GroupId id() const = 0;
  // Appends and waits for Apply. With `expected_term`, NOT_LEADER at once unless it is the current
  // term: an entry evaluated in one term is never appended in a later one.
  // NOT_LEADER: it is not and never will be applied as proposed. OVERLOADED (too much unapplied or
  // unflushed), INVALID_ARGUMENT (larger than a log record may be): nothing happened. UNAVAILABLE:
  // it may have been applied.
  virtual Task<Result<Proposed>> Propose(std::string payload,
                                         std::optional<Term> expected_term) = 0;
  // As Propose, for callers without a coroutine. `done` runs in a later turn.
  using ProposeDone = absl::AnyInvocable<void(Result<Proposed>)>;
  virtual void Propose(std::string payload, std::optional<Term> expected_term,
                       ProposeDone done) = 0;
  // A ReadIndex round started now: OK once a quorum confirmed leadership after the call and the
  // applied index has reached the commit index it had.
  virtual Task<Status> ReadBarrier() = 0;
  virtual SoftState soft_state() const = 0;
  // No leader is known, or the one that is has not been heard of for some heartbeats: there may
  // soon be another.
  virtual bool leader_in_doubt() const = 0;
  // Resumes when a leader is heard of (this replica itself, perhaps) or, to the tick, at `until`;
  // at once if there is no doubt, or storage failed and nobody will be heard of.
  virtual Task<void> WaitForLeader(Instant until) = 0;
  // Somebody read by the lease: the group is in use.
  virtual void KeepAwake() {}
  // There is a doubt about its leader or its members: if it is quiescent, it finds out.
  virtual void Rouse() {}
  // An entry of the current term was committed and applied here, and this node leads.
  virtual bool leader_ready() const = 0;
  // The lease, on this node's boot clock. Check it after the state was read. ReadMode::kQuorum:
  // there is none.
  virtual Instant lease_until() const = 0;
  virtual LogIndex applied_index() const = 0;
  // Why the replica is quarantined (group.h); empty: it is not.
  virtual const std::string& quarantine() const {
    static const std::string none;
    return none;
  }
  // The machine's state here is whole: that after applied_index(). Not while a snapshot replaces
  // it, nor in quarantine.
  virtual bool has_state() const { return quarantine().empty(); }
  virtual Configuration configuration() const = 0;
  // Of the entry that made it so, or a later one that was compacted.
  virtual LogIndex configuration_index() const = 0;
  // Proposes that these be the members: where voters change, through a joint configuration, which
  // the leader leaves by itself (thesis 4.3); new voters are learners that have caught up. OK: it
  // is in the log, which is not to say that it stays there: configuration() and
  // StateMachine::ApplyMembers tell what became of it. NOT_LEADER, INVALID_ARGUMENT,
  // FAILED_PRECONDITION (another change or a transfer is under way, nothing of this term is
  // committed yet, or a new voter has not caught up), OVERLOADED: nothing happened.
  virtual Status ChangeMembers(const std::vector<ReplicaId>& voters,
                               const std::vector<ReplicaId>& learners) = 0;
  virtual Status TransferLeadership(ReplicaId target) = 0;
  // Asks the others now whether they would have this replica for a leader, unless one may be alive:
  // of a group that has just begun nobody has to wait for an election timeout.
  virtual void Campaign() = 0;
  virtual std::vector<ProgressView> progress() const = 0;
  // Whether a member could be a voter: it has the log, but for what is on its way.
  virtual bool CaughtUp(const ProgressView& peer) const = 0;
  // Where an entry must not be proposed: one that grows, unless a majority of the members that
  // answer have room to spare; any, while this node's own disk takes nothing. NO_SPACE, naming
  // nodes; NOT_LEADER while it is only this node that has no room, and the lead is handed on.
  virtual Status CheckRoom(Growth growth) const = 0;
};

// How a leader knows that it is still one: by its lease, which rests on boot clocks that drift by a
// bounded rate, or by a round of a quorum each time.
enum class ReadMode : uint8_t { kLease, kQuorum };

class Host : public TransportReceiver {
 public:
  struct Options {
    NodeId self;
    ReadMode read_mode = ReadMode::kLease;
    Duration tick = limits::kTick;
    int quiesce_ticks = limits::kQuiesceTicks;  // 0: groups never fall silent
    // With more groups awake than this, each falls silent as soon as nothing is under way in it:
    // their heartbeats alone would take all of the processor.
    size_t awake_max = 1000;
    // Applied entries kept in memory for followers that are a little behind; beyond, a snapshot.
    size_t log_keep_entries = 65536;
    size_t log_keep_bytes = 8 << 20;
    // Likewise in the WAL, behind what is flushed: what a restarted leader can still send.
    size_t wal_keep_entries = 4096;
    size_t wal_keep_bytes = 1 << 20;
    // Of all groups together (group.h, The log): in memory, not counting what snapshots need; with
    // what followers lack that are heard of; and in the WAL.
    size_t log_bytes_max = 32 << 20;
    size_t log_lacking_bytes_max = 64 << 20;
    size_t wal_kept_bytes_max = 32 << 20;
    // Of all groups that are led here: proposed, and not applied yet.
    size_t unapplied_bytes_max = limits::kProposalBytesMax;
    // Of entries in one message; a single one may be larger.
    size_t append_bytes_max = limits::kAppendBytesMax;
    uint64_t snapshot_bytes_per_second = 64 << 20;
    // What one turn handles of a group's state: a chunk of a snapshot.
    size_t snapshot_turn_bytes = limits::kSnapshotChunkBytes;
    // States that are pinned in the store, to be sent; who needs another one waits.
    size_t snapshots_max = 4;
    // Applied entries kept in memory for followers that are sent a snapshot, or catch up behind it,
    // of all groups. At half of that a group's stream hurries; beyond, it begins anew.
    size_t snapshot_log_bytes_max = 64 << 20;
  };
  // All references outlive the host. Recovers groups from `wal.recovered()`.
  Host(Env& env, Options options, storage::Wal& wal, storage::OrderedStore& store,
       Transport& transport);
  ~Host() override;

  // Starts the replica of `group` on this node. If the WAL or the store know it, it goes on from
  // there; else it is created fresh with `bootstrap` as its first configuration (no bootstrap: an
  // empty replica that waits for a leader's snapshot). The machine outlives the group.
  // kAlreadyExists if it runs.
  Result<GroupHandle*> StartGroup(GroupId group, StateMachine& machine,
                                  std::optional<Configuration> bootstrap);
  // A replica of a group that was never here begins, soon or at the next start, with a state that
  // `batch` stores. Adds what proves at the next start that nothing that the log lost was its own
  // (log_store.h, beginning).
  void NoteBeginning(GroupId group, storage::WriteBatch* batch);
  // Ends the replica of a running group and destroys what it has here (log_store.h). The caller
  // knows that it is no member any more. At once it takes no part in anything; whoever waits for
  // it is answered. The handle that is returned refuses everything; it, and the machine, live
  // until nobody can ask them any more, and until `done` has run: nothing is left, durably.
  std::unique_ptr<GroupHandle> DestroyReplica(GroupId group, Closure done);
  // Which group, not started yet, has state in `spans`, if any: no other one's is put there.
  using Reserved = std::function<GroupId(const storage::OrderedStore::Spans& spans)>;
  void SetReserved(Reserved reserved);
  // Whether a replica of the group was destroyed here at some time, or begun empty: whatever this
  // node was told of the group when the cluster was made is of the past.
  bool HadReplica(GroupId group) const;
  // Groups that are not here and of which messages came since the last call: this node may have
  // become a member. A bounded number of them.
  std::vector<GroupId> TakeUnknownGroups();
  // How many groups here know no leader.
  int64_t leaderless() const;
  // Groups in which something may have happened since the last call: all that were not quiescent
  // all the time, and perhaps some that have gone.
  std::set<GroupId> TakeActive();

  // Offline, instead of starting anything, and once: what becomes of each replica here when the
  // nodes in `lost` are lost for good (survivor.h). Changes nothing.
  std::vector<Survivor> Survivors(const std::set<NodeId>& lost);

  // Every group that may be in the store was started: what it lost (KvStore::Damaged) concerns
  // those in quarantine for it, and can be forgotten once the last of them is out.
  void SettleDamage();
  // Groups of which the WAL or the store know more than a term: to be started after a restart. An
  // empty replica is begun again when its leader calls.
  std::vector<GroupId> StoredGroups() const;

  // For good: it is about to stop, and says so to its peers. Nodes that stop together would hand
  // each other what they lead, one term after the other.
  void RefuseLeaderships();
  // Hands over every leadership it can; resolves when none is left that somebody takes, or after
  // `timeout`.
  Task<void> HandOver(Duration timeout);
  // Says that this node is there to one that may lead a group of which the replica here is
  // quarantined and knows no leader: the group may have fallen silent while this node was gone, and
  // nobody would come to it for minutes.
  void Call(NodeId node);
  // Starts ticking. Groups may be started before and after.
  void Start();
  // How this node's disk is, told whenever it may have changed. While it is low the host says so to
  // its peers and hands its leaderships to those that have room. While it takes nothing at all
  // (log or store wait for space), what peers send to be logged or stored is dropped like a lost
  // message: there is no other bound on what waits in memory. So are entries while too much that
  // is applied waits for a slow store (OrderedStore::OverBound). Both are told to whoever leads,
  // and it sends no entries meanwhile: the others go on without this node.
  struct Space {
    bool low = false;
    bool full = false;
  };
  void SetSpace(Space space);
  // Which starts of other nodes are listened to; without it, all are.
  using ListensTo = std::function<bool(NodeId, const storage::Incarnation&)>;
  void SetListensTo(ListensTo listens_to);
  // Called when storage failed: nothing is acknowledged any more and the node must stop.
  void OnFatal(std::function<void(Status)> callback);

  bool Listens(NodeId from, const storage::Incarnation& incarnation) override;
  void OnAlive(NodeId from, Alive alive) override;
  void OnMessages(std::vector<GroupMessage> messages) override;
  void OnSnapshotChunk(SnapshotChunk chunk) override;
  void OnSnapshotAck(SnapshotAck ack) override;
  void OnUnreachable(NodeId node) override;

  GroupHandle* Find(GroupId group);

 private:
  struct Rep;
  std::unique_ptr<Rep> rep_;
};

}  // namespace quorate::raft
