#include "storage/node_identity.h"

#include <fmt/format.h>

#include <charconv>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"
#include "base/coding.h"
#include "base/crc32c.h"
#include "base/probe.h"
#include "base/status_macros.h"
#include "storage/low_space.h"

namespace quorate::storage {
namespace {

constexpr std::string_view kFileName = "IDENTITY";
constexpr std::string_view kTemporary = "IDENTITY.new";
constexpr std::string_view kTitle = "quorate identity";
constexpr std::string_view kNone = "none";
constexpr size_t kFileBytesMax = 4096;

std::string Encode(const NodeIdentity& identity, bool clean_stop) {
  std::string text =
      fmt::format("{}\nformat {}\ncluster {}\nnode {}\nstorage {}\nstopped {}\n", kTitle,
                  kDataFormat, identity.cluster_id.empty() ? kNone : identity.cluster_id,
                  identity.node_id, identity.storage_id, clean_stop ? "clean" : "unclean");
  text += fmt::format("crc {:08x}\n", Crc32c(text));
  return text;
}

// The value of the line "<name> <value>\n" at the front of `text`.
bool TakeLine(std::string_view* text, std::string_view name, std::string_view* value) {
  const size_t end = text->find('\n');
  if (end == std::string_view::npos || !text->starts_with(name) || end <= name.size() ||
      (*text)[name.size()] != ' ') {
    return false;
  }
  *value = text->substr(name.size() + 1, end - name.size() - 1);
  text->remove_prefix(end + 1);
  return true;
}

template <class T>
bool ParseNumber(std::string_view text, T* value, int base = 10) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value, base);
  return error == std::errc() && end == text.data() + text.size();
}

bool ValidId(std::string_view id) {
  std::string bytes;
  return id.size() == 32 && FromHex(id, &bytes);
}

enum class Parsed : uint8_t { kOk, kDamaged, kOlder, kNewer };

Parsed Decode(std::string_view text, NodeIdentity* identity) {
  const std::string_view whole = text;
  std::string_view value;
  if (!text.starts_with(kTitle) || text.size() <= kTitle.size()) return Parsed::kDamaged;
  text.remove_prefix(kTitle.size() + 1);
  uint32_t format = 0;
  if (!TakeLine(&text, "format", &value) || !ParseNumber(value, &format)) return Parsed::kDamaged;
  if (format > kDataFormat) return Parsed::kNewer;
  if (format < kDataFormat) return Parsed::kOlder;
  std::string_view cluster;
  std::string_view storage;
  std::string_view stopped;
  uint64_t node = 0;
  uint32_t crc = 0;
  if (!TakeLine(&text, "cluster", &cluster)) return Parsed::kDamaged;
  if (!TakeLine(&text, "node", &value) || !ParseNumber(value, &node)) return Parsed::kDamaged;
  if (!TakeLine(&text, "storage", &storage)) return Parsed::kDamaged;
  if (!TakeLine(&text, "stopped", &stopped)) return Parsed::kDamaged;
  const std::string_view covered = whole.substr(0, whole.size() - text.size());
  if (!TakeLine(&text, "crc", &value) || !ParseNumber(value, &crc, 16) || crc != Crc32c(covered)) {
    return Parsed::kDamaged;
  }
  if ((cluster != kNone && !ValidId(cluster)) || !ValidId(storage)) return Parsed::kDamaged;
  if (cluster != kNone) identity->cluster_id = cluster;
  identity->node_id = NodeId(node);
  identity->storage_id = storage;
  identity->clean_stop = stopped == "clean";
  return Parsed::kOk;
}

// What the file says, which is there. Nothing is changed.
Result<NodeIdentity> ReadIdentity(FileSystem& files, const std::string& path) {
  const std::string file_path = fmt::format("{}/{}", path, kFileName);
  ASSIGN_OR_RETURN(const auto file, files.Open(file_path, OpenMode::kMustExist));
  ASSIGN_OR_RETURN(const std::string text, file->Read(0, kFileBytesMax));
  NodeIdentity identity;
  switch (Decode(text, &identity)) {
    case Parsed::kOk:
      return identity;
    case Parsed::kNewer:
      return Status(
          Code::kFailedPrecondition,
          fmt::format("{} was written by a newer version of quorate; start that version", path));
    case Parsed::kOlder:
      return Status(Code::kFailedPrecondition,
                    fmt::format("{} was written by an older version of quorate, whose files this "
                                "one does not read; start that version",
                                path));
    case Parsed::kDamaged:
      break;
  }
  return Corruption(
      fmt::format("{} is damaged; restore it from a backup or start the node with an "
                  "empty directory",
                  file_path));
}

}  // namespace

std::string NewId(Random& random) {
  std::string bytes;
  PutFixed64(&bytes, random.Next());
  PutFixed64(&bytes, random.Next());
  return ToHex(bytes);
}

