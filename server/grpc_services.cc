#include "server/grpc_services.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <algorithm>
#include <thread>

#include "base/limits.h"
#include "proto/client.grpc.pb.h"
#include "server/grpc_options.h"
#include "server/grpc_streams.h"
#include "server/public_api.h"

namespace quorate::server {
namespace {

constexpr auto kShutdownGrace = std::chrono::milliseconds(300);

// Ends the unary call it holds exactly once: with an answer, or, when the coroutine that was to
// make one is destroyed, with UNAVAILABLE.
class Finisher {
 public:
  explicit Finisher(grpc::ServerUnaryReactor* reactor) : reactor_(reactor) {}
  Finisher(Finisher&& o) noexcept : reactor_(std::exchange(o.reactor_, nullptr)) {}
  ~Finisher() {
    if (reactor_) {
      reactor_->Finish(grpc::Status(grpc::StatusCode::UNAVAILABLE,
                                    "the node is stopping: the outcome is unknown"));
    }
  }
  void Done() { std::exchange(reactor_, nullptr)->Finish(grpc::Status::OK); }

 private:
  grpc::ServerUnaryReactor* reactor_;
};

template <class Request, class Response>
using Method = Task<Response> (PublicApi::*)(Request request, Duration timeout);

template <class Request, class Response>
Task<void> Answer(PublicApi* api, Method<Request, Response> method, Request request,
                  Duration timeout, Response* response, Finisher finisher) {
  *response = co_await (api->*method)(std::move(request), timeout);
  finisher.Done();
}

Duration TimeLeft(const grpc::CallbackServerContext& context) {
  const auto left = context.deadline() - std::chrono::system_clock::now();
  return std::clamp<Duration>(left, Duration(0), limits::kRequestTimeoutMax);
}

class QuorateService final : public v1::Quorate::CallbackService {
 public:
  QuorateService(std::shared_ptr<GrpcCore> core, PublicApi& api)
      : core_(std::move(core)), api_(api) {}

// One unary call: decoded by gRPC's thread, answered on the executor's.
#define QUORATE_METHOD(name, Request, Response)                                                    \
  grpc::ServerUnaryReactor* name(grpc::CallbackServerContext* context, const v1::Request* request, \
                                 v1::Response* response) override {                                \
    return Run<v1::Request, v1::Response>(context, &PublicApi::name, request, response);           \
  }
  QUORATE_METHOD(Execute, ExecuteRequest, ExecuteResponse)
  QUORATE_METHOD(Begin, BeginRequest, BeginResponse)
  QUORATE_METHOD(Read, SessionReadRequest, SessionReadResponse)
  QUORATE_METHOD(Scan, SessionScanRequest, SessionScanResponse)
  QUORATE_METHOD(Write, SessionWriteRequest, SessionWriteResponse)
  QUORATE_METHOD(Commit, SessionCommitRequest, SessionCommitResponse)
  QUORATE_METHOD(Rollback, SessionRollbackRequest, SessionRollbackResponse)
  QUORATE_METHOD(GetOutcome, GetOutcomeRequest, GetOutcomeResponse)
  QUORATE_METHOD(Init, InitRequest, InitResponse)
  QUORATE_METHOD(Status, StatusRequest, StatusResponse)
#undef QUORATE_METHOD

 private:
  template <class Request, class Response>
  grpc::ServerUnaryReactor* Run(grpc::CallbackServerContext* context,
                                Method<Request, Response> method, const Request* request,
                                Response* response) {
    auto* reactor = context->DefaultReactor();
    const Duration timeout = TimeLeft(*context);
    core_->env.executor.Post([core = core_, api = &api_, method, request, timeout, response,
                              finisher = Finisher(reactor)]() mutable {
      if (core->closed) return;
      core->calls.Add();
      core->scope.Spawn(
          Answer<Request, Response>(api, method, *request, timeout, response, std::move(finisher)));
    });
    return reactor;
  }

  std::shared_ptr<GrpcCore> core_;
  PublicApi& api_;
};

}  // namespace

struct GrpcServer::Rep {
  Rep(Env& env, Node& node, PublicApi& api, GrpcTransport& transport)
      : core(std::make_shared<GrpcCore>(env, node, transport)),
        node_service(core),
        quorate_service(core, api) {}

  std::shared_ptr<GrpcCore> core;
  NodeService node_service;
  QuorateService quorate_service;
  std::unique_ptr<grpc::Server> server;
  std::thread shutdown;
};

GrpcServer::GrpcServer(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}

GrpcServer::~GrpcServer() {
  if (rep_->shutdown.joinable()) rep_->shutdown.join();
}

Result<std::unique_ptr<GrpcServer>> GrpcServer::Start(Env& env, Node& node, PublicApi& api,
                                                      GrpcTransport& transport,
                                                      const std::string& listen) {
  auto rep = std::make_unique<Rep>(env, node, api, transport);
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(listen, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&rep->node_service);
  builder.RegisterService(&rep->quorate_service);
  builder.SetMaxReceiveMessageSize(limits::kFrameBytesMax);
  builder.SetMaxSendMessageSize(limits::kFrameBytesMax);
  // A second process on the port is an error, not a sharer.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kKeepaliveMs / 4);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  // Reflection and health are gRPC's own synchronous services: two threads are plenty.
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, 2);
  rep->server = builder.BuildAndStart();
  if (!rep->server) {
    return quorate::Status(Code::kFailedPrecondition,
                           fmt::format("cannot listen on {}: the port is in use or the address is "
                                       "not of this host; choose another --listen",
                                       listen));
  }
  return std::unique_ptr<GrpcServer>(new GrpcServer(std::move(rep)));
}

void GrpcServer::SetServing(bool serving) {
  if (auto* health = rep_->server->GetHealthCheckService()) health->SetServingStatus(serving);
}

void GrpcServer::Shutdown(std::function<void()> done) {
  rep_->core->closed = true;
  rep_->core->scope.Clear();
  // gRPC's Shutdown waits for streams to end, and they end on the executor: hence a thread.
  rep_->shutdown = std::thread([server = rep_->server.get(), done = std::move(done),
                                executor = &rep_->core->env.executor]() mutable {
    server->Shutdown(std::chrono::system_clock::now() + kShutdownGrace);
    server->Wait();
    executor->Post([done = std::move(done)] { done(); });
  });
}

}  // namespace quorate::server
