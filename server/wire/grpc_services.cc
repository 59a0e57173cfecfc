#include "server/wire/grpc_services.h"

#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <atomic>
#include <thread>
#include <utility>

#include "base/limits.h"
#include "base/status_macros.h"
#include "client/route/grpc_socket.h"
#include "quorate/v1/client.grpc.pb.h"
#include "server/node/public_api.h"
#include "server/wire/grpc_health.h"
#include "server/wire/grpc_hub.h"
#include "server/wire/grpc_methods.h"
#include "server/wire/grpc_options.h"
#include "server/wire/grpc_reflection.h"
#include "server/wire/grpc_scan.h"
#include "server/wire/grpc_streams.h"
#include "server/wire/grpc_unary.h"
#include "server/wire/listener.h"

namespace quorate::server {
namespace {

constexpr auto kShutdownGrace = std::chrono::milliseconds(300);
// A connection that says nothing that is HTTP/2, and one that has no call.
constexpr int kHandshakeMs = 10'000;
constexpr int kIdleMs = 300'000;
// For the answer to a ping. A peer that is gone is noticed sooner by those who dial it; a client,
// or this node, that is only busy must not lose calls whose outcome it would then have to ask for.
constexpr int kPingAnswerMs = 20'000;
// In one turn of the executor; each takes it a fraction of a millisecond.
constexpr int kArrivingMax = 16;

template <class Request, class Response>
using Method = Task<Response> (PublicApi::*)(Request request, PublicCall call);

template <class Request, class Response>
Task<void> RunCall(PublicApi* api, Method<Request, Response> method, Request request,
                   typename UnaryCall<Request, Response>::Answer answer) {
  answer.Done(co_await (api->*method)(std::move(request), answer.call()));
}

template <class Request, class Response>
void ServeMethod(const std::shared_ptr<GrpcCore>& core, PublicApi& api, GrpcMethods* service,
                 const char* name, Method<Request, Response> method) {
  UnaryCall<Request, Response>::Serve(
      core, service, name,
      [scope = &core->scope, api = &api, method](Request request, auto answer) {
        scope->Spawn(
            RunCall<Request, Response>(api, method, std::move(request), std::move(answer)));
      });
}

void ServePublic(const std::shared_ptr<GrpcCore>& core, PublicApi& api, GrpcMethods* service) {
  core->short_of_memory = [&api] { return api.held() > api.held_max() / 2; };
  ServeMethod(core, api, service, "Execute", &PublicApi::Execute);
  ServeMethod(core, api, service, "Begin", &PublicApi::Begin);
  ServeMethod(core, api, service, "Read", &PublicApi::Read);
  ServeMethod(core, api, service, "Scan", &PublicApi::Scan);
  ServeMethod(core, api, service, "Write", &PublicApi::Write);
  ServeMethod(core, api, service, "Commit", &PublicApi::Commit);
  ServeMethod(core, api, service, "Rollback", &PublicApi::Rollback);
  ServeMethod(core, api, service, "GetOutcome", &PublicApi::GetOutcome);
  ServeMethod(core, api, service, "Init", &PublicApi::Init);
  ServeMethod(core, api, service, "Status", &PublicApi::Status);
  ServeScanAll(core, api, service);
}

}  // namespace

struct GrpcServer::Rep {
  Rep(Env& env, GrpcHub& hub, Node& node, GrpcTransport& transport)
      : core(std::make_shared<GrpcCore>(env, hub, node, transport)),
        health(core, {v1::Quorate::service_full_name(), v1::Node::service_full_name()}) {}

  std::shared_ptr<GrpcCore> core;
  v1::Node::AsyncService node_service;
  GrpcMethods public_service{v1::Quorate::service_full_name()};
  grpc::reflection::v1alpha::ServerReflection::AsyncService reflection_service;
  HealthService health;
  // Takes a connection over from the listener, on the executor's thread.
  void Take(Descriptor connection) {
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters parameters;
    core->connections.Add(connection.get());
    parameters.fd = connection.Release();
    door->HandleNewConnection(&parameters);
  }

  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> door;
  std::unique_ptr<grpc::Server> server;
  std::atomic<int> arriving{0};  // connections that the executor has not seen yet
  std::unique_ptr<Listener> listener;
  std::thread shutdown;
};

GrpcServer::GrpcServer(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}

GrpcServer::~GrpcServer() {
  if (rep_->shutdown.joinable()) rep_->shutdown.join();
  const auto& core = *rep_->core;
  core.hub.loop.PollUntil([&core] { return core.alive.use_count() == 1; });
}

Result<std::unique_ptr<GrpcServer>> GrpcServer::Start(Env& env, GrpcHub& hub, Node& node,
                                                      PublicApi& api, GrpcTransport& transport,
                                                      const std::string& listen) {
  auto rep = std::make_unique<Rep>(env, hub, node, transport);
  ASSIGN_OR_RETURN(rep->listener, Listener::Open(env, listen));
  grpc::EnableDefaultHealthCheckService(false);
  grpc::ServerBuilder& builder = hub.builder;
  rep->door = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      grpc::InsecureServerCredentials());
  builder.RegisterService(&rep->node_service);
  builder.RegisterService(&rep->public_service);
  builder.RegisterService(&rep->reflection_service);
  builder.RegisterService(rep->health.service());
  // What gRPC itself holds of what has not arrived whole; beyond, it ends some of anybody's. Little
  // of it is left to clients (server/wire/arriving.h).
  grpc::ResourceQuota quota("quorate");
  quota.Resize(limits::kGrpcBytesMax);
  builder.SetResourceQuota(quota);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                             static_cast<int>(limits::kClientStreamsMax));
  builder.SetMaxReceiveMessageSize(limits::kFrameBytesMax);
  builder.SetMaxSendMessageSize(limits::kFrameBytesMax);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeMs);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kIdleMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, client::kStreamWindowBytes);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingAnswerMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kKeepaliveMs / 4);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  rep->server = builder.BuildAndStart();
  if (!rep->server) return Internal("gRPC cannot start a server");
  ServeNode(rep->core, &rep->node_service);
  ServePublic(rep->core, api, &rep->public_service);
  rep->health.Serve();
  ServeReflection(rep->core, &rep->reflection_service,
                  {v1::Quorate::service_full_name(), v1::Node::service_full_name(),
                   grpc::health::v1::Health::service_full_name(),
                   grpc::reflection::v1alpha::ServerReflection::service_full_name()});
  rep->listener->Start(
      [rep = rep.get()](Descriptor connection) {
        ++rep->arriving;
        rep->core->env.executor.Post([rep, connection = std::move(connection)]() mutable {
          --rep->arriving;
          if (!rep->core->closed) rep->Take(std::move(connection));
        });
      },
      [rep = rep.get()] { return rep->arriving >= kArrivingMax; });
  return std::unique_ptr<GrpcServer>(new GrpcServer(std::move(rep)));
}

Instant GrpcServer::deaf_since() const { return rep_->listener->deaf_since(); }

void GrpcServer::SetServing(bool serving) { rep_->health.SetServing(serving); }

void GrpcServer::Shutdown(std::function<void()> done) {
  rep_->listener->Stop();
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
