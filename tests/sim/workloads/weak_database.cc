#include "tests/sim/workloads/weak_database.h"

#include <algorithm>
#include <iterator>

#include "base/check.h"
#include "base/limits.h"
#include "base/status_macros.h"

namespace quorate::sim {

WeakStore::Value WeakStore::At(const std::string& key, Timestamp ts) const {
  const auto history = keys_.find(key);
  if (history == keys_.end()) return std::nullopt;
  const auto after = history->second.upper_bound(ts);
  return after == history->second.begin() ? std::nullopt : std::prev(after)->second;
}

bool WeakStore::ChangedSince(const std::string& from, const std::string& to, Timestamp ts) const {
  for (auto it = keys_.lower_bound(from); it != keys_.end() && (to.empty() || it->first < to);
       ++it) {
    if (it->second.rbegin()->first > ts) return true;
  }
  return false;
}

std::map<std::string, WeakStore::Value> WeakStore::Range(const std::string& from,
                                                         const std::string& to,
                                                         Timestamp ts) const {
  std::map<std::string, Value> rows;
  for (auto it = keys_.lower_bound(from); it != keys_.end() && (to.empty() || it->first < to);
       ++it) {
    rows[it->first] = At(it->first, ts);
  }
  return rows;
}

void WeakStore::Apply(const Writes& writes, Timestamp ts) {
  for (const auto& [key, value] : writes) keys_[key][ts] = value;
}

namespace {

using Value = WeakStore::Value;

constexpr int kAttemptsMax = 20;

class WeakTransaction final : public client::Transaction {
 public:
  WeakTransaction(WeakStore& store, Executor& executor, int client)
      : store_(store), executor_(executor), client_(client) {}

  Task<Result<Value>> Get(std::string key) override {
    std::string to = key + '\0';
    const auto rows = co_await Read(key, std::move(to));
    const auto row = rows.find(key);
    co_return row == rows.end() ? Value() : row->second;
  }
  Task<Result<std::vector<Value>>> GetMany(std::vector<std::string> keys) override {
    std::vector<Value> values;
    for (const std::string& key : keys) {
      auto value = co_await Get(key);
      values.push_back(std::move(*value));
    }
    co_return values;
  }
  Task<Result<Value>> GetForUpdate(std::string key) override { return Get(std::move(key)); }
  Task<Result<std::vector<client::Row>>> Scan(std::string from, std::string to,
                                              client::ScanOptions options) override {
    const auto found = co_await Read(std::move(from), std::move(to));
    std::vector<client::Row> rows;
    for (const auto& [key, value] : found) {
      if (value) rows.push_back({key, *value});
    }
    if (options.reverse) std::reverse(rows.begin(), rows.end());
    if (options.limit != 0 && rows.size() > options.limit) rows.resize(options.limit);
    co_return rows;
  }
  Status Put(std::string key, std::string value) override {
    const bool fits = key.size() <= limits::kKeyBytesMax && value.size() <= limits::kValueBytesMax;
    if (!fits && store_.weakness != Weakness::kNoLimits) return InvalidArgument("too large");
    writes_[std::move(key)] = std::move(value);
    return Status::Ok();
  }
  Status Delete(std::string key) override {
    writes_[std::move(key)] = std::nullopt;
    return Status::Ok();
  }
  Timestamp start_ts() const override { return start_ts_; }
  int attempt() const override { return 1; }
  client::TableDoor& tables() override { CHECK(false, "there are no tables here"); }

