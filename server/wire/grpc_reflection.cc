#include "server/wire/grpc_reflection.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <deque>
#include <set>
#include <utility>

namespace quorate::server {

namespace reflection = grpc::reflection::v1alpha;
using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using Request = reflection::ServerReflectionRequest;
using Response = reflection::ServerReflectionResponse;

namespace {

void NotFound(Response* response) {
  response->mutable_error_response()->set_error_code(grpc::StatusCode::NOT_FOUND);
  response->mutable_error_response()->set_error_message("not found");
}

void AddFile(const FileDescriptor* file, std::set<const FileDescriptor*>* seen,
             reflection::FileDescriptorResponse* files) {
  if (!seen->insert(file).second) return;
  google::protobuf::FileDescriptorProto proto;
  file->CopyTo(&proto);
  proto.SerializeToString(files->add_file_descriptor_proto());
  for (int i = 0; i < file->dependency_count(); ++i) AddFile(file->dependency(i), seen, files);
}

void GiveFile(const FileDescriptor* file, Response* response) {
  if (file == nullptr) return NotFound(response);
  std::set<const FileDescriptor*> seen;
  AddFile(file, &seen, response->mutable_file_descriptor_response());
}

// One reflection stream: an answer to each request, in order. Deletes itself at its end.
class ReflectionStream final : public client::GrpcStreamUser<Request> {
 public:
  using Stream = client::ServerStream<Request, Response>;

  ReflectionStream(Stream* stream, std::vector<std::string> services)
      : stream_(stream), services_(std::move(services)) {}

  void OnMessage(Request request) override {
    if (waiting_.size() == kWaitingMax) {
      stream_->Drop(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "answers are not read"));
      delete this;
      return;
    }
    waiting_.push_back(std::move(request));
    OnWritable();
  }
  void OnWritable() override {
    if (waiting_.empty() || !stream_->writable()) return;
    Response response = Reflect(waiting_.front(), services_);
    waiting_.pop_front();
    stream_->Write(std::move(response));
  }
  void OnEnd(const grpc::Status&) override { delete this; }

 private:
  static constexpr size_t kWaitingMax = 1000;

  Stream* const stream_;
  const std::vector<std::string> services_;
  std::deque<Request> waiting_;
};

}  // namespace

Response Reflect(const Request& request, const std::vector<std::string>& services) {
  const DescriptorPool* pool = DescriptorPool::generated_pool();
  Response response;
  response.set_valid_host(request.host());
  *response.mutable_original_request() = request;
  switch (request.message_request_case()) {
    case Request::kFileByFilename:
      GiveFile(pool->FindFileByName(request.file_by_filename()), &response);
      break;
    case Request::kFileContainingSymbol:
      GiveFile(pool->FindFileContainingSymbol(request.file_containing_symbol()), &response);
      break;
    case Request::kFileContainingExtension: {
      const auto& asked = request.file_containing_extension();
      const Descriptor* type = pool->FindMessageTypeByName(asked.containing_type());
      const FieldDescriptor* field =
          type == nullptr ? nullptr : pool->FindExtensionByNumber(type, asked.extension_number());
      GiveFile(field == nullptr ? nullptr : field->file(), &response);
      break;
    }
    case Request::kAllExtensionNumbersOfType: {
      const std::string& name = request.all_extension_numbers_of_type();
      const Descriptor* type = pool->FindMessageTypeByName(name);
      if (type == nullptr) {
        NotFound(&response);
        break;
      }
      auto* numbers = response.mutable_all_extension_numbers_response();
      numbers->set_base_type_name(name);
      std::vector<const FieldDescriptor*> extensions;
      pool->FindAllExtensions(type, &extensions);
      for (const FieldDescriptor* extension : extensions) {
        numbers->add_extension_number(extension->number());
      }
      break;
    }
    case Request::kListServices:
      for (const std::string& name : services) {
        response.mutable_list_services_response()->add_service()->set_name(name);
      }
      break;
    case Request::MESSAGE_REQUEST_NOT_SET:
      response.mutable_error_response()->set_error_code(grpc::StatusCode::INVALID_ARGUMENT);
      response.mutable_error_response()->set_error_message("a request without a question");
      break;
  }
  return response;
}

void ServeReflection(std::shared_ptr<GrpcCore> core,
                     reflection::ServerReflection::AsyncService* service,
                     std::vector<std::string> services) {
  AcceptStreams<Request, Response>(
      std::move(core),
      [service](auto* context, auto* rpc, auto* queue, void* tag) {
        service->RequestServerReflectionInfo(context, rpc, queue, queue, tag);
      },
      [services = std::move(services)](const std::shared_ptr<GrpcCore>&,
                                       ReflectionStream::Stream* stream) {
        return new ReflectionStream(stream, services);
      });
}

}  // namespace quorate::server
