#include "tests/sim/checks/recorder.h"

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "client/attempt.h"

namespace quorate::sim {

namespace {

std::string KeyAfter(std::string key) {
  key.push_back('\0');
  return key;
}

class RecordingTransaction final : public client::Transaction {
 public:
  RecordingTransaction(client::Transaction& inner, AttemptSeen& attempt)
      : inner_(inner), attempt_(attempt) {}

  Task<Result<std::optional<std::string>>> Get(std::string key) override {
    auto value = co_await inner_.Get(key);
    if (value.ok()) SeenKey(key, *value);
    co_return value;
  }
  Task<Result<std::vector<std::optional<std::string>>>> GetMany(
      std::vector<std::string> keys) override {
    auto values = co_await inner_.GetMany(keys);
    if (values.ok()) {
      for (size_t i = 0; i < keys.size(); ++i) SeenKey(keys[i], (*values)[i]);
    }
    co_return values;
  }
  Task<Result<std::optional<std::string>>> GetForUpdate(std::string key) override {
    auto value = co_await inner_.GetForUpdate(key);
    if (value.ok()) SeenKey(key, *value);
    co_return value;
  }
  Task<Result<std::vector<client::Row>>> Scan(std::string from, std::string to,
                                              client::ScanOptions options) override {
    auto rows = co_await inner_.Scan(from, to, options);
    if (!rows.ok()) co_return rows.status();
    CHECK(!options.keys_only, "keys without values are not judged");
    // One that its bytes have cut promises nothing beyond its last row; one with fewer is whole.
    size_t bytes = 0;
    for (const client::Row& row : *rows) bytes += row.key.size() + row.value.size();
    const bool cut = options.limit_bytes != 0 && bytes >= options.limit_bytes;
    const size_t limit = cut ? rows->size() : options.limit;
    ReadSeen seen{from, to, limit, options.reverse, {}, {}};
    for (const client::Row& row : *rows) seen.rows.emplace_back(row.key, Keep(row.value));
    for (auto own = attempt_.writes.lower_bound(from);
         own != attempt_.writes.end() && (to.empty() || own->first < to); ++own) {
      seen.own.insert(*own);
    }
    Add(std::move(seen));
    co_return rows;
  }
  Status Put(std::string key, std::string value) override {
    const Status status = inner_.Put(key, value);
    if (status.ok()) attempt_.writes[key] = Keep(value);
    return status;
  }
  Status Delete(std::string key) override {
    const Status status = inner_.Delete(key);
    if (status.ok()) attempt_.writes[key] = std::nullopt;
    return status;
  }
  Timestamp start_ts() const override { return inner_.start_ts(); }
  int attempt() const override { return inner_.attempt(); }
  client::TableDoor& tables() override { CHECK(false, "what is done to tables is not recorded"); }

 private:
  void SeenKey(const std::string& key, const Value& value) {
    ReadSeen seen{key, KeyAfter(key), 0, false, {{key, Keep(value)}}, {}};
    if (const auto own = attempt_.writes.find(key); own != attempt_.writes.end()) {
      seen.own.insert(*own);
    }
    Add(std::move(seen));
  }
  void Add(ReadSeen seen) {
    attempt_.start_ts = inner_.start_ts();
    attempt_.reads.push_back(std::move(seen));
  }