Result<std::unique_ptr<DataDirectory>> DataDirectory::Open(Env& env, FileSystem& files,
                                                           std::string path) {
  RETURN_IF_ERROR(files.CreateDirectory(path));
  auto directory = std::unique_ptr<DataDirectory>(new DataDirectory(files, std::move(path)));
  // Nothing is made or changed in what is somebody else's.
  RETURN_IF_ERROR(directory->CheckOurs());
  ASSIGN_OR_RETURN(directory->lock_, files.Lock(directory->path_));
  bool unclean = false;
  ASSIGN_OR_RETURN(unclean, directory->Load(env.random));
  const Status made_private = files.MakePrivate(directory->path_);
  if (!made_private.ok()) {
    env.log.Warn("data: others may read {}: {}", directory->path_, made_private.ToString());
  }
  // A crash leaves what this would write.
  if (unclean) return directory;
  if (directory->identity_.clean_stop) {
    const Status noted = directory->TryStore(false);
    if (noted.code() == Code::kNoSpace) {
      PROBE("storage: started without room for a note of it");
      env.log.Warn("data: how this run ends will not be noted: {}", noted.ToString());
      return directory;
    }
    RETURN_IF_ERROR(noted);
  } else {
    RETURN_IF_ERROR(directory->Store());
  }
  return directory;
}

Status DataDirectory::CheckOurs() const {
  ASSIGN_OR_RETURN(const bool exists, files_.Exists(fmt::format("{}/{}", path_, kFileName)));
  // Other programs have files of that name, too.
  if (exists) return ReadIdentity(files_, path_).status();
  ASSIGN_OR_RETURN(const auto names, files_.List(path_));
  for (const std::string& name : names) {
    // What a run that stopped before its first identity was durable may leave.
    if (name == "LOCK" || name == kTemporary || name == "lost+found") continue;
    return Status(Code::kFailedPrecondition,
                  fmt::format("{} is not a quorate data directory (it holds {} but no {}); name "
                              "an empty or new directory with --data",
                              path_, name, kFileName));
  }
  return Status::Ok();
}

Result<bool> DataDirectory::Load(Random& random) {
  ASSIGN_OR_RETURN(const bool exists, files_.Exists(fmt::format("{}/{}", path_, kFileName)));
  if (!exists) {
    identity_.storage_id = NewId(random);
    return false;
  }
  ASSIGN_OR_RETURN(identity_, ReadIdentity(files_, path_));
  return !identity_.clean_stop;
}

Status DataDirectory::Store() {
  Status status = TryStore(false);
  if (status.code() == Code::kNoSpace && RemoveReserve(files_, path_)) {
    PROBE("storage: identity written with the reserve");
    status = TryStore(false);
  }
  if (status.code() != Code::kNoSpace) return status;
  return {Code::kNoSpace,
          fmt::format("{}: the disk is full; free some MiB and start again", status.message())};
}

Status DataDirectory::TryStore(bool clean_stop) {
  const std::string temporary = fmt::format("{}/{}", path_, kTemporary);
  const std::string text = Encode(identity_, clean_stop);
  {
    ASSIGN_OR_RETURN(const auto file, files_.Open(temporary, OpenMode::kCreate));
    RETURN_IF_ERROR(file->Truncate(0));
    RETURN_IF_ERROR(file->Write(0, text));
    RETURN_IF_ERROR(file->Sync());
  }
  RETURN_IF_ERROR(files_.Rename(temporary, fmt::format("{}/{}", path_, kFileName)));
  return files_.SyncDirectory(path_);
}

Status DataDirectory::Assign(const std::string& cluster_id, NodeId node_id) {
  CHECK(ValidId(cluster_id) && node_id, "a cluster id is 32 hex digits, a node id not 0");
  if (!identity_.cluster_id.empty() && identity_.cluster_id != cluster_id) {
    return {Code::kWrongCluster, fmt::format("{} belongs to cluster {}, not to {}", path_,
                                             identity_.cluster_id, cluster_id)};
  }
  if (identity_.node_id && identity_.node_id != node_id) {
    return {Code::kWrongNode,
            fmt::format("{} belongs to node {}, not to {}", path_, identity_.node_id, node_id)};
  }
  if (identity_.node_id) return Status::Ok();
  const NodeIdentity before = identity_;
  Assume(cluster_id, node_id);
  Status stored = Store();
  if (!stored.ok()) identity_ = before;
  return stored;
}

void DataDirectory::Assume(const std::string& cluster_id, NodeId node_id) {
  identity_.cluster_id = cluster_id;
  identity_.node_id = node_id;
}

Status DataDirectory::MarkCleanStop() { return TryStore(true); }

}  // namespace quorate::storage
