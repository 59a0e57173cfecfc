// Counter: increments by clients whose answers get lost. A client that does not hear what became of
// its commit asks, and sends the increment again whatever it hears; a row per increment, written
// with it, makes that safe. Each increment must count once, or not at all.
#include <fmt/format.h>

#include <set>

#include "tests/sim/workloads/catalogue.h"
#include "tests/sim/workloads/histories.h"

namespace quorate::sim {
namespace {

constexpr int kSends = 4;

struct Increment {
  std::string row;
  bool acknowledged = false;
  bool finished = false;  // false at the end: unknown
};

class Counter final : public Workload {
 public:
  explicit Counter(const WorkloadContext& context)
      : Workload(context.world, "counter"), history_(context.world, history::Workload::kCounter) {}

  Task<void> Step(Hands* hands) override {
    if (hands->random->Chance(0.2)) {
      co_await ReadCounter(hands);
      co_return;
    }
    auto increment = std::make_shared<Increment>();
    increment->row = SpreadKey("increment", static_cast<int>(hands->random->Below(16)), 16) +
                     fmt::format("/{}", increments_.size());
    increments_.push_back(increment);
    history::Transaction* seen =
        history_.Invoke(hands->client, {{history::MicroOp::Kind::kAdd, "counter", 1, {}, {}}});
    bool maybe = false;
    for (int send = 0; send < kSends && !increment->acknowledged; ++send) {
      // Too short a time now and then, so that the answer comes too late.
      const Duration timeout = hands->random->Chance(0.3)
                                   ? Duration(hands->random->Between(1'000'000, 60'000'000))
                                   : Duration(10s);
      const auto result = co_await hands->database->TransactAsync(
          [increment](client::Transaction& txn) { return Add(&txn, increment); },
          {.timeout = timeout});
      Count(result.status);
      increment->acknowledged = result.ok();
      if (result.status.code() != Code::kUnknownOutcome) continue;
      maybe = true;
      if (result.unknown) (void)co_await hands->database->OutcomeAsync(*result.unknown, 1s);
    }
    increment->finished = increment->acknowledged || !maybe;
    history_.Complete(seen, increment->acknowledged ? history::Outcome::kOk
                            : maybe                 ? history::Outcome::kUnknown
                                                    : history::Outcome::kFail);
  }

  Task<Status> Audit(Hands* hands) override {
    co_return co_await hands->database->SnapshotAsync(
        [this](client::Transaction& txn) { return ReadFinal(this, &txn); }, {});
  }

  std::vector<std::string> Violations() const override {
    std::vector<std::string> found = violations_;
    if (final_count_ != static_cast<int64_t>(final_rows_.size())) {
      found.push_back(fmt::format("the counter is {}, but {} increments left a row", final_count_,
                                  final_rows_.size()));
    }
    for (const auto& increment : increments_) {
      const bool there = final_rows_.contains(increment->row);
      if (increment->acknowledged && !there) {
        found.push_back("an acknowledged increment is missing: " + increment->row.substr(2));
      }
      if (increment->finished && !increment->acknowledged && there) {
        found.push_back("an increment that failed for good counts: " + increment->row.substr(2));
      }
    }
    for (std::string& anomaly : history_.Judge()) found.push_back(std::move(anomaly));
    return found;
  }

 private:
  static std::string Key() { return SpreadKey("counter", 1, 3); }

  static Task<Status> Add(client::Transaction* txn, std::shared_ptr<Increment> increment) {
    const auto done = co_await txn->Get(increment->row);
    if (!done.ok()) co_return done.status();
    if (done->has_value()) co_return Status::Ok();
    const auto count = co_await txn->Get(Key());
    if (!count.ok()) co_return count.status();
    CO_RETURN_IF_ERROR(txn->Put(Key(), std::to_string(ToInt(*count) + 1)));
    co_return txn->Put(increment->row, "");
  }

  Task<void> ReadCounter(Hands* hands) {
    history::Transaction* seen = history_.Invoke(hands->client, {{.key = "counter"}});
    const auto value = co_await hands->database->GetAsync(Key(), 10s);
    if (value.ok()) seen->ops[0].value = ToInt(*value);
    history_.Complete(seen, Count(value.status()));
  }

  static Task<Status> ReadFinal(Counter* self, client::Transaction* txn) {
    self->final_rows_.clear();
    const auto count = co_await txn->Get(Key());
    if (!count.ok()) co_return count.status();
    self->final_count_ = ToInt(*count);
    for (int i = 0; i < 16; ++i) {
      const std::string prefix = SpreadKey("increment", i, 16);
      auto rows = co_await txn->Scan(prefix + "/", prefix + "0", {});
      if (!rows.ok()) co_return rows.status();
      for (const client::Row& row : *rows) self->final_rows_.insert(row.key);
    }
    co_return Status::Ok();
  }

  std::vector<std::shared_ptr<Increment>> increments_;
  History history_;
  int64_t final_count_ = 0;
  std::set<std::string> final_rows_;
};

}  // namespace

std::unique_ptr<Workload> MakeCounter(const WorkloadContext& context) {
  return std::make_unique<Counter>(context);
}

}  // namespace quorate::sim
