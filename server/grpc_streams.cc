#include "server/grpc_streams.h"

#include <fmt/format.h>

#include <atomic>
#include <deque>

#include "base/limits.h"
#include "base/turns.h"
#include "server/write_gate.h"

namespace quorate::server {
namespace {

// A batch of answers is closed at this size.
constexpr size_t kBatchBytes = 4 << 20;

class CallsReactor;

// A Calls stream as the executor's thread sees it. Outlives the reactor while answers are still
// being made; `reactor` is null from Finish on.
struct CallsStream : std::enable_shared_from_this<CallsStream> {
  explicit CallsStream(std::shared_ptr<GrpcCore> c) : core(std::move(c)) {}

  void Deliver(v1::CallBatch batch);
  void Answer(uint64_t id, v1::NodeResponse response);
  void Flush();
  void End(grpc::StatusCode code, const char* why);

  struct Queued {
    v1::CallBatch batch;
    size_t bytes = 0;
  };
  std::shared_ptr<GrpcCore> core;
  CallsReactor* reactor = nullptr;
  std::deque<Queued> queue;
  size_t queued_bytes = 0;
  bool flush_posted = false;
};

// Reads ahead while the executor keeps up: at most kStreamUnreadBatchesMax batches are between the
// stream and their handling. Whoever brings the count back below the bound reads on.
class UnreadBatches {
 public:
  // After a read: whether to read on at once.
  bool Arrived() {
    return count_.fetch_add(1, std::memory_order_acq_rel) + 1 < limits::kStreamUnreadBatchesMax;
  }
  // After handling: whether reading had stopped and must be started again.
  bool Handled() {
    return count_.fetch_sub(1, std::memory_order_acq_rel) == limits::kStreamUnreadBatchesMax;
  }

 private:
  std::atomic<int> count_{0};
};

class CallsReactor final : public grpc::ServerBidiReactor<v1::CallBatch, v1::CallBatch> {
 public:
  explicit CallsReactor(std::shared_ptr<GrpcCore> core)
      : stream_(std::make_shared<CallsStream>(core)), executor_(core->env.executor) {
    stream_->reactor = this;
    StartRead(&read_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      executor_.Post([stream = stream_] { stream->End(grpc::StatusCode::OK, ""); });
      return;
    }
    executor_.Post([stream = stream_, batch = std::move(read_)]() mutable {
      stream->Deliver(std::move(batch));
    });
    if (unread_.Arrived()) StartRead(&read_);
  }
  void OnWriteDone(bool ok) override {
    // After a failed write the gate stays shut: the failed read follows and ends the stream.
    if (ok && gate_.Done()) executor_.Post([stream = stream_] { stream->Flush(); });
  }
  void OnDone() override { delete this; }

  // Executor's thread, before Finish.
  void Handled() {
    if (unread_.Handled()) StartRead(&read_);
  }
  WriteGate& gate() { return gate_; }
  void Write(v1::CallBatch batch) {
    written_ = std::move(batch);
    StartWrite(&written_);
  }

