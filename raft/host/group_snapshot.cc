// Snapshots in both directions, and quarantine (group.h).
#include <algorithm>
#include <limits>

#include "base/check.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "raft/host/group.h"

namespace quorate::raft {
namespace {

// A quarantined replica asks again after so many ticks without a chunk: for the same stream, of
// which the leader sends what is missing or, if it does not know it, all. Chunks of a node whose
// rate many streams share may be further apart.
constexpr int kWantTicks = 20;
constexpr Duration kTrimDelay = 2s;
// A state that was too large for a snapshot is not copied again, to find that out, for so long.
constexpr Duration kTooLargePause = 10min;

bool IsMember(const Configuration& configuration, ReplicaId id) {
  const auto has = [id](const std::vector<ReplicaId>& ids) {
    return std::find(ids.begin(), ids.end(), id) != ids.end();
  };
  return has(configuration.voters) || has(configuration.voters_outgoing) ||
         has(configuration.learners);
}

}  // namespace

bool Runtime::RoomForSnapshot() {
  std::erase_if(images, [](const auto& image) { return image.expired(); });
  return copying + images.size() < options.snapshots_max;
}

// ---- sending -----------------------------------------------------------------------------------

void Group::SendSnapshot(ReplicaId to, uint64_t stream_id) {
  const bool wanted = stream_id != 0;  // by a quarantined replica; else by the core
  if (wanted) {
    senders_.erase(to);
  } else if (senders_.contains(to) || copy_for_.contains(to)) {
    return;
  } else {
    stream_id = rt_.env.random.Next() | 1;
  }
  // A copy that is still being sent elsewhere will do for a follower: its log goes on behind it.
  const auto image = image_.lock();
  if (!wanted && image != nullptr && image->meta.index + 1 >= node_->first_index()) {
    return StartStream(to, stream_id, image);
  }
  if (rt_.env.Now() < not_sent_before_) return node_->SnapshotSent(to, false, applied_);
  if (!copy_ && !rt_.RoomForSnapshot()) {
    PROBE("raft host: snapshot waits");
    // The core tries again at a heartbeat, a quarantined replica by itself.
    node_->SnapshotSent(to, false, applied_);
    return;
  }
  copy_for_[to] = stream_id;
  if (copy_) return;
  SnapshotMeta meta{applied_, meta_.applied_term, meta_.At(applied_)};
  CHECK(!meta.configuration.voters.empty(), "group {}: no configuration at {}", id_, applied_);
  copy_.emplace(std::move(meta), machine_.Spans());
  ++rt_.copying;
  rt_.Post([this] { CopyTurn(); });
}

void Group::CopyTurn() {
  if (!copy_ || rt_.failed) return;
  if (!rt_.store.PrepareScan()) return rt_.Post([this] { CopyTurn(); });
  const Result<bool> complete = copy_->Step(rt_.store, rt_.options.snapshot_turn_bytes);
  if (!complete.ok()) {
    rt_.env.log.Error("raft group {}: copying a snapshot failed: {}", id_,
                      complete.status().ToString());
    return AbortCopy();
  }
  if (copy_->bytes() > rt_.options.snapshot_bytes_max) {
    PROBE("raft host: snapshot too large");
    rt_.env.log.Error(
        "raft group {}: its state is over {} bytes, more than a snapshot may have: no replica of "
        "it can be added or repaired",
        id_, rt_.options.snapshot_bytes_max);
    rt_.metrics.snapshots_failed.Add();
    not_sent_before_ = rt_.env.Now() + kTooLargePause;
    return AbortCopy();
  }
  if (!*complete) return rt_.Post([this] { CopyTurn(); });
  const auto image = copy_->Take();
  const auto receivers = std::exchange(copy_for_, {});
  EndCopy();
  if (node_->leader()) {  // still, or again
    image_ = image;
    rt_.images.push_back(image);
    for (const auto& [to, stream_id] : receivers) StartStream(to, stream_id, image);
  } else {
    TrimLater();
  }
  ResumeApply();
}

void Group::AbortCopy() {
  if (!copy_) return;
  const LogIndex index = copy_->meta().index;
  EndCopy();
  for (const auto& [to, stream_id] : std::exchange(copy_for_, {})) {
    node_->SnapshotSent(to, false, index);
  }
  TrimLater();
  ResumeApply();
}

void Group::EndCopy() {
  copy_.reset();
  --rt_.copying;
}

void Group::ResumeApply() {
  if (!held_.empty()) Apply(std::exchange(held_, {}));
  rt_.MarkDirty(this);
}

void Group::StartStream(ReplicaId to, uint64_t stream_id,
                        std::shared_ptr<const SnapshotImage> image) {
  const SnapshotSender::Route route{id_, rt_.options.self, to, node_->term(), stream_id};
  const LogIndex index = image->meta.index;
  rt_.env.log.Info("raft group {}: snapshot at {} to node {}, {} chunks", id_, index, to,
                   image->chunks.size());
  senders_[to] = std::make_unique<SnapshotSender>(
      rt_.env, rt_.transport, rt_.limiter, route, std::move(image),
      [this, to, index](bool installed) { OnStreamDone(to, index, installed); });
}

void Group::OnStreamDone(ReplicaId to, LogIndex index, bool installed) {
  (installed ? rt_.metrics.snapshots_sent : rt_.metrics.snapshots_failed).Add();
  senders_.erase(to);
  if (rt_.failed) return;
  node_->SnapshotSent(to, installed, index);
  TrimLater();
  rt_.MarkDirty(this);
}

// No flush may come to a node that is idle by now. Not at once: whoever was sent the snapshot goes
// on from the log behind it.
void Group::TrimLater() {
  rt_.env.executor.After(kTrimDelay, [this, alive = rt_.alive] {
    if (*alive && trim_due && !rt_.failed) Compact();
  });
}

void Group::StopSnapshots() {
  // The core has forgotten whom it sent what: no word to it.
  senders_.clear();
  copy_for_.clear();
  TrimLater();
  if (!copy_) return;
  EndCopy();
  ResumeApply();
}

LogIndex Group::SnapshotPin() const {
  LogIndex pin(std::numeric_limits<uint64_t>::max());
  if (copy_) pin = std::min(pin, copy_->meta().index);
  for (const auto& [to, sender] : senders_) pin = std::min(pin, sender->meta().index);
  return pin;
}

void Group::OnAck(const SnapshotAck& ack) {
  if (quarantined()) return;
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
  if (const auto copy = copy_for_.find(to); copy != copy_for_.end() && copy->second == stream_id) {
    return;
  }
  Barrier([this, to, stream_id, term = node_->term()](Status status) {
    if (!status.ok() || !node_->leader() || node_->term() != term || copy_) return;
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
    receiver_ = std::make_unique<SnapshotReceiver>(chunk, machine_);
    wanted_since_ = rt_.env.Now();
  }
  const uint64_t before = receiver_->next_sequence();
  switch (receiver_->Add(chunk)) {
    case SnapshotReceiver::Verdict::kMalformed:
      PROBE("raft host: snapshot malformed");
      rt_.env.log.Warn(
          "raft group {}: snapshot chunk {} of node {} is refused: it is malformed, or holds what "
          "this version does not know",
          id_, chunk.sequence, chunk.from);
      receiver_.reset();
      wanted_stream_ = 0;
      ack.refused = true;
      return Answer(chunk, ack);
    case SnapshotReceiver::Verdict::kMore:
      if (receiver_->next_sequence() > before) {
        quiet_ticks_ = 0;
        wanted_since_ = rt_.env.Now();
      }
      ack.next_sequence = receiver_->next_sequence();
      return Answer(chunk, ack);
    case SnapshotReceiver::Verdict::kComplete:
      return Install(std::move(receiver_));
  }
}

// As large as the group, and of no use to anybody any more.
void Group::DropIdleReceiver() {
  if (receiver_ == nullptr) return;
  const bool idle = rt_.env.Now() - wanted_since_ >= kReceiverTimeout;
  if (!idle && applied_ < receiver_->meta().index) return;
  PROBE("raft host: snapshot half received dropped");
  receiver_.reset();
}

void Group::Install(std::unique_ptr<SnapshotReceiver> received) {
  const SnapshotMeta& meta = received->meta();
  const bool usable =
      quarantined() ? meta.index >= applied_
                    : node_->StepSnapshot(rt_.env.Now(), received->from(), received->term(), meta);
  if (!usable) {
    PROBE("raft host: snapshot too old");
    wanted_stream_ = 0;
    SnapshotAck ack{id_, rt_.options.self, received->from(), received->stream_id()};
    ack.refused = true;
    rt_.transport.SendAck(ack.to, ack);
    rt_.MarkDirty(this);
    return;
  }
  // In this very turn, before anything else of the group can be applied or asked. What was held
  // back by a copy is in the snapshot.
  senders_.clear();
  copy_for_.clear();
  if (copy_) EndCopy();
  held_.clear();
  meta_.applied_term = meta.term;
  meta_.changes = {{meta.index, meta.configuration}};
  // A replica that does not know its range would delete everybody else's.
  Spans spans;
  if (machine_.HasState()) spans = machine_.Spans();
  for (auto& span : received->load().TakeSpans()) spans.push_back(std::move(span));
  storage::WriteBatch batch = received->load().TakeBatch();
  batch.Put(GroupMetaKey(id_), meta_.Encode());
  rt_.store.Replace(id_, meta.index.value(), std::move(spans), std::move(batch));
  applied_ = meta.index;
  proposals_.Covered(meta.index);
  // The snapshot may itself have deposed this leader; the machine has to hear that first.
  if (const SoftState now = node_->soft_state(); !quarantined() && now != soft_) OnSoftState(now);
  machine_.OnSnapshotInstalled(meta.index);
  last_installed_ = {received->from(), received->stream_id(), false};
  rt_.env.log.Info("raft group {}: snapshot at {} of node {} installed", id_, meta.index,
                   received->from());
  ReleaseBarriers();
  if (!quarantined()) return rt_.MarkDirty(this);  // the core's Ready resets the log
  lifting_ = true;
  log_.Write(HardState{received->term(), received->from(), meta.index}, {}, meta,
             [this, meta, term = received->term(), leader = received->from(),
              stream_id = received->stream_id()] {
               // Another leader's may have been installed since: the state is that one's by now,
               // and so is what its own write behind this one makes of the core.
               if (last_installed_.from != leader || last_installed_.id != stream_id) return;
               Lift(meta, term, leader);
               OnInstalled(leader, stream_id);
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
  receiver_.reset();
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

void Group::TickQuarantined() {
  if (!heard_from_ || lifting_ || ++quiet_ticks_ < kWantTicks) return;
  quiet_ticks_ = 0;
  const Instant now = rt_.env.Now();
  const bool given_up = now - wanted_since_ >= kReceiverTimeout;
  if (wanted_stream_ == 0 || given_up || MUTANT("raft-snapshot-given-up-half-way")) {
    receiver_.reset();
    wanted_stream_ = rt_.env.random.Next() | 1;
    wanted_since_ = now;
  }
  SnapshotAck ack{id_, rt_.options.self, heard_from_, wanted_stream_};
  ack.wanted = true;
  rt_.transport.SendAck(heard_from_, ack);
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
