// Descriptors that somebody else made, in a pool of their own. What is judged before protobuf
// builds anything: numbers and sizes of everything that is declared (schema/limits.h), and the
// syntax.
//
// The pool shares nothing with the program's own: a file of a service may have the name of one of
// ours. Files of protobuf itself (google/protobuf/...) and quorate/options.proto may be left out of
// a set; the program's own are then taken.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "schema/problem.h"

namespace google::protobuf {
class Descriptor;
class DescriptorPool;
class FileDescriptor;
}  // namespace google::protobuf

namespace quorate::schema {

class Descriptors {
 public:
  // Builds what `file_descriptor_set` (serialised, as protoc --descriptor_set_out
  // --include_imports writes it) declares. Null if it cannot be built, or not used at all; then
  // `problems` has why. Syntax: proto2 and proto3; editions are refused by name.
  static std::unique_ptr<Descriptors> Build(std::string_view file_descriptor_set,
                                            Problems* problems);
  ~Descriptors();

  // The files of the set, in its order.
  const std::vector<const google::protobuf::FileDescriptor*>& files() const { return files_; }
  // Null if there is none.
  const google::protobuf::Descriptor* FindMessage(const std::string& full_name) const;

 private:
  Descriptors();

  std::unique_ptr<google::protobuf::DescriptorPool> pool_;
  std::vector<const google::protobuf::FileDescriptor*> files_;
};

// What a row of this message consists of: the messages that its fields lead to, itself first, each
// once, in the order in which they are met. More than kReachedMax + 1 are not looked for.
std::vector<const google::protobuf::Descriptor*> Reached(const google::protobuf::Descriptor& root);

// A serialised FileDescriptorSet of what is reached and nothing else (TableDescriptor.files), which
// Build takes. Equal declarations need not be equal bytes: never compared.
std::string ReducedFiles(const std::vector<const google::protobuf::Descriptor*>& reached);

}  // namespace quorate::schema
