#include "storage/lmdb_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <lmdb.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>

#include "base/check.h"
#include "base/probe.h"
#include "base/status_macros.h"
#include "storage/lmdb_ahead.h"
#include "storage/lmdb_damage.h"
#include "storage/lmdb_store_rep.h"
#include "storage/posix_file.h"

namespace quorate::storage {
namespace {

int Compare(const MDB_val* a, const MDB_val* b) { return CompareKeys(View(*a), View(*b)); }

constexpr uint64_t kFullBelowBytes = 4 << 20;
constexpr auto kSpaceRetry = std::chrono::milliseconds(200);
// Writes in a row that end short, although the disk is not full.
constexpr int kShortWritesMax = 10;

}  // namespace

Status LmdbStore::Rep::Failed(std::string_view call, std::string_view directory, int error) {
  std::string message = fmt::format("lmdb {} in {}: {}", call, directory, mdb_strerror(error));
  switch (error) {
    // What LMDB says only of pages that contradict one another.
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_CURSOR_FULL:
    case MDB_PAGE_FULL:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
      return Corruption(std::move(message));
    case ENOSPC:
    case EDQUOT:
      return {Code::kNoSpace, std::move(message)};
    default:
      return IoError(std::move(message));
  }
}

LmdbStore::Rep::~Rep() {
  {
    std::lock_guard lock(queue_mutex);
    stopped = true;
  }
  wake.notify_one();
  if (thread.joinable()) thread.join();
  {
    std::lock_guard lock(views_mutex);
    views_stopped = true;
  }
  views_wake.notify_one();
  if (views_thread.joinable()) views_thread.join();
  GiveUpPinned();
  if (cursor != nullptr) mdb_cursor_close(cursor);
  if (reader != nullptr) mdb_txn_abort(reader);
  if (env != nullptr) mdb_env_close(env);
}

Status LmdbStore::Rep::Open() {
  const std::string& directory = options.directory;
  RETURN_IF_ERROR(CreateDirectories(directory));
  // Of a start that was killed while it compacted.
  if (::unlink(CompactPath().c_str()) != 0 && errno != ENOENT) {
    return Failed("remove", CompactPath(), errno);
  }
  RETURN_IF_ERROR(Inspect());
  Status opened = OpenEnvironment();
  if (opened.code() == Code::kCorruption) {
    if (env != nullptr) mdb_env_close(std::exchange(env, nullptr));
    RETURN_IF_ERROR(SetAside(opened));
    opened = OpenEnvironment();
  }
  RETURN_IF_ERROR(opened);
  RETURN_IF_ERROR(CompactIfMostlyFree());
  if (int error = mdb_txn_begin(env, nullptr, MDB_RDONLY, &reader)) {
    return Failed("open", directory, error);
  }
  if (int error = mdb_cursor_open(reader, dbi, &cursor)) return Failed("open", directory, error);
  mdb_txn_reset(reader);
  RETURN_IF_ERROR(MakeDurable(directory));
  thread = std::thread([this] { Run(); });
  views_thread = std::thread([this] { RunViews(); });
  return Status::Ok();
}

Status LmdbStore::Rep::OpenEnvironment() {
  const auto failed = [this](int error) { return Failed("open", options.directory, error); };
  if (int error = mdb_env_create(&env)) return failed(error);
  map_bytes = options.map_bytes;
  if (int error = mdb_env_set_mapsize(env, map_bytes)) return failed(error);
  if (int error = mdb_env_open(env, options.directory.c_str(), MDB_NOTLS | MDB_NORDAHEAD, 0600)) {
    return failed(error);
  }
  // An existing file may need more than was asked for.
  MDB_envinfo info;
  mdb_env_info(env, &info);
  map_bytes = info.me_mapsize;

  MDB_txn* txn = nullptr;
  if (int error = mdb_txn_begin(env, nullptr, 0, &txn)) return failed(error);
  int error = mdb_dbi_open(txn, nullptr, 0, &dbi);
  if (error == 0) error = mdb_set_compare(txn, dbi, Compare);
  if (error == 0) {
    error = mdb_txn_commit(txn);
  } else {
    mdb_txn_abort(txn);
  }
  if (error != 0) return failed(error);
  CountReusable();
  // Of this file, which may be another one than was inspected.
  ASSIGN_OR_RETURN(check, LmdbCheck::Open(file));
  return Status::Ok();
}

void LmdbStore::Rep::Run() {
  std::optional<Status> failure;
  Job job;  // kept until the next one, so that a large batch is freed here, not by the executor
  // Not in idle moments only: commits without a pause would keep it waiting for good.
  auto scrub_at = std::chrono::steady_clock::now() + ScrubPause();
  std::unique_lock lock(queue_mutex);
  while (true) {
    wake.wait_until(lock, scrub_at, [this] { return stopped || !queue.empty(); });
    if (stopped) return;
    if (std::chrono::steady_clock::now() >= scrub_at) {
      lock.unlock();
      Scrub();
      lock.lock();
      scrub_at = std::max(std::chrono::steady_clock::now() + ScrubPause(), scrub_not_before);
      continue;
    }
    job = std::move(queue.front());
    queue.pop_front();
    lock.unlock();
    Status status = failure ? *failure : Apply(*job.ops);
    while (status.code() == Code::kNoSpace) {
      PROBE("lmdb: waits for space");
      if (!starved.exchange(true)) log.Error("store: {}; it waits", status.ToString());
      lock.lock();
      if (wake.wait_for(lock, kSpaceRetry, [this] { return stopped; })) return;
      lock.unlock();
      status = Apply(*job.ops);
    }
    if (starved.exchange(false)) log.Info("store: there is space again");
    if (!status.ok()) failure = status;
    executor.Post([alive = std::weak_ptr<bool>(alive), done = std::move(job.done),
                   status = std::move(status)]() mutable {
      if (!alive.expired()) done(std::move(status));
    });
    lock.lock();
  }
}

Status LmdbStore::Rep::Apply(const Overlay& overlay) {
  const std::vector<const Overlay::Op*> ops = overlay.Ordered();
  RETURN_IF_ERROR(VerifyForWrite(ops));
  RETURN_IF_ERROR(EnsureRoom(ops));
  int error = TryApply(ops);
  while (error == MDB_MAP_FULL) {
    PROBE("lmdb: map full");
    RETURN_IF_ERROR(Grow());
    error = TryApply(ops);
  }
  if (error == EIO && EndedShort()) error = ENOSPC;
  if (error != 0) return FailedInUse("commit", error);
  short_writes = 0;
  CountReusable();
  return Status::Ok();
}

// LMDB calls a write that ended short an I/O error, like a failed sync, after which nothing may be
// tried again. Whether the disk is full does not tell them apart: by now somebody may have made
// room.
bool LmdbStore::Rep::EndedShort() {
  if (!check->Sync().ok()) return false;
  struct statvfs disk {};
  const bool full = ::statvfs(options.directory.c_str(), &disk) == 0 &&
                    disk.f_bavail * disk.f_frsize < kFullBelowBytes;
  short_writes = full ? 0 : short_writes + 1;
  return short_writes <= kShortWritesMax;
}

// The pages that are neither used nor freed are few: the meta pages, and what a reader still pins.
void LmdbStore::Rep::CountReusable() {
  MDB_txn* txn = nullptr;
  if (mdb_txn_begin(env, nullptr, MDB_RDONLY, &txn) != 0) return;
  MDB_envinfo info;
  MDB_stat pairs;
  MDB_stat free;
  mdb_env_info(env, &info);
  if (mdb_stat(txn, dbi, &pairs) == 0 && mdb_stat(txn, 0, &free) == 0) {
    const auto pages = [](const MDB_stat& s) {
      return s.ms_branch_pages + s.ms_leaf_pages + s.ms_overflow_pages;
    };
    const uint64_t used = 2 + pages(pairs) + pages(free);
    const uint64_t all = info.me_last_pgno + 1;
    reusable_bytes = all > used ? (all - used) * pairs.ms_psize : 0;
  }
  mdb_txn_abort(txn);
}

// LMDB must not meet a damaged page.
Status LmdbStore::Rep::VerifyForWrite(const std::vector<const Overlay::Op*>& ops) const {
  if (verified) return Status::Ok();
  const auto meta = check->ReadMeta();
  if (meta.status().code() == Code::kCorruption) {
    return Found(Options::FoundBy::kUser, LeafRange(), meta.status());
  }
  if (!meta.ok()) return meta.status();
  // Where the keys end that may be put, or deleted as well, by what was verified last.
  std::optional<std::string> put_end, delete_end;
  const auto below = [](std::string_view key, const std::optional<std::string>& end) {
    return end && (end->empty() || CompareKeys(key, *end) < 0);
  };
  for (const Overlay::Op* op : ops) {
    const auto& [key, value] = *op;
    if (below(key, delete_end) || (value && below(key, put_end))) continue;
    LeafRange leaf;
    std::string from, end;
    const Status status =
        value ? check->VerifyLeaf(*meta, key, &end, &leaf)
              : check->VerifyAround(*meta, key, LmdbCheck::Beside::kParents, &from, &end, &leaf);
    if (status.code() == Code::kCorruption) return Found(Options::FoundBy::kUser, leaf, status);
    RETURN_IF_ERROR(status);
    (value ? put_end : delete_end) = std::move(end);
  }
  return Status::Ok();
}

int LmdbStore::Rep::TryApply(const std::vector<const Overlay::Op*>& ops) {
  MDB_txn* txn = nullptr;
  if (int error = mdb_txn_begin(env, nullptr, 0, &txn)) return error;
  for (const Overlay::Op* op : ops) {
    const auto& [key, value] = *op;
    MDB_val k = Val(key);
    int error;
    if (value) {
      MDB_val v{value->size() + kSealBytes, nullptr};
      error = mdb_put(txn, dbi, &k, &v, MDB_RESERVE);
      if (error == 0) Seal(key, *value, static_cast<char*>(v.mv_data));
    } else {
      error = mdb_del(txn, dbi, &k, nullptr);
      if (error == MDB_NOTFOUND) error = 0;
    }
    if (error != 0) {
      mdb_txn_abort(txn);
      return error;
    }
  }
  return mdb_txn_commit(txn);
}

// Grows the map ahead of need, so that MAP_FULL in the middle of a batch stays rare. Copy-on-write
// may touch a path of pages for each key; pages on the free list are not counted on.
Status LmdbStore::Rep::EnsureRoom(const std::vector<const Overlay::Op*>& ops) {
  MDB_envinfo info;
  MDB_stat stat;
  mdb_env_info(env, &info);
  mdb_env_stat(env, &stat);
  uint64_t bytes = 0;
  for (const Overlay::Op* op : ops) {
    bytes += op->key.size() + (op->value ? op->value->size() : 0);
  }
  const uint64_t used = (info.me_last_pgno + 1) * stat.ms_psize;
  while (used + 2 * bytes + 2 * ops.size() * stat.ms_psize + (1 << 20) > map_bytes) {
    RETURN_IF_ERROR(Grow());
  }
  return Status::Ok();
}

Status LmdbStore::Rep::Grow() {
  std::lock_guard lock(map_mutex);
  GiveUpPinned();
  const int error = mdb_env_set_mapsize(env, map_bytes * 2);
  if (error != 0) return Failed("grow", options.directory, error);
  map_bytes *= 2;
  return Status::Ok();
}

template <class Body>
Status LmdbStore::Rep::Read(Body body) const {
  if (unusable) return Corruption("a damaged page was found; the store has to be opened again");
  // A scan's visitor may read, too: within the same transaction.
  std::unique_lock lock(map_mutex, std::defer_lock);
  if (depth == 0) {
    lock.lock();
    RETURN_IF_ERROR(Renew());
  }
  ++depth;
  Status status = body(reader);
  if (--depth == 0) mdb_txn_reset(reader);
  return status;
}

Status LmdbStore::Rep::Renew() const {
  while (true) {
    if (int error = mdb_txn_renew(reader)) return FailedInUse("read", error);
    if (verified) return Status::Ok();
    Result<LmdbCheck::Meta> meta = check->ReadMeta(mdb_txn_id(reader));
    if (meta.ok()) reader_meta = *meta;
    if (meta.status().code() != Code::kNotFound) {
      if (meta.ok()) return Status::Ok();
      mdb_txn_reset(reader);
      if (meta.status().code() != Code::kCorruption) return meta.status();
      return Found(Options::FoundBy::kUser, LeafRange(), meta.status());
    }
    mdb_txn_reset(reader);  // two commits have passed meanwhile
  }
}

Status LmdbStore::Rep::Verify(std::string_view key, std::string* end) const {
  LeafRange leaf;
  const Status status = check->VerifyLeaf(reader_meta, key, end, &leaf);
  if (status.code() == Code::kCorruption) return Found(Options::FoundBy::kUser, leaf, status);
  return status;
}

Status LmdbStore::Rep::VerifyAround(std::string_view key, std::string* from) const {
  LeafRange leaf;
  std::string end;
  const Status status =
      check->VerifyAround(reader_meta, key, LmdbCheck::Beside::kLeaves, from, &end, &leaf);
  if (status.code() == Code::kCorruption) return Found(Options::FoundBy::kUser, leaf, status);
  return status;
}

Result<MDB_cursor*> LmdbStore::Rep::OpenCursor(MDB_txn* txn, OwnCursor* own) const {
  MDB_cursor* opened = cursor;
  const int error = depth > 1 ? mdb_cursor_open(txn, dbi, &opened) : mdb_cursor_renew(txn, opened);
  if (error != 0) return FailedInUse("read", error);
  if (depth > 1) own->reset(opened);
  return opened;
}

// A pair was verified, and does not match its checksum now: which leaf is it?
Status LmdbStore::Rep::Mismatch(std::string_view key) const {
  const Status why = Corruption(
      fmt::format("a pair of the store in {} does not match its checksum", options.directory));
  std::vector<LeafRange> leaves;
  const auto meta = check->ReadMeta(mdb_txn_id(reader));
  if (meta.ok()) (void)check->CheckLeaves(*meta, key, 1, &leaves);
  return Found(Options::FoundBy::kUser, leaves.empty() ? LeafRange() : leaves[0], why);
}

LmdbStore::LmdbStore(std::unique_ptr<Rep> rep) : rep_(std::move(rep)) {}
LmdbStore::~LmdbStore() = default;

Result<std::unique_ptr<LmdbStore>> LmdbStore::Open(Env& env, Options options) {
  auto rep = std::make_unique<Rep>(env, std::move(options));
  RETURN_IF_ERROR(rep->Open());
  return std::unique_ptr<LmdbStore>(new LmdbStore(std::move(rep)));
}

Result<std::optional<std::string>> LmdbStore::Get(std::string_view key) const {
  std::optional<std::string> value;
  const Status status = rep_->Read([&](MDB_txn* txn) -> Status {
    if (!rep_->verified) RETURN_IF_ERROR(rep_->Verify(key, nullptr));
    MDB_val k = Val(key);
    MDB_val v;
    const int error = mdb_get(txn, rep_->dbi, &k, &v);
    if (error == MDB_NOTFOUND) return Status::Ok();
    if (error != 0) return rep_->FailedInUse("read", error);
    if (IsExcised(View(v))) return Status::Ok();
    const auto unsealed = Unseal(key, View(v));
    if (!unsealed) return rep_->Mismatch(key);
    value.emplace(*unsealed);
    return Status::Ok();
  });
  if (!status.ok()) return status;
  return value;
}

Status LmdbStore::Scan(std::string_view from, std::string_view to, ScanVisitor visit) const {
  return rep_->Read([&](MDB_txn* txn) -> Status {
    const auto verify = [this](std::string_view key, std::string* end) {
      return rep_->Verify(key, end);
    };
    const bool all_verified = rep_->verified;
    Ahead ahead;
    if (!all_verified) RETURN_IF_ERROR(ahead.Begin(from, verify));
    Rep::OwnCursor own(nullptr, mdb_cursor_close);
    ASSIGN_OR_RETURN(MDB_cursor* const cursor, rep_->OpenCursor(txn, &own));
    MDB_val k = Val(from);
    MDB_val v;
    int error = mdb_cursor_get(cursor, &k, &v, from.empty() ? MDB_FIRST : MDB_SET_RANGE);
    for (; error == 0; error = mdb_cursor_get(cursor, &k, &v, MDB_NEXT)) {
      if (!to.empty() && CompareKeys(View(k), to) >= 0) return Status::Ok();
      if (!all_verified) RETURN_IF_ERROR(ahead.At(View(k), verify));
      if (IsExcised(View(v))) continue;
      const auto value = Unseal(View(k), View(v));
      if (!value) return rep_->Mismatch(View(k));
      if (!visit(View(k), *value)) return Status::Ok();
    }
    return error == MDB_NOTFOUND ? Status::Ok() : rep_->FailedInUse("read", error);
  });
}

Status LmdbStore::ScanBack(std::string_view from, std::string_view to, ScanVisitor visit) const {
  return rep_->Read([&](MDB_txn* txn) -> Status {
    const bool all_verified = rep_->verified;
    const auto verify = [this](std::string_view key, std::string* from) {
      return rep_->VerifyAround(key, from);
    };
    Behind behind;
    if (!all_verified) RETURN_IF_ERROR(behind.Begin(to, verify));
    Rep::OwnCursor own(nullptr, mdb_cursor_close);
    ASSIGN_OR_RETURN(MDB_cursor* const cursor, rep_->OpenCursor(txn, &own));
    MDB_val k = Val(to);
    MDB_val v;
    int error = to.empty() ? MDB_NOTFOUND : mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    if (error == 0 || error == MDB_NOTFOUND) {  // nothing at or above `to`: the last of all
      error = mdb_cursor_get(cursor, &k, &v, error == 0 ? MDB_PREV : MDB_LAST);
    }
    for (; error == 0; error = mdb_cursor_get(cursor, &k, &v, MDB_PREV)) {
      if (!from.empty() && CompareKeys(View(k), from) < 0) return Status::Ok();
      if (!all_verified) RETURN_IF_ERROR(behind.At(View(k), verify));
      if (IsExcised(View(v))) continue;
      const auto value = Unseal(View(k), View(v));
      if (!value) return rep_->Mismatch(View(k));
      if (!visit(View(k), *value)) return Status::Ok();
    }
    return error == MDB_NOTFOUND ? Status::Ok() : rep_->FailedInUse("read", error);
  });
}

void LmdbStore::CommitOverlay(std::shared_ptr<const Overlay> ops, CommitCallback done) {
  {
    std::lock_guard lock(rep_->queue_mutex);
    rep_->queue.push_back({std::move(ops), std::move(done)});
  }
  rep_->wake.notify_one();
}

bool LmdbStore::waits_for_space() const { return rep_->starved; }

std::vector<KvStore::Range> LmdbStore::Damaged() const {
  std::vector<Range> ranges;
  for (const LeafRange& leaf : rep_->damaged) ranges.emplace_back(leaf.from, leaf.to);
  return ranges;
}

void LmdbStore::ForgetDamage() {
  std::lock_guard lock(rep_->note_mutex);
  if (rep_->damaged.empty() || !rep_->found.empty()) return;
  const Status status = rep_->WriteNote({});
  if (!status.ok()) return rep_->log.Warn("store: {}", status.ToString());
  rep_->damaged.clear();
}

uint64_t LmdbStore::scrub_passes() const { return rep_->passes.Value(); }

uint64_t LmdbStore::ReusableBytes() const { return rep_->reusable_bytes; }

uint64_t LmdbStore::SizeBytes() const {
  struct stat info {};
  const std::string path = rep_->options.directory + "/data.mdb";
  return ::stat(path.c_str(), &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

}  // namespace quorate::storage
