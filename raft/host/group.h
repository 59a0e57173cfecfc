// Group: carries out what one replica's core wants, in the order of ready.h, and nothing else. What
// must not be sent, acknowledged or applied too early is decided in the core and in log_store.h.
//
// The end. A replica that is no member any more is destroyed (log_store.h); what is left of the
// object refuses everything until nobody holds it.
//
// Snapshots. The core asks for one by InstallSnapshot among its messages: besides being sent, that
// has the store pinned (OrderedStore::Pin) and starts a stream (snapshot_stream.h) of the group's
// state there, at the applied index that the pinned state names. Nothing waits for it. The log
// above that index is kept (RC47) until the receiver has caught up by it, within a bound
// (Options::snapshot_log_bytes_max): a stream that the log outruns hurries, then begins anew at a
// newer index, kOutpacedMax times, then pauses.
//
// On the other side the core decides at the first chunk whether the snapshot is of use. If so, the
// state is marked as being replaced (OrderedStore::BeginReplace), the old one deleted and the new
// one written, a chunk a turn, as the store has room. Until the last one is written the replica has
// no state. It goes on voting, and takes entries into its log, both of which are whole; what is
// committed is held back (held_), and should it be elected, it passes leadership on and its machine
// is told of none. Found so at a start, or left by the sender, it asks its leader as a quarantined
// replica does. At the end either the log, too, is reset to the snapshot's index or, if another
// leader has brought the log beyond it meanwhile, what is held back is applied on top; the answer
// waits for store flush and log reset (log_store.h).
// Nothing outside the old span and the snapshot's own is deleted, and a snapshot whose spans touch
// another replica's is refused.
//
// The log. In memory it begins behind what is applied and this replica's own copy has durable,
// wherever it likes: in the WAL is what a crash needs, up to where the store was flushed. What is
// kept is for followers that are behind: of each group a tail, and what one that is heard of lacks.
// All groups of the node share a budget for it (log_budget.h), and another one for the same in the
// WAL. When they keep too much, what no follower that is heard of lacks goes first, and what one
// lacks only if all of that is too much. A group that has fallen silent keeps only what one of its
// members lacks, as far as its leader knows. A follower whose next entry is not in memory is sent a
// snapshot: what is in the WAL alone is not read back.
//
// Quarantine. The replica lost something it may have acknowledged or voted, or its machine cannot
// apply the next entry (state_machine.h), so its core is neither fed nor asked: no tick, no vote,
// no answer. It listens for its leader and asks it for a snapshot under a stream id of its own. The
// leader serves that only after a ReadIndex round begun then, and at an index not below the
// follower's match: so the snapshot holds everything that was committed with this replica's help.
// Once it is durable a new core starts from it, its vote in the leader's term given to that leader.
// A quarantined voter counts as a failed one: a group with a majority of them, or of one replica,
// stays unavailable, loudly.
//
// What a replica voted and acknowledged before its log was damaged may still be on its way, or
// counted by a candidate, when it has forgotten it. So it refuses the first leader that it hears
// with a term far above: that leader is elected anew, without this replica, and all of that is of
// an earlier term and void. The bound of this (kForgottenTermsMax): between the term of that first
// leader and the newest one there were fewer elections than that. A heartbeat that was under way
// while another replica of the group was damaged and came back is the only one so old.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "raft/host/gather.h"
#include "raft/host/host.h"
#include "raft/host/log_store.h"
#include "raft/host/log_window.h"
#include "raft/host/proposals.h"
#include "raft/host/snapshot_stream.h"

