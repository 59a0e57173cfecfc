#include "server/grpc_transport.h"

#include <grpcpp/support/client_callback.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>

#include "base/backoff.h"
#include "base/limits.h"
#include "base/turns.h"
#include "proto/rpc.grpc.pb.h"
#include "raft/host/wire.h"
#include "server/grpc_options.h"
#include "server/write_gate.h"

namespace quorate::server {
namespace {

constexpr Duration kReconnectFirst = 20ms;
constexpr Duration kReconnectMax = 300ms;
// A batch is closed at this size; one more message may be added to a smaller one, and a message is
// never larger than a WAL record.
constexpr size_t kBatchBytes = 4 << 20;
static_assert(kBatchBytes + limits::kWalRecordBytesMax < limits::kFrameBytesMax);

enum class LaneKind : uint8_t { kRaft, kBulk };

}  // namespace

// What streams and lanes need from the transport; outlives it in closures that are still posted.
struct GrpcTransport::Shared {
  Shared(Env& e)
      : env(e),
        random(e.random.Fork("grpc_transport")),
        sent(e.metrics.GetCounter("quorate_peer_batches_sent_total", "Batches sent to peers")),
        dropped(e.metrics.GetCounter("quorate_peer_parts_dropped_total",
                                     "Peer messages dropped: no connection, or a full queue")),
        refused(e.metrics.GetCounter(
            "quorate_peer_batches_refused_total",
            "Peer batches refused: other cluster, other node, or malformed")) {}

  Env& env;
  Random random;
  Counter& sent;
  Counter& dropped;
  Counter& refused;
  std::string cluster_id;
  NodeId self;

  // Streams that gRPC still holds; the destructor of the transport waits for none.
  std::mutex mutex;
  std::condition_variable none_left;
  int streams = 0;
};

// One stream's life in gRPC: deletes itself when gRPC is done with it. Its callbacks name it by
// `generation`, so that the lane knows what belongs to a stream that it has already given up.
class GrpcTransport::Stream final
    : public grpc::ClientBidiReactor<v1::PeerBatch, v1::PeerBatchAck> {
 public:
  Stream(std::shared_ptr<Shared> shared, std::weak_ptr<Lane> lane, uint64_t generation)
      : shared_(std::move(shared)), lane_(std::move(lane)), generation_(generation) {
    std::lock_guard lock(shared_->mutex);
    ++shared_->streams;
  }

  void Open(v1::Node::Stub* stub, LaneKind kind) {
    if (kind == LaneKind::kRaft) {
      stub->async()->Raft(&context_, this);
    } else {
      stub->async()->Bulk(&context_, this);
    }
    // Writes start outside of gRPC's callbacks; the hold keeps the call alive between them. The
    // read never yields anything: it is how we learn that the stream broke.
    AddHold();
    StartRead(&ack_);
    StartCall();
  }
  void Write(v1::PeerBatch batch) {
    batch_ = std::move(batch);
    StartWrite(&batch_);
  }
  void Cancel() { context_.TryCancel(); }
  WriteGate& gate() { return gate_; }
  // A write got through: the peer was there.
  bool worked() const { return worked_.load(std::memory_order_relaxed); }

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status&) override {
    auto shared = std::move(shared_);
    delete this;
    std::lock_guard lock(shared->mutex);
    if (--shared->streams == 0) shared->none_left.notify_all();
  }

 private:
  std::shared_ptr<Shared> shared_;
  std::weak_ptr<Lane> lane_;  // locked on the executor's thread only
  const uint64_t generation_;
  grpc::ClientContext context_;
  WriteGate gate_;
  std::atomic<bool> worked_{false};
  v1::PeerBatch batch_;
  v1::PeerBatchAck ack_;
};

class GrpcTransport::Lane : public std::enable_shared_from_this<Lane> {
 public:
  Lane(std::shared_ptr<Shared> shared, LaneKind kind, v1::Node::Stub* stub,
       std::function<void()> on_broken)
      : shared_(std::move(shared)),
        kind_(kind),
        stub_(stub),
        on_broken_(std::move(on_broken)),
        backoff_(kReconnectFirst, kReconnectMax) {}
  ~Lane() {
    shared_->env.executor.Cancel(timer_);
    if (stream_) {
      stream_->Cancel();
      stream_->RemoveHold();
    }
  }

  // The batch to add a part of about `bytes` to; nullptr: the part is to be dropped.
  v1::PeerBatch* Add(NodeId to, size_t bytes) {
    if (timer_ != 0 || queued_bytes_ + bytes > limits::kPeerQueueBytesMax) {
      shared_->dropped.Add();
      return nullptr;
    }
    if (queue_.empty() || queue_.back().bytes >= kBatchBytes) {
      raft::StartBatch(shared_->cluster_id, shared_->self, to, &queue_.emplace_back().batch);
    }
    queue_.back().bytes += bytes;
    queued_bytes_ += bytes;
    ScheduleFlush();
    return &queue_.back().batch;
  }

  void Written(uint64_t generation) {
    if (generation == generation_ && stream_) Flush();
  }

  void Broken(uint64_t generation) {
    if (generation != generation_ || !stream_) return;
    if (stream_->worked()) backoff_.Reset();
    std::exchange(stream_, nullptr)->RemoveHold();
    // What is queued is old by the time the peer is back.
    for (size_t i = 0; i < queue_.size(); ++i) shared_->dropped.Add();
    queue_.clear();
    queued_bytes_ = 0;
    timer_ = shared_->env.executor.After(backoff_.Next(shared_->random), [this] { timer_ = 0; });
    on_broken_();
  }

