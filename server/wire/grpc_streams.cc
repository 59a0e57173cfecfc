#include "server/wire/grpc_streams.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <utility>

#include "base/byte_turns.h"
#include "base/limits.h"
#include "base/turns.h"
#include "client/route/grpc_channel.h"
#include "server/wire/taker.h"

namespace quorate::server {
namespace {

// A batch of answers is closed at this size; what comes after it on the stream waits for it.
constexpr size_t kBatchBytes = 512 << 10;
constexpr size_t kSmallBytes = 64 << 10;   // limits::kPeerCallBytesMax counts what is larger
constexpr size_t kWaitingBytes = 1 << 10;  // of a read that waits, beside its request
constexpr Duration kReadPatience = 2s;     // a read takes so long at most, or waits for a lock
// With the row that reaches its bound.
constexpr size_t kReadAnswerMax = limits::kReadBytesMax + limits::kValueBytesMax;
// Of answers that a connection has not taken; beyond, no further read begins for it.
constexpr size_t kUntakenBytesMax = 1 << 20;

struct CallsStream;

// The Calls streams of a server.
struct Calls {
  explicit Calls(Env& env) : reads(env, limits::kPeerReadBytesMax) {}

  std::shared_ptr<Taker> TakerOf(Env& env, const std::string& name) {
    std::weak_ptr<Taker>& known = takers[name];
    std::shared_ptr<Taker> taker = known.lock();
    if (taker == nullptr) known = taker = std::make_shared<Taker>(env, kUntakenBytesMax);
    return taker;
  }

