#include "tests/sim/sim_disk.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace quorate::sim {

namespace {

constexpr size_t kSector = 512;

std::string ParentOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

class SimLock final : public storage::DirectoryLock {
 public:
  explicit SimLock(std::shared_ptr<int> token) : token_(std::move(token)) {}

 private:
  std::shared_ptr<int> token_;
};

}  // namespace

SimDisk::SimDisk(World& world, std::string name, DiskOptions options)
    : world_(world),
      name_(std::move(name)),
      random_(world.Fork("disk" + name_)),
      options_(options) {}

Status SimDisk::WriteTo(Inode& inode, uint64_t offset, std::string_view bytes) {
  uint64_t used = 0;
  for (const auto& [path, file] : files_) used += file->content.size();
  const uint64_t end = offset + bytes.size();
  if (end > inode.content.size() && used + end - inode.content.size() > options_.capacity_bytes) {
    return {Code::kNoSpace, "simulated disk is full"};
  }
  PendingWrite write{++last_write_, offset, {}, std::string(bytes)};
  if (offset < inode.content.size()) write.before = inode.content.substr(offset, bytes.size());
  if (end > inode.content.size()) inode.content.resize(end, '\0');
  inode.content.replace(offset, bytes.size(), bytes);
  inode.pending.push_back(std::move(write));
  return Status::Ok();
}

void SimDisk::Synced(Inode& inode, uint64_t up_to) {
  ++syncs_;
  if (observer_ != nullptr) {
    for (const PendingWrite& write : inode.pending) {
      if (write.id <= up_to) observer_->OnDurable(name_, write.offset, write.after);
    }
  }
  std::erase_if(inode.pending, [&](const PendingWrite& w) { return w.id <= up_to; });
  inode.durable_size = inode.content.size();
}

void SimDisk::DropPending(Inode& inode) {
  for (auto write = inode.pending.rbegin(); write != inode.pending.rend(); ++write) {
    inode.content.replace(write->offset, write->before.size(), write->before);
  }
  if (inode.content.size() > inode.durable_size) inode.content.resize(inode.durable_size);
  inode.pending.clear();
}

Duration SimDisk::SyncLatency() {
  if (random_.Chance(options_.stall_chance)) return options_.stall;
  return Duration(random_.Between(options_.sync_min.count(), options_.sync_max.count()));
}

void SimDisk::PowerLoss() {
  // Undo directory changes from the end, up to a random point.
  size_t keep = random_.Below(directory_pending_.size() + 1);
  for (; directory_pending_.size() > keep; directory_pending_.pop_back()) {
    DirectoryOp& op = directory_pending_.back();
    switch (op.kind) {
      case DirectoryOp::kCreate:
        files_.erase(op.path);
        break;
      case DirectoryOp::kRename:
        files_.erase(op.to);
        if (op.replaced != nullptr) files_[op.to] = op.replaced;
        files_[op.path] = op.inode;
        break;
      case DirectoryOp::kRemove:
        files_[op.path] = op.inode;
        break;
    }
  }
  directory_pending_.clear();
  for (auto& [path, inode] : files_) {
    if (inode->pending.empty()) continue;
    const std::vector<PendingWrite> writes = inode->pending;
    DropPending(*inode);
    for (const PendingWrite& write : writes) {
      for (size_t at = 0; at < write.after.size();) {
        const size_t sector_end = (write.offset + at) / kSector * kSector + kSector;
        const size_t n = std::min<size_t>(sector_end - write.offset - at, write.after.size() - at);
        if (random_.Chance(0.5)) {
          const uint64_t end = write.offset + at + n;
          if (end > inode->content.size()) inode->content.resize(end, '\0');
          inode->content.replace(write.offset + at, n, write.after, at, n);
        }
        at += n;
      }
    }
    inode->durable_size = inode->content.size();
    if (observer_ == nullptr) continue;
    for (const PendingWrite& write : writes) {
      if (write.offset >= inode->content.size()) continue;
      observer_->OnSurvived(
          name_, write.offset,
          std::string_view(inode->content).substr(write.offset, write.after.size()));
    }
  }
}

class SimFile final : public storage::File {
 public:
  SimFile(SimDisk& disk, std::shared_ptr<SimDisk::Inode> inode, Executor& executor)
      : disk_(disk), inode_(std::move(inode)), executor_(executor) {}
  ~SimFile() override { *alive_ = false; }

