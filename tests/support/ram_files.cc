#include "tests/support/ram_files.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace quorate::storage {
namespace {

constexpr size_t kSector = 512;

}  // namespace

void RamDisk::ApplyChange(const Node::Change& change, std::string* bytes) {
  if (change.truncate) {
    bytes->resize(*change.truncate);
    return;
  }
  bytes->resize(std::max<size_t>(bytes->size(), change.offset + change.bytes.size()));
  bytes->replace(change.offset, change.bytes.size(), change.bytes);
}

void RamDisk::ApplyName(const NameChange& change, std::map<std::string, NodePtr>* names) {
  if (!change.from.empty()) names->erase(change.from);
  if (change.node != nullptr) {
    (*names)[change.path] = change.node;
  } else {
    names->erase(change.path);
  }
}

void RamDisk::ChangeName(NameChange change) {
  ApplyName(change, &names_);
  pending_names_.push_back(std::move(change));
}

void RamDisk::Crash(Random& random) {
  for (uint64_t kept = random.Below(pending_names_.size() + 1), i = 0; i < kept; ++i) {
    ApplyName(pending_names_[i], &durable_names_);
  }
  pending_names_.clear();
  names_ = durable_names_;
  for (auto& [path, node] : names_) {
    for (const Node::Change& change : std::exchange(node->pending, {})) {
      if (change.truncate) {
        if (random.Chance(0.5)) ApplyChange(change, &node->durable);
        continue;
      }
      uint64_t at = change.offset;
      const uint64_t end = change.offset + change.bytes.size();
      while (at < end) {
        const uint64_t next = std::min<uint64_t>(end, (at / kSector + 1) * kSector);
        if (random.Chance(0.5)) {
          ApplyChange({at, change.bytes.substr(at - change.offset, next - at), {}}, &node->durable);
        }
        at = next;
      }
    }
    node->visible = node->durable;
    node->broken = false;
  }
  locked_.clear();
  sync_failure_.reset();
}

bool RamDisk::Fits(const Node& node, uint64_t size) const {
  return !full_ || size <= node.visible.size();
}

Status RamDisk::Full() { return {Code::kNoSpace, "the disk is full"}; }

Status RamDisk::SyncNode(Node& node) {
  ++syncs_;
  if (sync_failure_ && !node.broken) node.broken = true;
  if (node.broken) {
    node.pending.clear();  // marked clean without being written: fsyncgate
    return sync_failure_.value_or(IoError("sync failed before"));
  }
  for (const Node::Change& change : std::exchange(node.pending, {})) {
    ApplyChange(change, &node.durable);
  }
  return Status::Ok();
}

void RamDisk::Kill() {
  locked_.clear();
  sync_failure_.reset();
  for (auto& [path, node] : names_) node->broken = false;
}

void RamDisk::Evict() {
  for (auto& [path, node] : names_) {
    node->visible = node->durable;
    for (const Node::Change& change : node->pending) ApplyChange(change, &node->visible);
  }
}

std::string* RamDisk::Find(const std::string& path) {
  const auto it = names_.find(path);
  return it == names_.end() ? nullptr : &it->second->visible;
}

void RamDisk::SettleAll() {
  for (auto& [path, node] : names_) {
    node->pending.clear();
    node->durable = node->visible;
  }
  pending_names_.clear();
  durable_names_ = names_;
}

std::vector<std::string> RamDisk::Paths() const {
  std::vector<std::string> paths;
  for (const auto& [path, node] : names_) paths.push_back(path);
  return paths;
}

void RamDisk::Erase(const std::string& path) {
  names_.erase(path);
  durable_names_.erase(path);
}

class RamFile final : public File {
 public:
  RamFile(Executor& executor, RamDisk& disk, RamDisk::NodePtr node, Duration latency)
      : executor_(executor), disk_(disk), node_(std::move(node)), latency_(latency) {}