namespace quorate::raft {

// How far above the first leader's term a damaged replica may have voted (see above).
inline constexpr uint64_t kForgottenTermsMax = uint64_t{1} << 20;

// A group in which nothing happens is woken so often, to find out whether it has a leader.
inline constexpr Duration kLookAgainInterval = std::chrono::minutes(4);

// How often a leader that cannot apply tries to give its leadership away.
inline constexpr int kPassOnTicks = 4;

struct HostMetrics {
  explicit HostMetrics(Metrics& metrics);
  Counter& proposals;
  Counter& applied;
  Counter& sent;
  Counter& received;
  Counter& refused;
  Counter& elections;
  Counter& snapshots_sent;
  Counter& snapshots_failed;
  Counter& snapshots_installed;
  Counter& snapshots_outpaced;
  Counter& snapshot_bytes;
  Gauge& leader_groups;
  Gauge& quarantined_groups;
  Gauge& log_bytes;
  Gauge& quiescent_groups;
};

// What the groups of one host share.
struct Runtime {
  Runtime(Env& e, Host::Options o, storage::Wal& w, storage::OrderedStore& s, Transport& t)
      : env(e),
        options(o),
        wal(w),
        store(s),
        transport(t),
        limiter(e, o.snapshot_bytes_per_second),
        gather(e),
        answers(e.executor),
        metrics(e.metrics) {}
  Runtime(const Runtime&) = delete;
  ~Runtime() { *alive = false; }

  // Has the group processed in a later turn; a group is in the list once. It is awake from now on.
  void MarkDirty(Group* group);
  // Has it ticked until it is quiescent.
  void WakeUp(Group* group);
  // Runs `fn` in a later turn, unless the host is gone by then.
  void Post(Closure fn);
  // Whether one more state may be pinned (Options::snapshots_max).
  bool RoomForSnapshot();
  // Another group of this node that has, or may have, state in `spans`; 0: none.
  GroupId Overlapping(GroupId group, const Spans& spans) const;
  // What a peer's last message said of its disk; no peer that is silent has room.
  enum class Room : uint8_t { kUnknown, kSpare, kLow };
  Room RoomOf(NodeId node) const;
  // If nobody waits for what the store lost any more.
  void ForgetDamage();
  // Of entries in memory, and of what leaders proposed and is not applied yet.
  struct LogBytes {
    size_t all = 0;
    size_t unapplied = 0;
  };
  // A group's log has so many now; `counted` is what it had when last asked.
  void CountLog(LogBytes* counted, LogBytes bytes);
  // Whether this node takes no entries from its leaders: too much waits for its store.
  bool Sated() const;

  Env& env;
  const Host::Options options;
  storage::Wal& wal;
  storage::OrderedStore& store;
  Transport& transport;
  RateLimiter limiter;
  Gather gather;
  Answers answers;
  HostMetrics metrics;
  size_t log_bytes = 0;  // of all groups
  size_t unapplied_bytes = 0;
  int64_t leaders = 0;
  int64_t leaderless = 0;  // groups here that know no leader
  int64_t quarantined = 0;
  Host::Space space;
  bool stops = false;  // RefuseLeaderships
  struct Peer {
    Instant heard_at;
    bool low_space = false;
    bool stops = false;
    int silent_ticks = 0;     // nothing was heard of it
    int alives_missed = 0;    // what it says of groups that are awake is no word of the others
    int asked = 0;            // words that it is still to be told
    uint64_t generation = 0;  // 0: not known
    bool watched = false;     // it leads quiescent groups, or is a member of such that are led here
    bool missed = false;      // groups that are led here fell silent without it
  };
  std::map<NodeId, Peer> peers;  // members of groups that are here
  std::vector<NodeId> gone;      // those that are silent for limits::kGoneTicks
  // Changes where a leader of quiescent groups may be gone without its node (transport.h).
  uint64_t generation = env.random.Fork("raft/alive").Next() | 1;
  std::vector<Group*> awake;   // they tick; all others are quiescent
  std::vector<GroupId> woken;  // since Host::TakeActive
  bool failed = false;         // storage: nothing moves any more
  size_t lost_state = 0;       // groups that wait for what the store lost
  bool settled = false;        // there are no more of them to be started
  size_t pinning = 0;          // groups that wait for the store to be pinned
  std::vector<std::weak_ptr<const SnapshotSource>> sources;  // pinned, while being sent
  std::map<GroupId, const StateMachine*> machines;
  std::function<GroupId(const Spans&)> reserved;  // Host::SetReserved
  std::vector<Group*> dirty;
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);
};

