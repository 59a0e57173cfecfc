#include "storage/ordered_store.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "base/check.h"
#include "base/coding.h"
#include "base/limits.h"
#include "base/metrics.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "base/status_macros.h"
#include "storage/overlay.h"

namespace quorate::storage {
namespace {

constexpr Duration kEraseRetry = 1s;  // after a read that failed
// Pairs that fill pages of their own share none, however long they wait, and what is written at
// once is what every sync of the log has to wait behind: of all nodes that share a disk.
constexpr size_t kLargePairBytes = 4 << 10;
constexpr size_t kLargePairsFlushBytes = 1 << 20;

std::string AppliedPrefix() { return std::string(1, kStorageTag) + "applied"; }

std::string AppliedKey(GroupId group) {
  std::string body = AppliedPrefix();
  PutOrdered64(&body, group.value());
  return MakeKey(body);
}

std::string ErasingPrefix() { return std::string(1, kStorageTag) + "erasing"; }

std::string ErasingKey(GroupId group) {
  std::string body = ErasingPrefix();
  PutOrdered64(&body, group.value());
  return MakeKey(body);
}

using Spans = OrderedStore::Spans;

bool Touch(std::string_view a_from, std::string_view a_to, std::string_view b_from,
           std::string_view b_to) {
  const bool before = !a_to.empty() && !b_from.empty() && CompareKeys(a_to, b_from) <= 0;
  const bool behind = !b_to.empty() && !a_from.empty() && CompareKeys(b_to, a_from) <= 0;
  return !before && !behind;
}

// A group whose state is being deleted, to be gone for good or to make room for another one.
struct Erasure {
  enum class Kind : uint8_t { kDrop = 1, kReplace = 2 };

  Kind kind = Kind::kReplace;
  Spans spans;
  Closure done = nullptr;
  std::shared_ptr<bool> begun = std::make_shared<bool>(true);  // this one, and no later one

  std::string Encode() const {
    std::string out(1, static_cast<char>(kind));
    PutVarint(&out, spans.size());
    for (const auto& [from, to] : spans) {
      PutLengthPrefixed(&out, from);
      PutLengthPrefixed(&out, to);
    }
    return out;
  }
  bool Decode(std::string_view bytes) {
    if (bytes.empty()) return false;
    kind = static_cast<Kind>(bytes.front());
    bytes.remove_prefix(1);
    uint64_t count = 0;
    if (kind != Kind::kDrop && kind != Kind::kReplace) return false;
    if (!GetVarint(&bytes, &count)) return false;
    for (; count > 0; --count) {
      std::string_view from, to;
      if (!GetLengthPrefixed(&bytes, &from) || !GetLengthPrefixed(&bytes, &to)) return false;
      spans.emplace_back(from, to);
    }
    return bytes.empty();
  }
};

}  // namespace

struct OrderedStore::Rep {
  Rep(OrderedStore& reader, Env& env, KvStore& store, Options options)
      : reader(reader),
        env(env),
        store(store),
        options(options),
        flushes(env.metrics.GetCounter("quorate_overlay_flushes_total", "overlay flushes")),
        flush_us(
            env.metrics.GetHistogram("quorate_overlay_flush_seconds", "Time of an overlay flush.")),
        overlay(env.metrics.GetGauge("quorate_overlay_bytes", "bytes in the overlay")) {}

  struct Group {
    uint64_t applied = 0;  // 0: dropped
    uint64_t flushed = 0;
    bool dirty = false;  // in Rep::dirty: changed since the last flush began
  };

  Status Load();
  void Touch(GroupId group, uint64_t index);
  Status LoadErasures();
  // Puts the mark and queues the deletions.
  void Erase(GroupId group, Erasure::Kind kind, Spans spans, Closure done);
  void ForgetErasure(GroupId group);
  void EraseNext();
  void EraseStep();
  void Erased(KvView::Run run);
  void EraseEnds();
  bool Room();
  void Changed();
  bool Clean() const { return active.empty() && dirty.empty(); }
  void StartFlush();
  void Flushed(Status status, Instant begun);
  void Fail(Status status);

  OrderedStore& reader;
  Env& env;
  KvStore& store;
  const Options options;

  size_t Bytes() const { return active.bytes() + (immutable ? immutable->bytes() : 0); }

  Overlay active;
  std::shared_ptr<const Overlay> immutable;  // being flushed, or null
  std::map<GroupId, Group> groups;
  std::vector<GroupId> dirty;
  std::vector<std::pair<GroupId, uint64_t>> flushing;  // applied indexes in `immutable`

