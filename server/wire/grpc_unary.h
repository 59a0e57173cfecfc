// Unary calls of a gRPC service on the node's loop. See grpc_services.h.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/async_unary_call.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

#include "base/limits.h"
#include "server/wire/grpc_streams.h"

namespace quorate::server {

// One unary call, from waiting for it until gRPC has sent the answer. Owns itself.
template <class Request, class Response>
class UnaryCall {
 public:
  using Writer = grpc::ServerAsyncResponseWriter<Response>;
  // A service's Request of the method.
  using Listen = std::function<void(grpc::ServerContext*, Request*, Writer*,
                                    grpc::ServerCompletionQueue* queue, void* tag)>;

  // Answers exactly once: with Done or, destroyed before that, with UNAVAILABLE.
  class Answer {
   public:
    explicit Answer(UnaryCall* call) : call_(call) {}
    Answer(Answer&& o) noexcept : call_(std::exchange(o.call_, nullptr)) {}
    ~Answer() {
      if (call_ == nullptr) return;
      call_->Finish(Response(), grpc::Status(grpc::StatusCode::UNAVAILABLE,
                                             "the node is stopping: the outcome is unknown"));
    }
    void Done(Response response, const grpc::Status& status = grpc::Status::OK) {
      std::exchange(call_, nullptr)->Finish(std::move(response), status);
    }

   private:
    UnaryCall* call_;
  };
  // Takes over a call that came; it has to answer before its time is over.
  using Handle = std::function<void(Request request, Duration timeout, Answer answer)>;

  // Takes calls, one after the other, until the server shuts down.
  static void Serve(std::shared_ptr<GrpcCore> core, Listen listen, Handle handle) {
    if (core->closed) return;
    auto* call = new UnaryCall(std::move(core), std::move(listen), std::move(handle));
    call->listen_(&call->context_, &call->request_, &call->writer_, call->core_->hub.queue,
                  &call->accept_);
  }

 private:
  UnaryCall(std::shared_ptr<GrpcCore> core, Listen listen, Handle handle)
      : core_(std::move(core)),
        alive_(core_->alive),
        listen_(std::move(listen)),
        handle_(std::move(handle)) {}

  void OnAccepted(bool ok) {
    if (!ok) {
      delete this;
      return;
    }
    Serve(core_, listen_, handle_);
    const auto left = context_.deadline() - std::chrono::system_clock::now();
    const Duration timeout = std::clamp<Duration>(left, Duration(0), limits::kRequestTimeoutMax);
    Answer answer(this);
    if (core_->closed) return;
    core_->calls.Add();
    handle_(std::move(request_), timeout, std::move(answer));
  }
  void Finish(Response response, const grpc::Status& status) {
    response_ = std::move(response);
    if (status.ok()) {
      writer_.Finish(response_, status, &finish_);
    } else {
      writer_.FinishWithError(status, &finish_);
    }
  }
  void OnFinished(bool) { delete this; }

  const std::shared_ptr<GrpcCore> core_;
  const std::shared_ptr<void> alive_;
  const Listen listen_;
  const Handle handle_;
  grpc::ServerContext context_;
  Writer writer_{&context_};
  Request request_;
  Response response_;
  client::GrpcOperation<UnaryCall, &UnaryCall::OnAccepted> accept_{this};
  client::GrpcOperation<UnaryCall, &UnaryCall::OnFinished> finish_{this};
};

}  // namespace quorate::server
