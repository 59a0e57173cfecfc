// Pinned views of LmdbStore: a read transaction each, read by a thread of their own.
#include <lmdb.h>

#include <algorithm>
#include <utility>

#include "base/coding.h"
#include "base/probe.h"
#include "base/status_macros.h"
#include "storage/lmdb_ahead.h"
#include "storage/lmdb_store_rep.h"

namespace quorate::storage {
namespace {

const Status& GivenUp() {
  static const Status status(Code::kUnavailable,
                             "the view was given up: the store's map had to grow");
  return status;
}

}  // namespace

void LmdbStore::Rep::RunViews() {
  std::unique_lock lock(views_mutex);
  while (true) {
    views_wake.wait(lock, [this] { return views_stopped || !views_queue.empty(); });
    if (views_stopped) return;
    Closure next = std::move(views_queue.front());
    views_queue.pop_front();
    lock.unlock();
    next();
    next = nullptr;
    lock.lock();
  }
}

Result<std::shared_ptr<LmdbStore::Rep::Pinned>> LmdbStore::Rep::PinNewest() {
  if (unusable) return Corruption("a damaged page was found; the store has to be opened again");
  auto made = std::make_shared<Pinned>();
  std::lock_guard lock(map_mutex);
  while (true) {
    if (int error = mdb_txn_begin(env, nullptr, MDB_RDONLY, &made->txn)) {
      return Failed("pin", options.directory, error);
    }
    if (verified) break;
    Result<LmdbCheck::Meta> meta = check->ReadMeta(mdb_txn_id(made->txn));
    if (meta.ok()) {
      made->meta = *meta;
      break;
    }
    mdb_txn_abort(std::exchange(made->txn, nullptr));
    // NOT_FOUND: two commits have passed meanwhile.
    if (meta.status().code() == Code::kCorruption) {
      return Found(Options::FoundBy::kScrubber, LeafRange(), meta.status());
    }
    if (meta.status().code() != Code::kNotFound) return meta.status();
  }
  std::lock_guard pinned_lock(pinned_mutex);
  pinned.push_back(made);
  return made;
}

void LmdbStore::Rep::EndPinned(const std::shared_ptr<Pinned>& ended) {
  std::lock_guard pinned_lock(pinned_mutex);
  std::lock_guard lock(ended->mutex);
  if (ended->txn != nullptr) mdb_txn_abort(std::exchange(ended->txn, nullptr));
  std::erase(pinned, ended);
}

void LmdbStore::Rep::GiveUpPinned() {
  std::lock_guard pinned_lock(pinned_mutex);
  for (const auto& each : pinned) {
    PROBE("lmdb: view given up");
    std::lock_guard lock(each->mutex);
    if (each->txn != nullptr) mdb_txn_abort(std::exchange(each->txn, nullptr));
  }
  pinned.clear();
}

Result<KvView::Run> LmdbStore::Rep::ReadPinned(Pinned& from, const KvView::Range& range,
                                               size_t bytes, KvView::What what) const {
  std::lock_guard lock(from.mutex);
  if (from.txn == nullptr) return GivenUp();
  if (unusable) return Corruption("a damaged page was found; the store has to be opened again");
  // Nobody on this node waits for these pages: what is wrong with them is told like the scrubber's.
  const auto found = [this](const LeafRange& leaf, const Status& why) {
    return Found(Options::FoundBy::kScrubber, leaf, why);
  };
  const auto failed = [&](int error) {
    const Status status = Failed("read", options.directory, error);
    return status.code() == Code::kCorruption ? found(LeafRange(), status) : status;
  };
  const bool all_verified = verified;
  const auto verify = [&](std::string_view key, std::string* end) -> Status {
    LeafRange leaf;
    const Status status = check->VerifyLeaf(from.meta, key, end, &leaf);
    return status.code() == Code::kCorruption ? found(leaf, status) : status;
  };
  const std::string& first = range.after.empty() ? range.from : range.after;
  Ahead ahead;
  if (!all_verified) RETURN_IF_ERROR(ahead.Begin(first, verify));
  MDB_cursor* opened = nullptr;
  if (int error = mdb_cursor_open(from.txn, dbi, &opened)) return failed(error);
  const OwnCursor own(opened, mdb_cursor_close);
  KvView::Run run;
  MDB_val k = Val(first);
  MDB_val v;
  int error = mdb_cursor_get(opened, &k, &v, first.empty() ? MDB_FIRST : MDB_SET_RANGE);
  for (; error == 0; error = mdb_cursor_get(opened, &k, &v, MDB_NEXT)) {
    const std::string_view key = View(k);
    if (!range.to.empty() && CompareKeys(key, range.to) >= 0) break;
    if (!all_verified) RETURN_IF_ERROR(ahead.At(key, verify));
    if (IsExcised(View(v)) || key == range.after) continue;
    if (run.pairs.size() >= bytes && !run.last.empty()) return run;
    std::optional<std::string_view> value = std::string_view();
    if (what == KvView::What::kPairs) value = Unseal(key, View(v));
    if (!value) {
      LeafRange leaf;
      std::vector<LeafRange> leaves;
      const auto meta = check->ReadMeta(mdb_txn_id(from.txn));
      if (meta.ok()) (void)check->CheckLeaves(*meta, key, 1, &leaves);
      if (!leaves.empty()) leaf = leaves[0];
      return found(leaf,
                   Corruption(fmt::format("a pair of the store in {} does not match its checksum",
                                          options.directory)));
    }
    PutLengthPrefixed(&run.pairs, key);
    PutLengthPrefixed(&run.pairs, *value);
    run.last.assign(key);
  }
  if (error != 0 && error != MDB_NOTFOUND) return failed(error);
  run.end = true;
  return run;
}

class LmdbStore::PinnedView final : public KvView {
 public:
  PinnedView(Rep& rep, std::shared_ptr<Rep::Pinned> pinned)
      : rep_(rep), pinned_(std::move(pinned)) {}
  // The transaction may be in use: it ends behind that.
  ~PinnedView() override {
    Enqueue([rep = &rep_, pinned = pinned_] { rep->EndPinned(pinned); });
  }

  void Read(Range range, size_t bytes, What what, ReadCallback done) override {
    Enqueue([rep = &rep_, pinned = pinned_, alive = std::weak_ptr<bool>(alive_),
             range = std::move(range), bytes, what, done = std::move(done)]() mutable {
      Result<Run> run = rep->ReadPinned(*pinned, range, bytes, what);
      rep->executor.Post([alive, run = std::move(run), done = std::move(done)]() mutable {
        if (!alive.expired()) done(std::move(run));
      });
    });
  }

 private:
  void Enqueue(Closure job) {
    {
      std::lock_guard lock(rep_.views_mutex);
      rep_.views_queue.push_back(std::move(job));
    }
    rep_.views_wake.notify_one();
  }

  Rep& rep_;
  const std::shared_ptr<Rep::Pinned> pinned_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

Result<std::unique_ptr<KvView>> LmdbStore::Pin() {
  ASSIGN_OR_RETURN(auto pinned, rep_->PinNewest());
  return std::unique_ptr<KvView>(std::make_unique<PinnedView>(*rep_, std::move(pinned)));
}

}  // namespace quorate::storage