  client::Transaction& inner_;
  AttemptSeen& attempt_;
};

// Zero if it is not the library's.
TxnId IdOf(client::Transaction& transaction) {
  const auto* attempt = dynamic_cast<client::Attempt*>(&transaction);
  return attempt == nullptr ? TxnId() : attempt->handle().txn_id;
}

void Settle(Record* record, AttemptSeen* attempt, const client::CommitResult& result) {
  if (attempt == nullptr) return;
  if (result.ok()) {
    record->Committed(attempt, result.commit_ts);
  } else if (result.status.code() != Code::kUnknownOutcome) {
    record->Aborted(attempt);
  } else if (!result.unknown || (attempt->id.valid() && result.unknown->txn_id != attempt->id)) {
    record->Violation("UNKNOWN_OUTCOME does not name the last attempt, so nobody can ask");
  } else {
    attempt->id = result.unknown->txn_id;
  }
}

using Current = std::shared_ptr<AttemptSeen*>;

Task<Status> RunClosure(Record* record, std::string who, client::Database::Closure closure,
                        client::Transaction* inner, Current current, client::StaleRead stale = {}) {
  // That there is another attempt says that the one before is known to be undone.
  if (*current != nullptr) record->Aborted(*current);
  AttemptSeen& attempt = record->Begin(std::move(who));
  *current = &attempt;
  attempt.id = IdOf(*inner);
  attempt.stale = stale;
  RecordingTransaction recording(*inner, attempt);
  Status status = co_await closure(recording);
  if (status.ok()) attempt.state = AttemptSeen::State::kCommitting;
  co_return status;
}

class RecordingSession final : public client::Database::Session {
 public:
  RecordingSession(std::unique_ptr<client::Database::Session> inner, Record& record,
                   std::string who)
      : inner_(std::move(inner)),
        record_(record),
        attempt_(record.Begin(std::move(who))),
        recording_(inner_->transaction(), attempt_) {
    attempt_.id = inner_->handle().txn_id;
  }
  client::Transaction& transaction() override { return recording_; }
  Status WriteAll(std::vector<client::BufferedWrite> writes) override {
    RETURN_IF_ERROR(inner_->WriteAll(writes));
    for (client::BufferedWrite& write : writes) {
      RETURN_IF_ERROR(write.value ? recording_.Put(std::move(write.key), std::move(*write.value))
                                  : recording_.Delete(std::move(write.key)));
    }
    return Status::Ok();
  }
  Task<client::CommitResult> Commit(Duration timeout) override {
    attempt_.state = AttemptSeen::State::kCommitting;
    auto result = co_await inner_->Commit(timeout);
    Settle(&record_, &attempt_, result);
    co_return result;
  }
  void Rollback() override {
    record_.Aborted(&attempt_);
    inner_->Rollback();
  }
  client::TxnHandle handle() const override { return inner_->handle(); }

