// Snapshots in both directions, and quarantine (group.h).
#include <algorithm>
#include <limits>

#include "base/check.h"
#include "base/coding.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "raft/core/membership.h"
#include "raft/host/group.h"

namespace quorate::raft {
namespace {

// A quarantined replica asks again after so many ticks without a chunk: for the same stream, of
// which the leader sends what is missing or, if it does not know it, all. Chunks of a node whose
// rate many streams share may be further apart.
constexpr int kWantTicks = 20;
constexpr Duration kTrimDelay = 2s;
// Who refused a snapshot, or was to get one that could not be read, is not sent another at once.
constexpr Duration kFailedPause = 1s;
// A stream that the log outran is begun anew so often, each time at a higher rate; then after a
// while.
constexpr int kOutpacedMax = 3;
constexpr Duration kOutpacedPause = 1min;
// A leader without a state tries to hand over this often.

}  // namespace

bool Runtime::RoomForSnapshot() {
  std::erase_if(sources, [](const auto& source) { return source.expired(); });
  return pinning + sources.size() < options.snapshots_max;
}

GroupId Runtime::Overlapping(GroupId group, const Spans& spans) const {
  const auto touches = [&spans](const Spans& others) {
    for (const auto& [from, to] : spans) {
      for (const auto& [begin, end] : others) {
        const bool before = !to.empty() && !begin.empty() && !storage::KeyLess()(begin, to);
        const bool behind = !end.empty() && !from.empty() && !storage::KeyLess()(from, end);
        if (!before && !behind) return true;
      }
    }
    return false;
  };
  for (const auto& [id, machine] : machines) {
    if (id == group) continue;
    if (machine->HasState() && touches(machine->Spans())) return id;
    const Spans* replaced = store.Replacing(id);
    if (replaced != nullptr && touches(*replaced)) return id;
  }
  return reserved ? reserved(spans) : GroupId();
}

// ---- sending -----------------------------------------------------------------------------------

void Group::SendSnapshot(ReplicaId to, uint64_t stream_id) {
  const bool wanted = stream_id != 0;  // by a replica without a state; else by the core
  if (wanted) {
    senders_.erase(to);
  } else if (senders_.contains(to) || pin_for_.contains(to)) {
    return;
  } else {
    stream_id = rt_.env.random.Next() | 1;
  }
  catching_up_.erase(to);
  const auto failed = failed_.find(to);
  const bool paused = failed != failed_.end() && rt_.env.Now() < failed->second.not_sent_before;
  if (paused || replacing_) return node_->SnapshotSent(to, false, applied_);
  // A state that is still being sent elsewhere will do for a follower: its log goes on behind it.
  const auto source = source_.lock();
  // Not one from before it was a member: that would tell it that it is none.
  if (!wanted && source != nullptr && IsMember(source->meta.configuration, to) &&
      source->meta.index + 1 >= node_->first_index() &&
      window_.BytesAbove(source->meta.index) < rt_.options.snapshot_log_bytes_max / 4) {
    return StartStream(to, stream_id, source);
  }
  if (!pinning_ && !rt_.RoomForSnapshot()) {
    PROBE("raft host: snapshot waits");
    // The core tries again at a heartbeat, a quarantined replica by itself.
    return node_->SnapshotSent(to, false, applied_);
  }
  pin_for_[to] = stream_id;
  if (pinning_) return;
  pinning_ = true;
  ++rt_.pinning;
  PinState();
}

void Group::PinState() {
  pinning_from_ = applied_;
  rt_.store.Pin([this, alive = std::weak_ptr<bool>(alive_), spans = machine_.Spans(),
                 pin = ++pins_](Result<std::unique_ptr<storage::KvView>> view) mutable {
    if (alive.expired() || !pinning_ || pin != pins_) return;
    if (view.ok()) return OnPinned(std::move(spans), std::move(*view));
    rt_.env.log.Warn("raft group {}: no snapshot can be made: {}", id_, view.status().ToString());
    AbortPinning();
  });
}

// What the pinned state is of, it says itself: the store may be ahead of what was asked for.
void Group::OnPinned(Spans spans, std::unique_ptr<storage::KvView> view) {
  // A state has the spans of its index, which lies between the question and now.
  if (spans != machine_.Spans()) {
    PROBE("raft host: spans changed while pinning");
    return PinState();
  }
  auto source = std::make_shared<SnapshotSource>();
  source->spans = std::move(spans);
  source->view = std::move(view);
  const auto only = [](std::string key) {
    std::string next(storage::KeyBody(key));
    next.push_back('\0');
    return storage::KvView::Range{std::move(key), storage::MakeKey(next), {}};
  };
  const auto value_of = [](const Result<storage::KvView::Run>& run, std::string_view* value) {
    std::string_view key;
    if (!run.ok()) return false;
    std::string_view pairs = run->pairs;
    return GetLengthPrefixed(&pairs, &key) && GetLengthPrefixed(&pairs, value);
  };
  // Not kept by its own reads.
  const std::weak_ptr<SnapshotSource> weak = source;
  pinned_ = source;
  source->view->Read(only(storage::OrderedStore::AppliedIndexKey(id_)), 1,
                     storage::KvView::What::kPairs,
                     [weak, value_of](const Result<storage::KvView::Run>& run) {
                       const auto read = weak.lock();
                       std::string_view value;
                       uint64_t index = 0;
                       if (read != nullptr && value_of(run, &value) &&
                           storage::OrderedStore::ParseAppliedIndex(value, &index)) {
                         read->meta.index = LogIndex(index);
                       }
                     });
  source->view->Read(only(GroupMetaKey(id_)), 1, storage::KvView::What::kPairs,
                     [this, weak, value_of](const Result<storage::KvView::Run>& run) {
                       const auto read = weak.lock();
                       if (read == nullptr || pinned_ != read) return;
                       std::string_view value;
                       GroupMeta meta;
                       if (value_of(run, &value) && GroupMeta::Decode(value, &meta)) {
                         read->meta.term = meta.applied_term;
                         read->meta.configuration = meta.At(read->meta.index);
                       }
                       OnPinnedMeta(std::exchange(pinned_, nullptr));
                     });
}

void Group::OnPinnedMeta(std::shared_ptr<SnapshotSource> source) {
  const bool readable = source->meta.index >= pinning_from_ && source->meta.index &&
                        !source->meta.configuration.voters.empty();
  if (!readable || !node_->leader() || replacing_) {
    if (!readable) {
      rt_.env.log.Warn(
          "raft group {}: no snapshot can be made: the store's record of the group is "
          "not readable",
          id_);
    }
    return AbortPinning();
  }
  source_ = source;
  rt_.sources.push_back(source);
  const auto receivers = std::exchange(pin_for_, {});
  EndPinning();
  for (const auto& [to, stream_id] : receivers) StartStream(to, stream_id, source);
}

void Group::EndPinning() {
  pinned_.reset();
  if (std::exchange(pinning_, false)) --rt_.pinning;
}

void Group::AbortPinning() {
  EndPinning();
  for (const auto& [to, stream_id] : std::exchange(pin_for_, {})) {
    failed_[to].not_sent_before = rt_.env.Now() + kFailedPause;
    node_->SnapshotSent(to, false, applied_);
  }
  TrimLater();
}

void Group::StartStream(ReplicaId to, uint64_t stream_id,
                        std::shared_ptr<const SnapshotSource> source) {
  const SnapshotSender::Route route{id_, rt_.options.self, to, node_->term(), stream_id};
  const LogIndex index = source->meta.index;
  rt_.env.log.Info("raft group {}: snapshot at {} to node {}", id_, index, to);
  auto& sender = senders_[to];
  sender = std::make_unique<SnapshotSender>(
      rt_.env, rt_.transport, rt_.limiter, route, std::move(source),
      rt_.options.snapshot_turn_bytes,
      [this, to, index](SnapshotSender::Outcome outcome) { OnStreamDone(to, index, outcome); });
  const auto failed = failed_.find(to);
  for (int i = 0; failed != failed_.end() && i < failed->second.outpaced; ++i) sender->Hurry();
}

void Group::OnStreamDone(ReplicaId to, LogIndex index, SnapshotSender::Outcome outcome) {
  const bool installed = outcome == SnapshotSender::Outcome::kInstalled;
  (installed ? rt_.metrics.snapshots_sent : rt_.metrics.snapshots_failed).Add();
  senders_.erase(to);
  if (rt_.failed) return;
  if (installed) {
    failed_.erase(to);
    if (node_->leader()) catching_up_[to] = index;
  } else if (outcome != SnapshotSender::Outcome::kSilent) {
    failed_[to].not_sent_before = rt_.env.Now() + kFailedPause;
  }
  node_->SnapshotSent(to, installed, index);
  TrimLater();
  rt_.MarkDirty(this);
}

// Its log is let go of; a snapshot at a newer index may be faster than the log.
void Group::OnOutpaced(ReplicaId to) {
  PROBE("raft host: snapshot outpaced");
  rt_.metrics.snapshots_outpaced.Add();
  Failed& failed = failed_[to];
  const bool again = ++failed.outpaced < kOutpacedMax;
  failed.not_sent_before = rt_.env.Now() + (again ? kFailedPause : kOutpacedPause);
  rt_.env.log.Warn(
      "raft group {}: node {} is sent its state more slowly than the log grows: {} bytes of log "
      "were written meanwhile; it is sent anew, {}",
      id_, to, PinnedBytes(),
      again ? "faster" : "after a while: fewer writes, or a faster network or disk would help");
  if (!again) failed.outpaced = 0;
  catching_up_.erase(to);
  const auto sender = senders_.find(to);
  if (sender == senders_.end()) return;
  const LogIndex index = sender->second->meta().index;
  rt_.metrics.snapshots_failed.Add();
  senders_.erase(sender);
  node_->SnapshotSent(to, false, index);
  rt_.MarkDirty(this);
}

// What log their streams and they themselves need is kept within a bound.
void Group::WatchReceivers() {
  const size_t bound = rt_.options.snapshot_log_bytes_max;
  if (pinning_ && window_.BytesAbove(pinning_from_) > bound) {
    PROBE("raft host: pinning outpaced");
    rt_.env.log.Warn("raft group {}: no snapshot can be made: the store is slow to be flushed",
                     id_);
    AbortPinning();
  }
  std::vector<ReplicaId> outpaced;
  for (const auto& [to, sender] : senders_) {
    const size_t bytes = window_.BytesAbove(sender->meta().index);
    if (bytes > bound) outpaced.push_back(to);
    if (bytes > bound / 2 && !sender->hurries()) {
      PROBE("raft host: snapshot hurries");
      rt_.env.log.Info("raft group {}: the snapshot to node {} hurries: the log grew by {} bytes",
                       id_, to, bytes);
      sender->Hurry();
    }
  }
  if (!catching_up_.empty()) {
    const LogIndex kept = window_.Excess(rt_.options.log_keep_entries, rt_.options.log_keep_bytes);
    const auto peers = node_->progress();
    for (auto each = catching_up_.begin(); each != catching_up_.end();) {
      const auto peer = std::find_if(peers.begin(), peers.end(), [&](const ProgressView& view) {
        return view.id == each->first;
      });
      if (peer != peers.end()) each->second = std::max(each->second, peer->match);
      const bool over = peer == peers.end() || !peer->active || peer->needs_snapshot;
      each = over || each->second >= kept ? catching_up_.erase(each) : std::next(each);
    }
    for (const auto& [id, match] : catching_up_) {
      if (window_.BytesAbove(match) > bound) outpaced.push_back(id);
    }
  }
  for (const ReplicaId to : outpaced) OnOutpaced(to);
}

void Group::LetPinGo() {
  const LogIndex pin = SnapshotPin();
  if (pinning_ && pinning_from_ == pin) return AbortPinning();
  for (const auto& [to, sender] : senders_) {
    if (sender->meta().index == pin) return OnOutpaced(to);
  }
  for (const auto& [to, match] : catching_up_) {
    if (match == pin) return OnOutpaced(to);
  }
}

// No flush may come to a node that is idle by now. Not at once: whoever was sent the snapshot goes
// on from the log behind it.
void Group::TrimLater() {
  rt_.env.executor.After(kTrimDelay, [this, alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired() && trim_due && !rt_.failed) Compact();
  });
}

