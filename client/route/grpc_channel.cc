#include "client/route/grpc_channel.h"

#include <absl/container/btree_map.h>
#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <deque>
#include <mutex>

#include "base/backoff.h"
#include "base/limits.h"
#include "base/probe.h"
#include "base/turns.h"
#include "proto/rpc.grpc.pb.h"

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
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kConnectTimeoutMs);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, static_cast<int>(ToMillis(kReconnectMax)));
  args.SetMaxReceiveMessageSize(limits::kFrameBytesMax);
  args.SetMaxSendMessageSize(limits::kFrameBytesMax);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), args);
}

}  // namespace

// What streams need after the channel itself may be gone.
struct GrpcChannel::Shared {
  std::string cluster_id;  // executor's thread

  std::mutex mutex;
  std::condition_variable all_done;
  size_t live_streams = 0;  // guarded by mutex
};

// One stream's life: Open, then writes and reads, until OnDone lets go of it. Methods named On...
// run on gRPC's threads, the others on the executor's.
class GrpcChannel::Stream final : public grpc::ClientBidiReactor<v1::CallBatch, v1::CallBatch>,
                                  public std::enable_shared_from_this<Stream> {
 public:
  Stream(std::shared_ptr<Peer> peer, std::shared_ptr<Shared> shared, Executor& executor)
      : peer_(std::move(peer)), shared_(std::move(shared)), executor_(executor) {}

  void Open(v1::Node::Stub& stub) {
    {
      const std::lock_guard lock(shared_->mutex);
      ++shared_->live_streams;
    }
    self_ = shared_from_this();
    stub.async()->Calls(&context_, this);
    // Writes start outside of reactions: OnDone must not come while one may.
    AddHold();
    StartNextRead();
    StartCall();
  }

  void Enqueue(uint64_t id, v1::NodeRequest request, size_t bytes) {
    const std::lock_guard lock(mutex_);
    queue_.push_back({id, std::move(request), bytes});
  }

  void Flush() {
    {
      const std::lock_guard lock(mutex_);
      if (writing_ || broken_ || queue_.empty()) return;
      FillBatch();
    }
    StartWrite(&out_);
  }

  void Cancel() { context_.TryCancel(); }

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override {
    bool write = false;
    bool release = false;
    {
      const std::lock_guard lock(mutex_);
      writing_ = false;
      broken_ = broken_ || !ok;
      if (!broken_ && !queue_.empty()) {
        FillBatch();
        write = true;
      } else {
        release = read_ended_;
      }
    }
    if (write) StartWrite(&out_);
    if (release) RemoveHold();
  }
  void OnDone(const grpc::Status& status) override;

 private:
  struct Queued {
    uint64_t id;
    v1::NodeRequest request;
    size_t bytes;
  };

  void StartNextRead() {
    in_ = std::make_unique<v1::CallBatch>();
    StartRead(in_.get());
  }

  // With mutex_ held: moves what is queued into out_ and counts it as being written.
  void FillBatch() {
    out_.Clear();
    out_.set_cluster_id(cluster_id_);
    size_t bytes = 0;
    while (!queue_.empty() && bytes < kBatchBytes) {
      Queued& call = queue_.front();
      if (bytes > 0 && bytes + call.bytes > kRequestBytesMax) break;
      bytes += call.bytes;
      v1::Call* out = out_.add_calls();
      out->set_id(call.id);
      out->mutable_request()->Swap(&call.request);
      queue_.pop_front();
    }
    writing_ = true;
  }

 public:
  void SetClusterId(const std::string& id) {
    const std::lock_guard lock(mutex_);
    cluster_id_ = id;
  }

 private:
  const std::shared_ptr<Peer> peer_;
  const std::shared_ptr<Shared> shared_;
  Executor& executor_;
  grpc::ClientContext context_;
  std::unique_ptr<v1::CallBatch> in_;
  v1::CallBatch out_;  // owned by gRPC while writing_
  std::shared_ptr<Stream> self_;

  std::mutex mutex_;
  std::deque<Queued> queue_;  // guarded by mutex_, like the rest
  std::string cluster_id_;
  bool writing_ = false;
  bool broken_ = false;      // no write will start any more
  bool read_ended_ = false;  // the hold goes once no write is outstanding either
};

