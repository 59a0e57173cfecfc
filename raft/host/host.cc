#include "raft/host/host.h"

#include <set>

#include "base/check.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "raft/host/group.h"
#include "raft/host/log_budget.h"
#include "raft/host/ticker.h"

namespace quorate::raft {
namespace {

// A leader whose disk is low tries to hand over this often.
constexpr int kLeaveTicks = 10;
constexpr size_t kUnknownGroupsMax = 1'000;

}  // namespace

struct Host::Rep {
  Rep(Env& env, Host::Options options, storage::Wal& wal, storage::OrderedStore& store,
      Transport& transport)
      : runtime(env, options, wal, store, transport),
        wal_groups(wal.TakeRecovered()),
        ticker(env, options.tick, [this](Instant now) { Tick(now); }) {
    ReadMetas();
    ReadTombstones();
    ReadNotes();
    const auto guarded = [alive = runtime.alive](auto action) {
      return [action, alive](auto... args) {
        if (*alive) action(args...);
      };
    };
    wal.OnFailure(guarded([this](const Status& status) { Fail("log", status); }));
    store.OnFailure(guarded([this](const Status& status) { Fail("store", status); }));
    store.OnFlushed(guarded([this] { OnFlushed(); }));
  }

  void ReadMetas() {
    const auto [from, to] = GroupMetaSpan();
    const Status status =
        runtime.store.Scan(from, to, [&](std::string_view key, std::string_view value) {
          GroupId group;
          if (!ParseGroupMetaKey(key, &group)) return true;
          GroupMeta meta;
          const bool decoded = GroupMeta::Decode(value, &meta);
          metas[group] = decoded ? std::optional(std::move(meta)) : std::nullopt;
          return true;
        });
    if (!status.ok()) Fail("store", status);
  }

  void Tick(Instant now) {
    if (runtime.failed) return;
    const bool crowded = runtime.awake.size() > runtime.options.awake_max;
    for (size_t i = 0; i < runtime.awake.size();) {
      Group* group = runtime.awake[i];
      if (crowded) group->RestSoon();
      group->Tick(now);
      if (group->Quiescent()) {
        LetSleep(i);
      } else {
        ++i;
      }
    }
    const auto asleep = static_cast<int64_t>(groups.size() - runtime.awake.size());
    runtime.metrics.quiescent_groups.Set(asleep);
    BoundLogs();
    CountSilence();
    if (++ticks % limits::kAliveTicks == 0) {
      Beat(asleep > 0);
      LookAgain(now);
    }
    const bool leave = runtime.space.low || runtime.space.full;
    if (!leave || ++ticks_low % kLeaveTicks != 0) return;
    for (auto& [id, group] : groups) group->LeaveLowDisk();
  }

  void LetSleep(size_t at) {
    Group* group = runtime.awake[at];
    for (const NodeId node : group->Watched()) {
      Runtime::Peer& peer = runtime.peers[node];
      if (peer.silent_ticks >= limits::kGoneTicks) {
        peer.missed = true;
      } else if (!std::exchange(peer.watched, true)) {
        peer.alives_missed = 0;
      }
    }
    group->awake = false;
    runtime.awake[at] = runtime.awake.back();
    runtime.awake.pop_back();
    group->Compact();
  }

  void CountSilence() {
    for (auto& [node, peer] : runtime.peers) {
      if (peer.silent_ticks < limits::kGoneTicks && ++peer.silent_ticks == limits::kGoneTicks) {
        runtime.gone.push_back(node);
      }
    }
  }

  void Heard(NodeId node, Runtime::Peer* peer, bool low_space, bool stops) {
    peer->heard_at = runtime.env.Now();
    peer->low_space = low_space;
    peer->stops = stops;
    if (std::exchange(peer->silent_ticks, 0) < limits::kGoneTicks) return;
    std::erase(runtime.gone, node);
    if (!std::exchange(peer->missed, false)) return;
    PROBE("raft host: a node is back without which groups fell silent");
    WakeFor(node);
  }