void Group::StopSnapshots() {
  // The core has forgotten whom it sent what: no word to it.
  senders_.clear();
  pin_for_.clear();
  catching_up_.clear();
  failed_.clear();
  EndPinning();
  TrimLater();
}

LogIndex Group::SnapshotPin() const {
  LogIndex pin(std::numeric_limits<uint64_t>::max());
  if (pinning_) pin = std::min(pin, pinning_from_);
  for (const auto& [to, sender] : senders_) pin = std::min(pin, sender->meta().index);
  for (const auto& [to, match] : catching_up_) pin = std::min(pin, match);
  return pin;
}

void Group::OnAck(const SnapshotAck& ack) {
  if (quarantined()) return;
  rt_.WakeUp(this);
  if (ack.wanted) return ServeWanted(ack);
  const auto sender = senders_.find(ack.from);
  if (sender != senders_.end()) sender->second->OnAck(ack);
}

void Group::ServeWanted(const SnapshotAck& ack) {
  const ReplicaId to = ack.from;
  const uint64_t stream_id = ack.stream_id;
  if (!node_->leader() || !IsMember(node_->configuration(), to) || stream_id == 0) return;
  const auto sender = senders_.find(to);
  if (sender != senders_.end() && sender->second->route().stream_id == stream_id) return;
  if (const auto pin = pin_for_.find(to); pin != pin_for_.end() && pin->second == stream_id) {
    return;
  }
  Barrier([this, to, stream_id, term = node_->term()](Status status) {
    if (!status.ok() || !node_->leader() || node_->term() != term || pinning_) return;
    for (const ProgressView& peer : node_->progress()) {
      // What it acknowledged before must be in: it asks again if not yet.
      if (peer.id == to && peer.match > applied_) return;
    }
    PROBE("raft host: snapshot for quarantined");
    SendSnapshot(to, stream_id);
  });
}

