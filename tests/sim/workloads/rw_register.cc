// Registers: transactions read and write single values, each written value new, over many shards;
// some read what they then write. Judged by the stand-alone checker.
#include "base/status_macros.h"
#include "tests/sim/workloads/catalogue.h"
#include "tests/sim/workloads/histories.h"

namespace quorate::sim {
namespace {

using MicroOp = history::MicroOp;
using Plan = std::shared_ptr<const std::vector<MicroOp>>;

class RwRegister final : public Workload {
 public:
  explicit RwRegister(const WorkloadContext& context)
      : Workload(context.world, "rw-register"),
        registers_(context.options.lists),
        history_(context.world, history::Workload::kRwRegister) {}

  Task<void> Step(Hands* hands) override {
    Random* random = hands->random;
    std::vector<MicroOp> ops;
    bool writes = false;
    const bool read_only = random->Chance(0.3);
    for (int64_t left = random->Between(1, 4); left > 0; --left) {
      const std::string key = std::to_string(random->Below(registers_));
      const bool write = !read_only && random->Chance(0.6);
      // A read before the write tells the checker the order of the versions.
      if (!write || random->Chance(0.5)) ops.push_back({.key = key});
      if (write) ops.push_back({MicroOp::Kind::kWrite, key, ++last_value_, {}, {}});
      writes |= write;
    }
    const auto plan = std::make_shared<const std::vector<MicroOp>>(std::move(ops));
    history::Transaction* seen = history_.Invoke(hands->client, *plan);
    const auto closure = [this, seen, plan](client::Transaction& txn) {
      return Perform(registers_, &txn, seen, plan);
    };
    Status status;
    if (writes) {
      status = (co_await hands->database->TransactAsync(closure, {})).status;
    } else {
      status = co_await hands->database->SnapshotAsync(closure, {});
    }
    history_.Complete(seen, Count(status));
  }

  std::vector<std::string> Violations() const override { return history_.Judge(); }
  const History* history() const override { return &history_; }

 private:
  static Task<Status> Perform(int registers, client::Transaction* txn, history::Transaction* seen,
                              Plan plan) {
    seen->ops = *plan;
    for (size_t i = 0; i < plan->size(); ++i) {
      const MicroOp& op = (*plan)[i];
      const std::string key = SpreadKey("register", std::stoi(op.key), registers);
      if (op.kind == MicroOp::Kind::kWrite) {
        CO_RETURN_IF_ERROR(txn->Put(key, std::to_string(op.element)));
        continue;
      }
      const auto value = co_await txn->Get(key);
      if (!value.ok()) co_return value.status();
      if (value->has_value()) seen->ops[i].value = ToInt(*value);
    }
    co_return Status::Ok();
  }

  const int registers_;
  int64_t last_value_ = 0;
  History history_;
};

// Calls on one key outside of any transaction; the contents check judges that each key is
// linearizable (checks/contents.h).
class SingleKey final : public Workload {
 public:
  explicit SingleKey(const WorkloadContext& context)
      : Workload(context.world, "single-key"), keys_(std::max(1, context.options.lists / 2)) {}

  Task<void> Step(Hands* hands) override {
    Random* random = hands->random;
    const std::string key = SpreadKey("single", static_cast<int>(random->Below(keys_)), keys_);
    const double kind = random->Unit();
    if (kind < 0.5) {
      Count((co_await hands->database->GetAsync(key, 10s)).status());
    } else if (kind < 0.9) {
      const std::string value = std::to_string(++last_value_);
      Count((co_await hands->database->PutAsync(key, value, 10s)).status);
    } else {
      Count((co_await hands->database->DeleteAsync(key, 10s)).status);
    }
  }

 private:
  const int keys_;
  int64_t last_value_ = 0;
};

}  // namespace

std::unique_ptr<Workload> MakeRwRegister(const WorkloadContext& context) {
  return std::make_unique<RwRegister>(context);
}
std::unique_ptr<Workload> MakeSingleKey(const WorkloadContext& context) {
  return std::make_unique<SingleKey>(context);
}

}  // namespace quorate::sim
