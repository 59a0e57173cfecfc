#include "client/attempt.h"

#include <algorithm>

#include "base/limits.h"
#include "base/mutant.h"
#include "base/probe.h"
#include "proto/node.pb.h"
#include "txn/errors.h"

namespace quorate::client {
namespace {

// Keys in one read request: bounds what one answer may hold beside the leader's own bound.
constexpr size_t kKeysPerRead = 1000;
// A Commit this near to the lifetime would race the horizon; what was never sent is aborted, what
// is refused as too old is unknown.
constexpr Duration kLifetimeMargin = 10s;
// Blind writes start at a timestamp this young; the coordinator takes a fresh slot anyway.
constexpr Duration kBlindStartAge = limits::kTxnLifetimeMax / 2;
static_assert(kLifetimeMargin + kBlindStartAge < limits::kTxnLifetimeMax);

}  // namespace

Attempt::Attempt(Core* core, Spec spec)
    : core_(core), spec_(std::move(spec)), scope_(core->env().executor) {}

Attempt::~Attempt() = default;

// ---- the timestamp ------------------------------------------------------------------------------

// Holds the right to find the timestamp; wakes the others when it ends, whichever way.
struct Attempt::StartClaim {
  explicit StartClaim(Attempt* a) : attempt(a) {
    attempt->start_claimed_ = true;
    attempt->start_asked_ = attempt->core_->env().Now();
  }
  StartClaim(const StartClaim&) = delete;
  ~StartClaim() {
    attempt->start_claimed_ = false;
    for (const auto& waiter : std::exchange(attempt->start_waiters_, {})) waiter.Set(true);
  }
  Attempt* attempt;
};

// Until there is a timestamp, or nobody is about to find one.
Task<Status> Attempt::AwaitStart() {
  while (!start_ts_ && start_claimed_) {
    const Promise<bool> promise(core_->env().executor);
    start_waiters_.push_back(promise);
    co_await promise.future();
  }
  co_return Status::Ok();
}

Task<Status> Attempt::FetchStart() {
  CO_RETURN_IF_ERROR(co_await AwaitStart());
  if (start_ts_) co_return Status::Ok();
  const StartClaim claim(this);
  const Result<Timestamp> slot = co_await core_->slots().Fetch(spec_.deadline - core_->env().Now());
  if (!slot.ok()) co_return slot.status();
  start_ts_ = *slot;
  co_return Status::Ok();
}

// ---- reading ------------------------------------------------------------------------------------

Task<Result<v1::ReadResponse>> Attempt::SendRead(std::string route_key, Fill fill, Timestamp at) {
  Caller::Fill make = [fill = std::move(fill), at, id = std::string(spec_.txn_id.bytes())](
                          uint64_t shard_id, uint64_t version) {
    v1::NodeRequest request;
    v1::ReadRequest* read = request.mutable_read();
    read->mutable_route()->set_shard_id(shard_id);
    read->mutable_route()->set_version(version);
    read->set_read_ts(at.bits());
    read->set_txn_id(id);
    fill(read);
    return request;
  };
  Result<v1::NodeResponse> response =
      co_await core_->Call(std::move(route_key), std::move(make), spec_.deadline);
  if (!response.ok()) co_return response.status();
  v1::ReadResponse read = std::move(*response->mutable_read());
  const bool same = !at || read.read_ts() == at.bits();
  if (read.read_ts() == 0 || !same) co_return Internal("a leader read at another timestamp");
  co_return read;
}

Task<Result<v1::ReadResponse>> Attempt::ReadShard(std::string route_key, Fill fill) {
  CO_RETURN_IF_ERROR(co_await AwaitStart());
  if (start_ts_ && !MUTANT("client-reads-at-several-timestamps")) {
    co_return co_await SendRead(std::move(route_key), std::move(fill), start_ts_);
  }
  const StartClaim claim(this);
  Result<v1::ReadResponse> response =
      co_await SendRead(std::move(route_key), std::move(fill), Timestamp());
  if (response.ok()) {
    start_ts_ = Timestamp(response->read_ts());
    core_->slots().Observe(start_ts_);
  }
  co_return response;
}

Task<Result<std::optional<std::string>>> Attempt::Get(std::string key) {
  CO_RETURN_IF_ERROR(CheckKey(key));
  const auto* own = MUTANT("client-own-writes-not-seen") ? nullptr : writes_.Find(key);
  if (own != nullptr) co_return *own;
  CO_RETURN_IF_ERROR(NoteRead(Span::OfKey(key)));
  Fill fill = [key](v1::ReadRequest* read) { read->add_keys(key); };
  Result<v1::ReadResponse> response = co_await ReadShard(key, std::move(fill));
  if (!response.ok()) co_return Doom(response.status());
  if (response->gets_size() != 1) co_return Doom(Internal("one key was asked, not one answered"));
  v1::KeyValue* got = response->mutable_gets(0);
  if (!got->found()) co_return std::optional<std::string>();
  co_return std::optional<std::string>(std::move(*got->mutable_value()));
}

Task<Result<std::vector<std::optional<std::string>>>> Attempt::GetMany(
    std::vector<std::string> keys) {
  for (const std::string& key : keys) CO_RETURN_IF_ERROR(CheckKey(key));
  std::vector<std::optional<std::string>> values(keys.size());
  auto wanted = std::make_shared<std::vector<std::string>>();
  std::vector<size_t> places;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (const auto* own = writes_.Find(keys[i])) {
      values[i] = *own;
      continue;
    }
    CO_RETURN_IF_ERROR(NoteRead(Span::OfKey(keys[i])));
    wanted->push_back(std::move(keys[i]));
    places.push_back(i);
  }
  if (wanted->empty()) co_return values;
  auto read = co_await ReadKeys(std::move(wanted));
  if (!read.ok()) co_return Doom(read.status());
  for (size_t i = 0; i < places.size(); ++i) values[places[i]] = std::move((*read)[i]);
  co_return values;
}