  std::map<GroupId, Erasure> erasures;
  std::deque<GroupId> to_erase;  // the first one is under way, if `erasing`
  struct Erasing {
    size_t span = 0;
    std::string after;
    std::unique_ptr<KvView> view;  // one step's: it must not live long
    TimerId retry = 0;
  };
  std::shared_ptr<Erasing> erasing;  // null: nothing to do; whoever calls back sees that it changed
  uint64_t erased_pairs = 0;
  std::vector<Closure> room_waiters;

  TimerId timer = 0;
  bool due = false;  // the interval passed, or someone asked, while a flush was running
  std::vector<CommitCallback> active_waiters;
  std::vector<CommitCallback> immutable_waiters;
  std::function<void()> on_flushed;
  std::function<void(Status)> on_failure;
  std::optional<Status> failure;

  Counter& flushes;
  Histogram& flush_us;
  Gauge& overlay;
  std::shared_ptr<bool> alive = std::make_shared<bool>(true);
};

Status OrderedStore::Rep::Load() {
  const std::string prefix = AppliedPrefix();
  Status bad = Status::Ok();
  const Status read =
      store.Scan(MakeKey(prefix), {}, [&](std::string_view key, std::string_view value) {
        std::string_view body = KeyBody(key);
        if (!body.starts_with(prefix)) return false;
        body.remove_prefix(prefix.size());
        uint64_t group = 0;
        uint64_t index = 0;
        if (!GetOrdered64(&body, &group) || !GetFixed64(&value, &index)) {
          bad = Corruption("an applied index in the store does not decode");
          return false;
        }
        groups[GroupId(group)] = {.applied = index, .flushed = index};
        return true;
      });
  if (!read.ok() || !bad.ok()) return read.ok() ? bad : read;
  return LoadErasures();
}

Status OrderedStore::Rep::LoadErasures() {
  const std::string prefix = ErasingPrefix();
  Status bad = Status::Ok();
  const Status read =
      store.Scan(MakeKey(prefix), {}, [&](std::string_view key, std::string_view value) {
        std::string_view body = KeyBody(key);
        if (!body.starts_with(prefix)) return false;
        body.remove_prefix(prefix.size());
        uint64_t group = 0;
        Erasure erasure;
        if (!GetOrdered64(&body, &group) || !erasure.Decode(value)) {
          bad = Corruption("what the store says of a replaced group does not decode");
          return false;
        }
        if (erasure.kind == Erasure::Kind::kDrop) to_erase.push_back(GroupId(group));
        erasures[GroupId(group)] = std::move(erasure);
        return true;
      });
  return read.ok() ? bad : read;
}

void OrderedStore::Rep::Touch(GroupId id, uint64_t index) {
  Group& group = groups[id];
  group.applied = index;
  if (!std::exchange(group.dirty, true)) dirty.push_back(id);
}

void OrderedStore::Rep::Changed() {
  overlay.Set(static_cast<int64_t>(Bytes()));
  if (immutable != nullptr || failure) return;
  const bool large_pairs =
      active.bytes() >= kLargePairsFlushBytes && active.bytes() / active.size() >= kLargePairBytes;
  if (active.bytes() >= options.flush_bytes || large_pairs) return StartFlush();
  if (timer != 0) return;
  timer = env.executor.After(options.flush_interval, [this] {
    timer = 0;
    StartFlush();
  });
}

void OrderedStore::Rep::StartFlush() {
  if (immutable != nullptr) {
    due = true;
    return;
  }
  due = false;
  env.executor.Cancel(std::exchange(timer, 0));
  if (Clean() || failure) return;
  for (const GroupId id : std::exchange(dirty, {})) {
    const auto it = groups.find(id);
    CHECK(it != groups.end());
    flushing.emplace_back(id, it->second.applied);
    it->second.dirty = false;
    std::optional<std::string> value;
    uint64_t noted = it->second.applied;
    if (MUTANT("store-index-ahead")) ++noted;
    if (MUTANT("store-index-behind")) noted = std::max<uint64_t>(1, it->second.flushed);
    if (it->second.applied != 0) PutFixed64(&value.emplace(), noted);
    active.Put(AppliedKey(id), std::move(value));
  }
  immutable = std::make_shared<const Overlay>(std::exchange(active, {}));
  immutable_waiters = std::exchange(active_waiters, {});
  store.CommitOverlay(immutable,
                      [this, alive = std::weak_ptr<bool>(alive), begun = env.Now()](Status status) {
                        if (!alive.expired()) Flushed(std::move(status), begun);
                      });
}

void OrderedStore::Rep::Flushed(Status status, Instant begun) {
  if (!status.ok()) return Fail(std::move(status));
  flushes.Add();
  flush_us.Record(static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(env.Now() - begun).count()));
  immutable.reset();
  std::vector<CommitCallback> waiters = std::exchange(immutable_waiters, {});
  for (const auto& [id, index] : std::exchange(flushing, {})) {
    const auto it = groups.find(id);
    if (it == groups.end()) continue;
    it->second.flushed = index;
    // Dropped, and not used again since.
    if (it->second.applied == 0 && !it->second.dirty) groups.erase(it);
  }
  if (due || !active_waiters.empty()) {
    StartFlush();
  } else if (!Clean()) {
    Changed();
  }
  overlay.Set(static_cast<int64_t>(Bytes()));
  const std::weak_ptr<bool> still = alive;
  for (Closure& fn : std::exchange(room_waiters, {})) env.executor.Post(std::move(fn));
  for (CommitCallback& done : waiters) done(Status::Ok());
  if (!still.expired() && on_flushed) on_flushed();
}

