#include "tests/schema/protos.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/text_format.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "base/check.h"
#include "schema/plan.h"

namespace quorate::schema {
namespace {

namespace pb = google::protobuf;
namespace fs = std::filesystem;

// One per process, gone with it.
const fs::path& Folder() {
  static const struct Made {
    Made() {
      std::string name = (fs::temp_directory_path() / "quorate_protos_XXXXXX").string();
      CHECK(mkdtemp(name.data()) != nullptr);
      path = name;
    }
    ~Made() { fs::remove_all(path); }
    fs::path path;
  } made;
  return made.path;
}

std::string ReadAll(const fs::path& path) {
  std::stringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

}  // namespace

std::string FileSetOf(std::string_view proto_text, const std::string& file) {
  static std::map<std::pair<std::string, std::string>, std::string> known;
  const auto [at, is_new] = known.try_emplace({std::string(proto_text), file});
  if (!is_new) return at->second;
  std::ofstream(Folder() / file, std::ios::binary) << proto_text;
  const std::string command = fmt::format(
      "{0} -I{1} -I{2} --include_imports --descriptor_set_out={1}/set {1}/{3} 2>{1}/errors",
      QUORATE_PROTOC, Folder().string(), QUORATE_PROTO_DIR, file);
  const int code = std::system(command.c_str());
  CHECK(code == 0, "{}\n{}", ReadAll(Folder() / "errors"), proto_text);
  return at->second = ReadAll(Folder() / "set");
}

std::string Proto3(std::string_view body) {
  return fmt::format("syntax = \"proto3\";\npackage shop;\nimport \"quorate/options.proto\";\n{}",
                     body);
}
std::string Proto2(std::string_view body) {
  return fmt::format("syntax = \"proto2\";\npackage shop;\nimport \"quorate/options.proto\";\n{}",
                     body);
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
