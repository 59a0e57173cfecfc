// Long snapshots against garbage collection: a reader stays at one timestamp while others overwrite
// and delete what it reads, past the time for which old versions are kept. It is answered right
// (the contents check knows what was there) or refused, never wrong.
#include <fmt/format.h>

#include "tests/sim/workloads/catalogue.h"

namespace quorate::sim {
namespace {

constexpr int kKeys = 16;
constexpr int kReaders = 3;  // at a time; the others change things

class LongSnapshot final : public Workload {
 public:
  explicit LongSnapshot(const WorkloadContext& context)
      : Workload(context.world, "long-snapshot"), lifetime_(context.options.txn_lifetime) {}

  Task<void> Step(Hands* hands) override {
    Random* random = hands->random;
    const double kind = random->Unit();
    if (kind < 0.05 && hands->client % kReaders == 0) {
      co_await ReadForLong(hands, random->Chance(0.5));
    } else if (kind < 0.3) {
      Count((co_await hands->database->DeleteAsync(Key(random), 10s)).status);
    } else {
      const std::string value = std::to_string(++last_value_);
      Count((co_await hands->database->PutAsync(Key(random), value, 10s)).status);
    }
  }

 private:
  static std::string Key(Random* random) {
    return SpreadKey("old", static_cast<int>(random->Below(kKeys)), kKeys);
  }

  Task<void> ReadForLong(Hands* hands, bool writes) {
    const int64_t most = std::min<int64_t>(lifetime_.count() * 5 / 4, Duration(20s).count());
    const Duration pause(hands->random->Between(most / 8, most) / 3);
    const auto closure = [this, hands, pause, writes](client::Transaction& txn) {
      return Read(this, &txn, hands->executor, pause, writes);
    };
    const client::TransactOptions once{.timeout = 60s, .attempts_max = 1};
    if (writes) {
      Count((co_await hands->database->TransactAsync(closure, once)).status);
    } else {
      Count(co_await hands->database->SnapshotAsync(closure, once));
    }
  }

  static Task<Status> Read(LongSnapshot* self, client::Transaction* txn, Executor* executor,
                           Duration pause, bool writes) {
    std::vector<client::Row> first;
    for (int round = 0; round < 4; ++round) {
      if (round > 0) co_await Sleep(*executor, pause);
      auto rows = co_await txn->Scan(SpreadKey("old", 0, kKeys), "", {.limit = 200});
      if (!rows.ok()) co_return rows.status();
      std::erase_if(*rows, [](const client::Row& row) { return row.key.substr(2, 3) != "old"; });
      if (round == 0) first = *rows;
      if (*rows != first) {
        self->Violation(
            fmt::format("a snapshot at {} changed while it was being read: {} rows, "
                        "then {} rows or other values",
                        txn->start_ts(), first.size(), rows->size()));
      }
    }
    co_return writes ? txn->Put(SpreadKey("old", 0, kKeys), std::to_string(++self->last_value_))
                     : Status::Ok();
  }

  const Duration lifetime_;
  int64_t last_value_ = 0;
};

}  // namespace

std::unique_ptr<Workload> MakeLongSnapshot(const WorkloadContext& context) {
  return std::make_unique<LongSnapshot>(context);
}

}  // namespace quorate::sim
