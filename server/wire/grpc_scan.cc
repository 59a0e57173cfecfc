#include "server/wire/grpc_scan.h"

#include <optional>
#include <utility>

#include "server/wire/grpc_unary.h"

namespace quorate::server {
namespace {

// One call, from waiting for it until gRPC has let go of it. Owns itself.
class ScanCall final : public PageSink {
 public:
  static void Accept(std::shared_ptr<GrpcCore> core, PublicApi* api, GrpcMethods* service) {
    if (core->closed) return;
    auto* scan = new ScanCall(std::move(core), api, service);
    scan->Begin();
    scan->context_.AsyncNotifyWhenDone(&scan->gone_);
    service->Accept("ScanAll", &scan->context_, &scan->stream_, scan->core_->hub.queue,
                    &scan->accept_);
  }

  Task<bool> Write(v1::ScanAllResponse page) override {
    if (writing_ || call_.gone->set()) co_return false;
    if (page.error().code() == v1::OVERLOADED) core_->overloaded.Add();
    writing_ = true;
    Begin();
    const Promise<bool> left(core_->env.executor);
    left_ = left;
    stream_.Write(page, &write_);  // serialised here
    page = v1::ScanAllResponse();
    unread_.Begin(&core_->unread, [this] { context_.TryCancel(); });
    co_return co_await left.future();
  }

 private:
  // Ends the call with its run, whichever way that ends.
  class Ending {
   public:
    explicit Ending(ScanCall* scan) : scan_(scan) {}
    Ending(const Ending&) = delete;
    ~Ending() {
      scan_->Finish(done_ ? grpc::Status::OK
                          : grpc::Status(grpc::StatusCode::UNAVAILABLE, "the node is stopping"));
    }
    void Done() { done_ = true; }

   private:
    ScanCall* scan_;
    bool done_ = false;
  };

  ScanCall(std::shared_ptr<GrpcCore> core, PublicApi* api, GrpcMethods* service)
      : core_(std::move(core)), api_(api), service_(service) {}

  static Task<void> Run(ScanCall* scan, std::unique_ptr<Ending> ending) {
    co_await scan->api_->ScanAll(std::move(scan->request_), scan->call_, scan);
    ending->Done();
  }

  void Begin() { ++operations_; }
  void End() {
    if (--operations_ == 0) delete this;
  }
  void OnAccepted(bool ok) {
    if (ok) {
      Begin();  // OnGone will come,
      Begin();  // and OnFinished, as every run ends
      Accept(core_, api_, service_);
      Accepted();
    }
    End();
  }
  void Accepted() {
    call_.client = context_.peer();
    core_->calls.Add();
    if (place_.Open(core_->places, call_.client); !place_.Grow(1)) {
      core_->overloaded.Add();
      Finish(TooManyCalls(&context_));
      return;
    }
    arriving_.Begin(&core_->arriving, call_.client, [this] {
      core_->cut_requests.Add();
      Finish(TooMuchArriving(&context_));
    });
    Begin();
    stream_.Read(&request_, &read_);
  }
  void OnRead(bool ok) {
    arriving_.Whole();
    if (!ok && !ending_) {
      Finish(NoRequest());
    } else if (!ending_) {
      call_.timeout = TimeLeft(context_);
      auto ending = std::make_unique<Ending>(this);
      if (!core_->closed) core_->scope.Spawn(Run(this, std::move(ending)));
    }
    End();
  }
  void OnWritten(bool ok) {
    writing_ = false;
    unread_.Left();
    left_->Set(ok);
    if (ending_) Finish(*ending_);
    End();
  }
  // Behind the write under way; what nobody reads would hold the end back for good.
  void Finish(grpc::Status status) {
    ending_ = std::move(status);
    if (writing_) {
      context_.TryCancel();
      return;
    }
    stream_.Finish(*ending_, &finish_);
    unread_.Begin(&core_->unread, [this] { context_.TryCancel(); });
  }
  void OnFinished(bool) {
    unread_.Left();
    place_.Clear();
    End();
  }
  void OnGone(bool) {
    if (context_.IsCancelled()) call_.gone->Set();
    End();
  }

  const std::shared_ptr<GrpcCore> core_;
  const std::shared_ptr<void> alive_ = core_->alive;
  PublicApi* const api_;
  GrpcMethods* const service_;
  grpc::ServerContext context_;
  v1::ScanAllRequest request_;
  grpc::ServerAsyncReaderWriter<v1::ScanAllResponse, v1::ScanAllRequest> stream_{&context_};
  PublicCall call_{Duration(0)};
  Holding place_;
  ArrivingRequests::Request arriving_;
  UnreadAnswers::Answer unread_;
  std::optional<Promise<bool>> left_;
  std::optional<grpc::Status> ending_;
  bool writing_ = false;
  int operations_ = 0;
  client::GrpcOperation<ScanCall, &ScanCall::OnAccepted> accept_{this};
  client::GrpcOperation<ScanCall, &ScanCall::OnRead> read_{this};
  client::GrpcOperation<ScanCall, &ScanCall::OnWritten> write_{this};
  client::GrpcOperation<ScanCall, &ScanCall::OnFinished> finish_{this};
  client::GrpcOperation<ScanCall, &ScanCall::OnGone> gone_{this};
};

}  // namespace

void ServeScanAll(std::shared_ptr<GrpcCore> core, PublicApi& api, GrpcMethods* service) {
  ScanCall::Accept(std::move(core), &api, service);
}

}  // namespace quorate::server