class Group final : public GroupHandle {
 public:
  Group(Runtime& runtime, GroupId id, StateMachine& machine, Recovered recovered);
  ~Group() override;

  GroupId id() const override { return id_; }
  Task<Result<Proposed>> Propose(std::string payload, std::optional<Term> expected_term) override;
  void Propose(std::string payload, std::optional<Term> expected_term, ProposeDone done) override;
  Task<Status> ReadBarrier() override;
  SoftState soft_state() const override { return node_->soft_state(); }
  bool leader_in_doubt() const override;
  Task<void> WaitForLeader(Instant until) override;
  bool leader_ready() const override { return node_->leader_ready(); }
  Instant lease_until() const override;
  void KeepAwake() override { used_ = true; }
  void Rouse() override;
  LogIndex applied_index() const override { return applied_; }
  const std::string& quarantine() const override { return quarantine_; }
  bool has_state() const override { return !quarantined() && !replacing_; }
  Configuration configuration() const override { return node_->configuration(); }
  LogIndex configuration_index() const override { return node_->configuration_index(); }
  Status ChangeMembers(const std::vector<ReplicaId>& voters,
                       const std::vector<ReplicaId>& learners) override;
  Status TransferLeadership(ReplicaId target) override;
  void Campaign() override;
  std::vector<ProgressView> progress() const override { return node_->progress(); }
  bool CaughtUp(const ProgressView& peer) const override;
  Status CheckRoom(Growth growth) const override;

  // ---- driven by the host ----------------------------------------------------------------------
  void Tick(Instant now);
  // `sated`: the sender takes no entries.
  void Step(Message message, bool sated);
  void OnChunk(const SnapshotChunk& chunk);
  void OnAck(const SnapshotAck& ack);
  void OnUnreachable(NodeId node);
  // Needs no ticks.
  bool Quiescent() const;
  // `node` may be gone, or may have lost what it led.
  void WakeFor(NodeId node);
  // Once in a long while.
  void LookAgain(Instant now);
  // There are too many groups awake.
  void RestSoon();
  // Whom to watch while it is quiescent: a follower its leader, a leader all others.
  std::vector<NodeId> Watched() const;
  bool HasMember(NodeId node) const;
  // Carries out everything the core has ready.
  void Process();
  // Whoever waits for a leader goes on without one.
  void WakeLeaderWaiters();
  // The store was flushed, or the group has fallen silent: lets go of log that neither a crash nor
  // a slow follower needs.
  void Compact();
  // The node's logs have too many bytes in memory: of what nobody is known to need soon so many
  // may stay here (kSoft), or also of what followers still lack, who are then sent snapshots
  // (kHard). What snapshots under way need stays.
  enum class Press : uint8_t { kSoft, kHard };
  void TrimTo(size_t bytes, Press press);
  // Likewise in the WAL, as far as the store was flushed.
  void TrimWalTo(size_t bytes);
  void CountLog();
  // Of the log in memory: what TrimTo could let go of, and what snapshots under way keep.
  size_t SpareBytes() const;
  size_t PinnedBytes() const;
  // Of the applied log in the WAL.
  size_t WalBytes() const;
  // Since when its log has not grown.
  Instant grew_at() const { return grew_at_; }
  // The receiver that keeps most of its log has to begin anew.
  void LetPinGo();
  // Tries to give leadership away: whether there is still something to hand over.
  bool HandOver();
  // Hands leadership to a member with room, if a majority has some without this node.
  void LeaveLowDisk();
  // It is no member any more, and what it has is to be destroyed: from now on it is not fed, asks
  // and answers nobody, and refuses whoever still calls.
  struct Remains {
    Tombstone tombstone;
    Spans spans;
  };
  Remains End();

