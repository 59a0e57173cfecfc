// Tables from the text of .proto files, as protoc would read them.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "quorate/v1/schema.pb.h"
#include "schema/compile.h"
#include "schema/row_codec.h"

namespace google::protobuf {
class DescriptorPool;
class DynamicMessageFactory;
class Message;
}  // namespace google::protobuf

namespace quorate::schema {

// A serialised FileDescriptorSet of the file and what it imports of ours and protobuf's, by protoc.
// A file that does not parse fails the test, with what protoc says.
std::string FileSetOf(std::string_view proto_text, const std::string& file = "test.proto");

// The first lines of most files: proto3, package shop, the imports.
std::string Proto3(std::string_view body);
std::string Proto2(std::string_view body);

// The only table of the file, as the catalog has it once it was created in an empty cluster.
v1::TableDescriptor TableOf(std::string_view proto_text);
RowCodec CodecOf(std::string_view proto_text);
RowCodec CodecOf(const v1::TableDescriptor& table);

// Rows as text ("id: 7 owner: \"x\"") in the wire format, by the descriptors of the table.
class Rows {
 public:
  explicit Rows(const v1::TableDescriptor& table);
  ~Rows();
  std::string Bytes(std::string_view text) const;
  std::unique_ptr<google::protobuf::Message> New() const;
  std::unique_ptr<google::protobuf::Message> Parse(std::string_view bytes) const;

 private:
  std::unique_ptr<google::protobuf::DescriptorPool> pool_;
  std::unique_ptr<google::protobuf::DynamicMessageFactory> factory_;
  std::string message_;
};

}  // namespace quorate::schema