Task<Result<std::vector<std::optional<std::string>>>> Attempt::ReadKeys(
    std::shared_ptr<const std::vector<std::string>> keys) {
  auto values = std::make_shared<std::vector<std::optional<std::string>>>(keys->size());
  auto groups = co_await core_->GroupByShard(keys, spec_.deadline);
  if (!groups.ok()) co_return groups.status();
  if (groups->size() > 1 && !start_ts_) CO_RETURN_IF_ERROR(co_await FetchStart());
  if (groups->size() == 1) {
    CO_RETURN_IF_ERROR(co_await ReadGroup(keys, std::move(groups->front()), values));
    co_return std::move(*values);
  }
  std::vector<Task<Status>> reads;
  for (auto& group : *groups) reads.push_back(ReadGroup(keys, std::move(group), values));
  for (Status& status : co_await WhenAll(core_->env().executor, std::move(reads))) {
    if (!status.ok()) co_return std::move(status);
  }
  co_return std::move(*values);
}

// Reads keys that one shard owned when they were grouped. Should it have been split since, each
// request that comes back stale is cut down to the keys of one shard again.
Task<Status> Attempt::ReadGroup(std::shared_ptr<const std::vector<std::string>> keys,
                                std::vector<size_t> indices,
                                std::shared_ptr<std::vector<std::optional<std::string>>> values) {
  size_t done = 0;
  size_t keys_max = kKeysPerRead;
  while (done < indices.size()) {
    const std::string& first = (*keys)[indices[done]];
    auto sent = std::make_shared<std::vector<size_t>>();
    RouteCache* routes = &core_->caller().routes();
    std::vector<size_t> rest(indices.begin() + done, indices.end());
    Fill fill = [keys, routes, sent, keys_max, rest = std::move(rest)](v1::ReadRequest* read) {
      sent->clear();
      const Route* route = routes->Find((*keys)[rest.front()]);
      for (const size_t index : rest) {
        if (sent->size() == keys_max) break;
        // In the order asked: a key of another shard ends this request.
        if (route == nullptr || !route->span.Contains((*keys)[index])) break;
        read->add_keys((*keys)[index]);
        sent->push_back(index);
      }
    };
    Result<v1::ReadResponse> response = co_await ReadShard(first, std::move(fill));
    if (response.status().code() == Code::kInvalidArgument && sent->size() > 1) {
      // Their values are too much for one answer.
      keys_max = sent->size() / 2;
      continue;
    }
    if (!response.ok()) co_return response.status();
    const auto answered = static_cast<size_t>(response->gets_size());
    if (answered == 0 || answered > sent->size()) {
      co_return Internal(fmt::format("{} keys were asked, {} answered", sent->size(), answered));
    }
    for (size_t i = 0; i < answered; ++i) {
      v1::KeyValue* got = response->mutable_gets(static_cast<int>(i));
      if (got->found()) (*values)[(*sent)[i]] = std::move(*got->mutable_value());
    }
    done += answered;
  }
  co_return Status::Ok();
}

struct Attempt::Page {
  std::vector<Row> rows;
  Span covered;  // the rows are all there is in it
};