 private:
  std::shared_ptr<CallsStream> stream_;
  Executor& executor_;
  UnreadBatches unread_;
  WriteGate gate_;
  v1::CallBatch read_;
  v1::CallBatch written_;
};

v1::NodeResponse Refused(v1::ErrorCode code, std::string message) {
  v1::NodeResponse response;
  response.mutable_error()->set_code(code);
  response.mutable_error()->set_message(std::move(message));
  return response;
}

// The stream may be gone when the answer is there: a commit goes on without its client.
Task<void> HandleCall(std::shared_ptr<CallsStream> stream, std::string cluster_id, uint64_t to_node,
                      uint64_t id, v1::NodeRequest request) {
  auto& core = *stream->core;
  ++core.in_flight;
  v1::NodeResponse response =
      co_await core.node.Handle(std::move(cluster_id), to_node, std::move(request));
  --core.in_flight;
  stream->Answer(id, std::move(response));
}

void CallsStream::Deliver(v1::CallBatch batch) {
  if (!reactor) return;
  for (auto& call : *batch.mutable_calls()) {
    core->calls.Add();
    if (core->closed) {
      Answer(call.id(), Refused(v1::CANCELLED, "the node is stopping"));
    } else if (!call.has_request()) {
      Answer(call.id(), Refused(v1::INVALID_ARGUMENT, "a call without a request"));
    } else if (core->in_flight >= limits::kCallsInFlightMax) {
      core->overloaded.Add();
      auto response = Refused(v1::OVERLOADED, fmt::format("{} requests in flight on this node",
                                                          limits::kCallsInFlightMax));
      response.mutable_error()->set_retry_after_ms(50);
      Answer(call.id(), std::move(response));
    } else {
      core->scope.Spawn(HandleCall(shared_from_this(), batch.cluster_id(), batch.to_node(),
                                   call.id(), std::move(*call.mutable_request())));
    }
  }
  if (reactor) reactor->Handled();
}

void CallsStream::Answer(uint64_t id, v1::NodeResponse response) {
  if (!reactor) return;
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
  if (!reactor || queue.empty() || !reactor->gate().TryBegin()) return;
  queued_bytes -= queue.front().bytes;
  v1::CallBatch batch = std::move(queue.front().batch);
  queue.pop_front();
  reactor->Write(std::move(batch));
}

void CallsStream::End(grpc::StatusCode code, const char* why) {
  if (!reactor) return;
  queue.clear();
  queued_bytes = 0;
  std::exchange(reactor, nullptr)->Finish(grpc::Status(code, why));
}

// Peer batches flow one way; answers travel on the streams that the other side's transport opens.
class PeerReactor final : public grpc::ServerBidiReactor<v1::PeerBatch, v1::PeerBatchAck> {
 public:
  explicit PeerReactor(std::shared_ptr<GrpcCore> core) : core_(std::move(core)) {
    StartRead(&read_);
  }
  void OnReadDone(bool ok) override {
    if (!ok) {
      Finish(grpc::Status::OK);
      return;
    }
    core_->env.executor.Post(
        [this, core = core_, unread = unread_, batch = std::move(read_)]() mutable {
          if (!core->closed) core->transport.Receive(std::move(batch));
          // Reading had stopped: no read is outstanding that could have ended the stream, so the
          // reactor is still there.
          if (unread->Handled()) StartRead(&read_);
        });
    if (unread_->Arrived()) StartRead(&read_);
  }
  void OnDone() override { delete this; }

 private:
  std::shared_ptr<GrpcCore> core_;
  std::shared_ptr<UnreadBatches> unread_ = std::make_shared<UnreadBatches>();
  v1::PeerBatch read_;
};

}  // namespace

GrpcCore::GrpcCore(Env& e, Node& n, GrpcTransport& t)
    : env(e),
      node(n),
      transport(t),
      calls(e.metrics.GetCounter("quorate_calls_total", "Requests received on call streams")),
      overloaded(e.metrics.GetCounter("quorate_calls_overloaded_total",
                                      "Requests refused: too many in flight on this node")),
      cut_streams(e.metrics.GetCounter("quorate_call_streams_cut_total",
                                       "Call streams ended because answers were not read")),
      scope(e.executor) {}

grpc::ServerBidiReactor<v1::CallBatch, v1::CallBatch>* NodeService::Calls(
    grpc::CallbackServerContext*) {
  return new CallsReactor(core_);
}
grpc::ServerBidiReactor<v1::PeerBatch, v1::PeerBatchAck>* NodeService::Raft(
    grpc::CallbackServerContext*) {
  return new PeerReactor(core_);
}
grpc::ServerBidiReactor<v1::PeerBatch, v1::PeerBatchAck>* NodeService::Bulk(
    grpc::CallbackServerContext*) {
  return new PeerReactor(core_);
}

}  // namespace quorate::server
