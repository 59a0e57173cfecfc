#include "storage/memory_store.h"

#include <utility>

#include "base/check.h"
#include "base/coding.h"
#include "base/mutant.h"

namespace quorate::storage {

void MemoryDisk::ApplyFirst() {
  pinned_.reset();
  in_flight_.front()->ForEach([this](const WriteBatch::Op& op) {
    if (op.value) {
      pairs_.Put(op.key, op.value);
    } else {
      pairs_.Erase(op.key);
    }
  });
  in_flight_.pop_front();
  ++commits_;
}

void MemoryDisk::Lose(const std::string& from, const std::string& to) {
  std::vector<std::string> keys;
  for (Overlay::Cursor each(pairs_, from, to); each.valid(); each.Next()) {
    keys.push_back(each.op().key);
  }
  pinned_.reset();
  for (const std::string& key : keys) pairs_.Erase(key);
  lost_.emplace_back(from, to);
}

bool MemoryDisk::LoseSome(Random& random) {
  std::vector<std::string> keys;
  for (Overlay::Cursor each(pairs_, {}, {}); each.valid(); each.Next()) {
    keys.push_back(each.op().key);
  }
  if (keys.empty()) return false;
  const size_t first = random.Below(keys.size());
  const size_t end = first + 1 + random.Below(40);
  Lose(first == 0 ? std::string() : keys[first], end >= keys.size() ? std::string() : keys[end]);
  return true;
}

void MemoryDisk::Crash(Random& random) {
  for (uint64_t kept = random.Below(in_flight_.size() + 1); kept > 0; --kept) ApplyFirst();
  in_flight_.clear();
  failure_.reset();
}

MemoryStore::MemoryStore(Env& env, MemoryDisk& disk, Options options)
    : env_(env), disk_(disk), options_(options), random_(env.random.Fork("memory_store")) {
  CHECK(disk.in_flight_.empty(), "the disk has a store, or Crash() was not called");
}

MemoryStore::~MemoryStore() { env_.executor.Cancel(timer_); }

Result<std::optional<std::string>> MemoryStore::Get(std::string_view key) const {
  const std::optional<std::string>* value = disk_.pairs_.Find(key);
  return value == nullptr ? std::optional<std::string>() : *value;
}

Status MemoryStore::Scan(std::string_view from, std::string_view to, ScanVisitor visit) const {
  for (Overlay::Cursor at(disk_.pairs_, from, to); at.valid(); at.Next()) {
    if (!visit(at.op().key, *at.op().value)) break;
  }
  return Status::Ok();
}

Status MemoryStore::ScanBack(std::string_view from, std::string_view to, ScanVisitor visit) const {
  for (const Overlay::Op* op = disk_.pairs_.Before(to); op != nullptr;
       op = disk_.pairs_.Before(op->key)) {
    if (!from.empty() && CompareKeys(op->key, from) < 0) break;
    if (!visit(op->key, *op->value)) break;
  }
  return Status::Ok();
}

void MemoryStore::CommitOverlay(std::shared_ptr<const Overlay> ops, CommitCallback done) {
  if (disk_.failure_) {
    env_.executor.Post([alive = std::weak_ptr<bool>(alive_), status = *disk_.failure_,
                        done = std::move(done)]() mutable {
      if (!alive.expired()) done(std::move(status));
    });
    return;
  }
  disk_.in_flight_.push_back(std::move(ops));
  callbacks_.push_back(std::move(done));
  if (callbacks_.size() == 1) StartNext();
}

// A read is made at once and told a turn later: the state does not change.
class MemoryStore::View final : public KvView {
 public:
  View(Executor& executor, const MemoryDisk& disk, std::shared_ptr<const Overlay> pairs)
      : executor_(executor), disk_(disk), pairs_(std::move(pairs)) {}

  void Read(Range range, size_t bytes, What what, ReadCallback done) override {
    Run run;
    run.end = true;
    const std::string& first = range.after.empty() ? range.from : range.after;
    const Overlay& pairs = MUTANT("store-pin-dropped-early") ? disk_.pairs_ : *pairs_;
    for (Overlay::Cursor at(pairs, first, range.to); at.valid(); at.Next()) {
      if (at.op().key == range.after) continue;
      if (run.pairs.size() >= bytes && !run.last.empty()) {
        run.end = false;
        break;
      }
      PutLengthPrefixed(&run.pairs, at.op().key);
      PutLengthPrefixed(&run.pairs, what == What::kPairs ? *at.op().value : std::string_view());
      run.last = at.op().key;
    }
    executor_.Post([alive = std::weak_ptr<bool>(alive_), done = std::move(done),
                    run = std::move(run)]() mutable {
      if (!alive.expired()) done(std::move(run));
    });
  }

 private:
  Executor& executor_;
  [[maybe_unused]] const MemoryDisk& disk_;
  const std::shared_ptr<const Overlay> pairs_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

Result<std::unique_ptr<KvView>> MemoryStore::Pin() {
  std::shared_ptr<const Overlay> pairs = disk_.pinned_.lock();
  if (pairs == nullptr) {
    pairs = std::make_shared<const Overlay>(disk_.pairs_);
    disk_.pinned_ = pairs;
  }
  return std::unique_ptr<KvView>(std::make_unique<View>(env_.executor, disk_, std::move(pairs)));
}

void MemoryStore::StartNext() {
  const Duration latency(
      random_.Between(options_.latency_min.count(), options_.latency_max.count()));
  timer_ = env_.executor.After(latency, [this] {
    timer_ = 0;
    FinishFirst();
  });
}

void MemoryStore::FinishFirst() {
  disk_.ApplyFirst();
  CommitCallback done = std::move(callbacks_.front());
  callbacks_.pop_front();
  if (!callbacks_.empty()) StartNext();
  done(Status::Ok());
}

}  // namespace quorate::storage