// One page of `rest` from its beginning (reverse: from its end).
Task<Result<Attempt::Page>> Attempt::ReadPage(Span rest, size_t limit, bool reverse) {
  RouteCache* routes = &core_->caller().routes();
  const uint32_t rows_max =
      static_cast<uint32_t>(limit == 0 ? 0 : std::min(limit, limits::kScanRowsMax));
  while (true) {
    std::string route_key = rest.from;
    if (reverse) {
      const Route* route = routes->FindBelow(rest.to);
      if (route == nullptr) {
        auto covered = co_await core_->caller().Cover(rest, spec_.deadline);
        if (!covered.ok()) co_return covered.status();
        continue;
      }
      route_key = std::max(route->span.from, rest.from);
    }
    // What the last sending asked for.
    auto asked = std::make_shared<Span>();
    Fill fill = [=](v1::ReadRequest* read) {
      const Route* route = routes->Find(route_key);
      *asked = route == nullptr ? Span{route_key, route_key} : rest.Clip(route->span);
      v1::ScanSpan* scan = read->add_scans();
      scan->mutable_span()->set_from(asked->from);
      scan->mutable_span()->set_to(asked->to);
      scan->set_limit(rows_max);
      scan->set_reverse(reverse);
    };
    Result<v1::ReadResponse> response = co_await ReadShard(route_key, std::move(fill));
    if (!response.ok()) co_return response.status();
    if (response->scans_size() != 1) co_return Internal("one scan was asked, not one answered");
    // The shard was split meanwhile, and this is not the side to begin with.
    if (reverse && asked->to != rest.to) continue;
    v1::ScanResult* result = response->mutable_scans(0);
    Page page;
    page.covered = *asked;
    for (v1::KeyValue& row : *result->mutable_rows()) {
      page.rows.push_back({std::move(*row.mutable_key()), std::move(*row.mutable_value())});
    }
    std::string resume = std::move(*result->mutable_resume_key());
    const bool full = rows_max != 0 && page.rows.size() >= rows_max;
    if (resume.empty() && full) {
      resume = page.rows.back().key;
      if (!reverse) resume.push_back('\0');
    }
    if (!resume.empty()) (reverse ? page.covered.from : page.covered.to) = std::move(resume);
    co_return page;
  }
}

Task<Result<std::vector<Row>>> Attempt::Scan(std::string from, std::string to,
                                             ScanOptions options) {
  const Span span{std::move(from), std::move(to)};
  CO_RETURN_IF_ERROR(CheckSpan(span));
  std::vector<Row> rows;
  Span rest = span;
  while (!rest.empty()) {
    const size_t wanted =
        options.limit == 0 ? 0 : options.limit - rows.size() + writes_.DeletionsIn(rest);
    Result<Page> page = co_await ReadPage(rest, wanted, options.reverse);
    if (!page.ok()) co_return Doom(page.status());
    const Span covered = page->covered;
    for (Row& row : writes_.Overlay(std::move(page->rows), covered, options.reverse)) {
      rows.push_back(std::move(row));
      if (rows.size() == options.limit) break;
    }
    const bool enough = options.limit != 0 && rows.size() == options.limit;
    const bool end = options.reverse ? covered.from <= span.from : covered.to == span.to;
    if (enough || end) break;
    // An empty end of the covered part is the end of all keys.
    if (!options.reverse && covered.to.empty()) break;
    (options.reverse ? rest.to : rest.from) = options.reverse ? covered.from : covered.to;
  }
  // What the result depends on: everything up to the last row if the limit ended it.
  Span depends = span;
  if (options.limit != 0 && rows.size() == options.limit) {
    if (options.reverse) {
      depends.from = rows.back().key;
    } else {
      depends.to = Span::OfKey(rows.back().key).to;
    }
  }
  if (!depends.empty() && !MUTANT("client-ranges-not-guarded")) {
    CO_RETURN_IF_ERROR(NoteRead(std::move(depends)));
  }
  co_return rows;
}

// ---- locks --------------------------------------------------------------------------------------