  // Missed words are counted, not the time since the last one: a pause of this process is not the
  // others' silence. Whoever asks is told, though nothing may be asleep here: what it missed would
  // be a word of a replica that ended.
  void Beat(bool asleep) {
    for (auto& [node, peer] : runtime.peers) {
      const bool watches = asleep && peer.watched;
      if (!watches && peer.asked == 0) continue;
      const bool low = runtime.space.low || runtime.space.full;
      runtime.transport.SendAlive(node, {runtime.generation, low, watches, runtime.stops});
      peer.asked = std::max(0, peer.asked - 1);
      if (!watches || ++peer.alives_missed <= limits::kAlivesMissedMax) continue;
      PROBE("raft host: a watched node is silent");
      peer.watched = false;
      WakeFor(node);
    }
  }

  void WakeFor(NodeId node) {
    if (MUTANT("raft-quiescent-not-woken")) return;
    for (auto& [id, group] : groups) group->WakeFor(node);
  }

  // In the turn of Beat, so that what they send shares its messages.
  void LookAgain(Instant now) {
    looks += static_cast<int64_t>(groups.size()) * limits::kAliveTicks * runtime.options.tick;
    for (; looks >= kLookAgainInterval; looks -= kLookAgainInterval) {
      auto next = groups.upper_bound(looked_at);
      if (next == groups.end()) next = groups.begin();
      if (next == groups.end()) return;
      looked_at = next->first;
      next->second->LookAgain(now);
    }
  }

  void OnFlushed() {
    if (runtime.failed) return;
    for (auto& [id, group] : groups) {
      if (group->trim_due) group->Compact();
    }
    ShrinkWal();
  }

  // Divides what is left of `budget` over those that have something to spare, and has those that
  // have more do with it.
  template <class Bytes, class Trim>
  void Shrink(size_t budget, size_t most, Bytes bytes_of, Trim trim) {
    const Instant now = runtime.env.Now();
    std::vector<Group*> keepers;
    std::vector<LogShare> shares;
    for (auto& [id, group] : groups) {
      const size_t bytes = bytes_of(*group);
      if (bytes == 0) continue;
      keepers.push_back(group.get());
      shares.push_back({bytes, now - group->grew_at()});
    }
    const std::vector<size_t> allowed = DivideBudget(shares, budget, most);
    for (size_t i = 0; i < keepers.size(); ++i) {
      if (shares[i].bytes > allowed[i]) trim(keepers[i], allowed[i]);
    }
  }

  // What is not applied yet, or kept for snapshots, has bounds of its own: nobody's log is cut for
  // it. Not to the brim: or one tick after the other would have a little to do.
  void ShrinkLogs(size_t bound, Group::Press press) {
    size_t spare = 0;
    for (const auto& [id, group] : groups) spare += group->SpareBytes();
    if (spare <= bound) return;
    PROBE("raft host: logs over their budget");
    Shrink(
        bound - bound / 8, runtime.options.log_keep_bytes,
        [](const Group& group) { return group.SpareBytes(); },
        [press](Group* group, size_t bytes) { group->TrimTo(bytes, press); });
  }

  void BoundLogs() {
    const Host::Options& options = runtime.options;
    if (runtime.log_bytes <= options.log_bytes_max || MUTANT("raft-log-budget-ignored")) return;
    ShrinkLogs(options.log_bytes_max, Group::Press::kSoft);
    if (runtime.log_bytes <= options.log_lacking_bytes_max) return;
    ShrinkLogs(options.log_lacking_bytes_max, Group::Press::kHard);
    ShrinkPins();
  }

