#include "schema/descriptors.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <google/protobuf/stubs/logging.h>

#include <map>
#include <set>

#include "base/bytes.h"

namespace quorate::schema {
namespace {

namespace pb = google::protobuf;

// What protobuf says while it builds a file.
class Collector : public pb::DescriptorPool::ErrorCollector {
 public:
  explicit Collector(Problems* problems) : problems_(problems) {}
  void AddError(const std::string& file, const std::string& element, const pb::Message*,
                ErrorLocation, const std::string& message) override {
    problems_->Add({Printable(file, 200), Printable(element, 200), "", Printable(message, 400),
                    "make the set with protoc --include_imports --descriptor_set_out"});
  }

 private:
  Problems* problems_;
};

// Numbers of all that is declared, before anything is built from it.
class Judge {
 public:
  explicit Judge(Problems* problems) : problems_(problems) {}

  bool File(const pb::FileDescriptorProto& file) {
    name_ = Printable(file.name(), 200);
    if (!file.syntax().empty() && file.syntax() != "proto2" && file.syntax() != "proto3") {
      return Refuse("", fmt::format("its syntax is \"{}\"", Printable(file.syntax())),
                    "write syntax = \"proto3\" (or proto2): editions are not supported");
    }
    if (!Fits("", file.name().size()) || !Fits("", file.package().size())) return false;
    for (const pb::DescriptorProto& message : file.message_type()) {
      if (!Message(message, file.package().size(), 1)) return false;
    }
    return Enums(file.enum_type(), file.package().size());
  }

 private:
  bool Refuse(std::string_view message, std::string reason, std::string fix) {
    problems_->Add({name_, Printable(message, 200), "", std::move(reason), std::move(fix)});
    return false;
  }

  bool Count(size_t more) {
    declared_ += more;
    if (declared_ <= kMessagesMax) return true;
    return Refuse("", fmt::format("the set has more than {} messages and enums", kMessagesMax),
                  "leave out what the tables do not use");
  }

  // Each element below has its full name in memory.
  bool Fits(std::string_view message, size_t full_name_bytes) {
    if (full_name_bytes <= kFullNameBytesMax) return true;
    return Refuse(
        message,
        fmt::format("a full name of {} bytes, {} at most", full_name_bytes, kFullNameBytesMax),
        "give it a shorter name");
  }

  template <class List>
  bool Enums(const List& enums, size_t prefix) {
    for (const pb::EnumDescriptorProto& each : enums) {
      if (!Fits(each.name(), prefix + 1 + each.name().size())) return false;
      for (const pb::EnumValueDescriptorProto& value : each.value()) {
        if (!Fits(each.name(), prefix + 1 + value.name().size())) return false;
      }
    }
    return Count(static_cast<size_t>(enums.size()));
  }

  bool Message(const pb::DescriptorProto& message, size_t prefix, size_t depth) {
    const std::string& path = message.name();
    prefix += 1 + path.size();
    if (!Fits(path, prefix)) return false;
    for (const pb::FieldDescriptorProto& field : message.field()) {
      if (!Fits(path, prefix + 1 + field.name().size())) return false;
    }
    if (depth > kNestingMax) {
      return Refuse(path, fmt::format("messages inside each other, deeper than {}", kNestingMax),
                    "declare the inner ones beside it");
    }
    if (static_cast<size_t>(message.field_size()) > kFieldsMax) {
      return Refuse(path, fmt::format("{} fields, {} at most", message.field_size(), kFieldsMax),
                    "put some of them into a message of their own");
    }
    if (!Count(1) || !Enums(message.enum_type(), prefix)) return false;
    for (const pb::DescriptorProto& inner : message.nested_type()) {
      if (!Message(inner, prefix, depth + 1)) return false;
    }
    return true;
  }

  Problems* problems_;
  std::string name_;
  size_t declared_ = 0;
};

// Files that services need not send.
const pb::FileDescriptor* OwnFile(const std::string& name) {
  if (!name.starts_with("google/protobuf/") && name != "quorate/options.proto") return nullptr;
  return pb::DescriptorPool::generated_pool()->FindFileByName(name);
}

// The files of a set, and those of our own that they import, each before what imports it.
class Ordering {
 public:
  Ordering(const pb::FileDescriptorSet& set, Problems* problems) : problems_(problems) {
    for (const pb::FileDescriptorProto& file : set.file()) by_name_.emplace(file.name(), &file);
  }

