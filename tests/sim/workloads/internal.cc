// Internal: transactions that read what they have written themselves, in every way there is to
// read, over keys that others write too. The contents check tells both kinds of wrong apart.
#include "base/status_macros.h"
#include "tests/sim/workloads/catalogue.h"

namespace quorate::sim {
namespace {

constexpr int kKeys = 24;

class Internal final : public Workload {
 public:
  explicit Internal(const WorkloadContext& context) : Workload(context.world, "internal") {}

  Task<void> Step(Hands* hands) override {
    const uint64_t seed = hands->random->Next();
    const auto result = co_await hands->database->TransactAsync(
        [seed](client::Transaction& txn) { return Perform(&txn, seed); }, {});
    Count(result.status);
  }

 private:
  static std::string Key(Random* random) {
    return SpreadKey("mixed", static_cast<int>(random->Below(kKeys)), kKeys);
  }

  // The same steps in each attempt, but for values, which are new.
  static Task<Status> Perform(client::Transaction* txn, uint64_t seed) {
    auto random = std::make_shared<Random>(seed);
    int64_t steps = random->Between(3, 10);
    for (int64_t step = 0; step < steps; ++step) {
      const double kind = random->Unit();
      if (kind < 0.3) {
        const std::string value = std::to_string(random->Below(1 << 20));
        CO_RETURN_IF_ERROR(txn->Put(Key(random.get()), value));
      } else if (kind < 0.45) {
        CO_RETURN_IF_ERROR(txn->Delete(Key(random.get())));
      } else {
        CO_RETURN_IF_ERROR(co_await Look(txn, random, kind));
      }
    }
    co_return Status::Ok();
  }

  static Task<Status> Look(client::Transaction* txn, std::shared_ptr<Random> random, double kind) {
    if (kind < 0.6) co_return (co_await txn->Get(Key(random.get()))).status();
    if (kind < 0.65) co_return (co_await txn->GetForUpdate(Key(random.get()))).status();
    if (kind < 0.75) {
      std::vector<std::string> keys;
      for (int i = 0; i < 4; ++i) keys.push_back(Key(random.get()));
      co_return (co_await txn->GetMany(std::move(keys))).status();
    }
    std::string from = Key(random.get()), to = Key(random.get());
    if (to < from) std::swap(from, to);
    if (from == to) to.push_back('\0');
    client::ScanOptions options;
    options.limit = random->Chance(0.5) ? random->Between(1, 5) : 0;
    options.reverse = random->Chance(0.3);
    // Its own deletions take bytes off a page, its own writes add some.
    options.limit_bytes = random->Chance(0.5) ? random->Between(1, 200) : 0;
    co_return (co_await txn->Scan(std::move(from), std::move(to), options)).status();
  }
};

}  // namespace

std::unique_ptr<Workload> MakeInternal(const WorkloadContext& context) {
  return std::make_unique<Internal>(context);
}

}  // namespace quorate::sim
