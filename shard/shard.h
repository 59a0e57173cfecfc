// Shard: one replicated key range. This page is the request's way through.
//
//   Read ───► lease later ─► raise read_high + look at lock table (one step) ─► wait for / push
//             older locks ─► read versions ─► check lease ─► answer
//   Read of the past ─► any replica: closed high enough, nothing prepared below ─► read ─► answer
//   Prepare ─► wait for locks (wait / wound / die) ─► evaluate + lock + propose (one step)
//             ─► Raft ─► Apply (the authority: re-checks) ─► answer what Apply says
//
// Guarantees (docs/transactions.md): evaluation order is log order; whatever is answered about an
// entry is answered after applying it, with Apply's result; a new leader evaluates and answers
// nothing before it applied its LeaderStart{floor}; entries evaluated in one term or under one
// epoch are void in another. Invariants kept here: A3, S1, S2, G1, P1.
//
// Waiting calls end by their deadline with DEADLINE_EXCEEDED (for a prepare that was proposed:
// unknown; before: nothing happened, but the caller cannot tell). When leadership goes, waiters get
// NOT_LEADER.
//
// Threads: executor's thread only.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/byte_turns.h"
#include "base/env.h"
#include "base/task.h"
#include "raft/host/host.h"
#include "raft/host/state_machine.h"
#include "shard/applied.h"
#include "shard/names.h"
#include "shard/pusher.h"
#include "storage/ordered_store.h"
#include "txn/given_name.h"
#include "txn/id.h"
#include "txn/key_span.h"
#include "txn/slot_source.h"
#include "txn/timestamp.h"

namespace quorate::v1 {
class AbandonMerge;
class CommitRequest;
class Error;
class FrozenShard;
class LockRequest;
class LockResponse;
class PrepareRequest;
class PrepareResponse;
class QueryPrepareRequest;
class QueryPrepareResponse;
class ReadRequest;
class ReadResponse;
class Resolution;
class ShardApplyResult;
class ShardDescriptor;
class TxnRecord;
}  // namespace quorate::v1

namespace quorate::shard {

struct Settings {
  Duration push_after = 500ms;        // a reader or writer that waited this long pushes the holder
  Duration prepared_push_after = 3s;  // a PREPARED record this old is pushed by its leader
  Duration txn_lifetime = limits::kTxnLifetimeMax;  // distance of the horizon from TSO time
  Duration horizon_interval = 10s;
  Duration name_retention = limits::kNameRetention;  // distance of the names horizon
  // Versions that a request looks at before everybody else has their turn: a few milliseconds.
  size_t step_versions = 4'000;
  // Versions that the scans of one Read look at together; what is left has a resume key.
  size_t read_versions_max = 100'000;
  // A timestamp is closed at most so often, so far below the newest slot (section 11).
  Duration close_interval = 200ms;
  Duration close_lag = 100ms;
  NameBounds names;
};

// Result of evaluating at the anchor. On `ok()` the entry has been proposed in the same step and
// `applied` will be set; the locks are held from now on.
struct AnchorEvaluation {
  Status status;         // refusal: READ_CONFLICT, TOO_OLD, STALE_EPOCH, TIMESTAMP_EXHAUSTED,
                         // NOT_LEADER, DEADLINE_EXCEEDED, OVERLOADED, NO_SPACE
  Applied existing;      // state != kNone: a record was there already; nothing was proposed
  Timestamp prepare_ts;  // as evaluated
  std::optional<Future<Applied>> applied;
  bool ok() const { return status.ok(); }
};

struct StagingPart {
  std::string marker_key;
  Digest digest;
};

// What a shard knows of a name. kCommitted and kClosed are facts, for ever; the others are not.
struct NameStanding {
  enum class State : uint8_t {
    kUnknown,    // nothing: what is not here may be in the log, or elsewhere
    kTooOld,     // nothing can be said any more
    kPrepared,   // a part is prepared, and is being pushed now: look again
    kCommitted,  // at commit_ts
    kClosed,     // no part of it is or will be committed here
  };
  State state = State::kUnknown;
  Timestamp commit_ts;
};

// What the coordinator and recovery need to hear of a shard's leadership.
class ShardObserver {
 public:
  virtual ~ShardObserver() = default;
  // This node leads and serves since `term`: STAGED and unresolved records want attention.
  virtual void OnServing(ShardId shard, raft::Term term) = 0;
  // Rights that rested on leadership in an earlier term have ended.
  virtual void OnDeposed(ShardId shard) = 0;
  // It keeps `left` of its range and goes on leading: rights that rested on other keys have ended.
  virtual void OnSplit(ShardId shard, const Span& left) = 0;
};

class Shard final : public raft::StateMachine {
 public:
  struct Deps {
    Env& env;
    storage::OrderedStore& store;
    SlotSource& slots;
    Pusher& pusher;
    ShardObserver& observer;
    // NO_SPACE, naming nodes, while disks leave no room for what grows (or for anything).
    std::function<Status(raft::Growth)> check_room;
    // The descriptor changed, or came with a snapshot.
    std::function<void()> on_descriptor = nullptr;
    // Of large entries in the logs that this node leads (limits::kPartsLoggedBytesMax); null: no
    // entry waits for another.
    ByteTurns* parts_logged = nullptr;
    // A split was applied: the child, as it begins, whose scalars are in the entry's batch. From
    // now on nobody has its keys here. `led`: this node leads the parent. Must not call back.
    std::function<void(const v1::ShardDescriptor& child, bool led)> on_split = nullptr;
    // Asked while a split is applied: whether the child's replica begins here with it. Not if it
    // came another way, or came and went: its scalars would be taken for what a later one has.
    // What else its beginning takes is added to the entry's batch.
    std::function<bool(ShardId child, storage::WriteBatch* batch)> may_begin = nullptr;
    // Asked before `frozen` is absorbed, until there is room: what else the store here has of its
    // range than a small replica of it. Must not call back.
    std::function<InTheWay(const v1::ShardDescriptor& frozen)> make_room = nullptr;
    // `frozen` was absorbed; the entry's batch is not in the store yet. From now on no replica of
    // it may change anything here. Must not call back.
    std::function<void(ShardId frozen)> on_absorb = nullptr;
    // A reader of the past that may be told what is `max_age` old would soon be sent away from this
    // replica: whoever leads should close. Not while this one leads.
    std::function<void(Duration max_age)> ask_to_close = nullptr;
  };
  // `descriptor` is used only if the store holds no state of this shard yet.
  Shard(Deps deps, Settings settings, const v1::ShardDescriptor& descriptor);
  ~Shard() override;
  // Before anything else; `group` outlives the shard.
  void Attach(raft::GroupHandle* group);