  Result<std::string> Read(uint64_t offset, size_t size) const override {
    if (disk_.failing_reads_ > 0) {
      --disk_.failing_reads_;
      return IoError("a read failed");
    }
    if (offset >= node_->visible.size()) return std::string();
    return node_->visible.substr(offset, size);
  }
  Status Write(uint64_t offset, std::string_view bytes) override {
    if (!disk_.Fits(*node_, offset + bytes.size())) return RamDisk::Full();
    Change({offset, std::string(bytes), {}});
    return Status::Ok();
  }
  Status Sync() override { return disk_.SyncNode(*node_); }
  Result<uint64_t> Size() const override { return uint64_t{node_->visible.size()}; }
  Status Truncate(uint64_t size) override {
    Change({0, {}, size});
    return Status::Ok();
  }
  Status Allocate(uint64_t size) override {
    if (size <= node_->visible.size()) return Status::Ok();
    if (!disk_.Fits(*node_, size)) return RamDisk::Full();
    return Truncate(size);
  }
  void WriteAndSync(uint64_t offset, Bytes bytes, Done done) override {
    if (!disk_.Fits(*node_, offset + bytes->size())) {
      executor_.After(latency_, [done = std::move(done)]() mutable { done(RamDisk::Full()); });
      return;
    }
    disk_.largest_write_ = std::max<uint64_t>(disk_.largest_write_, bytes->size());
    Change({offset, *bytes, {}});
    executor_.After(latency_, [&disk = disk_, node = node_, done = std::move(done)]() mutable {
      done(disk.SyncNode(*node));
    });
  }

 private:
  void Change(RamDisk::Node::Change change) {
    RamDisk::ApplyChange(change, &node_->visible);
    node_->pending.push_back(std::move(change));
  }

  Executor& executor_;
  RamDisk& disk_;
  RamDisk::NodePtr node_;
  const Duration latency_;
};

void RamFiles::Background(absl::AnyInvocable<Status()> calls, File::Done done) {
  executor_.After(
      latency_, [this, alive = alive_, calls = std::move(calls), done = std::move(done)]() mutable {
        if (!*alive) return;
        in_background_ = true;
        Status status = calls();
        in_background_ = false;
        done(std::move(status));
      });
}

class RamLock final : public DirectoryLock {
 public:
  RamLock(RamDisk& disk, std::string path) : disk_(disk), path_(std::move(path)) {}
  ~RamLock() override { disk_.locked_.erase(path_); }

 private:
  RamDisk& disk_;
  const std::string path_;
};

Result<std::unique_ptr<File>> RamFiles::Open(const std::string& path, OpenMode mode) {
  Blocks();
  auto it = disk_.names_.find(path);
  if (it == disk_.names_.end()) {
    if (mode == OpenMode::kMustExist) return NotFound("open " + path);
    if (disk_.full_) return RamDisk::Full();
    disk_.ChangeName({path, std::make_shared<RamDisk::Node>(), {}});
    it = disk_.names_.find(path);
  }
  return std::unique_ptr<File>(std::make_unique<RamFile>(executor_, disk_, it->second, latency_));
}

Result<bool> RamFiles::Exists(const std::string& path) { return disk_.names_.contains(path); }

Result<std::vector<std::string>> RamFiles::List(const std::string& directory) {
  Blocks();
  std::vector<std::string> names;
  const std::string prefix = directory + "/";
  for (const auto& [path, node] : disk_.names_) {
    if (!path.starts_with(prefix)) continue;
    std::string name = path.substr(prefix.size());
    name = name.substr(0, name.find('/'));
    if (names.empty() || names.back() != name) names.push_back(std::move(name));
  }
  return names;
}

Status RamFiles::Rename(const std::string& from, const std::string& to) {
  Blocks();
  const auto it = disk_.names_.find(from);
  if (it == disk_.names_.end()) return NotFound("rename " + from);
  if (from != to) disk_.ChangeName({to, it->second, from});
  return Status::Ok();
}

Status RamFiles::Remove(const std::string& path) {
  Blocks();
  if (!disk_.names_.contains(path)) return NotFound("remove " + path);
  disk_.ChangeName({path, nullptr, {}});
  if (path == disk_.ends_full_) disk_.full_ = false;
  return Status::Ok();
}

Status RamFiles::SyncDirectory(const std::string& path) {
  Blocks();
  // The order of changes matters across directories only for renames between them, which quorate
  // does not do; so one journal serves all.
  for (const auto& change : disk_.pending_names_) {
    RamDisk::ApplyName(change, &disk_.durable_names_);
  }
  disk_.pending_names_.clear();
  return Status::Ok();
}

Result<std::unique_ptr<DirectoryLock>> RamFiles::Lock(const std::string& directory) {
  if (!disk_.locked_.insert(directory).second) {
    return Status(Code::kFailedPrecondition, "data directory " + directory + " is in use");
  }
  return std::unique_ptr<DirectoryLock>(std::make_unique<RamLock>(disk_, directory));
}

}  // namespace quorate::storage
