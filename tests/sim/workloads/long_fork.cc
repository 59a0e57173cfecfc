// Long fork and causal reverse: two writers, and readers who must agree on which came first.
#include <fmt/format.h>

#include <algorithm>

#include "tests/sim/workloads/catalogue.h"
#include "tests/sim/workloads/histories.h"

namespace quorate::sim {
namespace {

using MicroOp = history::MicroOp;

constexpr int kSpread = 7;

// Keys that are written once each, in groups; whole groups are read.
class LongFork final : public Workload {
 public:
  explicit LongFork(const WorkloadContext& context)
      : Workload(context.world, "long-fork"),
        history_(context.world, history::Workload::kLongFork) {}

  Task<void> Step(Hands* hands) override {
    if (next_ > 0 && hands->random->Chance(0.6)) {
      const int group = (next_ - 1) / kGroup - static_cast<int>(hands->random->Below(2));
      co_await ReadGroup(hands, std::max(group, 0));
      co_return;
    }
    const int number = next_++;
    history::Transaction* seen = history_.Invoke(
        hands->client, {{MicroOp::Kind::kWrite, std::to_string(number), 1, {}, {}}});
    const auto result = co_await hands->database->PutAsync(Key(number), "1", 10s);
    history_.Complete(seen, Count(result.status));
  }

  std::vector<std::string> Violations() const override { return history_.Judge(); }
  const History* history() const override { return &history_; }

 private:
  static constexpr int kGroup = 4;
  static std::string Key(int number) {
    return SpreadKey("fork", number * 3 % kSpread, kSpread) + fmt::format("/{}", number);
  }

  Task<void> ReadGroup(Hands* hands, int group) {
    history::Transaction* seen = history_.Invoke(hands->client);
    const Status status = co_await hands->database->SnapshotAsync(
        [seen, group](client::Transaction& txn) { return Read(&txn, seen, group); }, {});
    history_.Complete(seen, Count(status));
  }
  static Task<Status> Read(client::Transaction* txn, history::Transaction* seen, int group) {
    seen->ops.clear();
    std::vector<std::string> keys;
    for (int i = 0; i < kGroup; ++i) keys.push_back(Key(group * kGroup + i));
    const auto values = co_await txn->GetMany(std::move(keys));
    if (!values.ok()) co_return values.status();
    for (int i = 0; i < kGroup; ++i) {
      MicroOp op{.key = std::to_string(group * kGroup + i)};
      if ((*values)[static_cast<size_t>(i)]) op.value = 1;
      seen->ops.push_back(std::move(op));
    }
    co_return Status::Ok();
  }

  int next_ = 0;
  History history_;
};

// A chain over all clients: a link is written only after the one before it was acknowledged. Who
// sees a link must see every earlier one.
class CausalReverse final : public Workload {
 public:
  explicit CausalReverse(const WorkloadContext& context)
      : Workload(context.world, "causal-reverse") {}

  Task<void> Step(Hands* hands) override {
    if (hands->random->Chance(0.6)) {
      const Status status = co_await hands->database->SnapshotAsync(
          [this, from = std::max(0, last_ - kWindow)](client::Transaction& txn) {
            return Read(this, &txn, from);
          },
          {});
      Count(status);
      co_return;
    }
    const int link = ++last_;
    Link& mine = links_.emplace_back();
    mine.began = Now();
    const Status status = (co_await hands->database->PutAsync(Key(link), "", 10s)).status;
    if (status.ok()) links_[static_cast<size_t>(link - 1)].acknowledged = Now();
    Count(status);
  }

 private:
  static constexpr int kWindow = 12;
  struct Link {
    int64_t began = 0;
    int64_t acknowledged = 0;  // 0: not
  };
  static std::string Key(int link) {
    return SpreadKey("chain", link * 3 % kSpread, kSpread) + fmt::format("/{}", link);
  }

  static Task<Status> Read(CausalReverse* self, client::Transaction* txn, int from) {
    std::vector<std::string> keys;
    for (int i = 1; i <= kWindow; ++i) keys.push_back(Key(from + i));
    const auto values = co_await txn->GetMany(std::move(keys));
    if (!values.ok()) co_return values.status();
    for (int later = 2; later <= kWindow; ++later) {
      if (!(*values)[static_cast<size_t>(later - 1)]) continue;
      for (int earlier = 1; earlier < later; ++earlier) {
        if (!(*values)[static_cast<size_t>(earlier - 1)]) {
          self->JudgeMissing(from + earlier, from + later);
        }
      }
    }
    co_return Status::Ok();
  }
  void JudgeMissing(int earlier, int later) {
    const int64_t acknowledged = links_[static_cast<size_t>(earlier - 1)].acknowledged;
    if (acknowledged == 0 || acknowledged >= links_[static_cast<size_t>(later - 1)].began) return;
    Violation(
        fmt::format("link {} was seen without link {}, which had been acknowledged before "
                    "the other was even begun",
                    later, earlier));
  }

  int last_ = 0;
  std::vector<Link> links_;
};

}  // namespace

std::unique_ptr<Workload> MakeLongFork(const WorkloadContext& context) {
  return std::make_unique<LongFork>(context);
}
std::unique_ptr<Workload> MakeCausalReverse(const WorkloadContext& context) {
  return std::make_unique<CausalReverse>(context);
}

}  // namespace quorate::sim
