#include "server/node/small_file.h"

#include <utility>

#include "base/status_macros.h"

namespace quorate::server {

Result<std::string> ReadFile(storage::FileSystem& files, const std::string& path) {
  ASSIGN_OR_RETURN(const auto file, files.Open(path, storage::OpenMode::kMustExist));
  ASSIGN_OR_RETURN(const uint64_t size, file->Size());
  return file->Read(0, size);
}

Status ReplaceFile(storage::FileSystem& files, const std::string& directory,
                   const std::string& name, std::string_view bytes) {
  const std::string path = directory + "/" + name;
  const std::string temporary = path + ".new";
  {
    ASSIGN_OR_RETURN(const auto file, files.Open(temporary, storage::OpenMode::kCreate));
    RETURN_IF_ERROR(file->Truncate(0));
    RETURN_IF_ERROR(file->Write(0, bytes));
    RETURN_IF_ERROR(file->Sync());
  }
  RETURN_IF_ERROR(files.Rename(temporary, path));
  return files.SyncDirectory(directory);
}

}  // namespace quorate::server