  ShardId id() const;
  const v1::ShardDescriptor& descriptor() const;
  Span span() const;
  Timestamp horizon() const;
  Timestamp closed() const;
  // Leads, has applied its LeaderStart, and is not stopping.
  bool serving() const;
  // Term in which this node serves; 0 if it does not.
  raft::Term serving_term() const;
  NodeId leader() const;
  size_t prepared_count() const;
  // What a leader keeps in memory for requests under way; zeros if this replica does not lead.
  struct InMemory {
    size_t locks = 0;    // prepared ones
    size_t foreign = 0;  // of these: applied, and of keys that are not this shard's
    size_t waiting = 0;  // requests and observers in the lock table
    size_t pushes = 0;
  };
  InMemory in_memory() const;
  // What this replica has served since it was made.
  struct Served {
    uint64_t reads = 0;
    uint64_t stale_reads = 0;  // without asking who leads; not among the above
    uint64_t prepares = 0;     // proposed; one-phase commits included
  };
  Served served() const;
  // Of keys and values, versions included, as this leader has measured it; 0: it has not.
  uint64_t bytes() const;
  // What this leader serves, of the last minute; zeros: it cannot tell yet.
  struct Load {
    uint64_t requests_per_second = 0;
    std::optional<std::string> middle;  // a key with about half of them on either side, if any
    uint32_t busiest_percent = 0;       // of them, for the busiest key
  };
  Load load() const;

  // ---- readers (sections 3 and 11) ------------------------------------------------------------
  // With `stale`, any replica answers, if it can: NOT_LEADER says why it cannot.
  Task<v1::ReadResponse> Read(v1::ReadRequest request, Instant deadline);
  Task<v1::LockResponse> Lock(v1::LockRequest request, Instant deadline);

  // ---- the coordinator on its own shard, the anchor (section 4) -------------------------------
  // Waits for locks, then evaluates and proposes in one step. `prepare` names the anchor's own
  // part. One shard: CommitOnePhase. Several: Prepare + Stage{participants}, own part included.
  Task<AnchorEvaluation> CommitOnePhase(v1::PrepareRequest prepare, Instant deadline);
  Task<AnchorEvaluation> PrepareAndStage(v1::PrepareRequest prepare,
                                         std::vector<StagingPart> participants, Instant deadline);
  // Log entries about a transaction record kept here. Each resolves after Apply with what stands.
  // `keep_ts`: for an ABORTED by who found no record, and void where one is STAGED by then.
  // Whatever carries this txn_id and began before `keep_ts` is refused from then on, whichever
  // start_ts `txn` names.
  Task<Applied> Decide(TxnName txn, bool commit, Timestamp commit_ts, Timestamp keep_ts = {});
  Task<Status> Done(std::vector<std::pair<TxnId, std::string>> txns);  // (id, anchor key)
  // The record as applied here; nullopt: none. Read on the serving leader.
  std::optional<v1::TxnRecord> FindTxnRecord(const TxnId& id, std::string_view anchor_key) const;
  // All STAGED ones and the COMMITTED ones without Done: what a new leader of the anchor pushes.
  std::vector<v1::TxnRecord> UnfinishedTxnRecords() const;

