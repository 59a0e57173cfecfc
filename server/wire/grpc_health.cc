#include "server/wire/grpc_health.h"

#include <algorithm>
#include <optional>

#include "server/wire/grpc_unary.h"

namespace quorate::server {

namespace health = grpc::health::v1;
using Check = UnaryCall<health::HealthCheckRequest, health::HealthCheckResponse>;

// One Watch stream: sends the status, and again whenever it is another. Owns itself.
class HealthService::Watcher {
 public:
  static void Accept(HealthService* owner) {
    if (owner->core_->closed) return;
    auto* watcher = new Watcher(owner);
    watcher->Begin();
    watcher->context_.AsyncNotifyWhenDone(&watcher->done_);
    owner->service_.Accept("Watch", &watcher->context_, &watcher->stream_, owner->core_->hub.queue,
                           &watcher->accept_);
  }

  void Send() {
    const Response::ServingStatus status = owner_->StatusOf(request_.service());
    if (writing_ || ended_ || sent_ == status) return;
    sent_ = status;
    writing_ = true;
    Response response;
    response.set_status(status);
    Begin();
    stream_.Write(response, &write_);
  }

 private:
  explicit Watcher(HealthService* owner) : owner_(owner), core_(owner->core_) {}

  void Begin() { ++operations_; }
  void End() {
    if (--operations_ == 0) delete this;
  }
  void OnAccepted(bool ok) {
    if (ok) {
      Begin();  // OnDone will come
      Accept(owner_);
      arriving_.Begin(&core_->arriving, context_.peer(), [this] {
        core_->cut_requests.Add();
        context_.TryCancel();
      });
      Begin();
      stream_.Read(&request_, &read_);
    }
    End();
  }
  void OnRead(bool ok) {
    arriving_.Whole();
    if (ok && !ended_) {
      owner_->watchers_.push_back(this);
      Send();
    } else if (!ended_) {
      context_.TryCancel();
    }
    End();
  }
  void OnWritten(bool ok) {
    writing_ = false;
    if (ended_) {
      Finish();
    } else if (ok) {
      Send();
    }
    End();
  }
  // The client went away, or the server cancels its calls to shut down.
  void OnDone(bool) {
    ended_ = true;
    std::erase(owner_->watchers_, this);
    if (!writing_) Finish();
    End();
  }
  void Finish() {
    Begin();
    stream_.Finish(grpc::Status::OK, &finish_);
  }
  void OnFinished(bool) { End(); }

  HealthService* const owner_;
  const std::shared_ptr<GrpcCore> core_;
  const std::shared_ptr<void> alive_ = core_->alive;
  grpc::ServerContext context_;
  health::HealthCheckRequest request_;
  grpc::ServerAsyncReaderWriter<Response, health::HealthCheckRequest> stream_{&context_};
  ArrivingRequests::Request arriving_;
  std::optional<Response::ServingStatus> sent_;
  bool writing_ = false;
  bool ended_ = false;
  int operations_ = 0;
  client::GrpcOperation<Watcher, &Watcher::OnAccepted> accept_{this};
  client::GrpcOperation<Watcher, &Watcher::OnRead> read_{this};
  client::GrpcOperation<Watcher, &Watcher::OnWritten> write_{this};
  client::GrpcOperation<Watcher, &Watcher::OnDone> done_{this};
  client::GrpcOperation<Watcher, &Watcher::OnFinished> finish_{this};
};

HealthService::Response::ServingStatus HealthService::StatusOf(const std::string& service) const {
  if (!service.empty() && std::ranges::find(services_, service) == services_.end()) {
    return Response::SERVICE_UNKNOWN;
  }
  return serving_ ? Response::SERVING : Response::NOT_SERVING;
}

void HealthService::Serve() {
  Check::Serve(
      core_, &service_, "Check", [this](health::HealthCheckRequest request, Check::Answer answer) {
        Response response;
        response.set_status(StatusOf(request.service()));
        if (response.status() == Response::SERVICE_UNKNOWN) {
          answer.Done(Response(), grpc::Status(grpc::StatusCode::NOT_FOUND,
                                               "no service '" + request.service() + "' here"));
        } else {
          answer.Done(std::move(response));
        }
      });
  Watcher::Accept(this);
}

void HealthService::SetServing(bool serving) {
  serving_ = serving;
  for (Watcher* watcher : watchers_) watcher->Send();
}

}  // namespace quorate::server
