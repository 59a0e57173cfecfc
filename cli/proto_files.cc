#include "cli/proto_files.h"

#include <fmt/format.h>
#include <google/protobuf/compiler/importer.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor_database.h>

#include <set>

#include "quorate/options.pb.h"

namespace quorate::cli {
namespace {

namespace pb = google::protobuf;

constexpr size_t kMistakesMax = 20;  // told

class Mistakes final : public pb::compiler::MultiFileErrorCollector {
 public:
  void AddError(const std::string& file, int line, int column,
                const std::string& message) override {
    if (++found_ > kMistakesMax) return;
    text_ += text_.empty() ? "" : "\n";
    // Lines and columns count from 0; -1: of the file as a whole.
    text_ += line < 0 ? fmt::format("{}: {}", file, message)
                      : fmt::format("{}:{}:{}: {}", file, line + 1, column + 1, message);
  }
  void AddWarning(const std::string&, int, int, const std::string&) override {}

  std::string text() const {
    if (found_ <= kMistakesMax) return text_;
    return fmt::format("{}\nand {} more", text_, found_ - kMistakesMax);
  }

 private:
  std::string text_;
  size_t found_ = 0;
};

// Imports first.
void Collect(const pb::FileDescriptor& file, std::set<const pb::FileDescriptor*>* seen,
             pb::FileDescriptorSet* set) {
  if (!seen->insert(&file).second) return;
  for (int i = 0; i < file.dependency_count(); ++i) Collect(*file.dependency(i), seen, set);
  pb::FileDescriptorProto* out = set->add_file();
  file.CopyTo(out);
  file.CopyJsonNameTo(out);
}

}  // namespace

Result<std::string> ReadProtoFiles(const std::string& file, std::vector<std::string> paths) {
  if (paths.empty()) {
    const size_t slash = file.rfind('/');
    paths.push_back(slash == std::string::npos ? "." : file.substr(0, slash + 1));
  }
  pb::compiler::DiskSourceTree disk;
  for (const std::string& path : paths) disk.MapPath("", path);
  std::string name, shadowing;
  using Tree = pb::compiler::DiskSourceTree;
  switch (disk.DiskFileToVirtualFile(file, &name, &shadowing)) {
    case Tree::SUCCESS:
      break;
    case Tree::SHADOWED:
      return InvalidArgument(
          fmt::format("{}: -I finds {} in its place; name the directories in "
                      "another order",
                      file, shadowing));
    case Tree::CANNOT_OPEN:
      return InvalidArgument(fmt::format("{}: it cannot be read", file));
    case Tree::NO_MAPPING:
      return InvalidArgument(
          fmt::format("{}: it is in none of the directories of -I; add the one that its imports "
                      "begin at",
                      file));
  }
  Mistakes mistakes;
  // Makes sure that the options are among the program's own files.
  (void)quorate::TableOptions::descriptor();
  pb::DescriptorPoolDatabase own(*pb::DescriptorPool::generated_pool());
  pb::compiler::SourceTreeDescriptorDatabase database(&disk, &own);
  database.RecordErrorsTo(&mistakes);
  pb::DescriptorPool pool(&database, database.GetValidationErrorCollector());
  pool.EnforceWeakDependencies(true);
  const pb::FileDescriptor* built = pool.FindFileByName(name);
  if (built == nullptr) return InvalidArgument(mistakes.text());
  pb::FileDescriptorSet set;
  std::set<const pb::FileDescriptor*> seen;
  Collect(*built, &seen, &set);
  return set.SerializeAsString();
}

}  // namespace quorate::cli