  // One a tick, if all together keep more than one may.
  void ShrinkPins() {
    size_t pinned = 0;
    Group* most = nullptr;
    for (const auto& [id, group] : groups) {
      const size_t bytes = group->PinnedBytes();
      pinned += bytes;
      if (bytes > 0 && (most == nullptr || bytes > most->PinnedBytes())) most = group.get();
    }
    if (pinned > runtime.options.snapshot_log_bytes_max) most->LetPinGo();
  }

  void ShrinkWal() {
    const Host::Options& options = runtime.options;
    size_t kept = 0;
    for (const auto& [id, group] : groups) kept += group->WalBytes();
    if (kept <= options.wal_kept_bytes_max) return;
    PROBE("raft host: wal over its budget");
    Shrink(
        options.wal_kept_bytes_max, options.wal_keep_bytes,
        [](const Group& group) { return group.WalBytes(); },
        [](Group* group, size_t bytes) { group->TrimWalTo(bytes); });
  }

  void Fail(std::string_view what, const Status& status) {
    if (runtime.failed) return;
    runtime.failed = true;
    failure = status;
    for (auto& [id, group] : groups) group->WakeLeaderWaiters();
    runtime.env.log.Error("the node's {} failed and nothing is acknowledged any more: {}", what,
                          status.ToString());
    ReportFailure();
  }

  void ReportFailure() {
    if (!on_fatal) return;
    runtime.Post([this] {
      if (auto callback = std::exchange(on_fatal, nullptr)) callback(failure);
    });
  }

  void ReadTombstones() {
    const auto [from, to] = TombstoneSpan();
    const Status status =
        runtime.store.Scan(from, to, [&](std::string_view key, std::string_view value) {
          GroupId group;
          Tombstone tombstone;
          if (!ParseTombstoneKey(key, &group)) return true;
          // One that does not decode is a damaged page's, and the group's successor is quarantined.
          if (Tombstone::Decode(value, &tombstone)) tombstones[group] = tombstone;
          return true;
        });
    if (!status.ok()) return Fail("store", status);
    RestoreTombstones();
    for (const auto& [group, tombstone] : tombstones) {
      const auto wal = wal_groups.find(group);
      if (wal == wal_groups.end() || wal->second.incarnation > tombstone.incarnation) continue;
      PROBE("raft host: the log of a destroyed replica was left over");
      EndLog(group, [] {});
      wal_groups.erase(wal);
    }
  }

  // The page with it was lost; but what the replica had is still being deleted, and its log is
  // there.
  void RestoreTombstones() {
    for (const auto& [group, wal] : wal_groups) {
      if (!runtime.store.Dropping(group) || tombstones.contains(group)) continue;
      PROBE("raft host: a lost tombstone is set again");
      const Tombstone tombstone{wal.incarnation, Term(wal.hard_state.term) + kForgottenTermsMax};
      tombstones[group] = tombstone;
      storage::WriteBatch batch;
      batch.Put(TombstoneKey(group), tombstone.Encode());
      runtime.store.Put(std::move(batch));
    }
  }

  void ReadNotes() {
    const auto [from, to] = NoteSpan();
    const Status status = runtime.store.Scan(from, to, [&](std::string_view key, std::string_view) {
      GroupId group;
      if (ParseNoteKey(key, &group)) notes.insert(group);
      return true;
    });
    if (!status.ok()) Fail("store", status);
  }

  // What is known of a group that was not started yet; it is not known a second time.
  Stored TakeStored(GroupId group, storage::WalGroup* wal) {
    Stored stored;
    stored.wal = wal;
    stored.lost_records = runtime.wal.lost_records();
    stored.noted = notes.erase(group) != 0;
    stored.applied = LogIndex(runtime.store.AppliedIndex(group));
    if (auto meta = metas.extract(group); !meta.empty()) stored.meta = std::move(meta.mapped());
    if (const auto it = tombstones.find(group); it != tombstones.end()) {
      stored.tombstone = it->second;
    }
    stored.replacing = runtime.store.Replacing(group) != nullptr;
    return stored;
  }

