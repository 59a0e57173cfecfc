// raft/host/wire: a batch of another node's messages is refused whole, or its parts say what the
// batch said.
#include <google/protobuf/stubs/logging.h>

#include "base/check.h"
#include "quorate/v1/raft.pb.h"
#include "raft/core/membership.h"
#include "raft/host/wire.h"
#include "tests/fuzz/fuzz.h"

namespace quorate::fuzz {
namespace {

using namespace quorate::raft;

constexpr char kCluster[] = "c";
constexpr NodeId kSelf(2);

void CheckAppend(const Message& message) {
  const auto* append = std::get_if<AppendEntries>(&message.body);
  if (append == nullptr) return;
  LogIndex index = append->prev_log_index;
  Term term = append->prev_log_term;
  for (const Entry& entry : append->entries) {
    CHECK(entry.index == ++index && entry.term >= term && entry.term <= message.term);
    term = entry.term;
  }
}

v1::PeerBatch Batch(const PeerParts& parts, NodeId from) {
  v1::PeerBatch batch;
  StartBatch(kCluster, from, parts.incarnation, kSelf, &batch);
  for (const GroupMessage& message : parts.messages) AddMessage(message, &batch);
  for (const SnapshotChunk& chunk : parts.chunks) AddChunk(chunk, &batch);
  for (const SnapshotAck& ack : parts.acks) AddAck(ack, &batch);
  return batch;
}

}  // namespace

void Run(std::string_view input) {
  google::protobuf::SetLogHandler(nullptr);  // has an opinion on every string that is not UTF-8
  v1::PeerBatch batch;
  if (!batch.ParseFromArray(input.data(), static_cast<int>(input.size()))) return;
  batch.set_cluster_id(kCluster);
  batch.set_to_node(kSelf.value());
  PeerParts parts;
  const BatchCheck check = TakeParts(kCluster, kSelf, &batch, &parts);
  if (check != BatchCheck::kOk) {
    CHECK(parts.messages.empty() && parts.chunks.empty() && parts.acks.empty());
    return;
  }
  for (const GroupMessage& message : parts.messages) CheckAppend(message.message);
  for (const SnapshotChunk& chunk : parts.chunks) CHECK(IsValid(chunk.meta.configuration));
  v1::PeerBatch encoded = Batch(parts, NodeId(batch.from_node()));
  const std::string bytes = encoded.SerializeAsString();
  PeerParts same;
  CHECK(TakeParts(kCluster, kSelf, &encoded, &same) == BatchCheck::kOk);
  CHECK(Batch(same, NodeId(batch.from_node())).SerializeAsString() == bytes);
}

std::vector<std::string> Seeds() {
  const Configuration members{.voters = {NodeId(1), NodeId(2)}, .learners = {NodeId(3)}};
  const SnapshotMeta meta{LogIndex(9), Term(2), members};
  PeerParts parts;
  const auto add = [&parts](MessageBody body) {
    GroupMessage message;
    message.group = GroupId(4);
    message.message.from = NodeId(1);
    message.message.to = kSelf;
    message.message.term = Term(3);
    message.message.body = std::move(body);
    parts.messages.push_back(std::move(message));
  };
  std::vector<std::string> seeds;
  const auto finish = [&] {
    seeds.push_back(Batch(parts, NodeId(1)).SerializeAsString());
    parts = {};
  };
  add(RequestVote{true, false, LogIndex(7), Term(2)});
  add(RequestVoteResponse{false, true});
  add(Heartbeat{LogIndex(5), 12});
  add(HeartbeatResponse{12, LogIndex(4)});
  add(TimeoutNow{});
  finish();
  AppendEntries append;
  append.prev_log_index = LogIndex(7);
  append.prev_log_term = Term(2);
  append.leader_commit = LogIndex(6);
  append.entries = {{LogIndex(8), Term(2), EntryType::kNormal, "payload"},
                    {LogIndex(9), Term(3), EntryType::kConfiguration, EncodeConfiguration(members)},
                    {LogIndex(10), Term(3), EntryType::kEmpty, ""}};
  add(std::move(append));
  add(AppendEntriesResponse{true, LogIndex(10), LogIndex(0), LogIndex(6)});
  finish();
  add(InstallSnapshot{meta});
  add(InstallSnapshotResponse{true, LogIndex(9)});
  SnapshotChunk chunk;
  chunk.group = GroupId(4);
  chunk.from = NodeId(1);
  chunk.to = kSelf;
  chunk.term = Term(3);
  chunk.meta = meta;
  chunk.data = "data";
  parts.chunks.push_back(chunk);
  parts.acks.push_back({GroupId(4), NodeId(1), kSelf, 8, 3, true, false, false});
  finish();
  return seeds;
}

}  // namespace quorate::fuzz
