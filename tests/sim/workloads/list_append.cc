// List-append: transactions read and append to lists over many shards. The strongest history for
// the stand-alone checker, since each read tells the order of all writes before it.
#include <algorithm>

#include "base/check.h"
#include "base/coding.h"
#include "base/status_macros.h"
#include "tests/sim/workloads/catalogue.h"
#include "tests/sim/workloads/histories.h"

namespace quorate::sim {
namespace {

using MicroOp = history::MicroOp;
using Plan = std::shared_ptr<const std::vector<MicroOp>>;

std::vector<int64_t> Decode(const std::optional<std::string>& value) {
  std::vector<int64_t> list;
  if (!value) return list;
  std::string_view in = *value;
  uint64_t element = 0;
  while (!in.empty()) {
    CHECK(GetFixed64(&in, &element), "not a list");
    list.push_back(static_cast<int64_t>(element));
  }
  return list;
}

class ListAppend final : public Workload {
 public:
  explicit ListAppend(const WorkloadContext& context)
      : Workload(context.world, "list-append"),
        lists_(context.options.lists),
        history_(context.world, history::Workload::kListAppend) {}

  Task<void> Step(Hands* hands) override {
    Random* random = hands->random;
    std::vector<MicroOp> ops(static_cast<size_t>(random->Between(1, 5)));
    const bool read_only = random->Chance(0.3);
    for (MicroOp& op : ops) {
      op.key = std::to_string(random->Below(lists_));
      if (!read_only && random->Chance(0.6)) {
        op.kind = MicroOp::Kind::kAppend;
        op.element = ++last_element_;
      }
    }
    (void)co_await Run(hands, std::move(ops));
  }

  // The last word: one read of every list, as a transaction of the history.
  Task<Status> Audit(Hands* hands) override {
    std::vector<MicroOp> ops;
    for (int i = 0; i < lists_; ++i) ops.push_back({.key = std::to_string(i)});
    co_return co_await Run(hands, std::move(ops));
  }

  std::vector<std::string> Violations() const override { return history_.Judge(); }
  const History* history() const override { return &history_; }

 private:
  Task<Status> Run(Hands* hands, std::vector<MicroOp> ops) {
    const bool writes = std::any_of(ops.begin(), ops.end(), [](const MicroOp& op) {
      return op.kind == MicroOp::Kind::kAppend;
    });
    const auto plan = std::make_shared<const std::vector<MicroOp>>(std::move(ops));
    history::Transaction* seen = history_.Invoke(hands->client, *plan);
    const auto closure = [this, seen, plan](client::Transaction& txn) {
      return Perform(lists_, &txn, seen, plan);
    };
    Status status;
    if (writes) {
      status = (co_await hands->database->TransactAsync(closure, {})).status;
    } else {
      status = co_await hands->database->SnapshotAsync(closure, {});
    }
    history_.Complete(seen, Count(status));
    co_return status;
  }

  static Task<Status> Perform(int lists, client::Transaction* txn, history::Transaction* seen,
                              Plan plan) {
    seen->ops = *plan;
    for (size_t i = 0; i < plan->size(); ++i) {
      const std::string key = SpreadKey("list", std::stoi((*plan)[i].key), lists);
      auto value = co_await txn->Get(key);
      if (!value.ok()) co_return value.status();
      if ((*plan)[i].kind == MicroOp::Kind::kRead) {
        seen->ops[i].list = Decode(*value);
        continue;
      }
      std::string list = value->value_or("");
      PutFixed64(&list, static_cast<uint64_t>((*plan)[i].element));
      CO_RETURN_IF_ERROR(txn->Put(key, std::move(list)));
    }
    co_return Status::Ok();
  }

  const int lists_;
  int64_t last_element_ = 0;
  History history_;
};

}  // namespace

std::unique_ptr<Workload> MakeListAppend(const WorkloadContext& context) {
  return std::make_unique<ListAppend>(context);
}

}  // namespace quorate::sim
