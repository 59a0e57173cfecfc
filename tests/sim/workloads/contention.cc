// Hot key and locks: everybody wants the same few keys at once.
#include <fmt/format.h>

#include "base/status_macros.h"
#include "tests/sim/workloads/catalogue.h"

namespace quorate::sim {
namespace {

// All clients add to the same keys, reading them with or without a lock, in any order, so that
// they would deadlock if that were possible. The sum must be what was acknowledged, give or take
// what nobody heard about.
class Contention : public Workload {
 public:
  Contention(const WorkloadContext& context, std::string_view name, int keys, int locked_percent)
      : Workload(context.world, name), keys_(keys), locked_percent_(locked_percent) {}

  Task<void> Step(Hands* hands) override {
    Random* random = hands->random;
    const int first = static_cast<int>(random->Below(keys_));
    const int second =
        keys_ == 1 ? -1 : static_cast<int>((first + 1 + random->Below(keys_ - 1)) % keys_);
    const bool lock = random->Below(100) < static_cast<uint64_t>(locked_percent_);
    ++pending_;
    const auto result = co_await hands->database->TransactAsync(
        [this, first, second, lock](client::Transaction& txn) {
          return AddBoth(this, &txn, first, second, lock);
        },
        {});
    const auto outcome = Count(result.status);
    if (outcome == history::Outcome::kOk) added_ += second < 0 ? 1 : 2;
    if (outcome != history::Outcome::kUnknown) --pending_;
  }

  Task<Status> Audit(Hands* hands) override {
    co_return co_await hands->database->SnapshotAsync(
        [this](client::Transaction& txn) { return Sum(this, &txn); }, {});
  }

  std::vector<std::string> Violations() const override {
    std::vector<std::string> found = violations_;
    if (sum_ < added_ || sum_ > added_ + 2 * pending_) {
      found.push_back(
          fmt::format("the keys hold {} in all; {} was acknowledged and the outcome of "
                      "{} additions is unknown",
                      sum_, added_, pending_));
    }
    return found;
  }

 private:
  std::string Key(int i) const { return SpreadKey(name(), i, keys_); }

  static Task<Status> Add(Contention* self, client::Transaction* txn, int key, bool lock) {
    const std::string name = self->Key(key);
    const auto value = lock ? co_await txn->GetForUpdate(name) : co_await txn->Get(name);
    if (!value.ok()) co_return value.status();
    co_return txn->Put(name, std::to_string(ToInt(*value) + 1));
  }
  static Task<Status> AddBoth(Contention* self, client::Transaction* txn, int first, int second,
                              bool lock) {
    CO_RETURN_IF_ERROR(co_await Add(self, txn, first, lock));
    if (second < 0) co_return Status::Ok();
    co_return co_await Add(self, txn, second, lock);
  }
  static Task<Status> Sum(Contention* self, client::Transaction* txn) {
    std::vector<std::string> keys;
    for (int i = 0; i < self->keys_; ++i) keys.push_back(self->Key(i));
    const auto values = co_await txn->GetMany(std::move(keys));
    if (!values.ok()) co_return values.status();
    self->sum_ = 0;
    for (const auto& value : *values) self->sum_ += ToInt(value);
    co_return Status::Ok();
  }

  const int keys_;
  const int locked_percent_;
  int64_t added_ = 0;
  int64_t pending_ = 0;
  int64_t sum_ = 0;
};

}  // namespace

std::unique_ptr<Workload> MakeHot(const WorkloadContext& context) {
  return std::make_unique<Contention>(context, "hot", 1, 30);
}
std::unique_ptr<Workload> MakeLocks(const WorkloadContext& context) {
  return std::make_unique<Contention>(context, "locks", 3, 100);
}

}  // namespace quorate::sim