// ---- receiving ---------------------------------------------------------------------------------

void Group::Answer(const SnapshotChunk& chunk, SnapshotAck ack) {
  ack.group = id_;
  ack.from = rt_.options.self;
  ack.to = chunk.from;
  ack.stream_id = chunk.stream_id;
  rt_.transport.SendAck(chunk.from, ack);
}

void Group::OnChunk(const SnapshotChunk& chunk) {
  rt_.WakeUp(this);
  SnapshotAck ack;
  if (chunk.from == last_installed_.from && chunk.stream_id == last_installed_.id) {
    // A repeat: the verdict is out, or comes once it is durable.
    ack.installed = true;
    if (last_installed_.durable) Answer(chunk, ack);
    return;
  }
  // Two leaders may have answered one wish. A second core beside the first would be told of writes
  // that it never made.
  if (lifting_) return;
  const Term newest = quarantined() ? quarantine_term_ : node_->term();
  // Of a leader that is none any more, or was elected anew and sends it again in the later term.
  if (chunk.term < newest || (receiver_ && chunk.term < receiver_->term())) return;
  if (quarantined() && chunk.stream_id != wanted_stream_) {
    ack.refused = true;
    return Answer(chunk, ack);
  }
  if (!receiver_ || !receiver_->Matches(chunk)) {
    // In the middle of a stream that is not known (any more): from the start, please.
    if (chunk.sequence != 0) return Answer(chunk, ack);
    return BeginReceive(chunk);
  }
  const bool repeat = chunk.sequence < receiver_->next_sequence();
  if (!receiver_->Add(chunk))
    return RefuseChunk(chunk, "it is malformed, or holds what this version does not know");
  rt_.metrics.snapshot_bytes.Add(chunk.data.size());
  if (repeat) {
    // It is alive, at least.
    ack.next_sequence = receiver_->taken();
    Answer(chunk, ack);
  }
  TakeParts();
}

