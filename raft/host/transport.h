// Transport: how peer messages leave a node. gRPC in the program (server/wire/grpc_transport),
// memory in the simulation. Fire and forget: messages may be lost, repeated, delayed and reordered,
// and Raft does not mind; they are never altered (checksummed below) and never from another
// cluster.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/strong_type.h"
#include "raft/core/message.h"
#include "storage/incarnation_file.h"

namespace quorate::raft {

struct GroupMessage {
  GroupId group;
  Message message;
  bool low_space = false;  // of the sender's disk
  bool stops = false;      // the sender takes no leadership (Host::RefuseLeaderships)
  bool sated = false;      // the sender takes no entries for now: too much waits for its store
};

// What a node says in place of the heartbeats of groups that are quiescent (host.h).
struct Alive {
  // Another one than before: a replica that led a quiescent group may do so no more.
  uint64_t generation = 0;
  bool low_space = false;  // of the sender's disk
  bool asks = false;       // the sender misses it if the receiver does not say so too
  bool stops = false;      // as in a GroupMessage
};

// One piece of a snapshot on the bulk lane.
struct SnapshotChunk {
  GroupId group;
  ReplicaId from;
  ReplicaId to;
  Term term;
  SnapshotMeta meta;
  uint64_t stream_id = 0;  // one attempt; chunks of another attempt are ignored
  uint64_t sequence = 0;   // from 0, without gaps
  bool last = false;
  uint32_t crc32c = 0;  // of `data`
  std::string data;
};
struct SnapshotAck {
  GroupId group;
  ReplicaId from;
  ReplicaId to;
  uint64_t stream_id = 0;
  uint64_t next_sequence = 0;  // everything below has arrived; resume here
  bool installed = false;
  bool refused = false;  // wrong checksum, malformed, stale, not wanted
  // A quarantined replica asks its leader for a snapshot under this (new) stream_id.
  bool wanted = false;
};

// What the host is handed when something arrives. Executor's thread.
class TransportReceiver {
 public:
  virtual ~TransportReceiver() = default;
  // Whether this start of `from` is listened to; if not, nothing that it sends is handed on. Asked
  // for each batch.
  virtual bool Listens(NodeId from, const storage::Incarnation& incarnation) = 0;
  virtual void OnAlive(NodeId from, Alive alive) = 0;
  virtual void OnMessages(std::vector<GroupMessage> messages) = 0;
  virtual void OnSnapshotChunk(SnapshotChunk chunk) = 0;
  virtual void OnSnapshotAck(SnapshotAck ack) = 0;
  // The connection to `node` broke, or could not be made.
  virtual void OnUnreachable(NodeId node) = 0;
};

class Transport {
 public:
  virtual ~Transport() = default;
  // Set before anything is sent. Null (a host that ends): what arrives is dropped from now on.
  virtual void SetReceiver(TransportReceiver* receiver) = 0;
  // Who this node is: stamped on every batch, and checked on what arrives. Set once identity is
  // known; before, nothing is sent and everything that arrives is refused.
  virtual void SetIdentity(const std::string& cluster_id, NodeId self,
                           const storage::Incarnation& incarnation) = 0;
  // Where a node is reached; told again when it changes.
  virtual void SetAddress(NodeId node, const std::string& address) = 0;
  // Messages to one node leave in one batch per turn, in order, as long as the connection lives.
  virtual void Send(NodeId to, GroupMessage message) = 0;
  virtual void SendAlive(NodeId to, Alive alive) = 0;
  virtual void SendChunk(NodeId to, SnapshotChunk chunk) = 0;
  virtual void SendAck(NodeId to, SnapshotAck ack) = 0;
};

}  // namespace quorate::raft
