#include "client/route/grpc_channel.h"

#include <absl/container/btree_map.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <deque>
#include <utility>

#include "base/backoff.h"
#include "base/limits.h"
#include "base/probe.h"
#include "base/status_macros.h"
#include "base/turns.h"
#include "client/route/grpc_loop.h"
#include "client/route/grpc_socket.h"
#include "client/route/grpc_stream.h"
#include "quorate/v1/rpc.grpc.pb.h"

namespace quorate::client {
namespace {

constexpr Duration kReconnectInitial = 20ms;
constexpr Duration kReconnectMax = 500ms;
constexpr int kConnectTimeoutMs = 1000;
// A stream that owes answers and has brought nothing for this long is given up: its connection may
// be one that the network dropped silently.
constexpr Duration kSilenceMax = 5s;
constexpr size_t kBatchBytes = 1 << 20;   // a batch is closed once it is larger
constexpr size_t kFrameSlack = 64 << 10;  // for what a batch adds to its calls
constexpr size_t kRequestBytesMax = limits::kFrameBytesMax - kFrameSlack;
static_assert(limits::kTxnBytesMax + (limits::kTxnBytesMax / 2) < kRequestBytesMax,
              "a whole transaction fits one request");

using NodeResult = Result<v1::NodeResponse>;

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments args;
  args.SetInt(GRPC_ARG_MINIMAL_STACK, 1);
  args.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  args.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kStreamWindowBytes);
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectTimeoutMs);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, static_cast<int>(ToMillis(kReconnectMax)));
  args.SetMaxReceiveMessageSize(limits::kFrameBytesMax);
  args.SetMaxSendMessageSize(limits::kFrameBytesMax);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), args);
}

// Why a connection failed, for a person: gRPC says it last, behind the address in its own form and
// what its resolver did.
std::string CauseOf(const std::string& message) {
  if (message.empty()) return "the connection ended";
  const size_t colon = message.rfind(": ");
  const std::string cause = colon == std::string::npos ? message : message.substr(colon + 2);
  if (message.find("http1.x") != std::string::npos) {
    return "it speaks HTTP/1 and not gRPC: is it a node's --http address?";
  }
  if (!message.starts_with("DNS resolution failed")) return cause;
  return fmt::format("its name cannot be resolved ({})", cause);
}

}  // namespace

// What all peers use.
struct GrpcChannel::Shared {
  Env& env;
  GrpcLoop& loop;
  Counter& lost;
  std::string cluster_id;
  std::shared_ptr<void> alive = std::make_shared<int>();  // held by every stream as well
};