namespace {

constexpr Duration kLockTtl = 3s;
constexpr Duration kLockWaitMax = 5s;
constexpr Duration kReleaseTimeout = 1s;

Caller::Fill LockFill(const TxnId& id, const TxnPriority& priority, std::vector<std::string> keys,
                      bool release) {
  return [=](uint64_t shard_id, uint64_t version) {
    v1::NodeRequest request;
    v1::LockRequest* lock = request.mutable_lock();
    lock->mutable_route()->set_shard_id(shard_id);
    lock->mutable_route()->set_version(version);
    lock->set_txn_id(std::string(id.bytes()));
    lock->mutable_priority()->set_start_ts(priority.start_ts.bits());
    lock->mutable_priority()->set_txn_id(std::string(priority.txn_id.bytes()));
    for (const auto& key : keys) lock->add_keys(key);
    lock->set_ttl_ms(static_cast<uint32_t>(ToMillis(kLockTtl)));
    lock->set_release(release);
    return request;
  };
}

Task<void> ReleaseLocks(Core* core, TxnId id, std::vector<std::string> keys) {
  const Instant deadline = core->env().Now() + kReleaseTimeout;
  auto shared = std::make_shared<const std::vector<std::string>>(std::move(keys));
  auto groups = co_await core->GroupByShard(shared, deadline);
  if (!groups.ok()) co_return;
  std::vector<Task<Result<v1::NodeResponse>>> calls;
  for (const auto& group : *groups) {
    const std::string& key = (*shared)[group.front()];
    calls.push_back(core->Call(key, LockFill(id, {}, {key}, true), deadline));
  }
  // Whoever does not hear of it lets the locks run out.
  (void)co_await WhenAll(core->env().executor, std::move(calls));
}

}  // namespace

Task<Status> Attempt::EnsurePriority() {
  if (spec_.priority.start_ts) co_return Status::Ok();
  Timestamp since = start_ts_;
  if (!since) {
    // Only who goes first depends on it, so a timestamp that is a little old will do.
    if (const auto known = core_->slots().NewestWithin(kLifetimeMargin)) {
      since = *known;
    } else {
      const Result<Timestamp> slot =
          co_await core_->slots().Fetch(spec_.deadline - core_->env().Now());
      if (!slot.ok()) co_return slot.status();
      since = *slot;
    }
  }
  if (!spec_.priority.start_ts) spec_.priority = {since, spec_.txn_id};
  co_return Status::Ok();
}

Task<Status> Attempt::LockGroup(std::vector<std::string> keys, Instant deadline) {
  std::string route_key = keys.front();
  Caller::Fill fill = LockFill(spec_.txn_id, spec_.priority, std::move(keys), false);
  const Result<v1::NodeResponse> response =
      co_await core_->Call(std::move(route_key), std::move(fill), deadline);
  co_return response.status();
}

Task<void> Attempt::LockAll(std::vector<std::string> keys) {
  if (keys.empty() || spec_.read_only) co_return;
  if (const Status status = co_await EnsurePriority(); !status.ok()) co_return;
  const Instant deadline = std::min(spec_.deadline, core_->env().Now() + kLockWaitMax);
  auto shared = std::make_shared<const std::vector<std::string>>(std::move(keys));
  auto groups = co_await core_->GroupByShard(shared, deadline);
  if (!groups.ok()) co_return;
  // From now on they may be held, whatever is heard.
  locked_.insert(shared->begin(), shared->end());
  std::vector<Task<Status>> locks;
  for (const auto& group : *groups) {
    std::vector<std::string> part;
    for (const size_t index : group) part.push_back((*shared)[index]);
    locks.push_back(LockGroup(std::move(part), deadline));
  }
  (void)co_await WhenAll(core_->env().executor, std::move(locks));
  if (!std::exchange(renewing_, true)) scope_.Spawn(RenewLocks());
}

Task<void> Attempt::RenewLocks() {
  while (true) {
    co_await Sleep(core_->env().executor, kLockTtl / 3);
    const Instant now = core_->env().Now();
    if (now >= spec_.deadline) co_return;
    auto keys = std::make_shared<const std::vector<std::string>>(locked_.begin(), locked_.end());
    auto groups = co_await core_->GroupByShard(keys, now + kLockTtl);
    if (!groups.ok()) continue;
    std::vector<Task<Status>> locks;
    for (const auto& group : *groups) {
      std::vector<std::string> part;
      for (const size_t index : group) part.push_back((*keys)[index]);
      locks.push_back(LockGroup(std::move(part), now + kLockTtl));
    }
    (void)co_await WhenAll(core_->env().executor, std::move(locks));
  }
}

void Attempt::Release() {
  scope_.Clear();
  renewing_ = false;
  if (locked_.empty()) return;
  std::vector<std::string> keys(locked_.begin(), locked_.end());
  locked_.clear();
  core_->background().Spawn(ReleaseLocks(core_, spec_.txn_id, std::move(keys)));
}

Task<Result<std::optional<std::string>>> Attempt::GetForUpdate(std::string key) {
  CO_RETURN_IF_ERROR(CheckKey(key));
  if (spec_.read_only) co_return InvalidArgument("a read-only transaction takes no locks");
  std::vector<std::string> keys(1, key);
  if (!locked_.contains(key)) co_await LockAll(std::move(keys));
  co_return co_await Get(std::move(key));
}