void Group::RefuseChunk(const SnapshotChunk& chunk, std::string_view why) {
  PROBE("raft host: snapshot malformed");
  rt_.env.log.Warn("raft group {}: snapshot chunk {} of node {} is refused: {}", id_,
                   chunk.sequence, chunk.from, why);
  receiver_.reset();
  wanted_stream_ = 0;
  SnapshotAck ack;
  ack.refused = true;
  Answer(chunk, ack);
}

// From here on there is no way back to the old state: whether the snapshot is of use is asked now.
void Group::BeginReceive(const SnapshotChunk& chunk) {
  bool of_use = chunk.meta.index >= applied_ && IsValid(chunk.meta.configuration);
  if (!quarantined() && replacing_) {
    of_use = of_use && !node_->leader();
  } else if (!quarantined()) {
    of_use = node_->WantsSnapshot(rt_.env.Now(), chunk.from, chunk.term, chunk.meta);
    rt_.MarkDirty(this);
  }
  if (!of_use) {
    PROBE("raft host: snapshot too old");
    if (receiver_ == nullptr) wanted_stream_ = 0;
    SnapshotAck ack;
    ack.refused = true;
    return Answer(chunk, ack);
  }
  auto received = std::make_unique<SnapshotReceiver>(chunk, machine_);
  if (!received->Add(chunk))
    return RefuseChunk(chunk, "it is malformed, or holds what this version does not know");
  if (rt_.store.Dropping(received->spans())) {
    PROBE("raft host: snapshot waits for a dropped state");
    return;  // it comes again
  }
  if (const GroupId other = rt_.Overlapping(id_, received->spans()); other) {
    return RefuseChunk(chunk, fmt::format("its keys touch those of group {} on this node", other));
  }
  Spans spans = received->spans();
  // A replica that does not know its range would delete everybody else's.
  if (machine_.HasState()) {
    for (auto& span : machine_.Spans()) spans.push_back(std::move(span));
  }
  if (MUTANT("raft-snapshot-deletes-outside")) {
    spans.emplace_back(storage::MakeKey(std::string(1, storage::kStorageTag + 1)), "");
  }
  rt_.metrics.snapshot_bytes.Add(chunk.data.size());
  receiver_ = std::move(received);
  wanted_stream_ = chunk.stream_id;
  wanted_since_ = rt_.env.Now();
  quiet_ticks_ = 0;
  last_part_ = {};
  erased_ = false;
  if (!replacing_) {
    replacing_ = true;
    StopSnapshots();
  }
  rt_.store.BeginReplace(id_, std::move(spans), [this, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.expired()) return;
    erased_ = true;
    TakeParts();
  });
}