  bool dirty = false;  // in Runtime::dirty
  bool awake = false;  // in Runtime::awake
  // Something is applied that Compact has not looked at, or could not let go of yet: it was applied
  // while the flush ran, or a snapshot under way needs it. Kept until it can, since a group that
  // falls idle is not asked again otherwise.
  bool trim_due = false;

 private:
  using BarrierDone = absl::AnyInvocable<void(Status)>;
  using BarrierList = std::vector<BarrierDone>;

  std::unique_ptr<Node> MakeNode(InitialState initial, bool fresh) const;
  bool quarantined() const { return !quarantine_.empty(); }
  bool Sleeps() const;
  // The members whose disks are low, if there is no majority without them; else none.
  std::vector<NodeId> MembersInTheWay() const;
  // A proposal that is not in the log yet.
  struct Asked {
    std::string payload;
    std::optional<Term> expected_term;
    Waiter waiter;
  };
  // Appends it now or, while others are gathered, together with them.
  void Ask(Asked asked);
  void Enter(Asked asked);
  // OK once it waits in the log; else its waiter is still there.
  Status TryEnter(Asked* asked);

  // ---- one Ready (group.cc) --------------------------------------------------------------------
  void Carry(Ready ready);
  void OnSoftState(const SoftState& state);
  void HeardOfLeader(Instant now);
  void Send(std::vector<Message> messages);
  void Persist(Ready* ready);
  void EndBeginning(bool noted);
  void Apply(std::vector<Entry> entries);
  void Hold(std::vector<Entry> entries);
  void ApplyHeld();
  // False: the machine is stuck (stuck_), or waits (waiting_).
  bool ApplyOne(const Entry& entry);
  void StartBarriers();
  void OnReads(const Ready& ready);
  void ReleaseBarriers();
  void Barrier(BarrierDone done);

  // ---- what may go (group_trim.cc) -------------------------------------------------------------
  // Up to where all members have the log, or those that are heard of and go on from it.
  LogIndex HeldByAll(bool those_that_hear) const;
  // Up to where the log is to go if it need not go further than `most`: of a silent group what all
  // have goes. In memory nothing goes that a follower that is heard of lacks.
  LogIndex Excess(LogIndex most) const;
  LogIndex ExcessInMemory(LogIndex most) const;
  void TrimWal(LogIndex excess);
  void TrimMemory(LogIndex excess);
  void DropPoints();

  // ---- snapshots and quarantine (group_snapshot.cc) --------------------------------------------
  void SendSnapshot(ReplicaId to, uint64_t stream_id);
  void PinState();
  void OnPinned(Spans spans, std::unique_ptr<storage::KvView> view);
  void OnPinnedMeta(std::shared_ptr<SnapshotSource> source);
  void EndPinning();
  void AbortPinning();
  void StartStream(ReplicaId to, uint64_t stream_id, std::shared_ptr<const SnapshotSource> source);
  void OnStreamDone(ReplicaId to, LogIndex index, SnapshotSender::Outcome outcome);
  void OnOutpaced(ReplicaId to);
  void WatchReceivers();
  void StopSnapshots();
  void ServeWanted(const SnapshotAck& ack);
  LogIndex SnapshotPin() const;
  void TrimLater();
  void BeginReceive(const SnapshotChunk& chunk);
  void RefuseChunk(const SnapshotChunk& chunk, std::string_view why);
  void TakeParts();
  bool Install();
  void AfterInstall(bool reset);
  void OnInstalled(ReplicaId from, uint64_t stream_id);
  void Answer(const SnapshotChunk& chunk, SnapshotAck ack);
  void Quarantine(std::string why);
  void DropCore();
  void StepQuarantined(const Message& message);
  // Without a state of its own: of a leader that may not know, asks for it.
  void AskForState(ReplicaId leader);
  void TickReplacing();
  void Lift(const SnapshotMeta& meta, Term term, ReplicaId leader);