void OrderedStore::Rep::Fail(Status status) {
  if (failure) return;
  failure = status;
  env.log.Error("store: {}; nothing is checkpointed any more", status.ToString());
  env.executor.Cancel(std::exchange(timer, 0));
  auto waiters = std::exchange(immutable_waiters, {});
  for (CommitCallback& done : std::exchange(active_waiters, {})) waiters.push_back(std::move(done));
  const std::weak_ptr<bool> still = alive;
  for (CommitCallback& done : waiters) done(status);
  if (!still.expired() && on_failure) on_failure(std::move(status));
}

OrderedStore::OrderedStore(Env& env, KvStore& store, Options options)
    : rep_(std::make_unique<Rep>(*this, env, store, options)) {
  Status status = rep_->Load();
  if (status.ok() && rep_->to_erase.empty()) return;
  // Nobody has registered for failures yet.
  env.executor.Post([rep = rep_.get(), alive = std::weak_ptr<bool>(rep_->alive),
                     status = std::move(status)]() mutable {
    if (alive.expired()) return;
    if (!status.ok()) return rep->Fail(std::move(status));
    if (rep->erasing == nullptr) rep->EraseNext();
  });
}

OrderedStore::~OrderedStore() { rep_->env.executor.Cancel(rep_->timer); }

void OrderedStore::Apply(GroupId group, uint64_t index, WriteBatch batch) {
  CHECK(index >= AppliedIndex(group) && index > 0, "group {}: apply {} after {}", group, index,
        AppliedIndex(group));
  for (WriteBatch::Op& op : batch.ops) rep_->active.Put(std::move(op.key), std::move(op.value));
  rep_->Touch(group, index);
  rep_->Changed();
}

void OrderedStore::Put(WriteBatch batch) {
  for (WriteBatch::Op& op : batch.ops) rep_->active.Put(std::move(op.key), std::move(op.value));
  rep_->Changed();
}

// ---- whole states
// --------------------------------------------------------------------------------

void OrderedStore::Rep::Erase(GroupId group, Erasure::Kind kind, Spans spans, Closure done) {
  Erasure& erasure = erasures[group];
  for (auto& span : erasure.spans) {
    if (std::find(spans.begin(), spans.end(), span) == spans.end()) spans.push_back(span);
  }
  ForgetErasure(group);
  erasures[group] = {.kind = kind, .spans = std::move(spans), .done = std::move(done)};
  if (!MUTANT("store-replaced-without-mark")) {
    active.Put(ErasingKey(group), erasures[group].Encode());
  }
  to_erase.push_back(group);
  if (erasing == nullptr) EraseNext();
}

// It has ended, or begins anew.
void OrderedStore::Rep::ForgetErasure(GroupId group) {
  erasures.erase(group);
  const bool under_way = erasing != nullptr && to_erase.front() == group;
  std::erase(to_erase, group);
  if (!under_way) return;
  env.executor.Cancel(erasing->retry);
  erasing.reset();
  EraseNext();
}

void OrderedStore::Rep::EraseNext() {
  erasing.reset();
  if (to_erase.empty()) return;
  erasing = std::make_shared<Erasing>();
  // The view shows only what is below the overlay.
  reader.Flush([this, current = std::weak_ptr<Erasing>(erasing)](const Status& status) {
    if (status.ok() && !current.expired()) EraseStep();
  });
}