 private:
  struct Queued {
    v1::PeerBatch batch;
    size_t bytes = 0;
  };

  void ScheduleFlush() {
    if (flush_posted_) return;
    flush_posted_ = true;
    PostAfterTurns(shared_->env.executor, kGatherTurns, [weak = weak_from_this()] {
      if (auto lane = weak.lock()) {
        lane->flush_posted_ = false;
        lane->Flush();
      }
    });
  }
  void Flush() {
    if (queue_.empty()) return;
    if (!stream_) {
      stream_ = new Stream(shared_, weak_from_this(), ++generation_);
      stream_->Open(stub_, kind_);
    }
    if (!stream_->gate().TryBegin()) return;
    queued_bytes_ -= queue_.front().bytes;
    stream_->Write(std::move(queue_.front().batch));
    queue_.pop_front();
    shared_->sent.Add();
  }

  std::shared_ptr<Shared> shared_;
  const LaneKind kind_;
  v1::Node::Stub* stub_;
  std::function<void()> on_broken_;
  Backoff backoff_;
  Stream* stream_ = nullptr;  // deletes itself after RemoveHold
  uint64_t generation_ = 0;
  bool flush_posted_ = false;
  TimerId timer_ = 0;  // running: no connection is tried yet
  std::deque<Queued> queue_;
  size_t queued_bytes_ = 0;
};

void GrpcTransport::Stream::OnReadDone(bool ok) {
  if (ok) {
    StartRead(&ack_);
    return;
  }
  shared_->env.executor.Post([lane = lane_, generation = generation_] {
    if (auto l = lane.lock()) l->Broken(generation);
  });
}

void GrpcTransport::Stream::OnWriteDone(bool ok) {
  // After a failed write the gate stays shut: the failed read follows and ends the stream.
  if (!ok) return;
  worked_.store(true, std::memory_order_relaxed);
  if (!gate_.Done()) return;
  shared_->env.executor.Post([lane = lane_, generation = generation_] {
    if (auto l = lane.lock()) l->Written(generation);
  });
}

struct GrpcTransport::Peer {
  std::string address;
  std::unique_ptr<v1::Node::Stub> stub;
  std::shared_ptr<Lane> raft;
  std::shared_ptr<Lane> bulk;
};

GrpcTransport::GrpcTransport(Env& env) : env_(env), shared_(std::make_shared<Shared>(env)) {}

GrpcTransport::~GrpcTransport() {
  // Lanes cancel their streams; stubs stay until gRPC has let go of all of them.
  for (auto& [node, peer] : peers_) {
    peer->raft.reset();
    peer->bulk.reset();
  }
  std::unique_lock lock(shared_->mutex);
  shared_->none_left.wait(lock, [this] { return shared_->streams == 0; });
}

void GrpcTransport::SetReceiver(raft::TransportReceiver* receiver) { receiver_ = receiver; }

void GrpcTransport::SetIdentity(const std::string& cluster_id, NodeId self) {
  shared_->cluster_id = cluster_id;
  shared_->self = self;
}

void GrpcTransport::SetAddress(NodeId node, const std::string& address) {
  auto& peer = peers_[node];
  if (peer && peer->address == address) return;
  peer = std::make_unique<Peer>();
  peer->address = address;
  peer->stub = v1::Node::NewStub(DialPeer(address));
  // Both lanes share a connection attempt's fate: one report per broken stream is enough for Raft.
  auto unreachable = [this, node] {
    if (receiver_) receiver_->OnUnreachable(node);
  };
  peer->raft = std::make_shared<Lane>(shared_, LaneKind::kRaft, peer->stub.get(), unreachable);
  peer->bulk = std::make_shared<Lane>(shared_, LaneKind::kBulk, peer->stub.get(), unreachable);
}

GrpcTransport::Peer* GrpcTransport::FindPeer(NodeId node) {
  auto it = peers_.find(node);
  if (it == peers_.end() || shared_->cluster_id.empty()) {
    shared_->dropped.Add();
    return nullptr;
  }
  return it->second.get();
}

void GrpcTransport::Send(NodeId to, raft::GroupMessage message) {
  Peer* peer = FindPeer(to);
  if (!peer) return;
  if (auto* batch = peer->raft->Add(to, raft::ApproximateBytes(message))) {
    raft::AddMessage(std::move(message), batch);
  }
}

void GrpcTransport::SendChunk(NodeId to, raft::SnapshotChunk chunk) {
  Peer* peer = FindPeer(to);
  if (!peer) return;
  if (auto* batch = peer->bulk->Add(to, chunk.data.size() + 128)) {
    raft::AddChunk(std::move(chunk), batch);
  }
}

void GrpcTransport::SendAck(NodeId to, raft::SnapshotAck ack) {
  Peer* peer = FindPeer(to);
  if (!peer) return;
  if (auto* batch = peer->bulk->Add(to, 64)) raft::AddAck(ack, batch);
}

void GrpcTransport::Receive(v1::PeerBatch batch) {
  if (!receiver_ || shared_->cluster_id.empty()) {
    shared_->refused.Add();
    return;
  }
  raft::PeerParts parts;
  if (raft::TakeParts(shared_->cluster_id, shared_->self, &batch, &parts) !=
      raft::BatchCheck::kOk) {
    shared_->refused.Add();
    return;
  }
  if (!parts.messages.empty()) receiver_->OnMessages(std::move(parts.messages));
  for (auto& chunk : parts.chunks) receiver_->OnSnapshotChunk(std::move(chunk));
  for (auto& ack : parts.acks) receiver_->OnSnapshotAck(ack);
}

}  // namespace quorate::server