  Runtime& rt_;
  const GroupId id_;
  StateMachine& machine_;
  const std::string name_;  // of this replica's random stream
  std::unique_ptr<Node> node_;
  LogStore log_;
  GroupMeta meta_;  // as of applied_
  LogIndex applied_;
  LogWindow window_;
  Runtime::LogBytes counted_;  // in the node's
  Instant grew_at_{};
  Proposals proposals_;
  std::vector<Asked> asked_;
  SoftState soft_;  // as told to the machine
  Instant leader_heard_{};
  bool used_ = false;  // since the last tick
  struct LeaderWaiter {
    Instant until;
    Promise<bool> known;
  };
  std::vector<LeaderWaiter> leader_waiters_;

  uint64_t next_context_ = 1;
  BarrierList barriers_asked_;                          // not yet given to the core
  std::map<uint64_t, BarrierList> barriers_open_;       // by context
  std::map<LogIndex, BarrierList> barriers_confirmed_;  // wait for that to be applied

  bool pinning_ = false;
  uint64_t pins_ = 0;  // asked for so far: what an earlier question brings is not used
  std::shared_ptr<SnapshotSource> pinned_;  // whose index and members are being read
  LogIndex pinning_from_;                   // what will be pinned is not below
  std::map<ReplicaId, uint64_t> pin_for_;   // stream ids by receiver
  std::map<ReplicaId, std::unique_ptr<SnapshotSender>> senders_;
  std::weak_ptr<const SnapshotSource> source_;  // newest, while a stream still needs it
  // Who has installed one and goes on from the log, and what it is known to have of it.
  std::map<ReplicaId, LogIndex> catching_up_;
  struct Failed {
    int outpaced = 0;  // in a row
    Instant not_sent_before{};
  };
  std::map<ReplicaId, Failed> failed_;

  // The state is being replaced, and there is none: nothing is applied.
  bool replacing_ = false;
  // The log's first record is not durable yet, or the note of it (log_store.h, beginning) is still
  // there: nothing is said or applied.
  bool beginning_ = false;
  bool waiting_ = false;     // the next entry cannot be applied yet (ApplyResult::waits)
  std::vector<Entry> held_;  // committed meanwhile, in either case
  size_t held_bytes_ = 0;
  std::unique_ptr<SnapshotReceiver> receiver_;
  bool erased_ = false;          // nothing of the old state is left
  bool waits_for_room_ = false;  // or for its next turn
  uint64_t erased_seen_ = 0;     // OrderedStore::ErasedPairs when the receiver last got on
  int pass_on_ticks_ = 0;
  storage::WriteBatch last_part_;  // of a complete one that is not installed yet
  struct Stream {
    ReplicaId from;
    uint64_t id = 0;
    bool durable = false;
  };
  Stream last_installed_;

  LogIndex waits_at_;           // the last entry that had to wait, which the log was told
  std::string stuck_;           // why the next entry cannot be applied; to be quarantined
  std::string quarantine_;      // why; empty: not
  bool lost_state_ = false;     // to a damaged page of the store
  Term quarantine_term_;        // only a leader in this term or a later one lifts it
  bool ended_ = false;          // to be destroyed; quarantine_ says so
  bool may_forget_ = false;     // that it voted or acknowledged in later ones
  bool lifting_ = false;        // what was asked for is installed, and not durable yet
  ReplicaId heard_from_;        // whoever leads, as far as can be told, while quarantined
  uint64_t wanted_stream_ = 0;  // 0: to be drawn
  Instant wanted_since_{};      // or since the last chunk of the stream that is received
  int quiet_ticks_ = 0;         // without progress of the wanted stream
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace quorate::raft
