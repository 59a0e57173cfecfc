// Large transactions: hundreds of keys over all shards with one stamp, which a reader finds on all
// of them or on none; values and keys at their limits; and beyond them, refused without a trace.
#include <fmt/format.h>

#include <set>

#include "base/limits.h"
#include "base/status_macros.h"
#include "tests/sim/workloads/catalogue.h"

namespace quorate::sim {
namespace {

class Large final : public Workload {
 public:
  explicit Large(const WorkloadContext& context)
      : Workload(context.world, "large"), keys_(100 + 6 * context.options.accounts) {}

  Task<void> Step(Hands* hands) override {
    Random* random = hands->random;
    const double kind = random->Unit();
    // Each of these does the work of hundreds of others.
    co_await Sleep(*hands->executor, Duration(random->Between(0, 600'000'000)));
    if (kind < 0.5) {
      Count(co_await hands->database->SnapshotAsync(
          [this](client::Transaction& txn) { return ReadAll(this, &txn); }, {}));
    } else if (kind < 0.93) {
      const auto stamp = std::make_shared<const std::string>(fmt::format("{}/", ++last_stamp_) +
                                                             std::string(random->Below(300), 'x'));
      const auto result = co_await hands->database->TransactAsync(
          [this, stamp](client::Transaction& txn) { return WriteAll(keys_, &txn, stamp); }, {});
      Count(result.status);
    } else {
      co_await AtTheLimits(hands);
    }
  }

  Task<Status> Audit(Hands* hands) override {
    co_return co_await hands->database->SnapshotAsync(
        [this](client::Transaction& txn) { return ReadAll(this, &txn); }, {});
  }

 private:
  static std::string Key(int i, int keys) { return SpreadKey("large", i, keys); }

  static Task<Status> WriteAll(int keys, client::Transaction* txn,
                               std::shared_ptr<const std::string> stamp) {
    for (int i = 0; i < keys; ++i) CO_RETURN_IF_ERROR(txn->Put(Key(i, keys), *stamp));
    co_return Status::Ok();
  }

  static Task<Status> ReadAll(Large* self, client::Transaction* txn) {
    std::vector<std::string> keys;
    for (int i = 0; i < self->keys_; ++i) keys.push_back(Key(i, self->keys_));
    const auto values = co_await txn->GetMany(std::move(keys));
    if (!values.ok()) co_return values.status();
    std::set<std::string> stamps;
    for (const auto& value : *values) {
      stamps.insert(value ? value->substr(0, value->find('/')) : "nothing");
    }
    if (stamps.size() > 1) {
      self->Violation(
          fmt::format("A3: a snapshot at {} found the stamps {} and {} on keys that "
                      "only whole transactions wrote",
                      txn->start_ts(), *stamps.begin(), *stamps.rbegin()));
    }
    co_return Status::Ok();
  }

  Task<void> AtTheLimits(Hands* hands) {
    const bool beyond = hands->random->Chance(0.5);
    const bool in_key = hands->random->Chance(0.5);
    std::string key = SpreadKey("limit", static_cast<int>(hands->random->Below(4)), 4);
    key.resize(in_key ? limits::kKeyBytesMax + (beyond ? 1 : 0) : key.size(), 'k');
    const std::string value(in_key ? 10 : limits::kValueBytesMax + (beyond ? 1 : 0), 'v');
    const auto result = co_await hands->database->TransactAsync(
        [key, value](client::Transaction& txn) { return WriteOne(&txn, key, value); }, {});
    Count(result.status);
    if (beyond && result.status.code() != Code::kInvalidArgument) {
      Violation(
          fmt::format("a key of {} and a value of {} bytes, which is too much, were answered "
                      "with {}",
                      key.size(), value.size(), result.status.ToString()));
    }
    if (!beyond && result.status.code() == Code::kInvalidArgument) {
      Violation("a write at the limit was refused: " + result.status.ToString());
    }
  }
  static Task<Status> WriteOne(client::Transaction* txn, std::string key, std::string value) {
    co_return txn->Put(std::move(key), std::move(value));
  }

  const int keys_;
  int64_t last_stamp_ = 0;
};

}  // namespace

std::unique_ptr<Workload> MakeLarge(const WorkloadContext& context) {
  return std::make_unique<Large>(context);
}

}  // namespace quorate::sim
