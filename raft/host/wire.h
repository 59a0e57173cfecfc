// Wire: peer messages between core structs and protobuf (quorate/v1/raft.proto).
//
// Decoders check every bound before anything is handed on: known variant, entry types, sorted
// configurations, sizes within base/limits.h, indexes that do not wrap. On malformed input they
// return false and the batch is refused whole: no state changes.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "raft/host/transport.h"

namespace quorate::v1 {
class PeerBatch;
}

namespace quorate::raft {

// Sets who sends to whom; the transport adds messages, chunks and acks until it sends the batch.
void StartBatch(std::string_view cluster_id, NodeId from, const storage::Incarnation& incarnation,
                NodeId to, v1::PeerBatch* batch);
void AddMessage(GroupMessage message, v1::PeerBatch* batch);
void AddAlive(const Alive& alive, v1::PeerBatch* batch);
void AddChunk(SnapshotChunk chunk, v1::PeerBatch* batch);
void AddAck(const SnapshotAck& ack, v1::PeerBatch* batch);

// Bytes that `message` adds to a batch, about: for cutting batches below limits::kFrameBytesMax.
size_t ApproximateBytes(const GroupMessage& message);

// What a batch held. `from` and `to` of all parts are the batch's nodes.
struct PeerParts {
  NodeId from;
  storage::Incarnation incarnation;
  std::optional<Alive> alive;
  std::vector<GroupMessage> messages;
  std::vector<SnapshotChunk> chunks;
  std::vector<SnapshotAck> acks;
};

enum class BatchCheck : uint8_t { kOk, kWrongCluster, kWrongNode, kMalformed };

// Takes the parts out of `batch` (which is consumed). Anything but kOk: `parts` is empty.
BatchCheck TakeParts(std::string_view cluster_id, NodeId self, v1::PeerBatch* batch,
                     PeerParts* parts);

}  // namespace quorate::raft
