#include "server/wire/grpc_streams.h"

#include <fmt/format.h>

#include <deque>
#include <utility>

#include "base/limits.h"
#include "base/turns.h"
#include "client/route/grpc_channel.h"

namespace quorate::server {
namespace {

// A batch of answers is closed at this size.
constexpr size_t kBatchBytes = 4 << 20;

// A Calls stream. Outlives gRPC's side of it while answers are still being made; `stream` is null
// from its end on.
struct CallsStream final : std::enable_shared_from_this<CallsStream>,
                           client::GrpcStreamUser<v1::CallBatch> {
  using Stream = client::ServerStream<v1::CallBatch, v1::CallBatch>;

  CallsStream(std::shared_ptr<GrpcCore> c, Stream* s) : core(std::move(c)), stream(s) {}

  void OnMessage(v1::CallBatch batch) override;
  void OnWritable() override { Flush(); }
  void OnEnd(const grpc::Status&) override { Ended(); }

  void Answer(uint64_t id, v1::NodeResponse response);
  void Flush();
  void End(grpc::StatusCode code, const char* why);
  void Ended();

  struct Queued {
    v1::CallBatch batch;
    size_t bytes = 0;
  };
  std::shared_ptr<GrpcCore> core;
  Stream* stream;
  std::shared_ptr<CallsStream> self;  // while there is a stream
  std::deque<Queued> queue;
  size_t queued_bytes = 0;
  bool flush_posted = false;
};

v1::NodeResponse Refused(v1::ErrorCode code, std::string message) {
  v1::NodeResponse response;
  response.mutable_error()->set_code(code);
  response.mutable_error()->set_message(std::move(message));
  return response;
}

// The stream may be gone when the answer is there: a commit goes on without its client. How many
// may be in flight is the node's to say.
Task<void> HandleCall(std::shared_ptr<CallsStream> stream, std::string cluster_id, uint64_t to_node,
                      uint64_t id, v1::NodeRequest request) {
  stream->Answer(
      id, co_await stream->core->node.Handle(std::move(cluster_id), to_node, std::move(request)));
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
      auto response = Refused(v1::OVERLOADED, "too many calls are waiting to begin on this node");
      response.mutable_error()->set_retry_after_ms(
          static_cast<uint32_t>(ToMillis(limits::kOverloadedRetry)));
      Answer(call.id(), std::move(response));
    } else {
      core->scope.Spawn(HandleCall(shared_from_this(), batch.cluster_id(), batch.to_node(),
                                   call.id(), std::move(*call.mutable_request())));
    }
  }
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
  if (queued_bytes + bytes > limits::kPeerQueueBytesMax) {
    core->cut_streams.Add();
    End(grpc::StatusCode::RESOURCE_EXHAUSTED, "answers are not read");
    return;
  }
  if (queue.empty() || queue.back().bytes >= kBatchBytes) {
    queue.emplace_back().batch.set_cluster_id(core->node.cluster_id());
  }
  queue.back().bytes += bytes;
  queued_bytes += bytes;
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

void CallsStream::Flush() {
  if (stream == nullptr || queue.empty() || !stream->writable()) return;
  queued_bytes -= queue.front().bytes;
  v1::CallBatch batch = std::move(queue.front().batch);
  queue.pop_front();
  stream->Write(std::move(batch));
}

void CallsStream::End(grpc::StatusCode code, const char* why) {
  stream->Drop(grpc::Status(code, why));
  Ended();
}

void CallsStream::Ended() {
  stream = nullptr;
  queue.clear();
  queued_bytes = 0;
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
      scope(e.executor) {}

void ServeNode(std::shared_ptr<GrpcCore> core, v1::Node::AsyncService* service) {
  AcceptStreams<v1::CallBatch, v1::CallBatch>(
      core,
      [service](auto* context, auto* rpc, auto* queue, void* tag) {
        service->RequestCalls(context, rpc, queue, queue, tag);
      },
      [](std::shared_ptr<GrpcCore> c, CallsStream::Stream* stream) {
        stream->HoldUpdates(c->env.executor);
        auto calls = std::make_shared<CallsStream>(std::move(c), stream);
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