  // The log of a destroyed replica gives way to the beginning of its successor's.
  void EndLog(GroupId group, Closure done) {
    const Tombstone& tombstone = tombstones.at(group);
    storage::WalRecord record;
    record.group = group;
    record.incarnation = tombstone.incarnation + 1;
    record.hard_state.emplace();
    record.hard_state->term = tombstone.term.value();
    // Whatever was lost of the log before is nobody's any more.
    record.reset = true;
    record.mark.emplace();
    runtime.wal.Append(std::move(record), std::move(done));
  }

  // Whether the log has nothing of the group but a term: no replica, or one that waits for its
  // first snapshot.
  bool BegunEmpty(GroupId group) const {
    const auto wal = wal_groups.find(group);
    return wal != wal_groups.end() && !wal->second.damaged && wal->second.entries.empty() &&
           wal->second.mark.index == 0 && !metas.contains(group) &&
           runtime.store.AppliedIndex(group) == 0 && runtime.store.Replacing(group) == nullptr;
  }

  Group* Find(GroupId id) {
    const auto it = groups.find(id);
    return it == groups.end() ? nullptr : it->second.get();
  }

  // The group of a message that may be acted on; null: refused and counted.
  Group* Accept(GroupId id, NodeId to) {
    if (runtime.failed) return nullptr;
    Group* group = to == runtime.options.self ? Find(id) : nullptr;
    if (group == nullptr) runtime.metrics.refused.Add();
    if (group == nullptr && to == runtime.options.self && unknown.size() < kUnknownGroupsMax) {
      unknown.insert(id);
    }
    return group;
  }

