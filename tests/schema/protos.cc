#include "tests/schema/protos.h"

#include <google/protobuf/compiler/parser.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/descriptor_database.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/text_format.h>

#include <set>

#include "base/check.h"
#include "quorate/options.pb.h"
#include "schema/plan.h"

namespace quorate::schema {
namespace {

namespace pb = google::protobuf;

class Errors : public pb::io::ErrorCollector, public pb::DescriptorPool::ErrorCollector {
 public:
  void AddError(int line, int column, const std::string& message) override {
    text += fmt::format("{}:{}: {}\n", line + 1, column + 1, message);
  }
  void AddError(const std::string& file, const std::string& element, const pb::Message*,
                ErrorLocation, const std::string& message) override {
    text += fmt::format("{}: {}: {}\n", file, element, message);
  }
  std::string text;
};

void Add(const pb::FileDescriptor& file, std::set<std::string>* seen, pb::FileDescriptorSet* set) {
  if (!seen->insert(file.name()).second) return;
  for (int i = 0; i < file.dependency_count(); ++i) Add(*file.dependency(i), seen, set);
  file.CopyTo(set->add_file());
  file.CopyJsonNameTo(set->mutable_file(set->file_size() - 1));
}

}  // namespace

std::string FileSetOf(std::string_view proto_text, const std::string& file) {
  // Linked in, so that the pool of the program has its descriptor.
  CHECK(quorate::TableOptions::descriptor() != nullptr);
  Errors errors;
  pb::io::ArrayInputStream input(proto_text.data(), static_cast<int>(proto_text.size()));
  pb::io::Tokenizer tokens(&input, &errors);
  pb::compiler::Parser parser;
  parser.RecordErrorsTo(&errors);
  pb::FileDescriptorProto proto;
  const bool parsed = parser.Parse(&tokens, &proto);
  CHECK(parsed && errors.text.empty(), "{}", errors.text);
  proto.set_name(file);
  pb::SimpleDescriptorDatabase own;
  own.Add(proto);
  pb::DescriptorPoolDatabase ours(*pb::DescriptorPool::generated_pool());
  pb::MergedDescriptorDatabase both(&own, &ours);
  pb::DescriptorPool pool(&both, &errors);
  const pb::FileDescriptor* built = pool.FindFileByName(file);
  CHECK(built != nullptr, "{}", errors.text);
  pb::FileDescriptorSet set;
  std::set<std::string> seen;
  Add(*built, &seen, &set);
  return set.SerializeAsString();
}

std::string Proto3(std::string_view body) {
  return fmt::format(
      "syntax = \"proto3\";\npackage shop;\nimport \"quorate/options.proto\";\n{}", body);
}
std::string Proto2(std::string_view body) {
  return fmt::format(
      "syntax = \"proto2\";\npackage shop;\nimport \"quorate/options.proto\";\n{}", body);
}

v1::TableDescriptor TableOf(std::string_view proto_text) {
  const Compiled compiled = Compile(FileSetOf(proto_text));
  CHECK(compiled.problems.empty(), "{}", compiled.problems.list().front().ToString());
  const auto catalog = Finished(v1::Catalog(), MakePlan(v1::Catalog(), compiled));
  CHECK(catalog.ok() && catalog->tables_size() == 1);
  return catalog->tables(0);
}

RowCodec CodecOf(const v1::TableDescriptor& table) {
  auto codec = RowCodec::Make(table);
  CHECK(codec.ok(), "{}", codec.status().message());
  return std::move(codec).value();
}
RowCodec CodecOf(std::string_view proto_text) { return CodecOf(TableOf(proto_text)); }

Rows::Rows(const v1::TableDescriptor& table)
    : pool_(std::make_unique<pb::DescriptorPool>()),
      factory_(std::make_unique<pb::DynamicMessageFactory>(pool_.get())),
      message_(table.message()) {
  pb::FileDescriptorSet set;
  CHECK(set.ParseFromString(table.files()));
  for (int left = set.file_size(); left > 0; --left) {
    for (const auto& file : set.file()) {
      if (pool_->FindFileByName(file.name()) != nullptr) continue;
      bool ready = true;
      for (const auto& import : file.dependency()) {
        ready &= pool_->FindFileByName(import) != nullptr;
      }
      if (ready) CHECK(pool_->BuildFile(file) != nullptr);
    }
  }
}
Rows::~Rows() = default;

std::unique_ptr<pb::Message> Rows::New() const {
  const pb::Descriptor* descriptor = pool_->FindMessageTypeByName(message_);
  CHECK(descriptor != nullptr);
  return std::unique_ptr<pb::Message>(factory_->GetPrototype(descriptor)->New());
}
std::unique_ptr<pb::Message> Rows::Parse(std::string_view bytes) const {
  auto message = New();
  CHECK(message->ParsePartialFromString(std::string(bytes)));
  return message;
}
std::string Rows::Bytes(std::string_view text) const {
  auto message = New();
  CHECK(pb::TextFormat::ParseFromString(std::string(text), message.get()), "{}", text);
  return message->SerializePartialAsString();
}

}  // namespace quorate::schema
