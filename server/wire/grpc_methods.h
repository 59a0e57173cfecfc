// A gRPC service whose requests are read by whoever accepts the call. gRPC takes the request of a
// unary method in before anybody hears of the call, and of all calls as much as it has room for;
// here a call is accepted when it begins (server/wire/arriving.h). Clients cannot tell.
#pragma once

#include <google/protobuf/descriptor.h>
#include <grpcpp/impl/rpc_service_method.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/server_context.h>

#include <list>
#include <string>

#include "base/check.h"

namespace quorate::server {

class GrpcMethods final : public grpc::Service {
 public:
  // `service`: its full name.
  explicit GrpcMethods(const char* service)
      : service_(google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(service)) {
    CHECK(service_ != nullptr, "no such service");
    for (int i = 0; i < service_->method_count(); ++i) {
      const auto* method = service_->method(i);
      const std::string& path =
          paths_.emplace_back("/" + service_->full_name() + "/" + method->name());
      AddMethod(new grpc::internal::RpcServiceMethod(
          path.c_str(),
          method->server_streaming() ? grpc::internal::RpcMethod::BIDI_STREAMING
                                     : grpc::internal::RpcMethod::CLIENT_STREAMING,
          nullptr));
      MarkMethodAsync(i);
    }
  }

  // Waits for the next call of `method`. `rpc`: a ServerAsyncReader, or, of a method with many
  // answers, a ServerAsyncReaderWriter.
  void Accept(const char* method, grpc::ServerContext* context,
              grpc::internal::ServerAsyncStreamingInterface* rpc,
              grpc::ServerCompletionQueue* queue, void* tag) {
    const auto* found = service_->FindMethodByName(method);
    CHECK(found != nullptr, "no such method");
    if (found->server_streaming()) {
      RequestAsyncBidiStreaming(found->index(), context, rpc, queue, queue, tag);
    } else {
      RequestAsyncClientStreaming(found->index(), context, rpc, queue, queue, tag);
    }
  }

 private:
  const google::protobuf::ServiceDescriptor* const service_;
  std::list<std::string> paths_;  // gRPC keeps the pointers
};

}  // namespace quorate::server