void OrderedStore::Rep::EraseStep() {
  const std::weak_ptr<Erasing> current = erasing;
  const auto again = [this, current] {
    if (!current.expired()) EraseStep();
  };
  const Spans& spans = erasures[to_erase.front()].spans;
  if (erasing->span == spans.size()) return EraseEnds();
  if (!Room()) {
    room_waiters.push_back(again);
    return;
  }
  const auto failed = [this, again](const Status& status) {
    env.log.Warn("store: group {}: deleting its state: {}; it is tried again", to_erase.front(),
                 status.ToString());
    erasing->view.reset();
    erasing->retry = env.executor.After(kEraseRetry, again);
  };
  auto view = store.Pin();
  if (!view.ok()) return failed(view.status());
  erasing->view = std::move(*view);
  const auto& [from, to] = spans[erasing->span];
  erasing->view->Read({from, to, erasing->after}, options.erase_bytes, KvView::What::kKeys,
                      [this, current, failed](Result<KvView::Run> run) {
                        if (current.expired()) return;
                        if (!run.ok()) return failed(run.status());
                        Erased(*std::move(run));
                      });
}

void OrderedStore::Rep::Erased(KvView::Run run) {
  std::string_view pairs = run.pairs;
  std::string_view key, value;
  while (GetLengthPrefixed(&pairs, &key) && GetLengthPrefixed(&pairs, &value)) {
    active.Put(std::string(key), std::nullopt);
    ++erased_pairs;
  }
  erasing->after = std::move(run.last);
  if (run.end) {
    ++erasing->span;
    erasing->after.clear();
  }
  Changed();
  // Not within the view's own callback.
  env.executor.Post([this, current = std::weak_ptr<Erasing>(erasing)] {
    if (current.expired()) return;
    erasing->view.reset();
    EraseStep();
  });
}

void OrderedStore::Rep::EraseEnds() {
  const GroupId group = to_erase.front();
  to_erase.pop_front();
  Erasure& erasure = erasures[group];
  Closure done = std::move(erasure.done);
  if (erasure.kind == Erasure::Kind::kDrop) {
    PROBE("storage: group dropped");
    active.Put(ErasingKey(group), std::nullopt);
    Changed();
    // Until then it is being dropped: what `done` writes must not follow a successor's beginning.
    reader.Flush([this, group, begun = std::weak_ptr<bool>(erasure.begun),
                  done = std::move(done)](const Status& status) mutable {
      if (!status.ok() || begun.expired()) return;
      erasures.erase(group);
      if (done) done();
    });
  } else if (done) {
    env.executor.Post(
        [begun = std::weak_ptr<bool>(erasure.begun), done = std::move(done)]() mutable {
          if (!begun.expired()) done();
        });
  }
  EraseNext();
}

bool OrderedStore::Rep::Room() {
  if (active.bytes() >= options.bulk_bytes) StartFlush();
  return active.bytes() < options.bulk_bytes;
}

void OrderedStore::Drop(GroupId group, Spans spans, WriteBatch batch, Closure done) {
  for (WriteBatch::Op& op : batch.ops) rep_->active.Put(std::move(op.key), std::move(op.value));
  rep_->Touch(group, 0);
  rep_->Erase(group, Erasure::Kind::kDrop, std::move(spans), std::move(done));
  rep_->Changed();
}

bool OrderedStore::Touch(const Spans& a, const Spans& b) {
  for (const auto& [from, to] : a) {
    for (const auto& [begin, end] : b) {
      if (storage::Touch(from, to, begin, end)) return true;
    }
  }
  return false;
}

bool OrderedStore::Dropping(const Spans& spans) const {
  return std::any_of(rep_->erasures.begin(), rep_->erasures.end(), [&](const auto& each) {
    return each.second.kind == Erasure::Kind::kDrop && Touch(each.second.spans, spans);
  });
}

bool OrderedStore::Dropping(GroupId group) const {
  const auto it = rep_->erasures.find(group);
  return it != rep_->erasures.end() && it->second.kind == Erasure::Kind::kDrop;
}

void OrderedStore::BeginReplace(GroupId group, Spans spans, Closure erased) {
  CHECK(!Dropping(group), "group {} is replaced while it is dropped", group);
  PROBE("storage: state replaced");
  rep_->Erase(group, Erasure::Kind::kReplace, std::move(spans), std::move(erased));
  rep_->Changed();
}