// A chunk a turn, as long as the store has room.
void Group::TakeParts() {
  if (!receiver_ || !erased_ || waits_for_room_ || rt_.failed || !receiver_->HasPart()) return;
  const auto later = [this, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.expired()) return;
    waits_for_room_ = false;
    TakeParts();
  };
  if (!rt_.store.Room()) {
    PROBE("raft host: snapshot waits for room");
    waits_for_room_ = true;
    return rt_.store.WhenRoom(later);
  }
  storage::WriteBatch part = receiver_->TakePart();
  wanted_since_ = rt_.env.Now();
  quiet_ticks_ = 0;
  if (receiver_->complete()) {
    last_part_ = std::move(part);
    Install();  // or later: Tick tries again
    return;
  }
  rt_.store.PutReplaced(id_, std::move(part));
  SnapshotAck ack{id_, rt_.options.self, receiver_->from(), receiver_->stream_id()};
  ack.next_sequence = receiver_->taken();
  rt_.transport.SendAck(receiver_->from(), ack);
  if (!receiver_->HasPart()) return;
  waits_for_room_ = true;
  rt_.Post(later);
}

// The last part: with it, and in this very turn, there is a state again. False: not yet.
bool Group::Install() {
  // The store may be durable before the log: what it has of a replica that the log does not know
  // would say that the log lost it.
  if (beginning_) return false;
  const SnapshotMeta meta = receiver_->meta();
  bool reset = true;
  if (!quarantined()) {
    if (meta.index <= node_->commit_index()) {
      reset = false;
      node_->StateInstalled(meta.index);
    } else if (!node_->StepSnapshot(rt_.env.Now(), receiver_->from(), receiver_->term(), meta)) {
      // Elected meanwhile, and so its log has it, but does not know yet that it is committed.
      PROBE("raft host: snapshot waits for a commit");
      return false;
    }
  }
  meta_.applied_term = meta.term;
  meta_.changes = {{meta.index, meta.configuration}};
  last_part_.Put(GroupMetaKey(id_), meta_.Encode());
  rt_.store.EndReplace(id_, meta.index.value(), std::exchange(last_part_, {}));
  replacing_ = false;
  applied_ = meta.index;
  AfterInstall(reset);
  return true;
}

