// GrpcTransport: peer messages over gRPC. To each peer there are two long-lived streams, one for
// Raft and one for bulk (snapshots), so that bulk delays nothing. A stream has one write
// outstanding and everything that gathers meanwhile leaves in the next one: batches grow with load
// by themselves.
//
//   Send ─► lane's queue ─(end of turn, or write done)─► Write ─► peer's Node.Raft ─► Receive
//
// A broken stream is made anew after a short backoff; what is sent meanwhile, or beyond the bound
// of the queue, is dropped and counted: Raft sends again. OnUnreachable tells the host each time.
//
// Threads: executor's thread only.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "base/env.h"
#include "raft/host/transport.h"

namespace quorate::client {
class GrpcLoop;
}
namespace quorate::v1 {
class PeerBatch;
}

namespace quorate::server {

class GrpcTransport final : public raft::Transport {
 public:
  // Both outlive it; the executor of `env` waits in `loop`.
  GrpcTransport(Env& env, client::GrpcLoop& loop);
  // Ends the streams and polls until gRPC is done with them.
  ~GrpcTransport() override;

  void SetReceiver(raft::TransportReceiver* receiver) override;
  void SetIdentity(const std::string& cluster_id, NodeId self,
                   const storage::Incarnation& incarnation) override;
  void SetAddress(NodeId node, const std::string& address) override;
  void Send(NodeId to, raft::GroupMessage message) override;
  void SendAlive(NodeId to, raft::Alive alive) override;
  void SendChunk(NodeId to, raft::SnapshotChunk chunk) override;
  void SendAck(NodeId to, raft::SnapshotAck ack) override;

  // A batch that came in on this node's own service (grpc_services).
  void Receive(v1::PeerBatch batch);

 private:
  struct Shared;
  class Lane;
  struct Peer;

  Peer* FindPeer(NodeId node);

  raft::TransportReceiver* receiver_ = nullptr;
  std::shared_ptr<Shared> shared_;
  std::map<NodeId, std::unique_ptr<Peer>> peers_;
};

}  // namespace quorate::server
