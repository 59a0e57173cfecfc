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

bool IsLog(const std::string& path) { return path.ends_with(".log"); }

void Overlay(uint64_t offset, std::string_view bytes, std::string* content) {
  const uint64_t end = offset + bytes.size();
  if (end > content->size()) content->resize(end, '\0');
  content->replace(offset, bytes.size(), bytes);
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

void SimDisk::AtPoint(std::function<void(DiskPoint, const std::string&)> hook) {
  hook_ = std::move(hook);
}

void SimDisk::Reached(DiskPoint point, const std::string& path) {
  // It may replace itself.
  const auto hook = hook_;
  if (hook) hook(point, path);
}

uint64_t SimDisk::Used() const {
  uint64_t used = 0;
  for (const auto& [path, file] : files_) used += file->content.size();
  return used;
}

uint64_t SimDisk::Free() const {
  const uint64_t used = Used() + faults_.taken_bytes;
  return used >= options_.capacity_bytes ? 0 : options_.capacity_bytes - used;
}

// A segment's header and the zeros of one that is prepared are no batches: what they lie behind may
// be the log's last one all the same.
bool SimDisk::IsBatch(uint64_t offset, std::string_view bytes) {
  return offset != 0 && bytes.find_first_not_of('\0') != std::string_view::npos;
}

// ---- writes and syncs ---------------------------------------------------------------------------

Status SimDisk::WriteTo(Inode& inode, uint64_t offset, std::string_view bytes) {
  if (random_.Chance(faults_.write_failure)) return IoError("simulated write failure");
  const uint64_t end = offset + bytes.size();
  if (end > inode.content.size() && end - inode.content.size() > Free()) {
    return {Code::kNoSpace, "simulated disk is full"};
  }
  if (IsLog(inode.path)) {
    if (faults_.misdirect_next_write && Misdirect(inode, offset, bytes)) {
      faults_.misdirect_next_write = false;
      return Status::Ok();
    }
    if (IsBatch(offset, bytes)) {
      last_log_path_ = inode.path;
      last_log_offset_ = offset;
    }
  }
  Put(inode, offset, bytes, offset);
  return Status::Ok();
}

void SimDisk::Put(Inode& inode, uint64_t offset, std::string_view bytes, uint64_t meant) {
  PendingWrite write{++last_write_, offset, {}, std::string(bytes), meant};
  if (offset < inode.content.size()) write.before = inode.content.substr(offset, bytes.size());
  Overlay(offset, bytes, &inode.content);
  inode.pending.push_back(std::move(write));
}

// Well-formed bytes in another place of the same file, which keeps its size. A header, which each
// start writes again, stays in front of the last batch: damage there would look like a torn write.
bool SimDisk::Misdirect(Inode& inode, uint64_t offset, std::string_view bytes) {
  const uint64_t begin = offset + bytes.size();
  if (inode.content.size() <= 2 * begin) return false;
  const bool before_last = inode.path == last_log_path_ && begin <= last_log_offset_;
  const uint64_t end = before_last ? last_log_offset_ : inode.content.size();
  if (end < begin + bytes.size()) return false;
  const uint64_t room = end - begin - bytes.size();
  const uint64_t elsewhere = begin + random_.Below(room + 1) / kSector * kSector;
  Put(inode, elsewhere, bytes, offset);
  misdirected_ = Misdirected{files_.at(inode.path), last_write_, offset, std::string(bytes)};
  return true;
}

bool SimDisk::HasBatchBehind(const Inode& inode, uint64_t id, uint64_t up_to) {
  return std::any_of(inode.pending.begin(), inode.pending.end(), [&](const PendingWrite& write) {
    return write.id > id && write.id <= up_to && IsBatch(write.offset, write.after);
  });
}

// What the disk has of a range: the content without what is pending, unless a sync failed.
std::string SimDisk::OnDisk(const Inode& inode, uint64_t offset, size_t size) {
  const std::string& shown = inode.on_disk ? *inode.on_disk : inode.content;
  const uint64_t limit = inode.on_disk ? shown.size() : inode.durable_size;
  if (offset >= limit) return {};
  std::string bytes = shown.substr(offset, std::min<uint64_t>(size, limit - offset));
  if (inode.on_disk) return bytes;
  const uint64_t end = offset + bytes.size();
  for (auto write = inode.pending.rbegin(); write != inode.pending.rend(); ++write) {
    const uint64_t from = std::max(offset, write->offset);
    const uint64_t to = std::min(end, write->offset + write->before.size());
    if (from >= to) continue;
    bytes.replace(from - offset, to - from, write->before, from - write->offset, to - from);
  }
  return bytes;
}

void SimDisk::Synced(Inode& inode, uint64_t up_to) {
  ++syncs_;
  if (misdirected_ && IsLog(inode.path) && HasBatchBehind(inode, misdirected_->id, up_to)) {
    misdirected_.reset();
  }
  const auto begin = inode.pending.begin();
  const auto end = std::find_if(begin, inode.pending.end(),
                                [&](const PendingWrite& write) { return write.id > up_to; });
  for (auto write = begin; write != end && observer_ != nullptr; ++write) {
    // A start writes the last batch again, whatever was written over it meanwhile. It became
    // durable once: when it did first.
    const bool again = std::any_of(begin, write, [&](const PendingWrite& earlier) {
      return earlier.meant == write->meant && earlier.after == write->after;
    });
    if (again || OnDisk(inode, write->offset, write->after.size()) == write->after) continue;
    observer_->OnDurable(name_, write->meant, write->after);
  }
  if (inode.on_disk) {
    for (auto write = begin; write != end; ++write) {
      Overlay(write->offset, write->after, &*inode.on_disk);
    }
  }
  std::erase_if(inode.pending, [&](const PendingWrite& w) { return w.id <= up_to; });
  if (inode.pending.empty() && inode.on_disk == inode.content) inode.on_disk.reset();
  inode.durable_size = inode.content.size();
}

bool SimDisk::ReadFails(const Inode& inode) {
  if (faults_.log_reads_until_failure > 0 && IsLog(inode.path)) {
    return --faults_.log_reads_until_failure == 0;
  }
  return random_.Chance(faults_.read_failure);
}

bool SimDisk::SyncFails(Inode& inode) {
  bool stays_cached = faults_.failed_sync_stays_cached;
  if (faults_.fail_next_log_sync && IsLog(inode.path)) {
    faults_.fail_next_log_sync = false;
    stays_cached = true;
  } else if (!random_.Chance(faults_.sync_failure)) {
    return false;
  }
  if (!stays_cached) {
    DropPending(inode);
    return true;
  }
  if (!inode.on_disk) {
    std::string cached = inode.content;
    DropPending(inode);
    inode.on_disk = std::exchange(inode.content, std::move(cached));
  }
  inode.pending.clear();
  return true;
}

void SimDisk::Evict() {
  for (auto& [path, inode] : files_) {
    if (!inode->on_disk) continue;
    inode->content = *std::exchange(inode->on_disk, std::nullopt);
    for (PendingWrite& write : inode->pending) {
      const uint64_t begin = std::min<uint64_t>(write.offset, inode->content.size());
      write.before = inode->content.substr(begin, write.after.size());
      Overlay(write.offset, write.after, &inode->content);
    }
  }
}

bool SimDisk::HoldsCachedOnly() const {
  return std::any_of(files_.begin(), files_.end(),
                     [](const auto& file) { return file.second->on_disk.has_value(); });
}

void SimDisk::DropPending(Inode& inode) {
  for (auto write = inode.pending.rbegin(); write != inode.pending.rend(); ++write) {
    inode.content.replace(write->offset, write->before.size(), write->before);
  }
  if (inode.content.size() > inode.durable_size) inode.content.resize(inode.durable_size);
  inode.pending.clear();
}

Duration SimDisk::SyncLatency() {
  const Duration usual(random_.Between(options_.sync_min.count(), options_.sync_max.count()));
  const bool stalls = faults_.stall_chance > 0 && random_.Chance(faults_.stall_chance);
  return usual + faults_.slower + (stalls ? faults_.stall : Duration(0));
}

void SimDisk::Detach() {
  ++mount_;
  if (!misdirected_) return;
  misdirected_->inode->content.replace(misdirected_->offset, misdirected_->bytes.size(),
                                       misdirected_->bytes);
  misdirected_.reset();
}

// ---- power loss ---------------------------------------------------------------------------------

void SimDisk::UndoDirectoryChanges(size_t keep) {
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
}

void SimDisk::PowerLoss(PowerLossMode mode) {
  UndoDirectoryChanges(
      mode == PowerLossMode::kNothingUnsynced ? 0 : random_.Below(directory_pending_.size() + 1));
  for (auto& [path, inode] : files_) {
    const std::vector<PendingWrite> writes = inode->pending;
    DropPending(*inode);
    if (inode->on_disk) inode->content = *std::exchange(inode->on_disk, std::nullopt);
    inode->durable_size = inode->content.size();
    if (mode == PowerLossMode::kNothingUnsynced) continue;
    for (const PendingWrite& write : writes) {
      // A torn write keeps a part of it and loses a part of it, as far as it has two sectors.
      const double keep = mode == PowerLossMode::kTearEveryWrite || random_.Chance(0.5)
                              ? 0.5
                              : (random_.Chance(0.5) ? 1 : 0);
      for (size_t at = 0; at < write.after.size();) {
        const size_t sector_end = (write.offset + at) / kSector * kSector + kSector;
        const size_t n = std::min<size_t>(sector_end - write.offset - at, write.after.size() - at);
        if (random_.Chance(keep)) {
          Overlay(write.offset + at, std::string_view(write.after).substr(at, n), &inode->content);
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

// ---- content, from outside ----------------------------------------------------------------------

SimDisk::Image SimDisk::TakeImage() const {
  Image image;
  image.directories = directories_;
  for (const auto& [path, inode] : files_) image.files[path] = inode->content;
  return image;
}

void SimDisk::Restore(const Image& image) {
  Replaced();
  Detach();
  files_.clear();
  directory_pending_.clear();
  directories_ = image.directories;
  for (const auto& [path, content] : image.files) ReplaceFile(path, content);
}

void SimDisk::ReplaceFile(const std::string& path, std::string content) {
  auto inode = std::make_shared<Inode>();
  inode->path = path;
  inode->durable_size = content.size();
  inode->content = std::move(content);
  if (observer_ != nullptr) observer_->OnSurvived(name_, 0, inode->content);
  files_[path] = std::move(inode);
  Replaced();
}

std::vector<std::string> SimDisk::Paths(const std::string& prefix) const {
  std::vector<std::string> paths;
  for (const auto& [path, inode] : files_) {
    if (path.starts_with(prefix)) paths.push_back(path);
  }
  return paths;
}

const std::string* SimDisk::Content(const std::string& path) const {
  const auto it = files_.find(path);
  return it == files_.end() ? nullptr : &it->second->content;
}

void SimDisk::Damage(const std::string& path, uint64_t offset, std::string_view bytes) {
  const auto it = files_.find(path);
  CHECK(it != files_.end() && offset + bytes.size() <= it->second->content.size());
  it->second->content.replace(offset, bytes.size(), bytes);
  if (auto& on_disk = it->second->on_disk; on_disk) Overlay(offset, bytes, &*on_disk);
  Replaced();
}

void SimDisk::LoseFile(const std::string& path) {
  files_.erase(path);
  Replaced();
}

// What was synced before is no measure any more.
void SimDisk::Replaced() {
  if (observer_ != nullptr) observer_->OnDiskReplaced(name_);
}

// ---- the interface that a node sees -------------------------------------------------------------

class SimFile final : public storage::File {
 public:
  SimFile(SimDisk& disk, std::shared_ptr<SimDisk::Inode> inode, Executor& executor)
      : disk_(disk), inode_(std::move(inode)), executor_(executor), mount_(disk.mount_) {}
  ~SimFile() override { *alive_ = false; }

  Result<std::string> Read(uint64_t offset, size_t size) const override {
    if (disk_.ReadFails(*inode_)) return IoError("simulated read failure");
    if (offset >= inode_->content.size()) return std::string();
    return inode_->content.substr(offset, size);
  }
  Status Write(uint64_t offset, std::string_view bytes) override {
    if (Gone()) return Status::Ok();
    return disk_.WriteTo(*inode_, offset, bytes);
  }
  Status Sync() override {
    if (Gone()) return Status::Ok();
    if (disk_.SyncFails(*inode_)) return IoError("simulated fsync failure");
    disk_.Reached(DiskPoint::kSyncBegun, inode_->path);
    if (Gone()) return Status::Ok();
    disk_.Synced(*inode_, disk_.last_write_);
    disk_.Reached(DiskPoint::kSynced, inode_->path);
    return Status::Ok();
  }
  Result<uint64_t> Size() const override { return inode_->content.size(); }
  Status Truncate(uint64_t size) override {
    if (Gone()) return Status::Ok();
    // Modelled as durable at once: recovery truncates and syncs before anything else is written.
    const bool cuts_pending =
        std::any_of(inode_->pending.begin(), inode_->pending.end(),
                    [&](const auto& write) { return write.offset + write.after.size() > size; });
    if (cuts_pending) disk_.DropPending(*inode_);
    inode_->content.resize(size, '\0');
    if (inode_->on_disk) inode_->on_disk->resize(size, '\0');
    inode_->durable_size = size;
    return Status::Ok();
  }
  Status Allocate(uint64_t size) override {
    if (Gone() || size <= inode_->content.size()) return Status::Ok();
    if (size - inode_->content.size() > disk_.Free()) {
      return {Code::kNoSpace, "simulated disk is full"};
    }
    return Truncate(size);
  }
  void WriteAndSync(uint64_t offset, Bytes bytes, Done done) override {
    if (Gone()) return;
    Status status = disk_.WriteTo(*inode_, offset, *bytes);
    disk_.Reached(DiskPoint::kSyncBegun, inode_->path);
    const uint64_t up_to = disk_.last_write_;
    // Calls on one file complete in order.
    const Instant ready = std::max(disk_.world_.now() + disk_.SyncLatency(), busy_until_);
    busy_until_ = ready;
    disk_.world_.At(ready - disk_.world_.now(),
                    [this, alive = alive_, up_to, status, done = std::move(done)]() mutable {
                      if (!*alive || Gone()) return;
                      if (status.ok() && disk_.SyncFails(*inode_)) {
                        status = IoError("simulated fsync failure");
                      }
                      if (status.ok()) {
                        disk_.Synced(*inode_, up_to);
                        disk_.Reached(DiskPoint::kSynced, inode_->path);
                      }
                      executor_.Post([done = std::move(done), status]() mutable { done(status); });
                    });
  }

 private:
  bool Gone() const { return mount_ != disk_.mount_; }

  SimDisk& disk_;
  std::shared_ptr<SimDisk::Inode> inode_;
  Executor& executor_;
  const uint64_t mount_;
  Instant busy_until_{};
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

class SimFileSystem final : public storage::FileSystem {
 public:
  SimFileSystem(SimDisk& disk, Process& process)
      : disk_(disk), process_(process), mount_(disk.mount_) {}
  ~SimFileSystem() override { *alive_ = false; }

  Result<std::unique_ptr<storage::File>> Open(const std::string& path,
                                              storage::OpenMode mode) override {
    auto it = disk_.files_.find(path);
    if (it == disk_.files_.end()) {
      if (mode == storage::OpenMode::kMustExist) return NotFound(path + ": no such file");
      auto inode = std::make_shared<SimDisk::Inode>();
      if (!Gone()) {
        disk_.directory_pending_.push_back(
            {SimDisk::DirectoryOp::kCreate, path, "", nullptr, inode});
        it = disk_.files_.emplace(path, inode).first;
        it->second->path = path;
        disk_.Reached(DiskPoint::kCreated, path);
      }
      return std::unique_ptr<storage::File>(std::make_unique<SimFile>(disk_, inode, process_));
    }
    it->second->path = path;
    return std::unique_ptr<storage::File>(std::make_unique<SimFile>(disk_, it->second, process_));
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
    if (!Gone()) disk_.directories_[path] = true;
    return Status::Ok();
  }
  Status Rename(const std::string& from, const std::string& to) override {
    if (Gone()) return Status::Ok();
    const auto it = disk_.files_.find(from);
    if (it == disk_.files_.end()) return NotFound(from + ": no such file");
    auto inode = it->second;
    disk_.files_.erase(it);
    std::shared_ptr<SimDisk::Inode> replaced;
    if (const auto old = disk_.files_.find(to); old != disk_.files_.end()) replaced = old->second;
    disk_.files_[to] = inode;
    inode->path = to;
    disk_.directory_pending_.push_back(
        {SimDisk::DirectoryOp::kRename, from, to, std::move(replaced), inode});
    disk_.Reached(DiskPoint::kRenamed, to);
    return Status::Ok();
  }
  Status Remove(const std::string& path) override {
    if (Gone()) return Status::Ok();
    const auto it = disk_.files_.find(path);
    if (it == disk_.files_.end()) return NotFound(path + ": no such file");
    disk_.directory_pending_.push_back(
        {SimDisk::DirectoryOp::kRemove, path, "", nullptr, it->second});
    disk_.files_.erase(it);
    disk_.Reached(DiskPoint::kRemoved, path);
    return Status::Ok();
  }
  Status SyncDirectory(const std::string& path) override {
    if (Gone()) return Status::Ok();
    if (!in_background_ && disk_.faults_.slow_directory > Duration(0)) {
      if (disk_.blocked_hook_) disk_.blocked_hook_(path);
      process_.Pause(disk_.world_.now() + disk_.faults_.slow_directory);
    }
    std::erase_if(disk_.directory_pending_,
                  [&](const SimDisk::DirectoryOp& op) { return ParentOf(op.path) == path; });
    disk_.Reached(DiskPoint::kDirectorySynced, path);
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
  void Background(absl::AnyInvocable<Status()> calls, storage::File::Done done) override {
    if (Gone()) return;
    // One after the other; each may sync a directory.
    const Duration length = disk_.SyncLatency() + disk_.faults_.slow_directory;
    background_until_ = std::max(disk_.world_.now(), background_until_) + length;
    disk_.world_.At(
        background_until_ - disk_.world_.now(),
        [this, alive = alive_, calls = std::move(calls), done = std::move(done)]() mutable {
          if (!*alive || Gone()) return;
          in_background_ = true;
          Status status = calls();
          if (!*alive) return;
          in_background_ = false;
          if (Gone()) return;
          process_.Post([done = std::move(done), status = std::move(status)]() mutable {
            done(std::move(status));
          });
        });
  }
  Result<uint64_t> FreeBytes(const std::string& path) override { return disk_.Free(); }
  Result<uint64_t> TotalBytes(const std::string& path) override {
    return disk_.options_.capacity_bytes;
  }

 private:
  bool Gone() const { return mount_ != disk_.mount_; }

  SimDisk& disk_;
  Process& process_;
  const uint64_t mount_;
  bool in_background_ = false;
  Instant background_until_{};
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

std::unique_ptr<storage::FileSystem> SimDisk::Mount(Process& process) {
  return std::make_unique<SimFileSystem>(*this, process);
}

}  // namespace quorate::sim