  // Empty after a problem.
  std::vector<const pb::FileDescriptorProto*> All(const pb::FileDescriptorSet& set) {
    for (const pb::FileDescriptorProto& file : set.file()) {
      if (!AddOwn(file)) return {};
    }
    std::vector<const pb::FileDescriptorProto*> waiting;
    for (const auto& [name, file] : by_name_) waiting.push_back(file);
    while (!waiting.empty()) {
      std::vector<const pb::FileDescriptorProto*> still;
      for (const pb::FileDescriptorProto* file : waiting) {
        if (Ready(*file)) {
          done_.insert(file->name());
          ordered_.push_back(file);
        } else {
          still.push_back(file);
        }
      }
      if (still.size() == waiting.size()) {
        problems_->Add({Printable(still.front()->name(), 200), "", "",
                        "it imports itself, by a detour",
                        "files import each other in one direction"});
        return {};
      }
      waiting = std::move(still);
    }
    return std::move(ordered_);
  }

 private:
  // Whatever `file` imports is there, or is ours.
  bool AddOwn(const pb::FileDescriptorProto& file) {
    for (const std::string& import : file.dependency()) {
      if (by_name_.contains(import)) continue;
      const pb::FileDescriptor* own = OwnFile(import);
      if (own == nullptr) {
        problems_->Add({Printable(file.name(), 200), "", "",
                        fmt::format("it imports {}, which is not in the set", Printable(import)),
                        "make the set with protoc --include_imports"});
        return false;
      }
      auto copy = std::make_unique<pb::FileDescriptorProto>();
      own->CopyTo(copy.get());
      const pb::FileDescriptorProto& added = *copy;
      own_.push_back(std::move(copy));
      by_name_.emplace(import, &added);
      if (!AddOwn(added)) return false;
    }
    return true;
  }

  bool Ready(const pb::FileDescriptorProto& file) const {
    for (const std::string& import : file.dependency()) {
      if (!done_.contains(import)) return false;
    }
    return true;
  }

  Problems* problems_;
  std::map<std::string, const pb::FileDescriptorProto*> by_name_;
  std::vector<std::unique_ptr<pb::FileDescriptorProto>> own_;
  std::set<std::string> done_;
  std::vector<const pb::FileDescriptorProto*> ordered_;
};

// The declarations around what is reached, and nothing else.
class Reducer {
 public:
  explicit Reducer(const std::vector<const pb::Descriptor*>& reached) {
    for (const pb::Descriptor* message : reached) {
      reached_.insert(message);
      Keep(message);
      for (int i = 0; i < message->field_count(); ++i) {
        if (message->field(i)->enum_type() != nullptr) Keep(message->field(i)->enum_type());
        Import(*message->field(i));
      }
    }
  }

  std::string Files() const {
    pb::FileDescriptorSet set;
    for (const auto& [name, file] : files_) {
      pb::FileDescriptorProto* reduced = set.add_file();
      reduced->set_name(name);
      reduced->set_package(file->package());
      if (file->syntax() == pb::FileDescriptor::SYNTAX_PROTO3) reduced->set_syntax("proto3");
      if (const auto imports = imports_.find(file); imports != imports_.end()) {
        for (const std::string& import : imports->second) reduced->add_dependency(import);
      }
      for (int i = 0; i < file->message_type_count(); ++i) {
        if (kept_.contains(file->message_type(i))) {
          Reduce(*file->message_type(i), reduced->add_message_type());
        }
      }
      for (int i = 0; i < file->enum_type_count(); ++i) {
        if (kept_.contains(file->enum_type(i))) {
          Reduce(*file->enum_type(i), reduced->add_enum_type());
        }
      }
    }
    return set.SerializeAsString();
  }

 private:
  template <class Descriptor>
  void Keep(const Descriptor* descriptor) {
    files_.emplace(descriptor->file()->name(), descriptor->file());
    kept_.insert(descriptor);
    for (auto* around = descriptor->containing_type(); around != nullptr;
         around = around->containing_type()) {
      kept_.insert(around);
    }
  }

  void Import(const pb::FieldDescriptor& field) {
    const pb::FileDescriptor* other = field.file();
    if (field.message_type() != nullptr) other = field.message_type()->file();
    if (field.enum_type() != nullptr) other = field.enum_type()->file();
    if (other != field.file()) imports_[field.file()].insert(other->name());
  }

  static void Reduce(const pb::EnumDescriptor& descriptor, pb::EnumDescriptorProto* out) {
    descriptor.CopyTo(out);
    const bool alias = out->options().allow_alias();
    out->clear_options();
    if (alias) out->mutable_options()->set_allow_alias(true);
    for (auto& value : *out->mutable_value()) value.clear_options();
  }

