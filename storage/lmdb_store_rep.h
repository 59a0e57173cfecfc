// LmdbStore's inside, shared by lmdb_store.cc (commits and reads) and lmdb_repair.cc (damage, the
// scrubber and compaction).
#pragma once

#include <lmdb.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "storage/lmdb_check.h"
#include "storage/lmdb_store.h"
#include "storage/overlay.h"

namespace quorate::storage {

inline std::string_view View(const MDB_val& v) {
  return {static_cast<const char*>(v.mv_data), v.mv_size};
}
// LMDB does not write through keys and values that it is given.
inline MDB_val Val(std::string_view v) { return {v.size(), const_cast<char*>(v.data())}; }

struct LmdbStore::Rep {
  struct Job {
    std::shared_ptr<const Overlay> ops;
    CommitCallback done;
  };

  // A view's transaction. Whoever uses it holds `mutex`.
  struct Pinned {
    std::mutex mutex;
    MDB_txn* txn = nullptr;  // null: ended, or given up
    LmdbCheck::Meta meta;    // unless all is verified
  };

  Rep(Env& env, Options options)
      : executor(env.executor),
        log(env.log),
        options(std::move(options)),
        file(this->options.directory + "/data.mdb"),
        scrubbed(env.metrics.GetCounter("quorate_store_scrubbed_bytes_total",
                                        "bytes of the store that the scrubber has read")),
        passes(env.metrics.GetCounter("quorate_store_scrub_passes_total",
                                      "times that the scrubber has read the whole store")),
        damaged_pages(env.metrics.GetCounter("quorate_store_damaged_pages_total",
                                             "damaged pages found in the store")) {}
  ~Rep();

  // By LMDB's code, which may be an errno.
  static Status Failed(std::string_view call, std::string_view directory, int error);
  Status Open();
  Status OpenEnvironment();
  Status Inspect();
  Status Repair(std::vector<LeafRange> noted);
  Status WriteNote(std::vector<LeafRange> leaves) const;
  Status SetAside(const Status& why);
  std::string CompactPath() const { return options.directory + "/compact.new"; }
  Status CompactIfMostlyFree();
  // Notes and tells; the error to fail with.
  Status Found(Options::FoundBy by, const LeafRange& leaf, const Status& why) const;
  // What LMDB failed with while it was in use.
  Status FailedInUse(std::string_view call, int error) const;
  Status VerifyForWrite(const std::vector<const Overlay::Op*>& ops) const;
  void Scrub();
  Duration ScrubPause() const;
  void Run();
  Status Apply(const Overlay& overlay);
  // After an I/O error of a commit: a write ended short and no sync failed, so that the commit may
  // be tried again.
  bool EndedShort();
  int TryApply(const std::vector<const Overlay::Op*>& ops);
  Status EnsureRoom(const std::vector<const Overlay::Op*>& ops);
  Status Grow();
  // ---- views (lmdb_view.cc)
  Result<std::shared_ptr<Pinned>> PinNewest();
  void EndPinned(const std::shared_ptr<Pinned>& pinned);
  void GiveUpPinned();
  Result<KvView::Run> ReadPinned(Pinned& pinned, const KvView::Range& range, size_t bytes,
                                 KvView::What what) const;
  void RunViews();
  void CountReusable();
  // Runs `body(MDB_txn*)` in a read transaction.
  template <class Body>
  Status Read(Body body) const;
  Status Renew() const;
  // Of the state that is being read. Unless all is verified, for every leaf before LMDB reads it.
  Status Verify(std::string_view key, std::string* end) const;
  Status VerifyAround(std::string_view key, std::string* from) const;
  // The cursor to scan with; within a visitor one of its own.
  using OwnCursor = std::unique_ptr<MDB_cursor, void (*)(MDB_cursor*)>;
  Result<MDB_cursor*> OpenCursor(MDB_txn* txn, OwnCursor* own) const;
  Status Mismatch(std::string_view key) const;

  Executor& executor;
  Logger& log;
  const Options options;
  const std::string file;
  std::unique_ptr<LmdbCheck> check;
  std::vector<LeafRange> damaged;      // told since Open
  bool unexplained = false;            // DamageNote's
  std::atomic<bool> verified = false;  // every page, since Open
  mutable std::atomic<bool> unusable = false;
  mutable std::mutex note_mutex;
  mutable std::vector<LeafRange> found;                    // since Open, under note_mutex
  int short_writes = 0;                                    // in a row; commits' thread
  std::string scrub_from;                                  // commits' thread
  std::chrono::steady_clock::time_point scrub_not_before;  // commits' thread
  Counter& scrubbed;
  Counter& passes;
  Counter& damaged_pages;
  MDB_env* env = nullptr;
  MDB_dbi dbi = 0;
  uint64_t map_bytes = 0;
  // Executor's thread: reused by every read, reset in between.
  mutable MDB_txn* reader = nullptr;
  mutable MDB_cursor* cursor = nullptr;
  mutable int depth = 0;                // of reads within reads
  mutable LmdbCheck::Meta reader_meta;  // of the state being read, unless all is verified
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

  std::mutex pinned_mutex;  // taken before any Pinned::mutex
  std::vector<std::shared_ptr<Pinned>> pinned;
  std::mutex views_mutex;
  std::condition_variable views_wake;
  std::deque<Closure> views_queue;
  bool views_stopped = false;
  std::thread views_thread;
};

}  // namespace quorate::storage
