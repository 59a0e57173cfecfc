// Unary calls of a gRPC service on the node's loop. See grpc_services.h.
//
// A call is accepted when it begins, and its request read then (server/wire/arriving.h).
//
// A call that comes when its client has too many is refused by gRPC's own status, which needs no
// room: RESOURCE_EXHAUSTED, with the time to wait in grpc-retry-pushback-ms.
#pragma once

#include <fmt/format.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/async_stream.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "base/limits.h"
#include "server/node/public_call.h"
#include "server/wire/grpc_methods.h"
#include "server/wire/grpc_streams.h"

namespace quorate::server {

// What is left of a call's time.
inline Duration TimeLeft(const grpc::ServerContext& context) {
  const auto left = context.deadline() - std::chrono::system_clock::now();
  return std::clamp<Duration>(left, Duration(0), limits::kRequestTimeoutMax);
}

inline grpc::Status TooManyCalls(grpc::ServerContext* context) {
  const auto wait_ms = static_cast<long>(ToMillis(limits::kOverloadedRetry));
  context->AddTrailingMetadata("grpc-retry-pushback-ms", std::to_string(wait_ms));
  return {grpc::StatusCode::RESOURCE_EXHAUSTED,
          fmt::format("too many calls of this client are under way on this node: nothing was done; "
                      "retry after {} ms",
                      wait_ms)};
}

inline grpc::Status TooMuchArriving(grpc::ServerContext* context) {
  const auto wait_ms = static_cast<long>(ToMillis(limits::kOverloadedRetry));
  context->AddTrailingMetadata("grpc-retry-pushback-ms", std::to_string(wait_ms));
  return {grpc::StatusCode::RESOURCE_EXHAUSTED,
          "too much of requests that are not whole is waiting on this node, and of this client's "
          "the most, or this one took too long: nothing was done; send fewer large ones at once"};
}

// What gRPC itself says of a request that it cannot decode, or that is none.
inline grpc::Status NoRequest() { return {grpc::StatusCode::INTERNAL, "Unable to parse request"}; }

// One unary call, from waiting for it until gRPC has sent the answer. Owns itself.
template <class Request, class Response>
class UnaryCall {
 public:
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
    void Done(const Response& response, const grpc::Status& status = grpc::Status::OK) {
      std::exchange(call_, nullptr)->Finish(response, status);
    }
    // What handler and client need to know of each other.
    const PublicCall& call() const { return call_->call_; }

   private:
    UnaryCall* call_;
  };
  // Takes over a call that came; it has to answer before its time is over.
  using Handle = std::function<void(Request request, Answer answer)>;

  // Takes calls of `method`, one after the other, until the server shuts down.
  static void Serve(std::shared_ptr<GrpcCore> core, GrpcMethods* service, const char* method,
                    Handle handle) {
    if (core->closed) return;
    auto* call = new UnaryCall(std::move(core), service, method, std::move(handle));
    call->Begin();
    call->context_.AsyncNotifyWhenDone(&call->gone_);
    service->Accept(method, &call->context_, &call->reader_, call->core_->hub.queue,
                    &call->accept_);
  }

 private:
  UnaryCall(std::shared_ptr<GrpcCore> core, GrpcMethods* service, const char* method, Handle handle)
      : core_(std::move(core)),
        alive_(core_->alive),
        service_(service),
        method_(method),
        handle_(std::move(handle)) {}

  // Around every operation; the last End deletes the call.
  void Begin() { ++operations_; }
  void End() {
    if (--operations_ == 0) delete this;
  }
  void OnAccepted(bool ok) {
    if (ok) {
      Begin();  // OnGone will come,
      Begin();  // and OnFinished, as there is always an answer
      Serve(core_, service_, method_, handle_);
      Accepted();
    }
    End();
  }
  void Accepted() {
    call_.client = context_.peer();
    core_->calls.Add();
    if (place_.Open(core_->places, call_.client); !place_.Grow(1)) {
      core_->overloaded.Add();
      Finish(Response(), TooManyCalls(&context_));
      return;
    }
    arriving_.Begin(&core_->arriving, call_.client, [this] {
      core_->cut_requests.Add();
      given_up_ = true;
      Finish(Response(), TooMuchArriving(&context_));
    });
    Begin();
    reader_.Read(&request_, &read_);
  }
  void OnRead(bool ok) {
    arriving_.Whole();
    if (!ok && !given_up_) {
      Finish(Response(), NoRequest());
    } else if (!given_up_) {
      call_.timeout = TimeLeft(context_);
      Answer answer(this);
      if (!core_->closed) handle_(std::move(request_), std::move(answer));
    }
    End();
  }
  void Finish(const Response& response, const grpc::Status& status) {
    if constexpr (requires { response.error(); }) {
      if (response.error().code() == v1::OVERLOADED) core_->overloaded.Add();
    }
    // gRPC serialises it here; what is held for it from now on is that.
    if (status.ok()) {
      reader_.Finish(response, status, &finish_);
    } else {
      reader_.FinishWithError(status, &finish_);
    }
    unread_.Begin(&core_->unread, [this] { context_.TryCancel(); });
  }
  // The answer has left, or never will: what was held for it is free.
  void OnFinished(bool) {
    unread_.Left();
    call_.holding->Clear();
    call_.answer->Clear();
    place_.Clear();
    End();
  }
  // After the answer, or instead of it.
  void OnGone(bool) {
    if (context_.IsCancelled()) call_.gone->Set();
    End();
  }

  const std::shared_ptr<GrpcCore> core_;
  const std::shared_ptr<void> alive_;
  GrpcMethods* const service_;
  const char* const method_;
  const Handle handle_;
  grpc::ServerContext context_;
  grpc::ServerAsyncReader<Response, Request> reader_{&context_};
  Request request_;
  PublicCall call_{Duration(0)};
  Holding place_;
  ArrivingRequests::Request arriving_;
  bool given_up_ = false;  // before it was whole
  UnreadAnswers::Answer unread_;
  int operations_ = 0;
  client::GrpcOperation<UnaryCall, &UnaryCall::OnAccepted> accept_{this};
  client::GrpcOperation<UnaryCall, &UnaryCall::OnRead> read_{this};
  client::GrpcOperation<UnaryCall, &UnaryCall::OnFinished> finish_{this};
  client::GrpcOperation<UnaryCall, &UnaryCall::OnGone> gone_{this};
};

}  // namespace quorate::server