const OrderedStore::Spans* OrderedStore::Replacing(GroupId group) const {
  const auto it = rep_->erasures.find(group);
  const bool found = it != rep_->erasures.end() && it->second.kind == Erasure::Kind::kReplace;
  return found ? &it->second.spans : nullptr;
}

void OrderedStore::PutReplaced(GroupId group, WriteBatch batch) {
  CHECK(Replacing(group) != nullptr, "group {} is not being replaced", group);
  for (WriteBatch::Op& op : batch.ops) rep_->active.Put(std::move(op.key), std::move(op.value));
  rep_->Changed();
}

void OrderedStore::EndReplace(GroupId group, uint64_t index, WriteBatch batch) {
  CHECK(index > 0);
  PutReplaced(group, std::move(batch));
  rep_->active.Put(ErasingKey(group), std::nullopt);
  rep_->ForgetErasure(group);
  rep_->Touch(group, index);
  rep_->Changed();
}

std::vector<GroupId> OrderedStore::Replacing() const {
  std::vector<GroupId> groups;
  for (const auto& [id, erasure] : rep_->erasures) {
    if (erasure.kind == Erasure::Kind::kReplace) groups.push_back(id);
  }
  return groups;
}

uint64_t OrderedStore::ErasedPairs() const { return rep_->erased_pairs; }

bool OrderedStore::Room() { return rep_->Room(); }

void OrderedStore::WhenRoom(Closure fn) {
  if (!Room()) return rep_->room_waiters.push_back(std::move(fn));
  rep_->env.executor.Post(std::move(fn));
}

void OrderedStore::Pin(PinCallback done) {
  Flush([rep = rep_.get(), done = std::move(done)](const Status& status) mutable {
    if (!status.ok()) return done(status);
    done(rep->store.Pin());
  });
}

std::string OrderedStore::AppliedIndexKey(GroupId group) { return AppliedKey(group); }

bool OrderedStore::ParseAppliedIndex(std::string_view value, uint64_t* index) {
  return GetFixed64(&value, index) && value.empty();
}

uint64_t OrderedStore::AppliedIndex(GroupId group) const {
  const auto it = rep_->groups.find(group);
  return it == rep_->groups.end() ? 0 : it->second.applied;
}

uint64_t OrderedStore::FlushedIndex(GroupId group) const {
  const auto it = rep_->groups.find(group);
  return it == rep_->groups.end() ? 0 : it->second.flushed;
}

std::vector<GroupId> OrderedStore::Groups() const {
  std::vector<GroupId> ids;
  for (const auto& [id, group] : rep_->groups) {
    if (group.applied != 0) ids.push_back(id);
  }
  return ids;
}

Result<std::optional<std::string>> OrderedStore::Get(std::string_view key) const {
  if (const auto* value = rep_->active.Find(key)) return *value;
  if (rep_->immutable != nullptr) {
    if (const auto* value = rep_->immutable->Find(key)) return *value;
  }
  return rep_->store.Get(key);
}

namespace {

// The two overlays as one ordered sequence; where both have a key, the newer one counts.
class OverlayCursor {
 public:
  OverlayCursor(const Overlay& active, const Overlay* immutable, std::string_view from,
                std::string_view to)
      : newer_(active, from, to) {
    if (immutable != nullptr) older_.emplace(*immutable, from, to);
    Choose();
  }
  OverlayCursor(const OverlayCursor&) = delete;

  bool valid() const { return current_ != nullptr; }
  std::string_view key() const { return current_->op().key; }
  const std::optional<std::string>& value() const { return current_->op().value; }
  void Next() {
    if (both_) older_->Next();
    current_->Next();
    Choose();
  }

 private:
  void Choose() {
    both_ = false;
    const bool older = older_ && older_->valid();
    if (!newer_.valid() || !older) {
      current_ = newer_.valid() ? &newer_ : older ? &*older_ : nullptr;
      return;
    }
    const int order = CompareKeys(newer_.op().key, older_->op().key);
    both_ = order == 0;
    current_ = order <= 0 ? &newer_ : &*older_;
  }

  Overlay::Cursor newer_;
  std::optional<Overlay::Cursor> older_;
  Overlay::Cursor* current_ = nullptr;
  bool both_ = false;
};

// The same from the end: what is below a bound, one by one.
class OverlayBackCursor {
 public:
  OverlayBackCursor(const Overlay& active, const Overlay* immutable, std::string_view from,
                    std::string_view to)
      : newer_(active), older_(immutable), from_(from), current_(Before(to)) {}

