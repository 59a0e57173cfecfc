#include "server/program/examine.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <utility>

#include "base/real_clock.h"
#include "base/real_executor.h"
#include "base/status_macros.h"
#include "server/node/membership.h"
#include "server/program/dry_files.h"
#include "storage/lmdb_check.h"
#include "storage/low_space.h"
#include "storage/node_identity.h"
#include "storage/posix_file.h"
#include "storage/wal_recovery.h"

namespace quorate::server {
namespace {

constexpr uint64_t kMinFreeBytes = 256 << 20;
constexpr uint64_t kReadBytes = 16 << 20;  // of the store, at a time

// What recovery would say.
class Collecting final : public Logger {
 public:
  bool Enabled(LogLevel level) const override { return level >= LogLevel::kWarn; }
  void Write(LogLevel, std::string_view line) override { lines.emplace_back(line); }
  std::vector<std::string> lines;
};

class Examiner {
 public:
  explicit Examiner(std::string path) : path_(std::move(path)) {}

  Result<Examination> Run() {
    RETURN_IF_ERROR(CheckReadable());
    // Of a directory that is not a node's nothing else is said: what is advised would hurt it.
    if (!IsOfANode()) return std::move(out_);
    Permissions();
    Space();
    if (InUse()) return std::move(out_);
    if (Identity()) {
      Log();
      Store();
    }
    return std::move(out_);
  }

 private:
  void Find(bool serious, std::string what, std::string advice) {
    out_.findings.push_back({serious, std::move(what), std::move(advice)});
  }
  void Fact(std::string line) { out_.facts.push_back(std::move(line)); }

  Status CheckReadable() {
    std::error_code error;
    if (!std::filesystem::is_directory(path_, error)) {
      return InvalidArgument(
          fmt::format("'{}' is no directory; name the one of a node's --data", path_));
    }
    if (access(path_.c_str(), R_OK | X_OK) != 0) {
      return InvalidArgument(fmt::format("'{}' cannot be read ({}); run this as the node's user",
                                         path_, std::strerror(errno)));
    }
    return Status::Ok();
  }

  // Its identity begins as one, or there is nothing in it but what a first start leaves.
  bool IsOfANode() {
    constexpr std::string_view kTitle = "quorate identity\n";
    const auto file = files_.Open(path_ + "/IDENTITY", storage::OpenMode::kMustExist);
    if (file.ok()) {
      const auto begin = (*file)->Read(0, kTitle.size());
      if (begin.ok() && *begin == kTitle) return true;
    }
    auto directory = storage::DataDirectory::Open(env_, dry_, path_);
    if (directory.ok()) return true;
    if (file.ok()) {
      NotUsable(directory.status());
    } else {  // what a node is advised then is not what somebody who looks needs
      const std::string& message = directory.status().message();
      Find(true, message.substr(0, message.rfind("; ")), "name the directory of a node's --data");
    }
    return false;
  }

  // Such a message ends with what to do.
  void NotUsable(const Status& status) {
    const std::string& message = status.message();
    const size_t cut = message.rfind("; ");
    if (cut == std::string::npos) {
      return Find(true, message, "mend that, or start the node with an empty directory");
    }
    Find(true, message.substr(0, cut), message.substr(cut + 2));
  }

  // As one word of a shell.
  static std::string Quoted(std::string_view path) {
    std::string quoted = "'";
    for (const char c : path) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return quoted + "'";
  }

  void Permissions() {
    size_t open_to_others = 0;
    std::string foreign;
    std::error_code error;
    auto look = [&](const std::string& path) {
      struct stat file {};
      if (::lstat(path.c_str(), &file) != 0) return;
      if ((file.st_mode & (S_IRWXG | S_IRWXO)) != 0 && !S_ISLNK(file.st_mode)) ++open_to_others;
      struct stat top {};
      if (::stat(path_.c_str(), &top) == 0 && file.st_uid != top.st_uid && foreign.empty()) {
        foreign = path;
      }
    };
    look(path_);
    for (auto it = std::filesystem::recursive_directory_iterator(path_, error);
         !error && it != std::filesystem::recursive_directory_iterator(); it.increment(error)) {
      look(it->path().string());
    }
    if (open_to_others > 0) {
      Find(false,
           fmt::format("{} of its files may be used by others than their owner", open_to_others),
           fmt::format("run `chmod -R go-rwx {}`", Quoted(path_)));
    }
    if (!foreign.empty()) {
      Find(true, fmt::format("'{}' has another owner than the directory", foreign),
           "give the whole directory to the user that the node runs as (`chown -R`)");
    }
  }

  void Space() {
    const auto free = files_.FreeBytes(path_);
    const auto total = files_.TotalBytes(path_);
    if (!free.ok() || !total.ok()) return;
    const uint64_t watermark = storage::LowSpace::Watermark(*total, kMinFreeBytes);
    Fact(fmt::format("disk       {} MiB of {} MiB are free", *free >> 20, *total >> 20));
    if (*free < watermark) {
      Find(true,
           fmt::format("the disk is nearly full: {} MiB are free, and below {} MiB a node takes no "
                       "writes",
                       *free >> 20, watermark >> 20),
           "make room, or add some; nothing else has to be done");
    } else if (*free < 2 * watermark) {
      Find(false, fmt::format("the disk fills up: {} MiB are free", *free >> 20),
           fmt::format("make room before they are {} MiB", watermark >> 20));
    }
  }

