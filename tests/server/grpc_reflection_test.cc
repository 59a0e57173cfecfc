// What reflection answers about the services of a node. That it is served is a test of
// tests/integration.
#include "server/wire/grpc_reflection.h"

#include <google/protobuf/descriptor.pb.h>
#include <gtest/gtest.h>

#include <set>

#include "quorate/v1/rpc.pb.h"

namespace quorate::server {
namespace {

using Request = grpc::reflection::v1alpha::ServerReflectionRequest;
using Response = grpc::reflection::v1alpha::ServerReflectionResponse;

std::set<std::string> Files(const Response& response) {
  std::set<std::string> names;
  for (const std::string& bytes : response.file_descriptor_response().file_descriptor_proto()) {
    google::protobuf::FileDescriptorProto file;
    EXPECT_TRUE(file.ParseFromString(bytes));
    EXPECT_TRUE(names.insert(file.name()).second) << file.name() << " twice";
  }
  return names;
}

TEST(Reflection, ListsTheServicesItIsGiven) {
  Request request;
  request.set_host("h");
  request.set_list_services("*");
  const Response response = Reflect(request, {"a.B", "c.D"});
  EXPECT_EQ(response.valid_host(), "h");
  EXPECT_EQ(response.original_request().list_services(), "*");
  ASSERT_EQ(response.list_services_response().service_size(), 2);
  EXPECT_EQ(response.list_services_response().service(1).name(), "c.D");
}

TEST(Reflection, AFileComesWithAllThatItImports) {
  Request request;
  const std::string name = v1::PeerBatchAck::descriptor()->file()->name();  // links it, too
  request.set_file_containing_symbol("quorate.v1.Node");
  const std::set<std::string> files = Files(Reflect(request, {}));
  EXPECT_TRUE(files.contains(name));
  EXPECT_TRUE(files.contains("quorate/v1/txn.proto"));
  request.set_file_by_filename(name);
  EXPECT_EQ(Files(Reflect(request, {})), files);
}

TEST(Reflection, FindsExtensions) {
  Request request;
  request.set_all_extension_numbers_of_type("quorate.v1.Call");
  const Response numbers = Reflect(request, {});
  EXPECT_EQ(numbers.all_extension_numbers_response().base_type_name(), "quorate.v1.Call");
  EXPECT_EQ(numbers.all_extension_numbers_response().extension_number_size(), 0);
  auto* extension = request.mutable_file_containing_extension();
  extension->set_containing_type("quorate.v1.Call");
  extension->set_extension_number(1000);
  EXPECT_EQ(Reflect(request, {}).error_response().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST(Reflection, WhatIsUnknownIsAnErrorWithoutHarm) {
  Request request;
  EXPECT_EQ(Reflect(request, {}).error_response().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.set_file_by_filename("no/such.proto");
  EXPECT_EQ(Reflect(request, {}).error_response().error_code(), grpc::StatusCode::NOT_FOUND);
  request.set_file_containing_symbol("no.such.Symbol");
  EXPECT_EQ(Reflect(request, {}).error_response().error_code(), grpc::StatusCode::NOT_FOUND);
  request.set_all_extension_numbers_of_type("no.such.Type");
  EXPECT_EQ(Reflect(request, {}).error_response().error_code(), grpc::StatusCode::NOT_FOUND);
}

}  // namespace
}  // namespace quorate::server