  // COMMITTED with its timestamp, READ_CONFLICT, or UNKNOWN_OUTCOME.
  Task<client::CommitResult> Commit() {
    client::CommitResult result;
    co_await Pause();
    if (writes_.empty()) co_return result;
    const bool asked_about = store_.outcomes.contains(id_);  // which made it aborted
    if (asked_about || (store_.weakness != Weakness::kNoValidation && Conflicts())) {
      store_.outcomes[id_] = false;
      result.status = Status(Code::kReadConflict, "");
      co_return result;
    }
    result.commit_ts = store_.Tick();
    store_.outcomes[id_] = true;
    if (store_.weakness != Weakness::kForgets || !store_.random().Chance(0.1)) {
      co_await Apply(result.commit_ts);
    }
    co_await Pause();
    if (store_.random().Chance(0.1)) {
      result.status = Status(Code::kUnknownOutcome, "");
      result.unknown = Handle();
    }
    co_return result;
  }
  client::TxnHandle Handle() const {
    return {id_, start_ts_, writes_.empty() ? "" : writes_.begin()->first};
  }

 private:
  Task<void> Pause() {
    co_await Sleep(executor_, Duration(store_.random().Between(10'000, 3'000'000)));
  }
  bool Conflicts() const {
    for (const auto& [from, to] : reads_) {
      if (store_.ChangedSince(from, to, start_ts_)) return true;
    }
    return false;
  }
  Task<void> Apply(Timestamp ts) {
    if (store_.weakness != Weakness::kTorn) {
      store_.Apply(writes_, ts);
      co_return;
    }
    auto half = std::next(writes_.begin(), static_cast<ptrdiff_t>((writes_.size() + 1) / 2));
    store_.Apply({writes_.begin(), half}, ts);
    co_await Sleep(executor_, 100ms);
    store_.Apply({half, writes_.end()}, ts);
  }

  Task<std::map<std::string, Value>> Read(std::string from, std::string to) {
    if (!start_ts_) {
      start_ts_ = store_.weakness == Weakness::kStale ? store_.Back(25) : store_.Tick();
    }
    co_await Pause();
    const Timestamp at = store_.weakness == Weakness::kMovingSnapshot ? store_.Tick() : start_ts_;
    auto rows = store_.Range(from, to, at);
    if (store_.weakness == Weakness::kTwoSides) {
      for (auto& [key, value] : rows) {
        if ((key.back() + client_) % 2 == 0) value = store_.At(key, store_.Back(25));
      }
    }
    for (const auto& [key, value] : writes_) {
      if (store_.weakness == Weakness::kBlindToOwn) break;
      if (key >= from && (to.empty() || key < to)) rows[key] = value;
    }
    reads_.emplace_back(std::move(from), std::move(to));
    co_return rows;
  }

  WeakStore& store_;
  Executor& executor_;
  const int client_;
  const TxnId id_ = TxnId::Make(store_.random());
  Timestamp start_ts_;
  std::vector<std::pair<std::string, std::string>> reads_;
  WeakStore::Writes writes_;
};

class WeakSession final : public client::Database::Session {
 public:
  WeakSession(WeakStore& store, Executor& executor, int client)
      : transaction_(store, executor, client) {}
  client::Transaction& transaction() override { return transaction_; }
  Status WriteAll(std::vector<client::BufferedWrite> writes) override {
    for (client::BufferedWrite& write : writes) {
      RETURN_IF_ERROR(write.value ? transaction_.Put(std::move(write.key), std::move(*write.value))
                                  : transaction_.Delete(std::move(write.key)));
    }
    return Status::Ok();
  }
  Task<client::CommitResult> Commit(Duration) override { return transaction_.Commit(); }
  void Rollback() override {}
  client::TxnHandle handle() const override { return transaction_.Handle(); }

 private:
  WeakTransaction transaction_;
};

class WeakDatabase final : public client::Database {
 public:
  WeakDatabase(WeakStore& store, Executor& executor, int client)
      : store_(store), executor_(executor), client_(client) {}

  Task<client::CommitResult> TransactAsync(Closure closure, client::TransactOptions) override {
    client::CommitResult result;
    for (int i = 0; i < kAttemptsMax; ++i) {
      WeakTransaction transaction(store_, executor_, client_);
      result.status = co_await closure(transaction);
      if (!result.status.ok()) co_return result;
      result = co_await transaction.Commit();
      if (result.status.code() != Code::kReadConflict) break;
    }
    co_return result;
  }
  Task<Status> SnapshotAsync(Closure closure, client::TransactOptions) override {
    WeakTransaction transaction(store_, executor_, client_);
    co_return co_await closure(transaction);
  }
  Task<Result<Value>> GetAsync(std::string key, Duration) override {
    WeakTransaction transaction(store_, executor_, client_);
    co_return co_await transaction.Get(std::move(key));
  }
  Task<client::CommitResult> PutAsync(std::string key, std::string value, Duration) override {
    WeakTransaction transaction(store_, executor_, client_);
    CHECK(transaction.Put(std::move(key), std::move(value)).ok());
    co_return co_await transaction.Commit();
  }
  Task<client::CommitResult> DeleteAsync(std::string key, Duration) override {
    WeakTransaction transaction(store_, executor_, client_);
    CHECK(transaction.Delete(std::move(key)).ok());
    co_return co_await transaction.Commit();
  }
  // In one page.
  Task<Status> ScanAllAsync(std::string from, std::string to, client::ScanAllOptions options,
                            TakePage take) override {
    WeakTransaction transaction(store_, executor_, client_);
    client::ScanOptions scan;
    scan.limit = options.limit;
    scan.reverse = options.reverse;
    auto rows = co_await transaction.Scan(std::move(from), std::move(to), scan);
    if (!rows.ok()) co_return rows.status();
    client::ScanPage page;
    page.read_ts = transaction.start_ts();
    page.rows = *std::move(rows);
    co_return co_await take(std::move(page));
  }
  Task<Result<client::Outcome>> OutcomeAsync(client::TxnHandle txn, Duration) override {
    const bool lies = store_.weakness == Weakness::kLies;
    bool& committed = store_.outcomes[txn.txn_id];  // asking about nothing makes it aborted
    co_return client::Outcome(committed != lies ? client::Outcome::kCommitted
                                                : client::Outcome::kAborted);
  }
  std::unique_ptr<Session> Begin(bool, GivenName, Duration) override {
    return std::make_unique<WeakSession>(store_, executor_, client_);
  }
  void Spawn(std::function<Task<void>()>) override { CHECK(false); }

  using Options = client::TransactOptions;
  using Done = Callback<client::CommitResult>;
  void TransactAsync(Closure, Options, Done) override { CHECK(false); }
  void SnapshotAsync(Closure, Options, Done) override { CHECK(false); }
  void GetAsync(std::string, Options, Callback<Result<Value>>) override { CHECK(false); }
  void PutAsync(std::string, std::string, Options, Done) override { CHECK(false); }
  void DeleteAsync(std::string, Options, Done) override { CHECK(false); }
  void OutcomeAsync(client::TxnHandle, Options, Callback<Result<client::Outcome>>) override {
    CHECK(false);
  }

  client::CommitResult Transact(SyncClosure, client::TransactOptions) override { CHECK(false); }
  Status Snapshot(SyncClosure, client::TransactOptions) override { CHECK(false); }
  Result<Value> Get(std::string) override { CHECK(false); }
  Status ScanAll(std::string, std::string, client::ScanAllOptions,
                 std::function<Status(client::ScanPage)>) override {
    CHECK(false);
  }
  client::CommitResult Put(std::string, std::string) override { CHECK(false); }
  client::CommitResult Delete(std::string) override { CHECK(false); }
  Result<client::Outcome> GetOutcome(client::TxnHandle) override { CHECK(false); }
  void VisitMetrics(const MetricVisitor&) const override {}
  std::string MetricsText() const override { return {}; }

 private:
  WeakStore& store_;
  Executor& executor_;
  const int client_;
};

}  // namespace

std::unique_ptr<client::Database> MakeWeakDatabase(WeakStore& store, Executor& executor,
                                                   int client) {
  return std::make_unique<WeakDatabase>(store, executor, client);
}

}  // namespace quorate::sim
