#include "server/wire/grpc_transport.h"

#include <deque>
#include <functional>
#include <utility>

#include "base/backoff.h"
#include "base/limits.h"
#include "base/turns.h"
#include "client/route/grpc_loop.h"
#include "client/route/grpc_stream.h"
#include "quorate/v1/rpc.grpc.pb.h"
#include "raft/host/wire.h"
#include "server/wire/grpc_options.h"

namespace quorate::server {
namespace {

constexpr Duration kReconnectFirst = 20ms;
constexpr Duration kReconnectMax = 300ms;
// A batch is closed at this size; one more message may be added to a smaller one, and a message is
// never larger than a WAL record.
constexpr size_t kBatchBytes = 4 << 20;
static_assert(kBatchBytes + limits::kWalRecordBytesMax < limits::kFrameBytesMax);

constexpr size_t kAliveBytes = 16;

enum class LaneKind : uint8_t { kRaft, kBulk };

}  // namespace

// What lanes use.
struct GrpcTransport::Shared {
  Shared(Env& e, client::GrpcLoop& l)
      : env(e),
        loop(l),
        random(e.random.Fork("grpc_transport")),
        sent(e.metrics.GetCounter("quorate_peer_batches_sent_total", "Batches sent to peers")),
        dropped(e.metrics.GetCounter("quorate_peer_parts_dropped_total",
                                     "Peer messages dropped: no connection, or a full queue")),
        refused(e.metrics.GetCounter(
            "quorate_peer_batches_refused_total",
            "Peer batches refused: other cluster, other node, or malformed")) {}

  Env& env;
  client::GrpcLoop& loop;
  Random random;
  Counter& sent;
  Counter& dropped;
  Counter& refused;
  std::string cluster_id;
  NodeId self;
  storage::Incarnation incarnation;
  std::shared_ptr<void> alive = std::make_shared<int>();  // held by every stream as well
};

class GrpcTransport::Lane final : public std::enable_shared_from_this<Lane>,
                                  public client::GrpcStreamUser<v1::PeerBatchAck> {
 public:
  Lane(std::shared_ptr<Shared> shared, LaneKind kind, const std::string& address,
       std::function<void()> on_broken)
      : shared_(std::move(shared)),
        kind_(kind),
        channel_(DialPeer(address)),
        stub_(v1::Node::NewStub(channel_)),
        on_broken_(std::move(on_broken)),
        backoff_(kReconnectFirst, kReconnectMax) {}
  ~Lane() {
    shared_->env.executor.Cancel(timer_);
    if (stream_ != nullptr) stream_->Drop();
  }

  // The batch to add a part of about `bytes` to; nullptr: the part is to be dropped.
  v1::PeerBatch* Add(NodeId to, size_t bytes) {
    if (timer_ != 0 || queued_bytes_ + bytes > limits::kPeerQueueBytesMax) {
      shared_->dropped.Add();
      return nullptr;
    }
    if (queue_.empty() || queue_.back().bytes >= kBatchBytes) {
      raft::StartBatch(shared_->cluster_id, shared_->self, shared_->incarnation, to,
                       &queue_.emplace_back().batch);
    }
    queue_.back().bytes += bytes;
    queued_bytes_ += bytes;
    ScheduleFlush();
    return &queue_.back().batch;
  }

  // Never comes: the stream's answers are how we learn that it broke.
  void OnMessage(v1::PeerBatchAck) override {}
  void OnWritable() override {
    // The peer was there: it took a first batch, or the stream has just opened.
    if (begun_) backoff_.Reset();
    Flush();
  }
  void OnEnd(const grpc::Status&) override {
    stream_ = nullptr;
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
    if (stream_ == nullptr) {
      begun_ = false;
      // gRPC's own pause before it connects again is timed by the wall clock, which may be set
      // back; ours has passed.
      grpc::experimental::ChannelResetConnectionBackoff(channel_.get());
      stream_ = new Stream(shared_->alive);
      stream_->Open(
          [this](auto* context, auto* queue) {
            return kind_ == LaneKind::kRaft ? stub_->PrepareAsyncRaft(context, queue)
                                            : stub_->PrepareAsyncBulk(context, queue);
          },
          shared_->loop, this);
    }
    if (!stream_->writable()) return;
    begun_ = true;
    queued_bytes_ -= queue_.front().bytes;
    v1::PeerBatch batch = std::move(queue_.front().batch);
    queue_.pop_front();
    shared_->sent.Add();
    stream_->Write(std::move(batch));
  }

  using Stream = client::ClientStream<v1::PeerBatch, v1::PeerBatchAck>;

  std::shared_ptr<Shared> shared_;
  const LaneKind kind_;
  // A connection each, so that no snapshot is in front of a heartbeat.
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::Node::Stub> stub_;
  std::function<void()> on_broken_;
  Backoff backoff_;
  Stream* stream_ = nullptr;
  bool begun_ = false;  // a batch was given to stream_
  bool flush_posted_ = false;
  TimerId timer_ = 0;  // running: no connection is tried yet
  std::deque<Queued> queue_;
  size_t queued_bytes_ = 0;
};

struct GrpcTransport::Peer {
  std::string address;
  std::shared_ptr<Lane> raft;
  std::shared_ptr<Lane> bulk;
};

GrpcTransport::GrpcTransport(Env& env, client::GrpcLoop& loop)
    : shared_(std::make_shared<Shared>(env, loop)) {}

GrpcTransport::~GrpcTransport() {
  // Lanes cancel their streams, which hold what they need of their connections.
  for (auto& [node, peer] : peers_) {
    peer->raft.reset();
    peer->bulk.reset();
  }
  shared_->loop.PollUntil([this] { return shared_->alive.use_count() == 1; });
}

void GrpcTransport::SetReceiver(raft::TransportReceiver* receiver) { receiver_ = receiver; }

void GrpcTransport::SetIdentity(const std::string& cluster_id, NodeId self,
                                const storage::Incarnation& incarnation) {
  shared_->cluster_id = cluster_id;
  shared_->self = self;
  shared_->incarnation = incarnation;
}

void GrpcTransport::SetAddress(NodeId node, const std::string& address) {
  auto& peer = peers_[node];
  if (peer && peer->address == address) return;
  peer = std::make_unique<Peer>();
  peer->address = address;
  auto unreachable = [this, node] {
    if (receiver_) receiver_->OnUnreachable(node);
  };
  peer->raft = std::make_shared<Lane>(shared_, LaneKind::kRaft, address, unreachable);
  peer->bulk = std::make_shared<Lane>(shared_, LaneKind::kBulk, address, unreachable);
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

void GrpcTransport::SendAlive(NodeId to, raft::Alive alive) {
  Peer* peer = FindPeer(to);
  if (!peer) return;
  if (auto* batch = peer->raft->Add(to, kAliveBytes)) raft::AddAlive(alive, batch);
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
  if (!receiver_->Listens(parts.from, parts.incarnation)) return;
  if (!parts.messages.empty()) receiver_->OnMessages(std::move(parts.messages));
  // It is the newest of the batch: after a heartbeat that puts to sleep, it may wake.
  if (parts.alive) receiver_->OnAlive(parts.from, *parts.alive);
  for (auto& chunk : parts.chunks) receiver_->OnSnapshotChunk(std::move(chunk));
  for (auto& ack : parts.acks) receiver_->OnSnapshotAck(ack);
}

}  // namespace quorate::server