void Group::AfterInstall(bool reset) {
  const std::unique_ptr<SnapshotReceiver> received = std::move(receiver_);
  const SnapshotMeta& meta = received->meta();
  const ReplicaId from = received->from();
  const uint64_t stream_id = received->stream_id();
  wanted_stream_ = 0;
  proposals_.Covered(meta.index);
  machine_.OnSnapshotInstalled(meta.index);
  last_installed_ = {from, stream_id, false};
  rt_.env.log.Info("raft group {}: snapshot at {} of node {} installed", id_, meta.index, from);
  const std::weak_ptr<bool> alive = alive_;
  if (quarantined()) {
    lifting_ = true;
    log_.Write(HardState{received->term(), from, meta.index}, {}, meta,
               [this, meta, term = received->term(), from, stream_id] {
                 // Another leader's may have been installed since: the state is that one's by now,
                 // and so is what its own write behind this one makes of the core.
                 if (last_installed_.from != from || last_installed_.id != stream_id) return;
                 Lift(meta, term, from);
                 OnInstalled(from, stream_id);
               });
    return;
  }
  // What the machine was not told while it had no state.
  if (const SoftState now = node_->soft_state(); now != soft_) OnSoftState(now);
  std::vector<Entry> held = std::exchange(held_, {});
  held_bytes_ = 0;
  waiting_ = false;
  std::erase_if(held, [&](const Entry& entry) { return entry.index <= meta.index; });
  CHECK(!reset || held.empty(), "group {}: entries behind a snapshot that the log did not have",
        id_);
  if (!held.empty()) Apply(std::move(held));
  ReleaseBarriers();
  rt_.MarkDirty(this);  // the core's Ready resets the log
  if (reset) return;
  rt_.store.Flush([this, alive, from, stream_id](const Status& status) {
    if (status.ok() && !alive.expired() && !ended_) OnInstalled(from, stream_id);
  });
}

void Group::OnInstalled(ReplicaId from, uint64_t stream_id) {
  rt_.metrics.snapshots_installed.Add();
  if (last_installed_.from != from || last_installed_.id != stream_id) return;
  last_installed_.durable = true;
  SnapshotAck ack{id_, rt_.options.self, from, stream_id};
  ack.installed = true;
  rt_.transport.SendAck(from, ack);
}

// ---- quarantine --------------------------------------------------------------------------------

// The core goes, and with it whatever it still wanted: what it has written and said stands.
void Group::Quarantine(std::string why) {
  PROBE("raft host: quarantined by its machine");
  const SoftState before = node_->soft_state();
  quarantine_ = std::move(why);
  quarantine_term_ = node_->term();
  heard_from_ = before.leader == rt_.options.self ? ReplicaId() : before.leader;
  quiet_ticks_ = kWantTicks;
  wanted_stream_ = 0;  // an earlier quarantine's, which is installed
  rt_.metrics.quarantined_groups.Set(++rt_.quarantined);
  rt_.env.log.Error("raft group {}: replica is quarantined until its leader sends a snapshot: {}",
                    id_, quarantine_);
  DropCore();
}