 private:
  std::unique_ptr<client::Database::Session> inner_;
  Record& record_;
  AttemptSeen& attempt_;
  RecordingTransaction recording_;
};

}  // namespace

Task<client::CommitResult> RecordingDatabase::TransactAsync(Closure closure,
                                                            client::TransactOptions options) {
  const auto current = std::make_shared<AttemptSeen*>(nullptr);
  auto result = co_await inner_.TransactAsync(
      [this, closure, current](client::Transaction& txn) {
        return RunClosure(&record_, who_, closure, &txn, current);
      },
      options);
  Settle(&record_, *current, result);
  co_return result;
}

Task<Status> RecordingDatabase::SnapshotAsync(Closure closure, client::TransactOptions options) {
  const auto current = std::make_shared<AttemptSeen*>(nullptr);
  Status status = co_await inner_.SnapshotAsync(
      [this, closure, current, stale = options.stale](client::Transaction& txn) {
        return RunClosure(&record_, who_, closure, &txn, current, stale);
      },
      options);
  if (*current != nullptr && status.ok()) record_.Committed(*current, Timestamp());
  co_return status;
}

Task<Result<std::optional<std::string>>> RecordingDatabase::GetAsync(std::string key,
                                                                     Duration timeout) {
  const int64_t began = record_.Now();
  auto value = co_await inner_.GetAsync(key, timeout);
  if (value.ok()) record_.AddSingle({who_, key, Keep(*value), began, record_.Now()});
  co_return value;
}

Task<client::CommitResult> RecordingDatabase::WriteOne(std::string key,
                                                       std::optional<std::string> value,
                                                       Duration timeout) {
  AttemptSeen& attempt = record_.Begin(who_);
  attempt.writes[key] = Keep(value);
  attempt.state = AttemptSeen::State::kCommitting;
  auto result = value ? co_await inner_.PutAsync(key, *value, timeout)
                      : co_await inner_.DeleteAsync(key, timeout);
  Settle(&record_, &attempt, result);
  co_return result;
}

Task<client::CommitResult> RecordingDatabase::PutAsync(std::string key, std::string value,
                                                       Duration timeout) {
  return WriteOne(std::move(key), std::move(value), timeout);
}

Task<client::CommitResult> RecordingDatabase::DeleteAsync(std::string key, Duration timeout) {
  return WriteOne(std::move(key), std::nullopt, timeout);
}

Task<Status> RecordingDatabase::ScanAllAsync(std::string from, std::string to,
                                             client::ScanAllOptions options, TakePage take) {
  AttemptSeen& attempt = record_.Begin(who_);
  attempt.stale = options.stale;
  auto rest = std::make_shared<Span>(Span{std::move(from), std::move(to)});
  const TakePage seen = [rest, &attempt, reverse = options.reverse, take](client::ScanPage page) {
    const size_t limit = page.resume_key.empty() ? 0 : page.rows.size();
    ReadSeen read{rest->from, rest->to, limit, reverse, {}, {}};
    for (const client::Row& row : page.rows) read.rows.emplace_back(row.key, Keep(row.value));
    attempt.reads.push_back(std::move(read));
    attempt.start_ts = page.read_ts;
    (reverse ? rest->to : rest->from) = page.resume_key;
    return take(std::move(page));
  };
  const std::string begin = rest->from, end = rest->to;
  Status status = co_await inner_.ScanAllAsync(begin, end, options, seen);
  // What came is of the snapshot even if the rest did not.
  record_.Committed(&attempt, Timestamp());
  co_return status;
}

Task<Result<client::Outcome>> RecordingDatabase::OutcomeAsync(client::TxnHandle txn,
                                                              Duration timeout) {
  const TxnId id = txn.txn_id;
  auto outcome = co_await inner_.OutcomeAsync(std::move(txn), timeout);
  AttemptSeen* attempt = record_.Find(id);
  if (outcome.ok() && attempt != nullptr) {
    if (*outcome == client::Outcome::kCommitted) {
      record_.Committed(attempt, Timestamp());
    } else {
      record_.Aborted(attempt);
    }
  }
  co_return outcome;
}

std::unique_ptr<client::Database::Session> RecordingDatabase::Begin(bool read_only, GivenName name,
                                                                    Duration timeout) {
  return std::make_unique<RecordingSession>(inner_.Begin(read_only, name, timeout), record_, who_);
}

// ---- sync forms ---------------------------------------------------------------------------------

namespace {

constexpr char kNoThreads[] = "the simulation has no other thread";

}  // namespace

void RecordingDatabase::TransactAsync(Closure, Options, Done) { CHECK(false, "{}", kNoThreads); }
void RecordingDatabase::SnapshotAsync(Closure, Options, Done) { CHECK(false, "{}", kNoThreads); }
void RecordingDatabase::GetAsync(std::string, Options,
                                 Callback<Result<std::optional<std::string>>>) {
  CHECK(false, "{}", kNoThreads);
}
void RecordingDatabase::PutAsync(std::string, std::string, Options, Done) {
  CHECK(false, "{}", kNoThreads);
}
void RecordingDatabase::DeleteAsync(std::string, Options, Done) { CHECK(false, "{}", kNoThreads); }
void RecordingDatabase::OutcomeAsync(client::TxnHandle, Options,
                                     Callback<Result<client::Outcome>>) {
  CHECK(false, "{}", kNoThreads);
}
client::CommitResult RecordingDatabase::Transact(SyncClosure, client::TransactOptions) {
  CHECK(false, "{}", kNoThreads);
}
Status RecordingDatabase::Snapshot(SyncClosure, client::TransactOptions) {
  CHECK(false, "{}", kNoThreads);
}
Result<std::optional<std::string>> RecordingDatabase::Get(std::string) {
  CHECK(false, "{}", kNoThreads);
}
Status RecordingDatabase::ScanAll(std::string, std::string, client::ScanAllOptions,
                                  std::function<Status(client::ScanPage)>) {
  CHECK(false, "{}", kNoThreads);
}
client::CommitResult RecordingDatabase::Put(std::string, std::string) {
  CHECK(false, "{}", kNoThreads);
}
client::CommitResult RecordingDatabase::Delete(std::string) { CHECK(false, "{}", kNoThreads); }
Result<client::Outcome> RecordingDatabase::GetOutcome(client::TxnHandle) {
  CHECK(false, "{}", kNoThreads);
}

}  // namespace quorate::sim
