// Set: elements are added, each as a key of its own somewhere in the key space, and all of them are
// read in one snapshot. Nothing acknowledged may be missing from a later read, ever.
#include "base/coding.h"
#include "tests/sim/workloads/catalogue.h"
#include "tests/sim/workloads/histories.h"

namespace quorate::sim {
namespace {

constexpr int kBuckets = 8;
constexpr int64_t kElementsMax = 300;  // reads cost as much as there is to read

class GrowSet final : public Workload {
 public:
  explicit GrowSet(const WorkloadContext& context)
      : Workload(context.world, "set"), history_(context.world, history::Workload::kSet) {}

  Task<void> Step(Hands* hands) override {
    if (last_element_ >= kElementsMax || hands->random->Chance(0.2)) {
      (void)co_await ReadAll(hands);
      co_return;
    }
    const int64_t element = ++last_element_;
    history::Transaction* seen = history_.Invoke(
        hands->client, {{history::MicroOp::Kind::kAppend, Only(), element, {}, {}}});
    const auto result = co_await hands->database->PutAsync(Key(element), "", 10s);
    history_.Complete(seen, Count(result.status));
  }

  Task<Status> Audit(Hands* hands) override { co_return co_await ReadAll(hands); }
  std::vector<std::string> Violations() const override { return history_.Judge(); }
  const History* history() const override { return &history_; }

 private:
  static std::string Only() { return std::string(history::kOnlyKey); }
  static std::string Key(int64_t element) {
    std::string key = SpreadKey("set", static_cast<int>(element % kBuckets), kBuckets) + "/";
    return key + std::to_string(element);
  }

  Task<Status> ReadAll(Hands* hands) {
    history::Transaction* seen = history_.Invoke(hands->client, {{.key = Only()}});
    const Status status = co_await hands->database->SnapshotAsync(
        [seen](client::Transaction& txn) { return Read(&txn, seen); }, {});
    history_.Complete(seen, Count(status));
    co_return status;
  }

  static Task<Status> Read(client::Transaction* txn, history::Transaction* seen) {
    seen->ops[0].list.clear();
    for (int i = 0; i < kBuckets; ++i) {
      const std::string prefix = SpreadKey("set", i, kBuckets);
      auto rows = co_await txn->Scan(prefix + "/", prefix + "0", {});
      if (!rows.ok()) co_return rows.status();
      for (const client::Row& row : *rows) {
        seen->ops[0].list.push_back(ToInt(row.key.substr(prefix.size() + 1)));
      }
    }
    co_return Status::Ok();
  }

  int64_t last_element_ = 0;
  History history_;
};

}  // namespace

std::unique_ptr<Workload> MakeSet(const WorkloadContext& context) {
  return std::make_unique<GrowSet>(context);
}

}  // namespace quorate::sim
