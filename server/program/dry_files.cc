#include "server/program/dry_files.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"

namespace quorate::server {

// Copied into memory as a whole by its first change.
class DryFiles::DryFile final : public storage::File {
 public:
  DryFile(DryFiles* files, std::string path, std::unique_ptr<storage::File> under)
      : files_(files), path_(std::move(path)), under_(std::move(under)) {}

  Result<std::string> Read(uint64_t offset, size_t size) const override {
    const auto content = files_->written_.find(path_);
    if (content == files_->written_.end()) return under_->Read(offset, size);
    const std::string& bytes = *content->second;
    return offset >= bytes.size() ? std::string() : bytes.substr(offset, size);
  }
  Status Write(uint64_t offset, std::string_view bytes) override {
    ASSIGN_OR_RETURN(std::string * content, Content());
    if (content->size() < offset + bytes.size()) content->resize(offset + bytes.size());
    content->replace(offset, bytes.size(), bytes);
    return Status::Ok();
  }
  Status Sync() override { return Status::Ok(); }
  Result<uint64_t> Size() const override {
    const auto content = files_->written_.find(path_);
    if (content == files_->written_.end()) return under_->Size();
    return uint64_t{content->second->size()};
  }
  Status Truncate(uint64_t size) override {
    ASSIGN_OR_RETURN(std::string * content, Content());
    content->resize(size);
    return Status::Ok();
  }
  Status Allocate(uint64_t size) override {
    ASSIGN_OR_RETURN(std::string * content, Content());
    if (content->size() < size) content->resize(size);
    return Status::Ok();
  }
  void WriteAndSync(uint64_t, Bytes, Done done) override {
    done(Internal("a dry file is not written"));
  }

 private:
  Result<std::string*> Content() {
    auto& content = files_->written_[path_];
    if (content == nullptr) {
      content = std::make_shared<std::string>();
      if (under_ != nullptr) {
        ASSIGN_OR_RETURN(const uint64_t size, under_->Size());
        ASSIGN_OR_RETURN(*content, under_->Read(0, size));
      }
    }
    return content.get();
  }

  DryFiles* files_;
  const std::string path_;
  const std::unique_ptr<storage::File> under_;  // null: it was made here
};

Result<std::unique_ptr<storage::File>> DryFiles::Open(const std::string& path,
                                                      storage::OpenMode mode) {
  ASSIGN_OR_RETURN(const bool exists, Exists(path));
  std::unique_ptr<storage::File> under;
  if (exists && !written_.contains(path)) {
    ASSIGN_OR_RETURN(under, under_.Open(path, storage::OpenMode::kMustExist));
  } else if (!exists && mode == storage::OpenMode::kMustExist) {
    return NotFound(path);
  } else if (!exists) {
    removed_.erase(path);
    written_[path] = std::make_shared<std::string>();
  }
  return std::unique_ptr<storage::File>(std::make_unique<DryFile>(this, path, std::move(under)));
}

Result<bool> DryFiles::Exists(const std::string& path) {
  if (written_.contains(path)) return true;
  if (removed_.contains(path)) return false;
  return under_.Exists(path);
}

Result<std::vector<std::string>> DryFiles::List(const std::string& directory) {
  ASSIGN_OR_RETURN(std::vector<std::string> names, under_.List(directory));
  std::erase_if(names,
                [&](const std::string& name) { return removed_.contains(directory + "/" + name); });
  for (const auto& [path, content] : written_) {
    const size_t slash = path.rfind('/');
    if (path.substr(0, slash) != directory) continue;
    const std::string name = path.substr(slash + 1);
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

Status DryFiles::Rename(const std::string& from, const std::string& to) {
  ASSIGN_OR_RETURN(auto file, Open(from, storage::OpenMode::kMustExist));
  ASSIGN_OR_RETURN(const uint64_t size, file->Size());
  ASSIGN_OR_RETURN(std::string content, file->Read(0, size));
  RETURN_IF_ERROR(Remove(from));
  removed_.erase(to);
  written_[to] = std::make_shared<std::string>(std::move(content));
  return Status::Ok();
}

Status DryFiles::Remove(const std::string& path) {
  written_.erase(path);
  removed_.insert(path);
  return Status::Ok();
}

}  // namespace quorate::server