  size_t unsent_bytes = 0;                             // answers of all
  std::map<std::string, std::weak_ptr<Taker>> takers;  // by connection, as long as it has streams
  std::set<CallsStream*> streams;
  ByteTurns reads;
  // What their requests hold that are large, or that wait, shared by connections.
  std::shared_ptr<SharedBound> requests = std::make_shared<SharedBound>(limits::kPeerCallBytesMax);
};

// A Calls stream. Outlives gRPC's side of it while answers are still being made; `stream` is null
// from its end on.
struct CallsStream final : std::enable_shared_from_this<CallsStream>,
                           client::GrpcStreamUser<v1::CallBatch> {
  using Stream = client::ServerStream<v1::CallBatch, v1::CallBatch>;

  CallsStream(std::shared_ptr<GrpcCore> c, std::shared_ptr<Calls> u, Stream* s)
      : core(std::move(c)),
        all(std::move(u)),
        stream(s),
        name(s->peer()),
        taker(all->TakerOf(core->env, name)) {
    all->streams.insert(this);
  }

  ~CallsStream() {
    if (taker.use_count() == 1) all->takers.erase(name);
  }

  void OnMessage(v1::CallBatch batch) override;
  void OnWritable() override {
    Forget(std::exchange(writing_bytes, 0));
    Flush();
  }
  void OnEnd(const grpc::Status&) override { Ended(); }

  // What a request holds that is large, or may have to wait, until it has been handled; null: it is
  // neither. OVERLOADED: those of its connection hold too much.
  Result<std::unique_ptr<Holding>> Hold(const v1::NodeRequest& request);
  void Overloaded(uint64_t id, std::string message);
  void Answer(uint64_t id, v1::NodeResponse response);
  // Room for another answer of `bytes`; without it the stream may have ended.
  bool MakeRoom(size_t bytes);
  void Flush();
  void Forget(size_t bytes);
  void End(grpc::StatusCode code, const char* why);
  void Ended();

  struct Queued {
    v1::CallBatch batch;
    size_t bytes = 0;
  };
  std::shared_ptr<GrpcCore> core;
  std::shared_ptr<Calls> all;
  Stream* stream;
  const std::string name;  // of its connection
  const std::shared_ptr<Taker> taker;
  std::shared_ptr<CallsStream> self;  // while there is a stream
  // Large answers apart, so that small ones need not wait for all of them; they take turns.
  std::deque<Queued> small;
  std::deque<Queued> large;
  bool large_next = false;
  size_t queued_bytes = 0;   // with those being written
  size_t writing_bytes = 0;  // given to gRPC,
  Instant writing_since;     // and when
  bool flush_posted = false;
};

v1::NodeResponse Refused(v1::ErrorCode code, std::string message) {
  v1::NodeResponse response;
  response.mutable_error()->set_code(code);
  response.mutable_error()->set_message(std::move(message));
  return response;
}

Duration Timeout(const v1::NodeRequest& request) {
  const Duration asked = std::chrono::milliseconds(request.timeout_ms());
  return asked == Duration(0) ? limits::kRequestTimeoutDefault
                              : std::min(asked, limits::kRequestTimeoutMax);
}

// The stream may be gone when the answer is there: a commit goes on without its client. How many
// may be in flight is the node's to say. `held`: for the request, if it is a large one.
Task<void> HandleCall(std::shared_ptr<CallsStream> stream, std::string cluster_id, uint64_t to_node,
                      uint64_t id, v1::NodeRequest request, std::unique_ptr<Holding> held) {
  // Whoever reads waits until its end takes what it has and, if much is to come, for its turn among
  // connections, by the end of which others of its reads may have brought too much.
  std::unique_ptr<Taker::Read> read;
  std::unique_ptr<ByteTurns::Turn> turn;
  const Instant deadline = stream->core->env.Now() + Timeout(request);
  while (request.has_read() && (read == nullptr || !stream->taker->takes())) {
    turn.reset();
    read.reset();
    read = co_await stream->taker->Wait(stream.get(), deadline);
    if (stream->stream == nullptr) co_return;
    if (read == nullptr) {
      stream->Overloaded(id, "this connection has not taken the answers that it asked for");
      co_return;
    }
    turn = co_await stream->all->reads.Take(stream->name, kReadAnswerMax, kReadPatience);
  }
  v1::NodeResponse response =
      co_await stream->core->node.Handle(std::move(cluster_id), to_node, std::move(request));
  held.reset();
  if (turn != nullptr) turn->Brought(response.ByteSizeLong());
  stream->Answer(id, std::move(response));
}

void CallsStream::OnMessage(v1::CallBatch batch) {
  const auto keep = shared_from_this();  // an answer may end the stream
  if (static_cast<size_t>(batch.calls_size()) > client::kBatchCallsMax) {
    core->cut_streams.Add();
    End(grpc::StatusCode::RESOURCE_EXHAUSTED, "too many calls in one batch");
    return;
  }
  for (auto& call : *batch.mutable_calls()) {
    core->calls.Add();
    if (core->closed) {
      Answer(call.id(), Refused(v1::CANCELLED, "the node is stopping"));
    } else if (!call.has_request()) {
      Answer(call.id(), Refused(v1::INVALID_ARGUMENT, "a call without a request"));
    } else if (core->scope.size() >= limits::kCallsInFlightMax) {
      // Those that have not begun are not counted by the node yet.
      Overloaded(call.id(), "too many calls are waiting to begin on this node");
    } else if (auto held = Hold(call.request()); !held.ok()) {
      Overloaded(call.id(), held.status().message());
    } else {
      core->scope.Spawn(HandleCall(shared_from_this(), batch.cluster_id(), batch.to_node(),
                                   call.id(), std::move(*call.mutable_request()),
                                   std::move(*held)));
    }
  }
}

void CallsStream::Overloaded(uint64_t id, std::string message) {
  core->overloaded.Add();
  auto response = Refused(v1::OVERLOADED, std::move(message));
  response.mutable_error()->set_retry_after_ms(50);
  Answer(id, std::move(response));
}

Result<std::unique_ptr<Holding>> CallsStream::Hold(const v1::NodeRequest& request) {
  const size_t bytes = request.ByteSizeLong() + kWaitingBytes;
  const bool waits = request.has_read() && (!taker->takes() || all->reads.waiting() > 0);
  if (bytes <= kSmallBytes && !waits) return std::unique_ptr<Holding>();
  auto held = std::make_unique<Holding>(all->requests, name);
  if (held->Grow(bytes)) return held;
  return Status(Code::kOverloaded, "requests of this connection hold too much of the node");
}

void CallsStream::Answer(uint64_t id, v1::NodeResponse response) {
  if (stream == nullptr) return;
  size_t bytes = response.ByteSizeLong();
  if (bytes > limits::kFrameBytesMax - kBatchBytes) {
    response = Refused(v1::INVALID_ARGUMENT,
                       fmt::format("the answer has {} bytes, the limit is {}: ask for less", bytes,
                                   limits::kFrameBytesMax - kBatchBytes));
    bytes = response.ByteSizeLong();
  }
  if (!MakeRoom(bytes)) return;
  std::deque<Queued>& queue = bytes > kSmallBytes ? large : small;
  if (queue.empty() || queue.back().bytes >= kBatchBytes) {
    queue.emplace_back().batch.set_cluster_id(core->node.cluster_id());
  }
  queue.back().bytes += bytes;
  queued_bytes += bytes;
  taker->Queued(bytes);
  all->unsent_bytes += bytes;
  auto* call = queue.back().batch.add_calls();
  call->set_id(id);
  *call->mutable_response() = std::move(response);
  if (flush_posted) return;
  flush_posted = true;
  PostAfterTurns(core->env.executor, kGatherTurns, [stream = shared_from_this()] {
    stream->flush_posted = false;
    stream->Flush();
  });
}

// If all streams together hold too much, the one whose client has taken nothing for the longest
// ends: whoever reads is not the one.
bool CallsStream::MakeRoom(size_t bytes) {
  if (queued_bytes + bytes > limits::kPeerQueueBytesMax) {
    End(grpc::StatusCode::RESOURCE_EXHAUSTED, "answers are not read");
    return false;
  }
  while (all->unsent_bytes > 0 && all->unsent_bytes + bytes > limits::kPeerUnsentBytesMax) {
    CallsStream* longest = this;
    for (CallsStream* other : all->streams) {
      if (other->writing_bytes == 0) continue;
      if (longest->writing_bytes == 0 || other->writing_since < longest->writing_since) {
        longest = other;
      }
    }
    const bool own = longest == this;
    longest->End(grpc::StatusCode::RESOURCE_EXHAUSTED, "answers are not read");
    if (own) return false;
  }
  return true;
}

void CallsStream::Forget(size_t bytes) {
  queued_bytes -= bytes;
  all->unsent_bytes -= bytes;
  taker->Left(bytes);
}

void CallsStream::Flush() {
  if (stream == nullptr || (small.empty() && large.empty()) || !stream->writable()) return;
  large_next = small.empty() || (large_next && !large.empty());
  std::deque<Queued>& queue = large_next ? large : small;
  large_next = !large_next;
  writing_bytes = queue.front().bytes;
  writing_since = core->env.Now();
  const v1::CallBatch batch = std::move(queue.front().batch);
  queue.pop_front();
  stream->Write(batch);
}

void CallsStream::End(grpc::StatusCode code, const char* why) {
  core->cut_streams.Add();
  stream->Drop(grpc::Status(code, why));
  Ended();
}

void CallsStream::Ended() {
  stream = nullptr;
  small.clear();
  large.clear();
  writing_bytes = 0;
  Forget(queued_bytes);
  all->streams.erase(this);
  taker->GiveUp(this);
  self.reset();
}

// Peer batches flow one way; answers travel on the streams that the other side's transport opens.
class PeerStream final : public client::GrpcStreamUser<v1::PeerBatch> {
 public:
  explicit PeerStream(std::shared_ptr<GrpcCore> core) : core_(std::move(core)) {}
  void OnMessage(v1::PeerBatch batch) override {
    if (!core_->closed) core_->transport.Receive(std::move(batch));
  }
  void OnWritable() override {}
  void OnEnd(const grpc::Status&) override { delete this; }