// One address: its connection, its stream if it has one, and the calls waiting on it.
class GrpcChannel::Peer final : public std::enable_shared_from_this<Peer>,
                                public GrpcStreamUser<v1::CallBatch> {
 public:
  Peer(std::shared_ptr<Shared> shared, std::string address)
      : env_(shared->env),
        shared_(std::move(shared)),
        address_(std::move(address)),
        channel_(Connect(address_)),
        stub_(v1::Node::NewStub(channel_)),
        pause_(kReconnectInitial, kReconnectMax) {}

  // A call in flight: forgotten with the frame that waits for it.
  class InFlight {
   public:
    InFlight(std::shared_ptr<Peer> peer, uint64_t id, Duration timeout)
        : peer_(std::move(peer)), id_(id) {
      timer_ = peer_->env_.executor.After(timeout, [this] {
        timer_ = 0;
        peer_->Expire(id_);
      });
    }
    InFlight(const InFlight&) = delete;
    ~InFlight() {
      peer_->env_.executor.Cancel(timer_);
      if (peer_->waiting_.erase(id_) > 0) peer_->Unqueue(id_);
    }

   private:
    std::shared_ptr<Peer> peer_;
    uint64_t id_;
    TimerId timer_;
  };

  Status Refusal() const {
    if (stream_ != nullptr || env_.Now() >= retry_at_) return Status::Ok();
    return Unavailable(fmt::format("{}: {}", address_, last_error_));
  }

  Future<NodeResult> Send(uint64_t id, v1::NodeRequest request, size_t bytes) {
    if (stream_ == nullptr) {
      // gRPC's own pause before it connects again is timed by the wall clock, which may be set
      // back; ours has passed.
      grpc::experimental::ChannelResetConnectionBackoff(channel_.get());
      stream_ = new Stream(shared_->alive);
      stream_->HoldUpdates(env_.executor);
      stream_->Open(
          [this](auto* context, auto* queue) { return stub_->PrepareAsyncCalls(context, queue); },
          shared_->loop, this);
      last_heard_ = env_.Now();
    }
    if (waiting_.empty()) last_heard_ = env_.Now();
    const Promise<NodeResult> promise(env_.executor);
    waiting_.insert_or_assign(waiting_.end(), id, promise);
    queue_.push_back({id, std::move(request), bytes});
    if (!flush_posted_) {
      flush_posted_ = true;
      PostAfterTurns(env_.executor, kGatherTurns, [self = shared_from_this()] {
        self->flush_posted_ = false;
        self->OnWritable();
      });
    }
    return promise.future();
  }

  void OnMessage(v1::CallBatch batch) override {
    last_heard_ = env_.Now();
    pause_.Reset();
    if (!std::exchange(heard_, true)) env_.log.Info("client: connected to {}", address_);
    for (v1::Call& call : *batch.mutable_calls()) {
      const auto it = waiting_.find(call.id());
      if (it == waiting_.end() || !call.has_response()) continue;
      const Promise<NodeResult> promise = it->second;
      waiting_.erase(it);
      promise.Set(std::move(*call.mutable_response()));
    }
  }

  void OnWritable() override {
    if (stream_ == nullptr || !stream_->writable()) return;
    if (const v1::CallBatch batch = NextBatch(); batch.calls_size() > 0) stream_->Write(batch);
  }

  void OnEnd(const grpc::Status& status) override {
    stream_ = nullptr;
    Break(CauseOf(status.error_message()));
  }

  void Shutdown() {
    if (stream_ != nullptr) std::exchange(stream_, nullptr)->Drop();
  }

 private:
  using Stream = ClientStream<v1::CallBatch, v1::CallBatch>;
  struct Queued {
    uint64_t id;
    v1::NodeRequest request;
    size_t bytes;
    bool forgotten = false;
  };

  void Expire(uint64_t id) {
    const auto it = waiting_.find(id);
    if (it == waiting_.end()) return;
    const Promise<NodeResult> promise = it->second;
    waiting_.erase(it);
    Unqueue(id);
    promise.Set(NodeResult(DeadlineExceeded(fmt::format("{} did not answer in time", address_))));
    if (stream_ != nullptr && env_.Now() - last_heard_ > kSilenceMax) {
      PROBE("grpc channel: silent stream");
      Shutdown();
      Break("it has been silent for too long");
    }
  }

  // Nobody waits for it: if it has not left yet, it never does, and holds nothing.
  void Unqueue(uint64_t id) {
    const auto it = std::lower_bound(queue_.begin(), queue_.end(), id,
                                     [](const Queued& call, uint64_t i) { return call.id < i; });
    if (it == queue_.end() || it->id != id) return;
    it->request = v1::NodeRequest();
    it->bytes = 0;
    it->forgotten = true;
  }

  // Moves what is queued, as much as one frame takes.
  v1::CallBatch NextBatch() {
    v1::CallBatch batch;
    batch.set_cluster_id(shared_->cluster_id);
    size_t bytes = 0;
    while (!queue_.empty() && bytes < kBatchBytes &&
           static_cast<size_t>(batch.calls_size()) < kBatchCallsMax) {
      Queued& call = queue_.front();
      if (call.forgotten) {
        queue_.pop_front();
        continue;
      }
      if (bytes > 0 && bytes + call.bytes > kRequestBytesMax) break;
      bytes += call.bytes;
      v1::Call* out = batch.add_calls();
      out->set_id(call.id);
      out->mutable_request()->Swap(&call.request);
      queue_.pop_front();
    }
    return batch;
  }

  // The stream is gone.
  void Break(const std::string& reason) {
    queue_.clear();
    last_error_ = reason;
    if (std::exchange(heard_, false)) {
      shared_->lost.Add();
      env_.log.Info("client: the connection to {} is lost: {}", address_, reason);
    }
    retry_at_ = env_.Now() + pause_.Next(env_.random);
    const auto lost = std::exchange(waiting_, {});
    for (const auto& [id, promise] : lost) {
      promise.Set(NodeResult(Unavailable(fmt::format("{}: {}", address_, reason))));
    }
  }

  Env& env_;
  const std::shared_ptr<Shared> shared_;
  const std::string address_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::Node::Stub> stub_;
  Backoff pause_;
  Instant retry_at_;
  std::string last_error_;
  bool heard_ = false;  // anything, on stream_
  Stream* stream_ = nullptr;
  std::deque<Queued> queue_;                                // not yet written to stream_; by id
  absl::btree_map<uint64_t, Promise<NodeResult>> waiting_;  // all on stream_
  Instant last_heard_;
  bool flush_posted_ = false;
  friend class GrpcChannel;
  uint64_t last_id_ = 0;
};

GrpcChannel::GrpcChannel(Env& env, GrpcLoop& loop)
    : shared_(std::make_shared<Shared>(Shared{
          .env = env,
          .loop = loop,
          .lost = env.metrics.GetCounter("quorate_client_connections_lost_total",
                                         "Connections to nodes that broke after an answer."),
      })) {}

GrpcChannel::~GrpcChannel() {
  for (auto& [address, peer] : peers_) peer->Shutdown();
  shared_->loop.PollUntil([this] { return shared_->alive.use_count() == 1; });
}

Task<NodeResult> GrpcChannel::Call(std::string address, v1::NodeRequest request, Duration timeout) {
  std::shared_ptr<Peer>& slot = peers_[address];
  if (slot == nullptr) slot = std::make_shared<Peer>(shared_, address);
  const std::shared_ptr<Peer> peer = slot;
  CO_RETURN_IF_ERROR(peer->Refusal());
  const size_t bytes = request.ByteSizeLong();
  if (bytes > kRequestBytesMax) {
    co_return InvalidArgument(fmt::format("a request of {} bytes exceeds the frame limit of {}",
                                          bytes, kRequestBytesMax));
  }
  const uint64_t id = ++peer->last_id_;
  Future<NodeResult> answer = peer->Send(id, std::move(request), bytes);
  const Peer::InFlight in_flight(peer, id, timeout);
  co_return co_await std::move(answer);
}

void GrpcChannel::SetClusterId(const std::string& cluster_id) { shared_->cluster_id = cluster_id; }

}  // namespace quorate::client