// One address: its connection, its stream if it has one, and the calls waiting on it. Executor's
// thread.
class GrpcChannel::Peer final : public std::enable_shared_from_this<Peer> {
 public:
  Peer(Env& env, std::shared_ptr<Shared> shared, std::string address)
      : env_(env),
        shared_(std::move(shared)),
        address_(std::move(address)),
        stub_(v1::Node::NewStub(Connect(address_))),
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
      peer_->waiting_.erase(id_);
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
      stream_ = std::make_shared<Stream>(shared_from_this(), shared_, env_.executor);
      stream_->SetClusterId(shared_->cluster_id);
      last_heard_ = env_.Now();
      stream_->Open(*stub_);
    }
    if (waiting_.empty()) last_heard_ = env_.Now();
    const Promise<NodeResult> promise(env_.executor);
    waiting_.insert_or_assign(waiting_.end(), id, promise);
    stream_->Enqueue(id, std::move(request), bytes);
    if (!flush_posted_) {
      flush_posted_ = true;
      PostAfterTurns(env_.executor, kGatherTurns, [self = shared_from_this()] {
        self->flush_posted_ = false;
        if (self->stream_ != nullptr) self->stream_->Flush();
      });
    }
    return promise.future();
  }

  void OnBatch(const Stream* from, v1::CallBatch& batch) {
    if (from != stream_.get()) return;
    last_heard_ = env_.Now();
    pause_.Reset();
    for (v1::Call& call : *batch.mutable_calls()) {
      const auto it = waiting_.find(call.id());
      if (it == waiting_.end() || !call.has_response()) continue;
      const Promise<NodeResult> promise = it->second;
      waiting_.erase(it);
      promise.Set(std::move(*call.mutable_response()));
    }
  }

  void OnEnd(const Stream* from, const std::string& reason) {
    if (from != stream_.get()) return;
    Break(reason);
  }

  void SetClusterId(const std::string& id) {
    if (stream_ != nullptr) stream_->SetClusterId(id);
  }

  void Shutdown() {
    if (stream_ != nullptr) stream_->Cancel();
    stream_.reset();
  }

 private:
  void Expire(uint64_t id) {
    const auto it = waiting_.find(id);
    if (it == waiting_.end()) return;
    const Promise<NodeResult> promise = it->second;
    waiting_.erase(it);
    promise.Set(NodeResult(DeadlineExceeded(fmt::format("{} did not answer in time", address_))));
    if (stream_ != nullptr && env_.Now() - last_heard_ > kSilenceMax) {
      PROBE("grpc_channel.silent_stream");
      stream_->Cancel();
      Break("it has been silent for too long");
    }
  }

  void Break(const std::string& reason) {
    stream_.reset();
    last_error_ = reason;
    retry_at_ = env_.Now() + pause_.Next(env_.random);
    const auto lost = std::exchange(waiting_, {});
    for (const auto& [id, promise] : lost) {
      promise.Set(NodeResult(Unavailable(fmt::format("{}: {}", address_, reason))));
    }
  }

  Env& env_;
  const std::shared_ptr<Shared> shared_;
  const std::string address_;
  const std::unique_ptr<v1::Node::Stub> stub_;
  Backoff pause_;
  Instant retry_at_;
  std::string last_error_;
  std::shared_ptr<Stream> stream_;
  absl::btree_map<uint64_t, Promise<NodeResult>> waiting_;  // all on stream_
  Instant last_heard_;
  bool flush_posted_ = false;
  friend class GrpcChannel;
  uint64_t last_id_ = 0;
};

void GrpcChannel::Stream::OnReadDone(bool ok) {
  if (ok) {
    executor_.Post([self = shared_from_this(), batch = std::move(in_)] {
      self->peer_->OnBatch(self.get(), *batch);
    });
    StartNextRead();
    return;
  }
  bool release = false;
  {
    const std::lock_guard lock(mutex_);
    read_ended_ = true;
    broken_ = true;
    release = !writing_;
  }
  if (release) RemoveHold();
}

void GrpcChannel::Stream::OnDone(const grpc::Status& status) {
  const std::shared_ptr<Stream> self = std::move(self_);
  std::string reason =
      status.error_message().empty() ? "the connection ended" : status.error_message();
  executor_.Post([self, reason = std::move(reason)] { self->peer_->OnEnd(self.get(), reason); });
  const std::lock_guard lock(shared_->mutex);
  if (--shared_->live_streams == 0) shared_->all_done.notify_all();
}

GrpcChannel::GrpcChannel(Env& env) : env_(env), shared_(std::make_shared<Shared>()) {}

GrpcChannel::~GrpcChannel() {
  for (auto& [address, peer] : peers_) peer->Shutdown();
  std::unique_lock lock(shared_->mutex);
  shared_->all_done.wait(lock, [this] { return shared_->live_streams == 0; });
}

Task<NodeResult> GrpcChannel::Call(std::string address, v1::NodeRequest request, Duration timeout) {
  std::shared_ptr<Peer>& slot = peers_[address];
  if (slot == nullptr) slot = std::make_shared<Peer>(env_, shared_, address);
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

void GrpcChannel::SetClusterId(const std::string& cluster_id) {
  if (shared_->cluster_id == cluster_id) return;
  shared_->cluster_id = cluster_id;
  for (auto& [address, peer] : peers_) peer->SetClusterId(cluster_id);
}

}  // namespace quorate::client
