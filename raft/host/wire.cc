#include "raft/host/wire.h"

#include <algorithm>
#include <limits>

#include "base/limits.h"
#include "quorate/v1/raft.pb.h"

namespace quorate::raft {
namespace {

// Positions and terms far beyond any log that can exist: refused, so that sums do not wrap.
constexpr uint64_t kNumberMax = std::numeric_limits<uint64_t>::max() / 4;
constexpr int kMembersMax = 64;

bool Sane(uint64_t number) { return number < kNumberMax; }

// ---- core to protobuf ---------------------------------------------------------------------------

void EncodeMeta(const SnapshotMeta& meta, v1::RaftSnapshotMeta* out) {
  out->set_index(meta.index.value());
  out->set_term(meta.term.value());
  auto* configuration = out->mutable_configuration();
  for (ReplicaId id : meta.configuration.voters) configuration->add_voters(id.value());
  for (ReplicaId id : meta.configuration.voters_outgoing) {
    configuration->add_voters_outgoing(id.value());
  }
  for (ReplicaId id : meta.configuration.learners) configuration->add_learners(id.value());
}

struct BodyEncoder {
  v1::RaftMessage* out;

  void operator()(const RequestVote& m) {
    auto* vote = out->mutable_vote();
    vote->set_pre_vote(m.pre_vote);
    vote->set_leadership_transfer(m.leadership_transfer);
    vote->set_last_log_index(m.last_log_index.value());
    vote->set_last_log_term(m.last_log_term.value());
  }
  void operator()(const RequestVoteResponse& m) {
    out->mutable_vote_response()->set_pre_vote(m.pre_vote);
    out->mutable_vote_response()->set_granted(m.granted);
  }
  void operator()(AppendEntries& m) {
    auto* append = out->mutable_append();
    append->set_prev_log_index(m.prev_log_index.value());
    append->set_prev_log_term(m.prev_log_term.value());
    append->set_leader_commit(m.leader_commit.value());
    append->mutable_entries()->Reserve(static_cast<int>(m.entries.size()));
    for (Entry& entry : m.entries) {
      auto* e = append->add_entries();
      e->set_term(entry.term.value());
      e->set_type(static_cast<uint32_t>(entry.type));
      e->set_payload(std::move(entry.payload));
    }
  }
  void operator()(const AppendEntriesResponse& m) {
    auto* response = out->mutable_append_response();
    response->set_success(m.success);
    response->set_match_index(m.match_index.value());
    response->set_rejected_index(m.rejected_index.value());
    response->set_applied_index(m.applied_index.value());
  }
  void operator()(const Heartbeat& m) {
    out->mutable_heartbeat()->set_leader_commit(m.leader_commit.value());
    out->mutable_heartbeat()->set_round(m.round);
    out->mutable_heartbeat()->set_quiesce(m.quiesce);
  }
  void operator()(const HeartbeatResponse& m) {
    out->mutable_heartbeat_response()->set_round(m.round);
    out->mutable_heartbeat_response()->set_applied_index(m.applied_index.value());
    out->mutable_heartbeat_response()->set_quiesced(m.quiesced);
  }
  void operator()(const InstallSnapshot& m) {
    EncodeMeta(m.meta, out->mutable_install_snapshot()->mutable_meta());
  }
  void operator()(const InstallSnapshotResponse& m) {
    out->mutable_install_snapshot_response()->set_success(m.success);
    out->mutable_install_snapshot_response()->set_match_index(m.match_index.value());
  }
  void operator()(const TimeoutNow&) { out->mutable_timeout_now(); }
};

// ---- protobuf to core ---------------------------------------------------------------------------

template <class Repeated>
bool DecodeMembers(const Repeated& ids, std::vector<ReplicaId>* out) {
  if (ids.size() > kMembersMax) return false;
  for (uint64_t id : ids) {
    if (id == 0 || (!out->empty() && out->back() >= ReplicaId(id))) return false;
    out->push_back(ReplicaId(id));
  }
  return true;
}

bool DecodeMeta(const v1::RaftSnapshotMeta& meta, SnapshotMeta* out) {
  if (!Sane(meta.index()) || !Sane(meta.term()) || meta.index() == 0 || meta.term() == 0) {
    return false;
  }
  out->index = LogIndex(meta.index());
  out->term = Term(meta.term());
  const auto& configuration = meta.configuration();
  if (!DecodeMembers(configuration.voters(), &out->configuration.voters) ||
      !DecodeMembers(configuration.voters_outgoing(), &out->configuration.voters_outgoing) ||
      !DecodeMembers(configuration.learners(), &out->configuration.learners)) {
    return false;
  }
  // Its own decoder knows the remaining rules: voters not empty, no learner that also votes.
  Configuration checked;
  return DecodeConfiguration(EncodeConfiguration(out->configuration), &checked);
}

bool DecodeAppend(v1::RaftAppend* append, Term sender_term, AppendEntries* out) {
  if (!Sane(append->prev_log_index()) || !Sane(append->prev_log_term()) ||
      !Sane(append->leader_commit())) {
    return false;
  }
  out->prev_log_index = LogIndex(append->prev_log_index());
  out->prev_log_term = Term(append->prev_log_term());
  out->leader_commit = LogIndex(append->leader_commit());
  out->entries.reserve(append->entries_size());
  LogIndex index = out->prev_log_index;
  Term term = out->prev_log_term;
  for (auto& entry : *append->mutable_entries()) {
    // Terms in a log never fall, and a leader has no entry of a term beyond its own.
    const Term entry_term(entry.term());
    if (entry_term < term || entry_term > sender_term || !entry_term ||
        entry.type() > static_cast<uint32_t>(EntryType::kEmpty) ||
        entry.payload().size() > limits::kWalRecordBytesMax) {
      return false;
    }
    term = entry_term;
    ++index;
    out->entries.push_back(
        {index, term, static_cast<EntryType>(entry.type()), std::move(*entry.mutable_payload())});
  }
  return true;
}

bool DecodeBody(v1::RaftMessage* m, Term term, MessageBody* out) {
  switch (m->body_case()) {
    case v1::RaftMessage::kVote: {
      const auto& vote = m->vote();
      *out = RequestVote{vote.pre_vote(), vote.leadership_transfer(),
                         LogIndex(vote.last_log_index()), Term(vote.last_log_term())};
      return Sane(vote.last_log_index()) && Term(vote.last_log_term()) <= term;
    }
    case v1::RaftMessage::kVoteResponse:
      *out = RequestVoteResponse{m->vote_response().pre_vote(), m->vote_response().granted()};
      return true;
    case v1::RaftMessage::kAppend:
      return DecodeAppend(m->mutable_append(), term, &out->emplace<AppendEntries>());
    case v1::RaftMessage::kAppendResponse: {
      const auto& r = m->append_response();
      *out = AppendEntriesResponse{r.success(), LogIndex(r.match_index()),
                                   LogIndex(r.rejected_index()), LogIndex(r.applied_index())};
      return Sane(r.match_index()) && Sane(r.rejected_index()) && Sane(r.applied_index());
    }
    case v1::RaftMessage::kHeartbeat:
      *out = Heartbeat{LogIndex(m->heartbeat().leader_commit()), m->heartbeat().round(),
                       m->heartbeat().quiesce()};
      return Sane(m->heartbeat().leader_commit());
    case v1::RaftMessage::kHeartbeatResponse:
      *out = HeartbeatResponse{m->heartbeat_response().round(),
                               LogIndex(m->heartbeat_response().applied_index()),
                               m->heartbeat_response().quiesced()};
      return Sane(m->heartbeat_response().applied_index());
    case v1::RaftMessage::kInstallSnapshot:
      return DecodeMeta(m->install_snapshot().meta(), &out->emplace<InstallSnapshot>().meta);
    case v1::RaftMessage::kInstallSnapshotResponse:
      *out = InstallSnapshotResponse{m->install_snapshot_response().success(),
                                     LogIndex(m->install_snapshot_response().match_index())};
      return Sane(m->install_snapshot_response().match_index());
    case v1::RaftMessage::kTimeoutNow:
      *out = TimeoutNow{};
      return true;
    case v1::RaftMessage::BODY_NOT_SET:
      return false;
  }
  return false;
}

bool DecodeMessage(v1::RaftMessage* m, NodeId from, NodeId to, GroupMessage* out) {
  if (m->group() == 0 || m->term() == 0 || !Sane(m->term())) return false;
  out->group = GroupId(m->group());
  out->message.from = from;
  out->message.to = to;
  out->message.term = Term(m->term());
  out->low_space = m->low_space();
  out->stops = m->stops();
  out->sated = m->sated();
  return DecodeBody(m, out->message.term, &out->message.body);
}

bool DecodeChunk(v1::RaftSnapshotChunk* c, NodeId from, NodeId to, SnapshotChunk* out) {
  if (c->group() == 0 || c->term() == 0 || !Sane(c->term()) || !Sane(c->sequence()) ||
      c->data().size() > limits::kWalRecordBytesMax || !DecodeMeta(c->meta(), &out->meta) ||
      out->meta.term > Term(c->term())) {
    return false;
  }
  out->group = GroupId(c->group());
  out->from = from;
  out->to = to;
  out->term = Term(c->term());
  out->stream_id = c->stream_id();
  out->sequence = c->sequence();
  out->last = c->last();
  out->crc32c = c->crc32c();
  out->data = std::move(*c->mutable_data());
  return true;
}

bool DecodeAck(const v1::RaftSnapshotAck& a, NodeId from, NodeId to, SnapshotAck* out) {
  if (a.group() == 0 || !Sane(a.next_sequence())) return false;
  *out = {GroupId(a.group()), from,          to,          a.stream_id(),
          a.next_sequence(),  a.installed(), a.refused(), a.wanted()};
  return true;
}

bool DecodeAll(v1::PeerBatch* batch, PeerParts* parts) {
  const NodeId from(batch->from_node());
  const NodeId to(batch->to_node());
  if (!from || from == to) return false;
  parts->from = from;
  parts->incarnation = {batch->incarnation(), batch->incarnation_nonce()};
  if (batch->has_alive()) {
    const v1::PeerAlive& alive = batch->alive();
    parts->alive = Alive{alive.generation(), alive.low_space(), alive.asks(), alive.stops()};
  }
  parts->messages.resize(batch->messages_size());
  parts->chunks.resize(batch->chunks_size());
  parts->acks.resize(batch->acks_size());
  for (int i = 0; i < batch->messages_size(); ++i) {
    if (!DecodeMessage(batch->mutable_messages(i), from, to, &parts->messages[i])) return false;
  }
  for (int i = 0; i < batch->chunks_size(); ++i) {
    if (!DecodeChunk(batch->mutable_chunks(i), from, to, &parts->chunks[i])) return false;
  }
  for (int i = 0; i < batch->acks_size(); ++i) {
    if (!DecodeAck(batch->acks(i), from, to, &parts->acks[i])) return false;
  }
  return true;
}

}  // namespace

void StartBatch(std::string_view cluster_id, NodeId from, const storage::Incarnation& incarnation,
                NodeId to, v1::PeerBatch* batch) {
  batch->set_incarnation(incarnation.number);
  batch->set_incarnation_nonce(incarnation.nonce);
  batch->set_cluster_id(std::string(cluster_id));
  batch->set_from_node(from.value());
  batch->set_to_node(to.value());
}

void AddMessage(GroupMessage message, v1::PeerBatch* batch) {
  auto* out = batch->add_messages();
  out->set_group(message.group.value());
  out->set_term(message.message.term.value());
  out->set_low_space(message.low_space);
  out->set_stops(message.stops);
  out->set_sated(message.sated);
  std::visit(BodyEncoder{out}, message.message.body);
}

void AddAlive(const Alive& alive, v1::PeerBatch* batch) {
  batch->mutable_alive()->set_generation(alive.generation);
  batch->mutable_alive()->set_low_space(alive.low_space);
  batch->mutable_alive()->set_asks(alive.asks);
  batch->mutable_alive()->set_stops(alive.stops);
}

void AddChunk(SnapshotChunk chunk, v1::PeerBatch* batch) {
  auto* out = batch->add_chunks();
  out->set_group(chunk.group.value());
  out->set_term(chunk.term.value());
  EncodeMeta(chunk.meta, out->mutable_meta());
  out->set_stream_id(chunk.stream_id);
  out->set_sequence(chunk.sequence);
  out->set_last(chunk.last);
  out->set_crc32c(chunk.crc32c);
  out->set_data(std::move(chunk.data));
}

void AddAck(const SnapshotAck& ack, v1::PeerBatch* batch) {
  auto* out = batch->add_acks();
  out->set_group(ack.group.value());
  out->set_stream_id(ack.stream_id);
  out->set_next_sequence(ack.next_sequence);
  out->set_installed(ack.installed);
  out->set_refused(ack.refused);
  out->set_wanted(ack.wanted);
}

size_t ApproximateBytes(const GroupMessage& message) {
  size_t bytes = 64;
  if (const auto* append = std::get_if<AppendEntries>(&message.message.body)) {
    for (const Entry& entry : append->entries) bytes += entry.payload.size() + 24;
  }
  return bytes;
}

BatchCheck TakeParts(std::string_view cluster_id, NodeId self, v1::PeerBatch* batch,
                     PeerParts* parts) {
  *parts = {};
  if (batch->cluster_id() != cluster_id) return BatchCheck::kWrongCluster;
  if (batch->to_node() != self.value()) return BatchCheck::kWrongNode;
  if (DecodeAll(batch, parts)) return BatchCheck::kOk;
  *parts = {};
  return BatchCheck::kMalformed;
}

}  // namespace quorate::raft