// ---- writing ------------------------------------------------------------------------------------

Status Attempt::Put(std::string key, std::string value) {
  RETURN_IF_ERROR(CheckValue(value));
  return Write(std::move(key), std::move(value));
}
Status Attempt::Delete(std::string key) { return Write(std::move(key), std::nullopt); }

Status Attempt::Write(std::string key, std::optional<std::string> value) {
  if (spec_.read_only) return InvalidArgument("a read-only transaction writes nothing");
  RETURN_IF_ERROR(CheckKey(key));
  RETURN_IF_ERROR(CheckTxnSize(writes_.bytes() + reads_.bytes() + writes_.GrowthOf(key, value),
                               writes_.keys() + reads_.size() + (writes_.Adds(key) ? 1 : 0)));
  writes_.Set(std::move(key), std::move(value));
  return Status::Ok();
}

Status Attempt::NoteRead(Span span) {
  if (spec_.read_only) return Status::Ok();
  RETURN_IF_ERROR(CheckTxnSize(writes_.bytes() + reads_.bytes() + span.from.size() + span.to.size(),
                               writes_.keys() + reads_.size() + 1));
  reads_.Add(std::move(span));
  return Status::Ok();
}

Status Attempt::Doom(Status status) {
  if (doom_.ok()) doom_ = status;
  return status;
}

std::vector<std::string> Attempt::WrittenKeys() const {
  std::vector<std::string> keys;
  keys.reserve(writes_.keys());
  for (const auto& [key, value] : writes_.writes()) keys.push_back(key);
  return keys;
}

TxnHandle Attempt::handle() const { return {spec_.txn_id, start_ts_, anchor_key_}; }

Status Attempt::CheckAge() const {
  if (!start_ts_ || reads_.empty()) return Status::Ok();
  if (core_->env().Now() - start_asked_ < limits::kTxnLifetimeMax - kLifetimeMargin) {
    return Status::Ok();
  }
  return Status(Code::kSnapshotTooOld,
                fmt::format("the transaction began more than {} s ago; nothing was sent",
                            ToMillis(limits::kTxnLifetimeMax - kLifetimeMargin) / 1000));
}

std::shared_ptr<v1::CommitRequest> Attempt::BuildCommit() const {
  auto request = std::make_shared<v1::CommitRequest>();
  request->set_txn_id(std::string(spec_.txn_id.bytes()));
  request->set_start_ts(start_ts_.bits());
  request->mutable_priority()->set_start_ts(spec_.priority.start_ts.bits());
  request->mutable_priority()->set_txn_id(std::string(spec_.priority.txn_id.bytes()));
  request->set_anchor_key(anchor_key_);
  for (const Span& span : reads_.spans()) {
    v1::KeySpan* read = request->add_reads();
    read->set_from(span.from);
    read->set_to(span.to);
  }
  for (const auto& [key, value] : writes_.writes()) {
    v1::Write* write = request->add_writes();
    write->set_key(key);
    if (value.has_value()) {
      write->set_value(*value);
    } else {
      write->set_deletion(true);
    }
  }
  return request;
}

Task<Settled> Attempt::Commit() {
  const auto aborted = [](Status status) {
    return Settled{Settled::State::kAborted, std::move(status)};
  };
  if (!doom_.ok()) co_return aborted(doom_);
  if (writes_.empty()) co_return Settled{Settled::State::kCommitted};
  if (Status status = CheckAge(); !status.ok()) co_return aborted(std::move(status));
  if (reads_.empty()) {
    // Nothing was read, so nothing depends on where it starts.
    if (const auto known = core_->slots().NewestWithin(kBlindStartAge)) {
      start_ts_ = *known;
    } else if (Status status = co_await FetchStart(); !status.ok()) {
      co_return aborted(std::move(status));
    }
  }
  if (!start_ts_) {
    // Everything it read was its own writes, or nothing: as if it had not.
    if (Status status = co_await FetchStart(); !status.ok()) co_return aborted(std::move(status));
  }
  if (!spec_.priority.start_ts) spec_.priority = {start_ts_, spec_.txn_id};
  std::vector<std::string_view> keys;
  keys.reserve(writes_.keys());
  for (const auto& [key, value] : writes_.writes()) keys.push_back(key);
  anchor_key_ = ChooseAnchor(core_->caller().routes(), keys);
  co_return co_await SendCommit(core_, BuildCommit(), spec_.deadline);
}

}  // namespace quorate::client