  void Reduce(const pb::Descriptor& descriptor, pb::DescriptorProto* out) const {
    out->set_name(descriptor.name());
    if (reached_.contains(&descriptor)) {
      descriptor.CopyTo(out);
      out->clear_nested_type();
      out->clear_enum_type();
      out->clear_extension();
      const pb::MessageOptions options = out->options();
      out->clear_options();
      if (options.map_entry()) out->mutable_options()->set_map_entry(true);
      if (options.message_set_wire_format()) {
        out->mutable_options()->set_message_set_wire_format(true);
      }
      for (auto& range : *out->mutable_extension_range()) range.clear_options();
      for (auto& oneof : *out->mutable_oneof_decl()) oneof.clear_options();
      for (auto& field : *out->mutable_field()) {
        const pb::FieldOptions of_field = field.options();
        field.clear_options();
        if (of_field.has_packed()) field.mutable_options()->set_packed(of_field.packed());
      }
    }
    for (int i = 0; i < descriptor.nested_type_count(); ++i) {
      if (!kept_.contains(descriptor.nested_type(i))) continue;
      Reduce(*descriptor.nested_type(i), out->add_nested_type());
    }
    for (int i = 0; i < descriptor.enum_type_count(); ++i) {
      if (!kept_.contains(descriptor.enum_type(i))) continue;
      Reduce(*descriptor.enum_type(i), out->add_enum_type());
    }
  }

  std::set<const void*> reached_;  // never walked: only asked
  std::set<const void*> kept_;
  std::map<std::string, const pb::FileDescriptor*> files_;
  std::map<const pb::FileDescriptor*, std::set<std::string>> imports_;
};

}  // namespace

Descriptors::Descriptors() : pool_(std::make_unique<pb::DescriptorPool>()) {}
Descriptors::~Descriptors() = default;

std::unique_ptr<Descriptors> Descriptors::Build(std::string_view file_descriptor_set,
                                                Problems* problems) {
  const auto refuse = [&](std::string reason, std::string fix) {
    problems->Add({"", "", "", std::move(reason), std::move(fix)});
    return nullptr;
  };
  if (file_descriptor_set.size() > kFileSetBytesMax) {
    return refuse(fmt::format("the set has {} bytes, {} at most", file_descriptor_set.size(),
                              kFileSetBytesMax),
                  "leave out what the tables do not use");
  }
  // What is wrong is told in `problems`; what protobuf logs beside that, anybody could write.
  const pb::LogSilencer silencer;
  pb::FileDescriptorSet set;
  if (!set.ParseFromArray(file_descriptor_set.data(),
                          static_cast<int>(file_descriptor_set.size()))) {
    return refuse("it is no FileDescriptorSet", "make one with protoc --descriptor_set_out");
  }
  if (static_cast<size_t>(set.file_size()) > kFilesMax) {
    return refuse(fmt::format("the set has {} files, {} at most", set.file_size(), kFilesMax),
                  "leave out what the tables do not use");
  }
  Judge judge(problems);
  for (const pb::FileDescriptorProto& file : set.file()) {
    if (!judge.File(file)) return nullptr;
  }
  Ordering ordering(set, problems);
  std::unique_ptr<Descriptors> built(new Descriptors());
  Collector collector(problems);
  for (const pb::FileDescriptorProto* file : ordering.All(set)) {
    if (built->pool_->BuildFileCollectingErrors(*file, &collector) == nullptr) {
      if (problems->empty()) return refuse("a file cannot be built", "check it with protoc");
      return nullptr;
    }
  }
  if (!problems->empty()) return nullptr;
  std::set<std::string> seen;
  for (const pb::FileDescriptorProto& file : set.file()) {
    if (!seen.insert(file.name()).second) continue;
    built->files_.push_back(built->pool_->FindFileByName(file.name()));
  }
  return built;
}

const pb::Descriptor* Descriptors::FindMessage(const std::string& full_name) const {
  return pool_->FindMessageTypeByName(full_name);
}

std::vector<const pb::Descriptor*> Reached(const pb::Descriptor& root) {
  std::vector<const pb::Descriptor*> reached = {&root};
  std::set<const pb::Descriptor*> seen = {&root};
  for (size_t at = 0; at < reached.size(); ++at) {
    for (int i = 0; i < reached[at]->field_count(); ++i) {
      const pb::Descriptor* message = reached[at]->field(i)->message_type();
      if (message == nullptr || !seen.insert(message).second) continue;
      if (reached.size() > kReachedMax) return reached;
      reached.push_back(message);
    }
  }
  return reached;
}

std::string ReducedFiles(const std::vector<const pb::Descriptor*>& reached) {
  const pb::LogSilencer silencer;  // as in Build
  return Reducer(reached).Files();
}

}  // namespace quorate::schema