 private:
  std::shared_ptr<GrpcCore> core_;
};

client::GrpcStreamUser<v1::PeerBatch>* BeginPeer(
    std::shared_ptr<GrpcCore> core, client::ServerStream<v1::PeerBatch, v1::PeerBatchAck>* stream) {
  stream->HoldUpdates(core->env.executor);
  return new PeerStream(std::move(core));
}

}  // namespace

GrpcCore::GrpcCore(Env& e, GrpcHub& h, Node& n, GrpcTransport& t)
    : env(e),
      hub(h),
      node(n),
      transport(t),
      calls(e.metrics.GetCounter("quorate_calls_total", "Requests received on call streams")),
      overloaded(e.metrics.GetCounter("quorate_calls_overloaded_total",
                                      "Public calls refused: too many in flight on this node")),
      cut_streams(
          e.metrics.GetCounter("quorate_call_streams_cut_total",
                               "Call streams ended: answers not read, or a batch too large")),
      cut_requests(e.metrics.GetCounter(
          "quorate_requests_cut_total",
          "Public requests ended before they were whole: too much of them, or too late")),
      unread(e, [this] { return places->used() > places->total() / 2 || short_of_memory(); }),
      arriving(e, [this](const std::string& client) { return connections.Received(client); }),
      scope(e.executor) {}

void ServeNode(std::shared_ptr<GrpcCore> core, v1::Node::AsyncService* service) {
  AcceptStreams<v1::CallBatch, v1::CallBatch>(
      core,
      [service](auto* context, auto* rpc, auto* queue, void* tag) {
        service->RequestCalls(context, rpc, queue, queue, tag);
      },
      [all = std::make_shared<Calls>(core->env)](std::shared_ptr<GrpcCore> c,
                                                 CallsStream::Stream* stream) {
        stream->HoldUpdates(c->env.executor);
        auto calls = std::make_shared<CallsStream>(std::move(c), all, stream);
        calls->self = calls;
        return calls.get();
      });
  AcceptStreams<v1::PeerBatch, v1::PeerBatchAck>(
      core,
      [service](auto* context, auto* rpc, auto* queue, void* tag) {
        service->RequestRaft(context, rpc, queue, queue, tag);
      },
      BeginPeer);
  AcceptStreams<v1::PeerBatch, v1::PeerBatchAck>(
      core,
      [service](auto* context, auto* rpc, auto* queue, void* tag) {
        service->RequestBulk(context, rpc, queue, queue, tag);
      },
      BeginPeer);
}

}  // namespace quorate::server
