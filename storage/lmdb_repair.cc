#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/limits.h"
#include "base/probe.h"
#include "base/status_macros.h"
#include "storage/lmdb_damage.h"
#include "storage/lmdb_store_rep.h"

namespace quorate::storage {
namespace {

constexpr uint64_t kScrubStepBytes = 1 << 20;  // some milliseconds
constexpr auto kNoteRetry = std::chrono::seconds(10);

}  // namespace

// What is damaged as a whole is worth nothing: the replicas find that theirs is behind the log, and
// have their state sent by others. Kept for whoever wants to know what happened.
Status LmdbStore::Rep::SetAside(const Status& why) {
  PROBE("lmdb: damaged store set aside");
  log.Error("store: {}; it is set aside as data.mdb.damaged", why.ToString());
  if (::rename(file.c_str(), (file + ".damaged").c_str()) != 0) {
    return Failed("rename", options.directory, errno);
  }
  RETURN_IF_ERROR(MakeDurable(options.directory));
  damaged.clear();
  unexplained = false;
  return RemoveDamageNote(options.directory);
}

// Before LMDB sees the file.
Status LmdbStore::Rep::Inspect() {
  auto note = ReadDamageNote(options.directory);
  auto opened = LmdbCheck::Open(file);
  if (opened.status().code() == Code::kNotFound) return RemoveDamageNote(options.directory);
  if (opened.status().code() == Code::kCorruption) return SetAside(opened.status());
  if (!opened.ok()) return opened.status();
  // What it says was lost, nobody else knows.
  if (note.status().code() == Code::kCorruption) return SetAside(note.status());
  if (!note.ok()) return note.status();
  check = std::move(*opened);
  const auto skeleton = [this]() -> Status {
    ASSIGN_OR_RETURN(const LmdbCheck::Meta meta, check->ReadMeta());
    return check->CheckSkeleton(meta);
  };
  const Status status = skeleton();
  if (status.code() == Code::kCorruption) return SetAside(status);
  RETURN_IF_ERROR(status);
  if (!*note) return Status::Ok();
  unexplained = (*note)->unexplained;
  return (*note)->leaves.empty() ? Status::Ok() : Repair(std::move((*note)->leaves));
}

Status LmdbStore::Rep::WriteNote(std::vector<LeafRange> leaves) const {
  if (leaves.empty() && !unexplained) return RemoveDamageNote(options.directory);
  return WriteDamageNote(options.directory, {std::move(leaves), unexplained});
}

// Where one page is damaged others may be: all are read before anything is served.
Status LmdbStore::Rep::Repair(std::vector<LeafRange> noted) {
  bool elsewhere = false;
  for (LeafRange& leaf : noted) {
    elsewhere |= leaf.page == 0;
    if (leaf.page != 0) damaged.push_back(std::move(leaf));
  }
  ASSIGN_OR_RETURN(const LmdbCheck::Meta meta, check->ReadMeta());
  std::vector<LeafRange> leaves;
  std::string from;
  do {
    auto progress = check->CheckLeaves(meta, from, 64 << 20, &leaves);
    if (!progress.ok()) return progress.status();
    from = std::move(progress->next);
  } while (!from.empty());
  if (elsewhere && leaves.empty()) {
    if (unexplained) return SetAside(Corruption("damage was met again, and no page is damaged"));
    unexplained = true;
  }
  for (const LeafRange& leaf : leaves) {
    const bool known = std::any_of(damaged.begin(), damaged.end(), [&](const LeafRange& each) {
      return each.page == leaf.page && each.from == leaf.from && each.to == leaf.to;
    });
    if (!known) damaged.push_back(leaf);
  }
  RETURN_IF_ERROR(WriteNote(damaged));
  for (const LeafRange& leaf : leaves) {
    PROBE("lmdb: damaged leaf replaced");
    log.Error("store: page {} is damaged and replaced by an empty one", leaf.page);
    RETURN_IF_ERROR(check->Excise(leaf));
  }
  return Status::Ok();
}

Status LmdbStore::Rep::Found(Options::FoundBy by, const LeafRange& leaf, const Status& why) const {
  std::lock_guard lock(note_mutex);
  if (unusable) return why;
  // Until the node leaves for what the scrubber found, reads of other pages are as good as before.
  if (by == Options::FoundBy::kUser) unusable = true;
  PROBE("lmdb: damage found");
  damaged_pages.Add();
  found.push_back(leaf);
  std::vector<LeafRange> all = damaged;
  all.insert(all.end(), found.begin(), found.end());
  Status noted = WriteNote(all);
  if (noted.code() == Code::kNoSpace && options.make_room && options.make_room()) {
    PROBE("lmdb: damage noted with the reserve");
    noted = WriteNote(std::move(all));
  }
  log.Error("store: {}; {}", why.ToString(),
            noted.ok() ? "it has to be opened again" : noted.ToString());
  if (!noted.ok() && by == Options::FoundBy::kScrubber) {
    found.pop_back();  // it comes by again
    return why;
  }
  if (options.on_damage) options.on_damage(by, why);
  return why;
}

Status LmdbStore::Rep::FailedInUse(std::string_view call, int error) const {
  Status status = Failed(call, options.directory, error);
  if (status.code() != Code::kCorruption) return status;
  return Found(Options::FoundBy::kUser, LeafRange(), status);
}

Status LmdbStore::Rep::CompactIfMostlyFree() {
  const uint64_t reusable = reusable_bytes;
  struct stat info {};
  if (::stat(file.c_str(), &info) != 0) return Failed("stat", options.directory, errno);
  const uint64_t size = static_cast<uint64_t>(info.st_size);
  if (size < options.compact_file_bytes_min || reusable < size / 2 ||
      size - reusable > limits::kCompactBytesMax || !damaged.empty()) {
    return Status::Ok();
  }
  // LMDB copies what pages say: they are verified first, and damage is for another start.
  ASSIGN_OR_RETURN(const LmdbCheck::Meta meta, check->ReadMeta());
  std::vector<LeafRange> bad;
  std::string from;
  do {
    auto progress = check->CheckLeaves(meta, from, 64 << 20, &bad);
    if (!progress.ok() || !bad.empty()) return Status::Ok();
    from = std::move(progress->next);
  } while (!from.empty());
  const std::string copy = CompactPath();
  const int fd = ::open(copy.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return Failed("open", copy, errno);
  int error = mdb_env_copyfd2(env, fd, MDB_CP_COMPACT);
  if (error == 0 && ::fsync(fd) != 0) error = errno;
  ::close(fd);
  if (error != 0) {
    // A store that is larger than need be is no reason not to start.
    log.Warn("store: not compacted: {}", mdb_strerror(error));
    ::unlink(copy.c_str());
    return Status::Ok();
  }
  mdb_env_close(std::exchange(env, nullptr));
  if (::rename(copy.c_str(), file.c_str()) != 0) return Failed("rename", copy, errno);
  RETURN_IF_ERROR(MakeDurable(options.directory));
  PROBE("lmdb: compacted");
  struct stat now {};
  ::stat(file.c_str(), &now);
  log.Info("store: rewritten, {} bytes instead of {}", now.st_size, size);
  return OpenEnvironment();
}

Duration LmdbStore::Rep::ScrubPause() const {
  const uint64_t rate =
      verified ? options.scrub_bytes_per_second : options.first_scrub_bytes_per_second;
  return Duration(std::chrono::nanoseconds(std::chrono::seconds(1)) *
                  static_cast<int64_t>(kScrubStepBytes) /
                  static_cast<int64_t>(std::max<uint64_t>(rate, 1)));
}

// On the thread of the only writer, so that the newest state stays what it is meanwhile.
void LmdbStore::Rep::Scrub() {
  if (std::lock_guard lock(note_mutex); !found.empty()) return;
  const auto meta = check->ReadMeta();
  std::vector<LeafRange> leaves;
  Result<LmdbCheck::Progress> progress =
      meta.ok() ? check->CheckLeaves(*meta, scrub_from, kScrubStepBytes, &leaves)
                : Result<LmdbCheck::Progress>(meta.status());
  if (!leaves.empty() || progress.status().code() == Code::kCorruption) {
    scrub_not_before = std::chrono::steady_clock::now() + kNoteRetry;  // if it cannot be noted
    const LeafRange leaf = leaves.empty() ? LeafRange() : leaves[0];
    const Status why = leaves.empty()
                           ? progress.status()
                           : Corruption(fmt::format("page {} of the store in {} is damaged",
                                                    leaf.page, options.directory));
    (void)Found(Options::FoundBy::kScrubber, leaf, why);
    return;
  }
  if (!progress.ok()) return log.Warn("store: scrubbing: {}", progress.status().ToString());
  scrubbed.Add(progress->bytes);
  scrub_from = std::move(progress->next);
  if (!scrub_from.empty()) return;
  passes.Add();
  scrub_not_before = std::chrono::steady_clock::now() + kScrubRest;
  if (!verified.exchange(true)) log.Info("store: all pages are read and sound");
}

}  // namespace quorate::storage
