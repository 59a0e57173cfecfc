#include "client/attempt.h"

#include <absl/container/btree_map.h>

#include <algorithm>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/mutant.h"
#include "base/status_macros.h"
#include "quorate/v1/node.pb.h"
#include "txn/errors.h"
#include "txn/table_key.h"
#include "txn/txn_size.h"

namespace quorate::client {
namespace {

// A Commit this near to the lifetime would race the horizon; what was never sent is aborted, what
// is refused as too old is unknown.
constexpr Duration kLifetimeMargin = 10s;
// Blind writes start at a timestamp this young; the coordinator takes a fresh slot anyway.
constexpr Duration kBlindStartAge = limits::kTxnLifetimeMax / 2;
static_assert(kLifetimeMargin + kBlindStartAge < limits::kTxnLifetimeMax);

}  // namespace

Attempt::Attempt(Core* core, Spec spec)
    : core_(core),
      spec_(std::move(spec)),
      start_(core),
      reader_(core, spec_.txn_id, &start_),
      locks_(core, spec_.txn_id) {
  start_.Set(spec_.read_ts);
  reader_.SetStale(spec_.stale);
}

Attempt::~Attempt() { End(); }

void Attempt::End() {
  ended_ = true;
  locks_.Release();
}

Status Attempt::CheckOpen() const {
  if (!ended_) return Status::Ok();
  return Status(Code::kFailedPrecondition, "the transaction has ended");
}

void Attempt::set_deadline(Instant deadline) {
  spec_.deadline = deadline;
  locks_.RenewUntil(deadline);
}

// ---- reading ------------------------------------------------------------------------------------

Task<Result<std::optional<std::string>>> Attempt::Get(std::string key) {
  CO_RETURN_IF_ERROR(CheckOpen());
  CO_RETURN_IF_ERROR(CheckKey(key));
  const auto* own = MUTANT("client-own-writes-not-seen") ? nullptr : writes_.Find(key);
  if (own != nullptr) co_return *own;
  CO_RETURN_IF_ERROR(NoteRead(Span::OfKey(key)));
  auto value = co_await reader_.Get(std::move(key), spec_.deadline);
  if (!value.ok()) co_return Doom(value.status());
  co_return std::move(*value);
}

Task<Result<std::vector<std::optional<std::string>>>> Attempt::GetMany(
    std::vector<std::string> keys) {
  CO_RETURN_IF_ERROR(CheckOpen());
  for (const std::string& key : keys) CO_RETURN_IF_ERROR(CheckKey(key));
  std::vector<std::optional<std::string>> values(keys.size());
  auto wanted = std::make_shared<std::vector<std::string>>();
  std::vector<size_t> places;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (const auto* own = writes_.Find(keys[i])) {
      values[i] = *own;
      continue;
    }
    wanted->push_back(std::move(keys[i]));
    places.push_back(i);
  }
  if (wanted->empty()) co_return values;
  CO_RETURN_IF_ERROR(NoteKeys(*wanted));
  auto read = co_await reader_.GetMany(std::move(wanted), spec_.deadline);
  // Too much for one answer: nothing of it was seen, so nothing can rest on it.
  if (read.status().code() == Code::kInvalidArgument) co_return read.status();
  if (!read.ok()) co_return Doom(read.status());
  for (size_t i = 0; i < places.size(); ++i) values[places[i]] = std::move((*read)[i]);
  co_return values;
}

Task<Result<std::vector<Row>>> Attempt::Scan(std::string from, std::string to,
                                             ScanOptions options) {
  CO_RETURN_IF_ERROR(CheckOpen());
  const Span span{std::move(from), std::move(to)};
  CO_RETURN_IF_ERROR(CheckSpan(span));
  std::vector<Row> rows;
  size_t bytes = 0;
  bool enough = false;
  Span rest = span;
  while (!rest.empty()) {
    ScanOptions left = options;
    if (left.limit != 0) left.limit += writes_.DeletionsIn(rest) - rows.size();
    if (left.limit_bytes != 0) left.limit_bytes -= bytes;
    Result<SnapshotReader::Page> page = co_await reader_.ScanPage(rest, left, spec_.deadline);
    if (!page.ok()) co_return Doom(page.status());
    const Span covered = page->covered;
    for (Row& row : writes_.Overlay(std::move(page->rows), covered, options.reverse)) {
      if (options.keys_only) row.value.clear();
      bytes += row.key.size() + row.value.size();
      rows.push_back(std::move(row));
      enough = rows.size() == options.limit ||
               (options.limit_bytes != 0 && bytes >= options.limit_bytes);
      if (enough) break;
    }
    const bool end = options.reverse ? covered.from <= span.from : covered.to == span.to;
    if (enough || end) break;
    // An empty end of the covered part is the end of all keys.
    if (!options.reverse && covered.to.empty()) break;
    (options.reverse ? rest.to : rest.from) = options.reverse ? covered.from : covered.to;
  }
  // What the result depends on: everything up to the last row if a limit ended it.
  Span depends = span;
  if (enough) {
    if (options.reverse) {
      depends.from = rows.back().key;
    } else {
      depends.to = Span::OfKey(rows.back().key).to;
    }
  }
  if (!depends.empty() && !MUTANT("client-ranges-not-guarded")) {
    CO_RETURN_IF_ERROR(NoteRead(depends));
  }
  co_return rows;
}

