#include "raft/host/group.h"

#include <algorithm>

#include "base/check.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "raft/core/membership.h"

namespace quorate::raft {
namespace {

// A normal entry's payload must fit one WAL record with its header.
constexpr size_t kPayloadBytesMax = limits::kWalRecordBytesMax - (1 << 20);
static_assert(kPayloadBytesMax >= limits::kTxnBytesMax);

// Three heartbeats missed, and still well before anyone campaigns.
constexpr int kLeaderDoubtTicks = 3 * limits::kHeartbeatTicks;
static_assert(kLeaderDoubtTicks < limits::kElectionTicksMin);

// While a node has all that it may have unapplied, groups that have little of it may go on: one
// that has lost its majority is no burden to others.
constexpr size_t kUnappliedShares = 16;

// What a learner may lack, of what is committed, to become a voter: it has it in a moment.
constexpr uint64_t kCaughtUpEntries = 1'000;

}  // namespace

HostMetrics::HostMetrics(Metrics& m)
    : proposals(m.GetCounter("quorate_raft_proposals_total", "Entries proposed on this node")),
      applied(m.GetCounter("quorate_raft_applied_total", "Entries applied on this node")),
      sent(m.GetCounter("quorate_raft_messages_total", "Raft messages", R"(way="sent")")),
      received(m.GetCounter("quorate_raft_messages_total", "Raft messages", R"(way="received")")),
      refused(m.GetCounter("quorate_raft_messages_refused_total",
                           "Raft messages for another node or an unknown group")),
      elections(m.GetCounter("quorate_raft_elections_total", "Campaigns begun on this node")),
      snapshots_sent(
          m.GetCounter("quorate_raft_snapshots_sent_total", "Snapshots installed by others")),
      snapshots_failed(m.GetCounter("quorate_raft_snapshots_failed_total",
                                    "Snapshot streams given up or refused")),
      snapshots_installed(m.GetCounter("quorate_raft_snapshots_installed_total",
                                       "Snapshots installed on this node")),
      snapshots_outpaced(
          m.GetCounter("quorate_raft_snapshots_outpaced_total",
                       "Snapshots whose log above them grew faster than they could be sent")),
      snapshot_bytes(m.GetCounter("quorate_raft_snapshot_bytes_received_total",
                                  "Bytes of snapshots that arrived on this node")),
      leader_groups(m.GetGauge("quorate_raft_leader_groups", "Groups that this node leads")),
      quarantined_groups(m.GetGauge("quorate_raft_quarantined_groups",
                                    "Damaged replicas that wait for a snapshot")),
      log_bytes(m.GetGauge("quorate_raft_log_bytes", "Log entries in memory, of all groups")),
      quiescent_groups(m.GetGauge("quorate_raft_quiescent_groups",
                                  "Groups on this node in which nothing happens")) {}

void Runtime::Post(Closure fn) {
  env.executor.Post([fn = std::move(fn), alive = alive]() mutable {
    if (*alive) fn();
  });
}

void Runtime::WakeUp(Group* group) {
  if (group->awake) return;
  group->awake = true;
  awake.push_back(group);
  woken.push_back(group->id());
}

void Runtime::MarkDirty(Group* group) {
  WakeUp(group);
  if (group->dirty || failed) return;
  group->dirty = true;
  dirty.push_back(group);
  if (dirty.size() > 1) return;
  Post([this] {
    const auto turn = std::exchange(dirty, {});
    for (Group* each : turn) {
      each->dirty = false;
      if (failed) continue;
      each->Process();
      each->CountLog();
    }
  });
}

Group::Group(Runtime& runtime, GroupId id, StateMachine& machine, Recovered recovered)
    : rt_(runtime),
      id_(id),
      machine_(machine),
      name_(fmt::format("raft/{}/{}", runtime.options.self, id)),
      log_(runtime.wal, runtime.store, id, recovered.incarnation, recovered.mark),
      meta_(std::move(recovered.meta)),
      applied_(recovered.initial.applied),
      proposals_(runtime.answers, &runtime.gather),
      quarantine_(std::move(recovered.quarantine)),
      quarantine_term_(recovered.initial.hard_state.term) {
  rt_.machines[id_] = &machine_;
  ++rt_.leaderless;
  replacing_ = rt_.store.Replacing(id_) != nullptr;
  // The store may be durable before the log: a state without any log is one that has lost it.
  beginning_ = recovered.begins || recovered.noted;
  if (recovered.record) {
    log_.Append(std::move(*recovered.record),
                [this, alive = std::weak_ptr<bool>(alive_), noted = recovered.noted] {
                  if (!alive.expired() && beginning_) EndBeginning(noted);
                });
  } else if (recovered.noted) {
    EndBeginning(true);
  }
  lost_state_ = recovered.lost_state;
  rt_.lost_state += lost_state_ ? 1 : 0;
  if (quarantined()) {
    may_forget_ = true;
    rt_.metrics.quarantined_groups.Set(++rt_.quarantined);
    rt_.env.log.Error("raft group {}: replica is quarantined until its leader sends a snapshot: {}",
                      id_, quarantine_);
    node_ = MakeNode(InitialState(), false);
    rt_.WakeUp(this);
    return;
  }
  for (const Entry& entry : recovered.initial.entries) {
    if (entry.index <= applied_) window_.Add(entry.index, entry.term, entry.payload.size());
  }
  grew_at_ = rt_.env.Now();
  node_ = MakeNode(std::move(recovered.initial), recovered.fresh);
  CountLog();
  if (replacing_) {
    PROBE("raft host: started without a state");
    rt_.env.log.Warn("raft group {}: a snapshot was being installed: its leader is asked for one",
                     id_);
  }
  rt_.MarkDirty(this);
}

Group::~Group() {
  EndPinning();
  if (ended_) return;
  rt_.machines.erase(id_);
  rt_.CountLog(&counted_, {});
}

std::unique_ptr<Node> Group::MakeNode(InitialState initial, bool fresh) const {
  Config config;
  config.self = rt_.options.self;
  config.group = id_.value();
  config.append_bytes_max = rt_.options.append_bytes_max;
  config.quiesce_ticks = rt_.options.quiesce_ticks;
  config.first_here = log_.incarnation() == kFirstIncarnation;
  return std::make_unique<Node>(config, std::move(initial), rt_.env.random.Fork(name_), fresh);
}

// ---- what callers ask --------------------------------------------------------------------------

Status Group::TryEnter(Asked* asked) {
  if (rt_.failed) return Status(Code::kNotLeader, "the node's storage failed");
  if (asked->payload.size() > kPayloadBytesMax) {
    return InvalidArgument(
        fmt::format("an entry of {} bytes is over {}", asked->payload.size(), kPayloadBytesMax));
  }
  if (quarantined() || !node_->leader() ||
      (asked->expected_term && node_->term() != *asked->expected_term)) {
    return Status(Code::kNotLeader, fmt::format("group {}: not the leader in this term", id_));
  }
  if (replacing_) return Status(Code::kNotLeader, "the replica waits for its state");
  if (waiting_ && held_bytes_ > rt_.options.snapshot_log_bytes_max) {
    return Status(Code::kOverloaded, "too much is logged that cannot be applied yet");
  }
  if (rt_.space.full) {
    return Status(Code::kOverloaded, "the node's disk is full and nothing can be logged");
  }
  if (rt_.store.OverBound()) {
    return Status(Code::kOverloaded, "too much applied state waits to be flushed");
  }
  if (rt_.unapplied_bytes + asked->payload.size() > rt_.options.unapplied_bytes_max &&
      node_->unapplied_bytes() > rt_.options.unapplied_bytes_max / kUnappliedShares) {
    PROBE("raft host: too much is unapplied");
    return Status(Code::kOverloaded, "too much is logged on this node that is not applied yet");
  }
  Result<Entry> entry = node_->Propose(std::move(asked->payload));
  if (!entry.ok()) return entry.status();
  rt_.metrics.proposals.Add();
  proposals_.Add(entry->index, entry->term, std::move(asked->waiter));
  CountLog();
  rt_.MarkDirty(this);
  return Status::Ok();
}

Task<Result<Proposed>> Group::Propose(std::string payload, std::optional<Term> expected_term) {
  Promise<Result<Proposed>> promise(rt_.env.executor);
  Ask({std::move(payload), expected_term, promise});
  co_return co_await promise.future();
}

void Group::Propose(std::string payload, std::optional<Term> expected_term, ProposeDone done) {
  Ask({std::move(payload), expected_term, std::move(done)});
}

void Group::Ask(Asked asked) {
  if (!rt_.gather.Waits()) return Enter(std::move(asked));
  if (asked_.empty()) {
    rt_.gather.Add([this] {
      for (Asked& each : std::exchange(asked_, {})) Enter(std::move(each));
    });
  }
  asked_.push_back(std::move(asked));
}

void Group::Enter(Asked asked) {
  Status entered = TryEnter(&asked);
  if (!entered.ok()) rt_.answers.Give(std::move(asked.waiter), std::move(entered));
}

Task<Status> Group::ReadBarrier() {
  Promise<Status> promise(rt_.env.executor);
  Barrier([promise](Status status) { promise.Set(std::move(status)); });
  co_return co_await promise.future();
}

bool Group::leader_in_doubt() const {
  if (quarantined() || soft_.role == Role::kLeader || node_->quiescent()) return false;
  return !soft_.leader || rt_.env.Now() - leader_heard_ > kLeaderDoubtTicks * rt_.options.tick;
}

Task<void> Group::WaitForLeader(Instant until) {
  if (!leader_in_doubt() || rt_.failed) co_return;
  const Promise<bool> known(rt_.env.executor);
  leader_waiters_.push_back({until, known});
  (void)co_await known.future();
}

void Group::HeardOfLeader(Instant now) {
  leader_heard_ = now;
  WakeLeaderWaiters();
}

void Group::WakeLeaderWaiters() {
  for (const LeaderWaiter& waiter : std::exchange(leader_waiters_, {})) waiter.known.Set(true);
}

Instant Group::lease_until() const {
  return rt_.options.read_mode == ReadMode::kQuorum ? Instant() : node_->lease_until();
}

bool Group::CaughtUp(const ProgressView& peer) const {
  // Whoever has acknowledged nothing may have nothing, not even a replica.
  return peer.active && !peer.needs_snapshot &&
         (peer.match > LogIndex() || MUTANT("raft-silent-learner-caught-up")) &&
         std::min(peer.match, peer.applied) + kCaughtUpEntries >= node_->commit_index();
}

Status Group::ChangeMembers(const std::vector<ReplicaId>& voters,
                            const std::vector<ReplicaId>& learners) {
  if (quarantined()) return Status(Code::kNotLeader, "the replica is quarantined");
  if (rt_.space.full) {
    return Status(Code::kOverloaded, "the node's disk is full and nothing can be logged");
  }
  if (node_->leader()) {
    const Configuration now = node_->configuration();
    const auto peers = node_->progress();
    for (const ReplicaId voter : voters) {
      const auto is = [voter](const ProgressView& peer) { return peer.id == voter; };
      const auto peer = std::find_if(peers.begin(), peers.end(), is);
      if (voter == rt_.options.self || IsVoter(now, voter)) continue;
      if (peer != peers.end() && CaughtUp(*peer)) continue;
      return Status(Code::kFailedPrecondition,
                    fmt::format("node {} is no learner that has caught up", voter));
    }
  }
  Status status = node_->ProposeConfiguration(voters, learners);
  for (const ReplicaId learner : learners) {
    if (status.ok() && learner != rt_.options.self) rt_.peers.try_emplace(learner);
  }
  rt_.MarkDirty(this);
  return status;
}

Status Group::TransferLeadership(ReplicaId target) {
  if (quarantined()) return Status(Code::kNotLeader, "the replica is quarantined");
  const auto peer = rt_.peers.find(target);
  if (node_->leader() && peer != rt_.peers.end() && peer->second.stops) {
    return Status(Code::kFailedPrecondition,
                  fmt::format("node {} is stopping and takes no leadership", target));
  }
  Status status = node_->TransferLeadership(target);
  rt_.MarkDirty(this);
  return status;
}

void Group::Campaign() {
  if (quarantined() || replacing_ || rt_.failed) return;
  node_->Campaign(rt_.env.Now());
  rt_.MarkDirty(this);
}

// ---- what the host feeds -----------------------------------------------------------------------

void Group::Tick(Instant now) {
  std::erase_if(leader_waiters_, [now](const LeaderWaiter& waiter) {
    return now >= waiter.until && waiter.known.Set(false);
  });
  if (receiver_ != nullptr || replacing_) TickReplacing();
  if (waiting_ && !replacing_ && !rt_.failed) ApplyHeld();
  if (quarantined()) return AskForState(heard_from_);
  // Who cannot apply serves nobody.
  const bool useless = (replacing_ || waiting_) && node_->leader();
  if (useless && ++pass_on_ticks_ % kPassOnTicks == 0) HandOver();
  if (replacing_) AskForState(soft_.leader == rt_.options.self ? ReplicaId() : soft_.leader);
  if (pinning_ || !senders_.empty() || !catching_up_.empty()) WatchReceivers();
  if (std::exchange(used_, false)) node_->Rouse();
  if (node_->leader()) {
    for (const NodeId gone : rt_.gone) node_->PeerGone(gone);
  }
  node_->Tick(now);
  if (node_->HasReady()) rt_.MarkDirty(this);
}

bool Group::Quiescent() const {
  return !dirty && !quarantined() && node_->quiescent() && !used_ && !replacing_ && !pinning_ &&
         !beginning_ && receiver_ == nullptr && senders_.empty() && catching_up_.empty() &&
         leader_waiters_.empty() && asked_.empty() && barriers_asked_.empty() &&
         barriers_open_.empty() && barriers_confirmed_.empty();
}

std::vector<NodeId> Group::Watched() const {
  if (soft_.role != Role::kLeader) return {soft_.leader};
  std::vector<NodeId> others = Members(node_->configuration());
  std::erase(others, rt_.options.self);
  return others;
}

bool Group::HasMember(NodeId node) const {
  const std::vector<NodeId> members = Members(node_->configuration());
  return std::find(members.begin(), members.end(), node) != members.end();
}

// Between a heartbeat that puts the core to sleep and the host's next tick the group is awake, and
// will not be for long.
bool Group::Sleeps() const { return !quarantined() && (!awake || node_->quiescent()); }

void Group::WakeFor(NodeId node) {
  if (!Sleeps()) return;
  const std::vector<NodeId> watched = Watched();
  if (std::find(watched.begin(), watched.end(), node) != watched.end()) Rouse();
}

void Group::Rouse() {
  if (!Sleeps()) return;
  node_->Rouse();
  rt_.MarkDirty(this);
}

// A leader shows itself to its followers. A follower that has not seen that for long has a leader
// that sleeps no more and does not know of it, or none.
void Group::LookAgain(Instant now) {
  if (!Sleeps()) return;
  if (soft_.role != Role::kLeader && now - leader_heard_ < 3 * kLookAgainInterval) return;
  node_->LookAgain();
  rt_.MarkDirty(this);
}

void Group::RestSoon() {
  if (!quarantined()) node_->RestSoon();
}

void Group::Step(Message message, bool sated) {
  if (quarantined()) return StepQuarantined(message);
  const Instant now = rt_.env.Now();
  if (message.from == soft_.leader) HeardOfLeader(now);
  // Nothing is applied meanwhile, and so nothing of the log can go: it must not grow for as long as
  // that takes. The leader sends again what was not answered.
  const auto* append = std::get_if<AppendEntries>(&message.body);
  if ((replacing_ || waiting_) && held_bytes_ > rt_.options.snapshot_log_bytes_max &&
      append != nullptr && !append->entries.empty()) {
    rt_.metrics.refused.Add();
    return;
  }
  const bool refused =
      std::holds_alternative<AppendEntriesResponse>(message.body) && message.term > node_->term();
  const bool led = node_->leader();
  node_->PeerSated(message.from, sated);
  node_->Step(now, std::move(message));
  // One replica in a later term makes no other leader: whether there is one, the others tell, and
  // if not, nobody has to miss a leader for an election timeout.
  if (led && refused) node_->Campaign(now);
  rt_.MarkDirty(this);
}

void Group::OnUnreachable(NodeId node) {
  if (quarantined()) return;
  node_->PeerUnreachable(node);
  if (!node_->quiescent()) rt_.MarkDirty(this);
}

bool Group::HandOver() {
  if (quarantined() || !node_->leader()) return false;
  const bool low = rt_.space.low || rt_.space.full;
  const auto peers = node_->progress();
  const ProgressView* best = nullptr;
  for (const ProgressView& peer : peers) {
    const bool ready = peer.active && !peer.needs_snapshot && !peer.sated;
    if (peer.id == rt_.options.self || peer.learner || !ready) continue;
    if (low && rt_.RoomOf(peer.id) != Runtime::Room::kSpare) continue;
    const auto heard = rt_.peers.find(peer.id);
    if (heard != rt_.peers.end() && heard->second.stops) continue;
    if (best == nullptr || peer.applied > best->applied) best = &peer;
  }
  if (best == nullptr) return false;
  // A refusal (one is under way already) is settled by the next attempt.
  const Status status = node_->TransferLeadership(best->id);
  if (status.ok()) rt_.MarkDirty(this);
  return true;
}

Group::Remains Group::End() {
  Term term = quarantined() ? quarantine_term_ : node_->term();
  if (may_forget_) term = term + kForgottenTermsMax;
  Remains remains{{log_.incarnation(), term + 1}, {}};
  // Without a state it has no range of its own, and no right to delete anything.
  // (What it was about to replace, the store knows.)
  if (machine_.HasState()) remains.spans = machine_.Spans();
  if (quarantined()) rt_.metrics.quarantined_groups.Set(--rt_.quarantined);
  if (std::exchange(lost_state_, false)) {
    --rt_.lost_state;
    rt_.ForgetDamage();
  }
  ended_ = true;
  replacing_ = false;
  rt_.machines.erase(id_);
  quarantine_ = "the replica was removed from this node";
  quarantine_term_ = remains.tombstone.term;
  log_.End();
  DropCore();
  WakeLeaderWaiters();
  const Status gone(Code::kNotLeader, quarantine_);
  for (Asked& asked : std::exchange(asked_, {})) rt_.answers.Give(std::move(asked.waiter), gone);
  --rt_.leaderless;  // DropCore has left it without one
  CountLog();
  // It does not tick, and is not woken again. What it was is to be reported once more.
  std::erase(rt_.awake, this);
  awake = true;
  rt_.woken.push_back(id_);
  return remains;
}

void Runtime::ForgetDamage() {
  if (settled && lost_state == 0) store.ForgetDamage();
}

// ---- one Ready ---------------------------------------------------------------------------------

// The note says that nothing was promised: it goes before the first promise.
void Group::EndBeginning(bool noted) {
  auto end = [this, alive = std::weak_ptr<bool>(alive_)](const Status& flushed) {
    if (alive.expired() || !flushed.ok()) return;
    beginning_ = false;
    rt_.MarkDirty(this);
  };
  if (!noted) return end(Status::Ok());
  storage::WriteBatch batch;
  batch.Delete(NoteKey(id_));
  rt_.store.Put(std::move(batch));
  rt_.store.Flush(std::move(end));
}

void Group::Process() {
  if (quarantined() || beginning_) return;
  StartBarriers();
  while (stuck_.empty() && node_->HasReady()) Carry(node_->TakeReady());
  if (!stuck_.empty()) Quarantine(std::exchange(stuck_, {}));
}

void Group::Carry(Ready ready) {
  if (ready.soft_state) OnSoftState(*ready.soft_state);
  Send(std::move(ready.messages));
  if (ready.persist_id != 0) Persist(&ready);
  if (!ready.committed.empty()) {
    if (replacing_ || waiting_) {
      Hold(std::move(ready.committed));
    } else {
      Apply(std::move(ready.committed));
    }
  }
  OnReads(ready);
}

void Group::OnSoftState(const SoftState& known) {
  SoftState state = known;
  // Who has no state serves nothing, and Tick has it pass its leadership on.
  if (replacing_ && state.role == Role::kLeader) state = {Role::kFollower, state.term, ReplicaId()};
  const bool leads = state.role == Role::kLeader;
  if (leads != (soft_.role == Role::kLeader)) {
    rt_.leaders += leads ? 1 : -1;
    rt_.metrics.leader_groups.Set(rt_.leaders);
  }
  if (state.role == Role::kCandidate && soft_.role != Role::kCandidate) rt_.metrics.elections.Add();
  if (leads) {
    for (const auto& [to, sender] : senders_) sender->Continue(state.term);
    for (const NodeId member : Members(node_->configuration())) {
      if (member != rt_.options.self) rt_.peers.try_emplace(member);
    }
  } else if (state.leader) {
    StopSnapshots();
  }
  if (static_cast<bool>(state.leader) != static_cast<bool>(soft_.leader)) {
    rt_.leaderless += state.leader ? -1 : 1;
  }
  if (state.leader && (state.leader != soft_.leader || state.term != soft_.term)) {
    HeardOfLeader(rt_.env.Now());
  }
  soft_ = state;
  machine_.OnSoftState(state);
}

void Group::Send(std::vector<Message> messages) {
  for (Message& message : messages) {
    if (std::holds_alternative<InstallSnapshot>(message.body)) {
      SendSnapshot(message.to, 0);  // the message announces it
    }
    rt_.metrics.sent.Add();
    const ReplicaId to = message.to;
    rt_.transport.Send(to, {.group = id_,
                            .message = std::move(message),
                            .low_space = rt_.space.low || rt_.space.full,
                            .stops = rt_.stops,
                            .sated = rt_.Sated()});
  }
}

void Group::Persist(Ready* ready) {
  const bool installed = ready->snapshot.has_value();
  log_.Write(ready->hard_state, std::move(ready->entries), ready->snapshot,
             [this, persist_id = ready->persist_id, installed, from = last_installed_.from,
              stream_id = last_installed_.id] {
               // Of a core that is no longer asked (by now, nor is its write waited for).
               if (quarantined()) return;
               node_->Persisted(persist_id);
               if (installed) OnInstalled(from, stream_id);
               rt_.MarkDirty(this);
             });
}

void Group::Hold(std::vector<Entry> entries) {
  for (const Entry& entry : entries) held_bytes_ += entry.payload.size();
  std::move(entries.begin(), entries.end(), std::back_inserter(held_));
}

void Group::ApplyHeld() {
  waiting_ = false;
  held_bytes_ = 0;
  Apply(std::exchange(held_, {}));
  rt_.MarkDirty(this);
}

void Group::Apply(std::vector<Entry> entries) {
  const LogIndex before = applied_;
  for (const Entry& entry : entries) {
    if (!ApplyOne(entry)) break;
  }
  if (waiting_) {
    std::erase_if(entries, [this](const Entry& entry) { return entry.index <= applied_; });
    Hold(std::move(entries));
  }
  rt_.metrics.applied.Add(applied_.value() - before.value());
  grew_at_ = rt_.env.Now();
  trim_due = true;
  node_->Applied(applied_);
  ReleaseBarriers();
}

bool Group::ApplyOne(const Entry& entry) {
  CHECK(entry.index == applied_ + 1, "group {}: applying {} after {}", id_, entry.index, applied_);
  storage::WriteBatch batch;
  ApplyResult result;
  bool meta_changed = entry.term != meta_.applied_term;
  switch (entry.type) {
    case EntryType::kNormal:
      result = machine_.Apply(entry.index, entry.term, entry.payload, &batch);
      if (!result.stuck.empty()) {
        stuck_ = std::move(result.stuck);
        rt_.MarkDirty(this);
        return false;
      }
      if (!result.waits.empty()) {
        PROBE("raft host: an entry waits to be applied");
        if (waits_at_ != entry.index) {
          rt_.env.log.Info("raft group {}: entry {} waits: {}", id_, entry.index, result.waits);
        }
        waits_at_ = entry.index;
        waiting_ = true;
        return false;
      }
      break;
    case EntryType::kConfiguration: {
      Configuration configuration;
      CHECK(DecodeConfiguration(entry.payload, &configuration),
            "group {}: entry {} is no configuration", id_, entry.index);
      machine_.ApplyMembers(entry.index, configuration, &batch);
      meta_.AddChange(entry.index, std::move(configuration), LogIndex(log_.mark().index));
      meta_changed = true;
      break;
    }
    case EntryType::kEmpty:
      break;
  }
  meta_.applied_term = entry.term;
  if (entry.index == LogIndex(1)) machine_.StoreFirstState(&batch);
  if (meta_changed) batch.Put(GroupMetaKey(id_), meta_.Encode());
  rt_.store.Apply(id_, entry.index.value(), std::move(batch));
  applied_ = entry.index;
  window_.Add(entry.index, entry.term, entry.payload.size());
  proposals_.Applied(entry.index, entry.term, std::move(result));
  return true;
}

// ---- read barriers -----------------------------------------------------------------------------

void Group::Barrier(BarrierDone done) {
  if (ended_) return done(Status(Code::kNotLeader, quarantine_));
  barriers_asked_.push_back(std::move(done));
  rt_.MarkDirty(this);
}

void Group::StartBarriers() {
  if (barriers_asked_.empty()) return;
  auto asked = std::exchange(barriers_asked_, {});
  // All that were asked in one turn share one round.
  const uint64_t context = next_context_++;
  const Status status = node_->ReadIndex(context);
  if (status.ok()) {
    barriers_open_.emplace(context, std::move(asked));
  } else {
    for (auto& done : asked) done(status);
  }
}

void Group::OnReads(const Ready& ready) {
  for (const ReadState& read : ready.reads) {
    auto open = barriers_open_.extract(read.context);
    CHECK(!open.empty(), "group {}: unknown read {}", id_, read.context);
    auto& confirmed = barriers_confirmed_[read.index];
    std::move(open.mapped().begin(), open.mapped().end(), std::back_inserter(confirmed));
  }
  for (uint64_t context : ready.reads_failed) {
    auto open = barriers_open_.extract(context);
    CHECK(!open.empty(), "group {}: unknown read {}", id_, context);
    for (auto& done : open.mapped()) done(Status(Code::kNotLeader, "leadership was lost"));
  }
  if (!ready.reads.empty()) ReleaseBarriers();
}

void Group::ReleaseBarriers() {
  while (!barriers_confirmed_.empty() && barriers_confirmed_.begin()->first <= applied_) {
    auto done = std::move(barriers_confirmed_.begin()->second);
    barriers_confirmed_.erase(barriers_confirmed_.begin());
    for (auto& each : done) each(Status::Ok());
  }
}

}  // namespace quorate::raft
