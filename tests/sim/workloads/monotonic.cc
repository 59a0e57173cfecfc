// Monotonic: everybody raises one number by one. It never goes down for anyone who looks, and the
// commit timestamps have the order of the numbers.
#include <fmt/format.h>

#include <map>

#include "tests/sim/workloads/catalogue.h"

namespace quorate::sim {
namespace {

class Monotonic final : public Workload {
 public:
  explicit Monotonic(const WorkloadContext& context) : Workload(context.world, "monotonic") {}

  Task<void> Step(Hands* hands) override {
    const int64_t floor = seen_;  // what somebody had been told before this began
    if (hands->random->Chance(0.4)) {
      const auto value = co_await hands->database->GetAsync(Key(), 10s);
      Count(value.status());
      if (value.ok()) Saw(ToInt(*value), floor, hands->client);
      co_return;
    }
    const auto raised = std::make_shared<int64_t>(0);
    const bool lock = hands->random->Chance(0.5);
    const auto result = co_await hands->database->TransactAsync(
        [raised, lock](client::Transaction& txn) { return Raise(&txn, raised, lock); }, {});
    Count(result.status);
    if (!result.ok()) co_return;
    Saw(*raised, floor + 1, hands->client);
    const auto [at, fresh] = commits_.try_emplace(*raised, result.commit_ts);
    if (!fresh) {
      Violation(
          fmt::format("two commits, at {} and {}, both raised the number to {}: an update "
                      "was lost",
                      at->second, result.commit_ts, *raised));
    }
  }

  std::vector<std::string> Violations() const override {
    std::vector<std::string> found = violations_;
    for (auto next = commits_.begin(); next != commits_.end(); ++next) {
      if (next == commits_.begin()) continue;
      const auto& [below, below_ts] = *std::prev(next);
      if (next->second <= below_ts) {
        found.push_back(fmt::format("the number became {} at {}, but {} at {}", below, below_ts,
                                    next->first, next->second));
      }
    }
    return found;
  }

 private:
  static std::string Key() { return SpreadKey("number", 2, 5); }

  static Task<Status> Raise(client::Transaction* txn, std::shared_ptr<int64_t> raised, bool lock) {
    const auto value = lock ? co_await txn->GetForUpdate(Key()) : co_await txn->Get(Key());
    if (!value.ok()) co_return value.status();
    *raised = ToInt(*value) + 1;
    co_return txn->Put(Key(), std::to_string(*raised));
  }

  void Saw(int64_t value, int64_t floor, int client) {
    if (value < floor) {
      Violation(fmt::format("client {} saw {} after {} had been answered", client, value, floor));
    }
    seen_ = std::max(seen_, value);
  }

  int64_t seen_ = 0;
  std::map<int64_t, Timestamp> commits_;
};

}  // namespace

std::unique_ptr<Workload> MakeMonotonic(const WorkloadContext& context) {
  return std::make_unique<Monotonic>(context);
}

}  // namespace quorate::sim