void Group::DropCore() {
  held_.clear();
  held_bytes_ = 0;
  waiting_ = false;
  receiver_.reset();
  rt_.WakeUp(this);
  // Quiescent followers would not miss it: its node lives.
  if (node_->leader()) ++rt_.generation;
  node_ = MakeNode(InitialState(), false);
  OnSoftState({Role::kFollower, quarantine_term_, ReplicaId()});
  StopSnapshots();
  proposals_.Covered(LogIndex(std::numeric_limits<uint64_t>::max()));
  const Status gone(Code::kNotLeader, "the replica is quarantined");
  for (auto& done : std::exchange(barriers_asked_, {})) done(gone);
  for (auto& [context, open] : std::exchange(barriers_open_, {})) {
    for (auto& done : open) done(gone);
  }
  for (auto& [index, confirmed] : std::exchange(barriers_confirmed_, {})) {
    for (auto& done : confirmed) done(gone);
  }
}

void Group::StepQuarantined(const Message& message) {
  const bool of_leader = std::holds_alternative<Heartbeat>(message.body) ||
                         std::holds_alternative<AppendEntries>(message.body) ||
                         std::holds_alternative<InstallSnapshot>(message.body);
  if (!of_leader) return;
  if (may_forget_ && message.term >= quarantine_term_) {
    PROBE("raft host: quarantined in a term of its own");
    may_forget_ = false;
    quarantine_term_ = message.term + kForgottenTermsMax;
  }
  if (message.term < quarantine_term_) {
    // It leads in a term older than one this replica voted or wrote in, or may have, and would not
    // learn of that from anyone who stays silent. A rejection acknowledges nothing and makes it
    // step down.
    rt_.metrics.sent.Add();
    Message reply{rt_.options.self, message.from, quarantine_term_, AppendEntriesResponse{}};
    rt_.transport.Send(message.from, {id_, std::move(reply)});
    return;
  }
  quarantine_term_ = message.term;
  if (heard_from_ != message.from) {
    quiet_ticks_ = kWantTicks;
    wanted_stream_ = 0;
  }
  heard_from_ = message.from;
}

void Group::TickReplacing() {
  const Instant now = rt_.env.Now();
  if (receiver_ && !erased_ && rt_.store.ErasedPairs() != erased_seen_) {
    // It is in line, at least.
    erased_seen_ = rt_.store.ErasedPairs();
    wanted_since_ = now;
    quiet_ticks_ = 0;
  }
  if (receiver_ && receiver_->complete() && !receiver_->HasPart()) Install();
  if (receiver_ && now - wanted_since_ >= kReceiverTimeout) {
    PROBE("raft host: snapshot half received dropped");
    receiver_.reset();
    wanted_stream_ = 0;
  }
}

void Group::AskForState(ReplicaId leader) {
  if (!leader || lifting_ || ++quiet_ticks_ < kWantTicks) return;
  quiet_ticks_ = 0;
  if (wanted_stream_ == 0 || MUTANT("raft-snapshot-given-up-half-way")) {
    receiver_.reset();
    wanted_stream_ = rt_.env.random.Next() | 1;
  }
  SnapshotAck ack{id_, rt_.options.self, leader, wanted_stream_};
  ack.wanted = true;
  rt_.transport.SendAck(leader, ack);
}

void Group::Lift(const SnapshotMeta& meta, Term term, ReplicaId leader) {
  rt_.env.log.Warn("raft group {}: out of quarantine with the snapshot at {}", id_, meta.index);
  CHECK(quarantined() && lifting_, "group {}: lifted twice", id_);
  lifting_ = false;
  rt_.metrics.quarantined_groups.Set(--rt_.quarantined);
  InitialState initial;
  initial.hard_state = {term, leader, meta.index};
  initial.snapshot = meta;
  initial.applied = meta.index;
  node_ = MakeNode(std::move(initial), false);
  quarantine_.clear();
  if (std::exchange(lost_state_, false)) {
    --rt_.lost_state;
    rt_.ForgetDamage();
  }
  rt_.MarkDirty(this);
}

}  // namespace quorate::raft