  // ---- participants (sections 4 and 5) --------------------------------------------------------
  Task<v1::PrepareResponse> Prepare(v1::PrepareRequest request, Instant deadline);
  Task<v1::QueryPrepareResponse> QueryPrepare(v1::QueryPrepareRequest request, Instant deadline);
  // Logs the resolutions in one entry; OK once applied.
  Task<Status> Resolve(std::vector<v1::Resolution> resolutions);
  // COMMITTED is a fact: treat the intents as versions from now on.
  void EarlyOutcome(const std::vector<v1::Resolution>& resolutions);

  // ---- names (section 8) ---------------------------------------------------------------------
  NameStanding LookUp(const GivenName& name);
  // Logs that no part of `name` will be prepared here any more; `key` is one of this shard. What
  // stands once applied: kCommitted or kAborted. LOCK_CONFLICT: a part is prepared. TOO_OLD,
  // OVERLOADED (remembers as many names as it may), INVALID_ARGUMENT (a name too far ahead).
  Task<Applied> CloseName(GivenName name, std::string key, Instant deadline);

  // ---- splits (section 9) ---------------------------------------------------------------------
  // Divides the shard at `at`, a key inside its range; empty: in the middle of what was measured.
  // Waits until nothing is prepared on both sides, and logs it. OK: it is two, and Deps::on_split
  // was told. INVALID_ARGUMENT, FAILED_PRECONDITION (members change, another split is under way, or
  // a prepared transaction that lies on both sides did not end in time), NOT_LEADER: nothing
  // happened. DEADLINE_EXCEEDED, UNAVAILABLE: unknown; the descriptor tells. `by_hand`: the child's
  // descriptor says so.
  Task<Status> Split(std::string at, ShardId child, Instant deadline, bool by_hand = false);

  // ---- merges (section 10) --------------------------------------------------------------------
  // By whom a frozen shard is to be absorbed; 0: it is not frozen.
  ShardId frozen_into() const;
  // The shard that begins where this one ends, if it is known; 0: not.
  ShardId right() const;
  // This replica leads, though a frozen shard serves nothing.
  bool leads() const;
  // All that the shard keeps, as who absorbs it logs it. FAILED_PRECONDITION: more than
  // kAbsorbedBytesMax.
  Result<v1::FrozenShard> Contents() const;
  // Ends serving, and logs it. OK: frozen, until it is absorbed or thawed. FAILED_PRECONDITION (too
  // large, members change, a split is under way), NOT_LEADER: it goes on.
  Task<Status> Freeze(ShardId into, Instant deadline);
  // The caller knows that the shard's left neighbour has logged an AbandonMerge.
  Task<Status> Thaw();
  // The left neighbour's: logs that it has `frozen` from now on. OK: it has. Else it has not, and
  // may yet (NOT_LEADER, DEADLINE_EXCEEDED) or will not by this call.
  // `members`: as of which change those were asked that have to have room for it.
  Task<Status> Absorb(v1::FrozenShard frozen, uint64_t members, Instant deadline);
  // Logs that it will not, unless it has. OK: HasAbsorbed tells which of both.
  Task<Status> Abandon(v1::AbandonMerge merge);
  bool HasAbsorbed(ShardId shard) const;
  // What is answered with a refusal: who leads it, or what became of its range.
  void FillError(const Status& status, v1::Error* error) const;
  std::vector<ShardId> absorbed() const;
  // The replica's range is another one's by now, here or, with a descriptor, elsewhere. It takes
  // part in nothing any more, has no state, and says so to who asks.
  void EndAbsorbed(const v1::ShardDescriptor* by);

  // ---- raft::StateMachine ---------------------------------------------------------------------
  raft::ApplyResult Apply(raft::LogIndex index, raft::Term term, std::string_view payload,
                          storage::WriteBatch* batch) override;
  void ApplyMembers(raft::LogIndex index, const raft::Configuration& members,
                    storage::WriteBatch* batch) override;
  void OnSoftState(const raft::SoftState& state) override;
  std::vector<std::pair<std::string, std::string>> Spans() const override;
  bool HasState() const override;
  bool Understands(std::string_view key, std::string_view value) const override;
  void StoreFirstState(storage::WriteBatch* batch) override;
  void OnSnapshotInstalled(raft::LogIndex index) override;

  // Digest of the replicated state over explicit fields, to compare replicas at equal applied
  // index.
  uint64_t StateDigest() const;

 private:
  friend class LockWait;
  struct Rep;

  std::unique_ptr<Rep> rep_;
};

}  // namespace quorate::shard