  Result<std::string> Read(uint64_t offset, size_t size) const override {
    if (offset >= inode_->content.size()) return std::string();
    return inode_->content.substr(offset, size);
  }
  Status Write(uint64_t offset, std::string_view bytes) override {
    return disk_.WriteTo(*inode_, offset, bytes);
  }
  Status Sync() override {
    if (disk_.random_.Chance(disk_.options_.sync_failure_chance)) {
      disk_.DropPending(*inode_);
      return IoError("simulated fsync failure");
    }
    disk_.Synced(*inode_, disk_.last_write_);
    return Status::Ok();
  }
  Result<uint64_t> Size() const override { return inode_->content.size(); }
  Status Truncate(uint64_t size) override {
    // Modelled as durable at once: recovery truncates and syncs before anything else is written.
    const bool cuts_pending =
        std::any_of(inode_->pending.begin(), inode_->pending.end(),
                    [&](const auto& write) { return write.offset + write.after.size() > size; });
    if (cuts_pending) disk_.DropPending(*inode_);
    inode_->content.resize(size, '\0');
    inode_->durable_size = size;
    return Status::Ok();
  }
  void WriteAndSync(uint64_t offset, std::string bytes, Done done) override {
    Status status = disk_.WriteTo(*inode_, offset, bytes);
    const uint64_t up_to = disk_.last_write_;
    // Calls on one file complete in order.
    const Instant ready = std::max(disk_.world_.now() + disk_.SyncLatency(), busy_until_);
    busy_until_ = ready;
    disk_.world_.At(ready - disk_.world_.now(),
                    [this, alive = alive_, up_to, status, done = std::move(done)]() mutable {
                      if (!*alive) return;
                      if (status.ok() && disk_.random_.Chance(disk_.options_.sync_failure_chance)) {
                        disk_.DropPending(*inode_);
                        status = IoError("simulated fsync failure");
                      }
                      if (status.ok()) disk_.Synced(*inode_, up_to);
                      executor_.Post([done = std::move(done), status]() mutable { done(status); });
                    });
  }

 private:
  SimDisk& disk_;
  std::shared_ptr<SimDisk::Inode> inode_;
  Executor& executor_;
  Instant busy_until_{};
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

class SimFileSystem final : public storage::FileSystem {
 public:
  SimFileSystem(SimDisk& disk, Executor& executor) : disk_(disk), executor_(executor) {}

  Result<std::unique_ptr<storage::File>> Open(const std::string& path,
                                              storage::OpenMode mode) override {
    auto it = disk_.files_.find(path);
    if (it == disk_.files_.end()) {
      if (mode == storage::OpenMode::kMustExist) return NotFound(path + ": no such file");
      auto inode = std::make_shared<SimDisk::Inode>();
      disk_.directory_pending_.push_back({SimDisk::DirectoryOp::kCreate, path, "", nullptr, inode});
      it = disk_.files_.emplace(path, std::move(inode)).first;
    }
    return std::unique_ptr<storage::File>(std::make_unique<SimFile>(disk_, it->second, executor_));
  }
  Result<bool> Exists(const std::string& path) override {
    return disk_.files_.contains(path) || disk_.directories_.contains(path);
  }
  Result<std::vector<std::string>> List(const std::string& directory) override {
    std::vector<std::string> names;
    for (const auto& [path, inode] : disk_.files_) {
      if (ParentOf(path) == directory) names.push_back(path.substr(directory.size() + 1));
    }
    return names;
  }
  Status CreateDirectory(const std::string& path) override {
    disk_.directories_[path] = true;
    return Status::Ok();
  }
  Status Rename(const std::string& from, const std::string& to) override {
    const auto it = disk_.files_.find(from);
    if (it == disk_.files_.end()) return NotFound(from + ": no such file");
    auto inode = it->second;
    disk_.files_.erase(it);
    std::shared_ptr<SimDisk::Inode> replaced;
    if (const auto old = disk_.files_.find(to); old != disk_.files_.end()) replaced = old->second;
    disk_.files_[to] = inode;
    disk_.directory_pending_.push_back(
        {SimDisk::DirectoryOp::kRename, from, to, std::move(replaced), inode});
    return Status::Ok();
  }
  Status Remove(const std::string& path) override {
    const auto it = disk_.files_.find(path);
    if (it == disk_.files_.end()) return NotFound(path + ": no such file");
    disk_.directory_pending_.push_back(
        {SimDisk::DirectoryOp::kRemove, path, "", nullptr, it->second});
    disk_.files_.erase(it);
    return Status::Ok();
  }
  Status SyncDirectory(const std::string& path) override {
    std::erase_if(disk_.directory_pending_,
                  [&](const SimDisk::DirectoryOp& op) { return ParentOf(op.path) == path; });
    return Status::Ok();
  }
  Result<std::unique_ptr<storage::DirectoryLock>> Lock(const std::string& directory) override {
    auto& held = disk_.locks_[directory];
    if (!held.expired()) {
      return Status(Code::kFailedPrecondition, directory + ": in use by another node");
    }
    auto token = std::make_shared<int>(0);
    held = token;
    return std::unique_ptr<storage::DirectoryLock>(std::make_unique<SimLock>(std::move(token)));
  }
  Result<uint64_t> FreeBytes(const std::string& path) override {
    uint64_t used = 0;
    for (const auto& [name, inode] : disk_.files_) used += inode->content.size();
    return used >= disk_.options_.capacity_bytes ? 0 : disk_.options_.capacity_bytes - used;
  }

 private:
  SimDisk& disk_;
  Executor& executor_;
};

std::unique_ptr<storage::FileSystem> SimDisk::Mount(Executor& executor) {
  return std::make_unique<SimFileSystem>(*this, executor);
}

}  // namespace quorate::sim