  // A lock file is never made here: without one no node has been on this directory.
  bool InUse() {
    const auto exists = files_.Exists(path_ + "/LOCK");
    if (!exists.ok() || !*exists) return false;
    auto lock = files_.Lock(path_);
    if (lock.ok()) {
      lock_ = std::move(*lock);
      return false;
    }
    Fact("in use     a node runs on it: log and store were not read; ask the node with --cluster");
    return true;
  }

  bool Identity() {
    auto directory = storage::DataDirectory::Open(env_, dry_, path_);
    if (!directory.ok()) {
      NotUsable(directory.status());
      return false;
    }
    identity_ = (*directory)->identity();
    Fact(fmt::format("cluster    {}",
                     identity_.cluster_id.empty() ? "none yet" : identity_.cluster_id));
    Fact(fmt::format("node       {}", identity_.node_id));
    Fact(fmt::format("last stop  {}", identity_.clean_stop ? "clean" : "a crash, or it never ran"));
    const auto founded = Membership::ReadBootstrap(files_, path_);
    if (!founded.ok()) NotUsable(founded.status());
    const auto confirmed = files_.Exists(path_ + "/BOOTSTRAPPED");
    if (founded.ok() && *founded && confirmed.ok() && !*confirmed) {
      Find(false, "not all founding members of the cluster have confirmed their part",
           "start them; if one has another disk now, its replicas are missing");
    }
    return true;
  }

  void Log() {
    log_.lines.clear();
    const std::string directory = path_ + "/wal";
    const bool expected = !identity_.cluster_id.empty();
    const auto exists = files_.Exists(directory);
    if (exists.ok() && !*exists) {
      if (expected) {
        Find(true, "the log is gone: everything that was not in the store yet is lost here",
             "start the node: its replicas fetch their state from their peers");
      }
      return;
    }
    const auto log =
        storage::RecoverWal(env_, dry_, {.directory = directory, .expected = expected});
    if (!log.ok()) {
      Find(true, fmt::format("the log cannot be used: {}", log.status().message()),
           "if its disk is sound again, start the node with an empty directory");
      return;
    }
    Fact(fmt::format("log        {} groups, {} MiB needed", log->live.groups().size(),
                     log->live.live_bytes() >> 20));
    const auto& groups = log->live.groups();
    const bool damaged = !log->verdicts.empty() ||
                         std::any_of(groups.begin(), groups.end(),
                                     [](const auto& group) { return group.second.damaged; });
    std::string said;
    for (const std::string& line : log_.lines) said += (said.empty() ? "" : "; ") + line;
    if (damaged || log->lost) {
      Find(
          true, fmt::format("the log is damaged: {}", said.empty() ? "records are missing" : said),
          "start the node while its peers run: the replicas concerned fetch their state from them");
    } else if (!said.empty()) {
      Find(false, fmt::format("the log was damaged where nothing was lost: {}", said),
           "look after its disk; the node starts, and nothing else has to be done");
    }
  }

  // All of it, by plain reads.
  static Status ReadStore(const std::string& path, std::vector<storage::LeafRange>* damaged) {
    ASSIGN_OR_RETURN(const auto check, storage::LmdbCheck::Open(path));
    ASSIGN_OR_RETURN(const auto meta, check->ReadMeta());
    RETURN_IF_ERROR(check->CheckSkeleton(meta));
    std::string from;
    do {
      ASSIGN_OR_RETURN(auto progress, check->CheckLeaves(meta, from, kReadBytes, damaged));
      from = std::move(progress.next);
    } while (!from.empty());
    return Status::Ok();
  }

  void Store() {
    const std::string directory = path_ + "/store";
    std::vector<storage::LeafRange> damaged;
    const Status read = ReadStore(directory + "/data.mdb", &damaged);
    if (read.code() == Code::kNotFound && identity_.cluster_id.empty()) {
      Fact("store      none yet");
    } else if (read.code() == Code::kNotFound) {
      Find(true,
           fmt::format("the store is gone: '{}' holds no data.mdb, or an empty one, and this node "
                       "is a member",
                       directory),
           "start the node while its peers run: its replicas fetch their state from them");
    } else if (read.code() == Code::kCorruption || !damaged.empty()) {
      Find(true,
           read.ok() ? fmt::format("the store has {} damaged page(s)", damaged.size())
                     : fmt::format("the store is damaged: {}", read.message()),
           "start the node while its peers run: what is damaged is fetched from them");
    } else if (!read.ok()) {
      Find(true, fmt::format("the store cannot be read: {}", read.message()),
           "mend that; nothing says that the store itself is damaged");
    } else {
      Fact("store      every page that is in use was read and is sound");
    }
    const auto names = files_.List(directory);
    if (!names.ok()) return;
    for (const std::string& name : *names) {
      if (name.find("damaged") == std::string::npos) continue;
      Find(false,
           fmt::format("'{}/{}' was set aside as damaged by an earlier start", directory, name),
           "delete it once `quorate status` is healthy");
    }
  }

  const std::string path_;
  RealExecutor executor_;
  RealClock clock_;
  Random random_{EntropySeed()};
  Collecting log_;
  Metrics metrics_;
  Env env_{executor_, clock_, random_, log_, metrics_};
  storage::PosixFileSystem files_{executor_};
  DryFiles dry_{files_};
  std::unique_ptr<storage::DirectoryLock> lock_;  // no node starts meanwhile
  storage::NodeIdentity identity_;
  Examination out_;
};

}  // namespace

Result<Examination> ExamineDirectory(const std::string& path) { return Examiner(path).Run(); }

}  // namespace quorate::server