// ---- locks --------------------------------------------------------------------------------------

Task<Status> Attempt::EnsurePriority() {
  if (spec_.priority.start_ts) co_return Status::Ok();
  Timestamp since = start_.get();
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

Task<void> Attempt::LockAll(std::vector<std::string> keys) {
  if (keys.empty() || spec_.read_only) co_return;
  if (const Status status = co_await EnsurePriority(); !status.ok()) co_return;
  co_await locks_.Lock(std::move(keys), spec_.priority, spec_.deadline);
}

Task<Result<std::optional<std::string>>> Attempt::GetForUpdate(std::string key) {
  CO_RETURN_IF_ERROR(CheckOpen());
  CO_RETURN_IF_ERROR(CheckKey(key));
  if (spec_.read_only) co_return InvalidArgument("a read-only transaction takes no locks");
  std::vector<std::string> keys(1, key);
  if (!locks_.Holds(key)) co_await LockAll(std::move(keys));
  co_return co_await Get(std::move(key));
}

// ---- writing ------------------------------------------------------------------------------------

Status Attempt::Put(std::string key, std::string value) {
  RETURN_IF_ERROR(CheckValue(value));
  return Write(std::move(key), std::move(value));
}
Status Attempt::Delete(std::string key) { return Write(std::move(key), std::nullopt); }

Status Attempt::CheckWritable(const std::string& key) const {
  RETURN_IF_ERROR(CheckOpen());
  if (spec_.read_only) return InvalidArgument("a read-only transaction writes nothing");
  return CheckKey(key);
}

Status Attempt::WriteAll(std::vector<BufferedWrite> writes) {
  for (const BufferedWrite& write : writes) {
    RETURN_IF_ERROR(CheckRawWrite(write.key, write.value ? WriteKind::kPut : WriteKind::kDeletion));
  }
  return BufferAll(std::move(writes));
}

Status Attempt::BufferAll(std::vector<BufferedWrite> writes) {
  // What each key would have in the end, and what that changes.
  absl::btree_map<std::string_view, size_t> sizes;
  for (const BufferedWrite& write : writes) {
    RETURN_IF_ERROR(CheckWritable(write.key));
    if (write.value) RETURN_IF_ERROR(CheckValue(*write.value));
    sizes[write.key] = TxnSize::OfWrite(write.key, write.value.value_or(std::string()));
  }
  size_t bytes = writes_.bytes();
  size_t keys = writes_.keys();
  for (const auto& [key, size] : sizes) {
    bytes = bytes + size - writes_.BytesOf(key);
    keys += writes_.Adds(key) ? 1 : 0;
  }
  RETURN_IF_ERROR(CheckSize(reads_.size(), bytes, keys));
  for (BufferedWrite& write : writes) writes_.Set(std::move(write.key), std::move(write.value));
  return Status::Ok();
}

Status Attempt::Write(std::string key, std::optional<std::string> value) {
  RETURN_IF_ERROR(CheckWritable(key));
  RETURN_IF_ERROR(CheckRawWrite(key, value ? WriteKind::kPut : WriteKind::kDeletion));
  RETURN_IF_ERROR(CheckSize(reads_.size(), writes_.BytesWith(key, value),
                            writes_.keys() + (writes_.Adds(key) ? 1 : 0)));
  writes_.Set(std::move(key), std::move(value));
  return Status::Ok();
}

// ---- tables -------------------------------------------------------------------------------------

Task<Result<OpenTablePtr>> Attempt::Open(std::string name) {
  CO_RETURN_IF_ERROR(CheckOpen());
  if (const auto known = tables_.find(name); known != tables_.end()) co_return known->second;
  Result<OpenTablePtr> table = co_await core_->tables().Open(name, spec_.deadline);
  // Another call may have been faster, with another version.
  if (table.ok()) co_return tables_.try_emplace(std::move(name), *table).first->second;
  co_return table;
}

Status Attempt::WriteRows(const OpenTable& table, std::vector<BufferedWrite> writes) {
  for (const BufferedWrite& write : writes) {
    if (TableIdOf(write.key) == table.codec.table_id()) continue;
    return Internal(fmt::format("a key that is not of table {}", table.codec.table()));
  }
  return BufferAll(std::move(writes));
}

// ---- what it comes to ---------------------------------------------------------------------------

Status Attempt::CheckSize(const ReadSet::Size& reads, size_t written_bytes, size_t written_keys) {
  return CheckTxnSize(reads.bytes + written_bytes, reads.spans + written_keys, reads.ranges);
}

Status Attempt::NoteRead(const Span& span) {
  if (spec_.read_only || reads_.Has(span)) return Status::Ok();
  RETURN_IF_ERROR(CheckSize(reads_.SizeWith(span), writes_.bytes(), writes_.keys()));
  reads_.Add(span);
  return Status::Ok();
}

Status Attempt::NoteKeys(std::vector<std::string> keys) {
  if (spec_.read_only) return Status::Ok();
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  std::erase_if(keys, [this](const std::string& key) { return reads_.Has(Span::OfKey(key)); });
  ReadSet::Size size = reads_.size();
  size.spans += keys.size();
  for (const std::string& key : keys) {
    const Span span = Span::OfKey(key);
    size.bytes += TxnSize::OfRead(span.from, span.to);
  }
  RETURN_IF_ERROR(CheckSize(size, writes_.bytes(), writes_.keys()));
  for (const std::string& key : keys) reads_.Add(Span::OfKey(key));
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

TxnHandle Attempt::handle() const {
  if (spec_.name.given()) return TxnHandle::OfName(spec_.name, anchor_key_);
  return {spec_.txn_id, start_.get(), anchor_key_};
}

Status Attempt::CheckAge() const {
  if (!start_.get() || reads_.empty()) return Status::Ok();
  if (core_->env().Now() - start_.asked_at() < limits::kTxnLifetimeMax - kLifetimeMargin) {
    return Status::Ok();
  }
  return Status(Code::kSnapshotTooOld,
                fmt::format("the transaction began more than {} s ago; nothing was sent",
                            ToMillis(limits::kTxnLifetimeMax - kLifetimeMargin) / 1000));
}

std::shared_ptr<v1::CommitRequest> Attempt::BuildCommit() {
  auto request = std::make_shared<v1::CommitRequest>();
  request->set_txn_id(std::string(spec_.txn_id.bytes()));
  request->set_start_ts(start_.get().bits());
  request->mutable_priority()->set_start_ts(spec_.priority.start_ts.bits());
  request->mutable_priority()->set_txn_id(std::string(spec_.priority.txn_id.bytes()));
  request->set_anchor_key(anchor_key_);
  request->set_name(std::string(spec_.name.bytes()));
  for (const Span& span : reads_.spans()) {
    v1::KeySpan* read = request->add_reads();
    read->set_from(span.from);
    read->set_to(span.to);
  }
  std::map<uint32_t, uint64_t> versions;
  for (const auto& [name, table] : tables_) {
    versions[table->codec.table_id()] = table->codec.version();
  }
  for (const auto& [id, version] : versions) {
    v1::TableVersion* table = request->add_tables();
    table->set_table_id(id);
    table->set_version(version);
  }
  writes_.TakeValues([&request](const std::string& key, WriteBuffer::Value value) {
    v1::Write* write = request->add_writes();
    write->set_key(key);
    if (value.has_value()) {
      write->set_value(*std::move(value));
    } else {
      write->set_deletion(true);
    }
  });
  return request;
}

Task<Settled> Attempt::Commit() {
  const auto aborted = [](Status status) {
    return Settled{Settled::State::kAborted, std::move(status)};
  };
  ended_ = true;
  if (!doom_.ok()) co_return aborted(doom_);
  if (writes_.empty()) co_return Settled{Settled::State::kCommitted};
  if (Status status = CheckAge(); !status.ok()) co_return aborted(std::move(status));
  if (reads_.empty()) {
    // Nothing was read, so nothing depends on where it starts.
    if (const auto known = core_->slots().NewestWithin(kBlindStartAge)) {
      start_.Set(*known);
    } else if (Status status = co_await start_.Fetch(spec_.deadline); !status.ok()) {
      co_return aborted(std::move(status));
    }
  }
  if (!start_.get()) {
    // Everything it read was its own writes, or nothing: as if it had not.
    if (Status status = co_await start_.Fetch(spec_.deadline); !status.ok())
      co_return aborted(std::move(status));
  }
  if (!spec_.priority.start_ts) spec_.priority = {start_.get(), spec_.txn_id};
  if (!spec_.name_key.empty() && writes_.Find(spec_.name_key) == nullptr) {
    // Another attempt of the name might not meet this one anywhere.
    co_return aborted(
        InvalidArgument(fmt::format("name_key \"{}\" was not written", Printable(spec_.name_key))));
  }
  std::vector<std::string_view> keys;
  keys.reserve(writes_.keys());
  for (const auto& [key, value] : writes_.writes()) keys.push_back(key);
  anchor_key_ = ChooseAnchor(core_->caller().routes(), keys);
  auto request = BuildCommit();
  // Of what is large, each step is a turn of its own.
  if (writes_.bytes() > limits::kPartBytesMax) {
    co_await Sleep(core_->env().executor, Duration(0));
  }
  Settled settled = co_await SendCommit(core_, std::move(request), spec_.deadline, &commits_sent_);
  commits_sent_ = 0;
  co_return settled;
}

}  // namespace quorate::client