  Runtime runtime;
  // Known before this start and not started yet.
  std::map<GroupId, storage::WalGroup> wal_groups;
  std::map<GroupId, std::optional<GroupMeta>> metas;
  std::map<GroupId, std::unique_ptr<Group>> groups;
  std::map<GroupId, Tombstone> tombstones;
  std::set<GroupId> notes;  // of replicas that begin and were not started yet
  std::set<GroupId> unknown;
  Ticker ticker;
  int ticks_low = 0;
  int ticks = 0;
  Duration looks{};  // what is left of a round of LookAgain, for one group
  GroupId looked_at;
  std::function<void(Status)> on_fatal;
  Host::ListensTo listens_to;
  Status failure;
};

Host::Host(Env& env, Options options, storage::Wal& wal, storage::OrderedStore& store,
           Transport& transport)
    : rep_(std::make_unique<Rep>(env, options, wal, store, transport)) {
  CHECK(options.self, "a host needs its node id");
  transport.SetReceiver(this);
}

Host::~Host() { rep_->runtime.transport.SetReceiver(nullptr); }

Result<GroupHandle*> Host::StartGroup(GroupId group, StateMachine& machine,
                                      std::optional<Configuration> bootstrap) {
  if (!group) return InvalidArgument("group 0 does not exist");
  if (rep_->groups.contains(group)) {
    return Status(Code::kAlreadyExists, fmt::format("group {} is running", group));
  }
  if (rep_->runtime.store.Dropping(group)) {
    return Status(Code::kAlreadyExists, fmt::format("group {} is being destroyed", group));
  }
  Rep& rep = *rep_;
  auto wal = rep.wal_groups.extract(group);
  Stored stored = rep.TakeStored(group, wal.empty() ? nullptr : &wal.mapped());
  stored.state = machine.HasState();
  Recovered recovered = Recover(group, std::move(stored), bootstrap);
  // Whoever has nothing yet does not know what will be its own, and has lost nothing of it. Who
  // begins with a state has it in the store before any record of its own.
  const bool empty = !machine.HasState() && recovered.applied_nothing();
  recovered.lost_state = !empty && rep.runtime.store.Damaged(group, machine.Spans()) &&
                         !MUTANT("raft-lost-range-ignored");
  if (recovered.lost_state && recovered.quarantine.empty()) {
    PROBE("raft host: quarantine for damaged page");
    recovered.quarantine = "a damaged page of the store held a part of its state";
  }
  auto& slot = rep.groups[group];
  slot = std::make_unique<Group>(rep.runtime, group, machine, std::move(recovered));
  return slot.get();
}

std::vector<Survivor> Host::Survivors(const std::set<NodeId>& lost) {
  std::vector<Survivor> survivors;
  for (const GroupId group : StoredGroups()) {
    auto wal = rep_->wal_groups.extract(group);
    Stored stored = rep_->TakeStored(group, wal.empty() ? nullptr : &wal.mapped());
    survivors.push_back(GoOnAlone(group, std::move(stored), rep_->runtime.options.self, lost));
  }
  return survivors;
}

void Host::NoteBeginning(GroupId group, storage::WriteBatch* batch) {
  // A log that never lost anything proves it by itself, and one that loses something later could
  // have lost records of the replica.
  if (!rep_->runtime.wal.lost_records()) return;
  PROBE("raft host: a replica begins over a log that lost records");
  batch->Put(NoteKey(group), std::string());
  rep_->notes.insert(group);
}

void Host::SettleDamage() {
  rep_->runtime.settled = true;
  rep_->runtime.ForgetDamage();
}

std::vector<GroupId> Host::StoredGroups() const {
  std::set<GroupId> ids;
  for (const auto& [id, wal] : rep_->wal_groups) {
    if (!rep_->BegunEmpty(id)) ids.insert(id);
  }
  for (const auto& [id, meta] : rep_->metas) ids.insert(id);
  for (const GroupId id : rep_->runtime.store.Replacing()) {
    if (!rep_->groups.contains(id)) ids.insert(id);
  }
  return {ids.begin(), ids.end()};
}

std::unique_ptr<GroupHandle> Host::DestroyReplica(GroupId group, Closure done) {
  auto found = rep_->groups.extract(group);
  CHECK(!found.empty(), "group {} is not here", group);
  std::unique_ptr<Group> replica = std::move(found.mapped());
  std::erase(rep_->runtime.dirty, replica.get());
  Group::Remains remains = replica->End();
  rep_->tombstones[group] = remains.tombstone;
  storage::WriteBatch batch;
  batch.Delete(GroupMetaKey(group));
  batch.Delete(NoteKey(group));
  batch.Put(TombstoneKey(group), remains.tombstone.Encode());
  rep_->runtime.store.Drop(
      group, std::move(remains.spans), std::move(batch),
      [rep = rep_.get(), alive = rep_->runtime.alive, group, done = std::move(done)]() mutable {
        if (*alive) rep->EndLog(group, std::move(done));
      });
  return replica;
}

void Host::SetReserved(Reserved reserved) { rep_->runtime.reserved = std::move(reserved); }

bool Host::HadReplica(GroupId group) const {
  return rep_->tombstones.contains(group) || rep_->BegunEmpty(group);
}

std::vector<GroupId> Host::TakeUnknownGroups() {
  const std::set<GroupId> unknown = std::exchange(rep_->unknown, {});
  return {unknown.begin(), unknown.end()};
}

void Host::RefuseLeaderships() { rep_->runtime.stops = true; }

Task<void> Host::HandOver(Duration timeout) {
  Rep* rep = rep_.get();
  Env& env = rep->runtime.env;
  const Instant end = env.Now() + timeout;
  while (env.Now() < end && !rep->runtime.failed) {
    bool left = false;
    for (auto& [id, group] : rep->groups) left = group->HandOver() || left;
    if (!left) co_return;
    co_await Sleep(env.executor, rep->runtime.options.tick);
  }
}

void Host::SetSpace(Space space) { rep_->runtime.space = space; }

void Host::Start() { rep_->ticker.Start(); }

void Host::OnFatal(std::function<void(Status)> callback) {
  rep_->on_fatal = std::move(callback);
  if (rep_->runtime.failed) rep_->ReportFailure();
}

void Host::SetListensTo(ListensTo listens_to) { rep_->listens_to = std::move(listens_to); }

bool Host::Listens(NodeId from, const storage::Incarnation& incarnation) {
  const bool listens = !rep_->listens_to || rep_->listens_to(from, incarnation);
  if (!listens) rep_->runtime.metrics.refused.Add();
  return listens;
}

void Host::OnAlive(NodeId from, Alive alive) {
  if (rep_->runtime.failed) return;
  // Of a node with which no group is shared nothing is kept: whoever says so could be anybody.
  const auto known = rep_->runtime.peers.find(from);
  if (known == rep_->runtime.peers.end()) return;
  Runtime::Peer& peer = known->second;
  rep_->Heard(from, &peer, alive.low_space, alive.stops);
  peer.alives_missed = 0;
  if (alive.asks) peer.asked = limits::kAlivesMissedMax;
  if (std::exchange(peer.generation, alive.generation) == alive.generation) return;
  PROBE("raft host: a node's generation is another one");
  rep_->WakeFor(from);
}

void Host::Call(NodeId node) {
  if (rep_->runtime.failed) return;
  const Runtime& runtime = rep_->runtime;
  const bool low = runtime.space.low || runtime.space.full;
  runtime.transport.SendAlive(node, {runtime.generation, low, false, runtime.stops});
}

int64_t Host::leaderless() const { return rep_->runtime.leaderless; }

std::set<GroupId> Host::TakeActive() {
  const std::vector<GroupId> woken = std::exchange(rep_->runtime.woken, {});
  std::set<GroupId> active(woken.begin(), woken.end());
  for (const Group* group : rep_->runtime.awake) active.insert(group->id());
  return active;
}

void Host::OnMessages(std::vector<GroupMessage> messages) {
  rep_->runtime.metrics.received.Add(messages.size());
  Runtime& runtime = rep_->runtime;
  for (GroupMessage& message : messages) {
    Group* group = rep_->Accept(message.group, message.message.to);
    if (group == nullptr) continue;
    const NodeId from = message.message.from;
    auto peer = runtime.peers.find(from);
    if (peer == runtime.peers.end() && group->HasMember(from)) {
      peer = runtime.peers.try_emplace(from).first;
    }
    if (peer != runtime.peers.end()) {
      rep_->Heard(from, &peer->second, message.low_space, message.stops);
    }
    if (runtime.stops && std::holds_alternative<TimeoutNow>(message.message.body)) {
      PROBE("raft host: a leadership comes to a node that stops");
      runtime.metrics.refused.Add();
      continue;
    }
    const auto* append = std::get_if<AppendEntries>(&message.message.body);
    if (runtime.Sated() && append != nullptr && !append->entries.empty()) {
      PROBE("raft host: append dropped, sated");
      runtime.metrics.refused.Add();
      continue;
    }
    group->Step(std::move(message.message), message.sated);
  }
}

void Host::OnSnapshotChunk(SnapshotChunk chunk) {
  Group* group = rep_->Accept(chunk.group, chunk.to);
  if (group == nullptr) return;
  Runtime& runtime = rep_->runtime;
  // What is stored of it waits in memory to be flushed. The sender comes again.
  if (runtime.space.full) {
    PROBE("raft host: snapshot chunk dropped");
    runtime.metrics.refused.Add();
    return;
  }
  group->OnChunk(chunk);
}

void Host::OnSnapshotAck(SnapshotAck ack) {
  Group* group = rep_->Accept(ack.group, ack.to);
  if (group != nullptr) group->OnAck(ack);
}

void Host::OnUnreachable(NodeId node) {
  for (auto& [id, group] : rep_->groups) group->OnUnreachable(node);
}

GroupHandle* Host::Find(GroupId group) { return rep_->Find(group); }

}  // namespace quorate::raft
