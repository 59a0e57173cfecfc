#include "storage/lmdb_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <lmdb.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>

#include "base/check.h"
#include "base/probe.h"
#include "storage/lmdb_check.h"
#include "storage/overlay.h"

namespace quorate::storage {
namespace {

std::string_view View(const MDB_val& v) { return {static_cast<const char*>(v.mv_data), v.mv_size}; }
// LMDB does not write through keys and values that it is given.
MDB_val Val(std::string_view v) { return {v.size(), const_cast<char*>(v.data())}; }

int Compare(const MDB_val* a, const MDB_val* b) { return CompareKeys(View(*a), View(*b)); }

Status Failed(std::string_view call, std::string_view directory, int error) {
  std::string message = fmt::format("lmdb {} in {}: {}", call, directory, mdb_strerror(error));
  switch (error) {
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
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

constexpr auto kSpaceRetry = std::chrono::milliseconds(200);

// LMDB creates its files but does not make their names durable (ST9).
Status MakeDurable(const std::string& directory) {
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const int error = fd < 0 || ::fsync(fd) != 0 ? errno : 0;
  if (fd >= 0) ::close(fd);
  return error == 0 ? Status::Ok() : Failed("sync", directory, error);
}

}  // namespace

struct LmdbStore::Rep {
  struct Job {
    std::shared_ptr<const Overlay> ops;
    CommitCallback done;
  };

  Rep(Env& env, Options options)
      : executor(env.executor), log(env.log), options(std::move(options)) {}
  ~Rep();

  Status Open();
  Status SetAsideIfDamaged();
  void Run();
  Status Apply(const Overlay& overlay);
  int TryApply(const std::vector<const Overlay::Op*>& ops);
  Status EnsureRoom(const std::vector<const Overlay::Op*>& ops);
  Status Grow();
  void CountReusable();
  // Runs `body(MDB_txn*)` in a read transaction.
  template <class Body>
  Status Read(Body body) const;

  Executor& executor;
  Logger& log;
  const Options options;
  MDB_env* env = nullptr;
  MDB_dbi dbi = 0;
  uint64_t map_bytes = 0;
  // Executor's thread: reused by every read, reset in between.
  mutable MDB_txn* reader = nullptr;
  mutable MDB_cursor* cursor = nullptr;
  mutable int depth = 0;  // of reads within reads
  // Held by every read and while the map is replaced: LMDB forbids that under a running transaction
  // of this process. Hardly ever contended.
  mutable std::mutex map_mutex;

  std::mutex queue_mutex;
  std::condition_variable wake;
  std::deque<Job> queue;
  bool stopped = false;
  std::atomic<bool> starved = false;
  std::atomic<uint64_t> reusable_bytes = 0;
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);
  std::thread thread;
};

LmdbStore::Rep::~Rep() {
  {
    std::lock_guard lock(queue_mutex);
    stopped = true;
  }
  wake.notify_one();
  if (thread.joinable()) thread.join();
  if (cursor != nullptr) mdb_cursor_close(cursor);
  if (reader != nullptr) mdb_txn_abort(reader);
  if (env != nullptr) mdb_env_close(env);
}

// A damaged store is worth nothing: the replicas find that theirs is behind the log, and have their
// state sent by others. Kept for whoever wants to know what happened.
Status LmdbStore::Rep::SetAsideIfDamaged() {
  const Status checked = CheckLmdb(options.directory);
  if (checked.code() != Code::kCorruption) return checked;
  PROBE("lmdb damaged store set aside");
  log.Error("store: {}; it is set aside as data.mdb.damaged", checked.ToString());
  const std::string file = options.directory + "/data.mdb";
  if (::rename(file.c_str(), (file + ".damaged").c_str()) != 0) {
    return Failed("rename", options.directory, errno);
  }
  return MakeDurable(options.directory);
}

Status LmdbStore::Rep::Open() {
  const std::string& directory = options.directory;
  if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return Failed("mkdir", directory, errno);
  }
  RETURN_IF_ERROR(SetAsideIfDamaged());
  const auto failed = [&](int error) { return Failed("open", directory, error); };
  if (int error = mdb_env_create(&env)) return failed(error);
  map_bytes = options.map_bytes;
  if (int error = mdb_env_set_mapsize(env, map_bytes)) return failed(error);
  if (int error = mdb_env_open(env, directory.c_str(), MDB_NOTLS | MDB_NORDAHEAD, 0600)) {
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
  if (error == 0) error = mdb_txn_begin(env, nullptr, MDB_RDONLY, &reader);
  if (error == 0) error = mdb_cursor_open(reader, dbi, &cursor);
  if (error != 0) return failed(error);
  mdb_txn_reset(reader);
  CountReusable();
  RETURN_IF_ERROR(MakeDurable(directory));
  thread = std::thread([this] { Run(); });
  return Status::Ok();
}

void LmdbStore::Rep::Run() {
  std::optional<Status> failure;
  Job job;  // kept until the next one, so that a large batch is freed here, not by the executor
  std::unique_lock lock(queue_mutex);
  while (true) {
    wake.wait(lock, [this] { return stopped || !queue.empty(); });
    if (stopped) return;
    job = std::move(queue.front());
    queue.pop_front();
    lock.unlock();
    Status status = failure ? *failure : Apply(*job.ops);
    while (status.code() == Code::kNoSpace) {
      PROBE("lmdb waits for space");
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
  RETURN_IF_ERROR(EnsureRoom(ops));
  int error = TryApply(ops);
  while (error == MDB_MAP_FULL) {
    PROBE("lmdb map full");
    RETURN_IF_ERROR(Grow());
    error = TryApply(ops);
  }
  if (error != 0) return Failed("commit", options.directory, error);
  CountReusable();
  return Status::Ok();
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
  const int error = mdb_env_set_mapsize(env, map_bytes * 2);
  if (error != 0) return Failed("grow", options.directory, error);
  map_bytes *= 2;
  return Status::Ok();
}

template <class Body>
Status LmdbStore::Rep::Read(Body body) const {
  // A scan's visitor may read, too: within the same transaction.
  std::unique_lock lock(map_mutex, std::defer_lock);
  int error = 0;
  if (depth == 0) {
    lock.lock();
    error = mdb_txn_renew(reader);
  }
  if (error == 0) {
    ++depth;
    error = body(reader);
    if (--depth == 0) mdb_txn_reset(reader);
  }
  if (error == 0 || error == MDB_NOTFOUND) return Status::Ok();
  return Failed("read", options.directory, error);
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
  const Status status = rep_->Read([&](MDB_txn* txn) {
    MDB_val k = Val(key);
    MDB_val v;
    int error = mdb_get(txn, rep_->dbi, &k, &v);
    if (error != 0) return error;
    const auto unsealed = Unseal(key, View(v));
    if (!unsealed) return MDB_CORRUPTED;
    value.emplace(*unsealed);
    return 0;
  });
  if (!status.ok()) return status;
  return value;
}

Status LmdbStore::Scan(std::string_view from, std::string_view to, ScanVisitor visit) const {
  return rep_->Read([&](MDB_txn* txn) {
    const bool nested = rep_->depth > 1;
    MDB_cursor* cursor = rep_->cursor;
    int error = nested ? mdb_cursor_open(txn, rep_->dbi, &cursor) : mdb_cursor_renew(txn, cursor);
    if (error != 0) return error;
    MDB_val k = Val(from);
    MDB_val v;
    error = mdb_cursor_get(cursor, &k, &v, from.empty() ? MDB_FIRST : MDB_SET_RANGE);
    while (error == 0) {
      if (!to.empty() && CompareKeys(View(k), to) >= 0) break;
      const auto value = Unseal(View(k), View(v));
      if (!value) error = MDB_CORRUPTED;
      if (!value || !visit(View(k), *value)) break;
      error = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }
    if (nested) mdb_cursor_close(cursor);
    return error;
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

uint64_t LmdbStore::ReusableBytes() const { return rep_->reusable_bytes; }

uint64_t LmdbStore::SizeBytes() const {
  struct stat info {};
  const std::string path = rep_->options.directory + "/data.mdb";
  return ::stat(path.c_str(), &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

}  // namespace quorate::storage