  bool valid() const { return current_ != nullptr; }
  std::string_view key() const { return current_->key; }
  const std::optional<std::string>& value() const { return current_->value; }
  void Next() { current_ = Before(current_->key); }

 private:
  const Overlay::Op* Before(std::string_view bound) const {
    const Overlay::Op* op = newer_.Before(bound);
    const Overlay::Op* older = older_ != nullptr ? older_->Before(bound) : nullptr;
    if (older != nullptr && (op == nullptr || CompareKeys(op->key, older->key) < 0)) op = older;
    const bool within = op != nullptr && (from_.empty() || CompareKeys(op->key, from_) >= 0);
    return within ? op : nullptr;
  }

  const Overlay& newer_;
  const Overlay* older_;
  const std::string_view from_;
  const Overlay::Op* current_;
};

// What is stored, with the overlay over it. `scan(visitor)` goes through the store; `ahead(a, b)`:
// whether it comes to key a before key b.
template <class Cursor, class ScanStore, class Ahead>
Status Merge(Cursor&& overlay, const ScanStore& scan, const Ahead& ahead, ScanVisitor visit) {
  bool stopped = false;
  const auto emit_overlay = [&] {
    if (overlay.value() && !visit(overlay.key(), *overlay.value())) stopped = true;
    overlay.Next();
  };
  RETURN_IF_ERROR(scan([&](std::string_view key, std::string_view value) {
    while (overlay.valid() && !ahead(key, overlay.key())) {
      const bool hidden = overlay.key() == key;  // by what comes next, or deleted
      emit_overlay();
      if (stopped) return false;
      if (hidden) return true;
    }
    stopped = !visit(key, value);
    return !stopped;
  }));
  while (!stopped && overlay.valid()) emit_overlay();
  return Status::Ok();
}

}  // namespace

bool OrderedStore::PrepareScan() const {
  const size_t step = rep_->options.index_step;
  return rep_->active.Index(step) && (rep_->immutable == nullptr || rep_->immutable->Index(step));
}

Status OrderedStore::Scan(std::string_view from, std::string_view to, ScanVisitor visit) const {
  return Merge(
      OverlayCursor(rep_->active, rep_->immutable.get(), from, to),
      [&](ScanVisitor stored) { return rep_->store.Scan(from, to, stored); },
      [](std::string_view a, std::string_view b) { return CompareKeys(a, b) < 0; }, visit);
}

Status OrderedStore::ScanBack(std::string_view from, std::string_view to, ScanVisitor visit) const {
  return Merge(
      OverlayBackCursor(rep_->active, rep_->immutable.get(), from, to),
      [&](ScanVisitor stored) { return rep_->store.ScanBack(from, to, stored); },
      [](std::string_view a, std::string_view b) { return CompareKeys(a, b) > 0; }, visit);
}

bool OrderedStore::Damaged(GroupId group, const Spans& spans) const {
  for (const KvStore::Range& lost : rep_->store.Damaged()) {
    const auto holds = [&lost](std::string_view key) {
      return (lost.first.empty() || CompareKeys(lost.first, key) <= 0) &&
             (lost.second.empty() || CompareKeys(key, lost.second) < 0);
    };
    if (holds(AppliedKey(group)) || holds(ErasingKey(group))) return true;
    if (Touch(Spans{lost}, spans)) return true;
  }
  return false;
}

void OrderedStore::ForgetDamage() { rep_->store.ForgetDamage(); }

bool OrderedStore::OverBound() const { return OverlayBytes() > BytesMax(); }

size_t OrderedStore::BytesMax() const { return rep_->options.bytes_max; }

size_t OrderedStore::OverlayBytes() const { return rep_->Bytes(); }

void OrderedStore::Flush(CommitCallback done) {
  const bool failed = rep_->failure.has_value();
  if (failed || (rep_->Clean() && rep_->immutable == nullptr)) {
    rep_->env.executor.Post([alive = std::weak_ptr<bool>(rep_->alive), done = std::move(done),
                             status = rep_->failure.value_or(Status::Ok())]() mutable {
      if (!alive.expired()) done(std::move(status));
    });
    return;
  }
  (rep_->Clean() ? rep_->immutable_waiters : rep_->active_waiters).push_back(std::move(done));
  rep_->StartFlush();
}

void OrderedStore::OnFlushed(std::function<void()> callback) {
  rep_->on_flushed = std::move(callback);
}

void OrderedStore::OnFailure(std::function<void(Status)> callback) {
  rep_->on_failure = std::move(callback);
}

}  // namespace quorate::storage
