// Counter: increments by clients whose answers get lost. A client that does not hear what became of
// its commit asks, and sends the increment again whatever it hears. Each must count once, or not at
// all.
#include "base/status_macros.h"
#include "tests/sim/workloads/catalogue.h"
#include "tests/sim/workloads/histories.h"
#include "tests/sim/workloads/increments.h"

namespace quorate::sim {
namespace {

constexpr int kSends = 4;

class Counter final : public Workload {
 public:
  explicit Counter(const WorkloadContext& context)
      : Workload(context.world, "counter"),
        increments_("counter", 1),
        history_(context.world, history::Workload::kCounter) {}

  Task<void> Step(Hands* hands) override {
    if (hands->random->Chance(0.2)) {
      co_await ReadCounter(hands);
      co_return;
    }
    const auto increment = increments_.Add(0);
    history::Transaction* seen =
        history_.Invoke(hands->client, {{history::MicroOp::Kind::kAdd, Only(), 1, {}, {}}});
    for (int send = 0; send < kSends && !increment->acknowledged; ++send) {
      // Too short a time now and then, so that the answer comes too late.
      const Duration timeout = hands->random->Chance(0.3)
                                   ? Duration(hands->random->Between(1'000'000, 60'000'000))
                                   : Duration(10s);
      ++increment->unknown;
      const auto result = co_await hands->database->TransactAsync(
          [increment](client::Transaction& txn) { return Add(&txn, increment); },
          {.timeout = timeout});
      Count(result.status);
      increment->acknowledged = result.ok();
      if (result.status.code() != Code::kUnknownOutcome) {
        --increment->unknown;
      } else if (result.unknown) {
        (void)co_await hands->database->OutcomeAsync(*result.unknown, 1s);
      }
    }
    history_.Complete(seen, increment->acknowledged  ? history::Outcome::kOk
                            : increment->unknown > 0 ? history::Outcome::kUnknown
                                                     : history::Outcome::kFail);
  }

  Task<Status> Audit(Hands* hands) override {
    co_return co_await increments_.Audit(hands->database);
  }

  std::vector<std::string> Violations() const override {
    std::vector<std::string> found = increments_.Violations();
    for (std::string& anomaly : history_.Judge()) found.push_back(std::move(anomaly));
    return found;
  }
  const History* history() const override { return &history_; }

 private:
  static std::string Only() { return std::string(history::kOnlyKey); }
  static Task<Status> Add(client::Transaction* txn, std::shared_ptr<Increment> increment) {
    const auto done = co_await txn->Get(increment->row);
    if (!done.ok()) co_return done.status();
    if (done->has_value()) co_return Status::Ok();
    const auto count = co_await txn->Get(increment->key);
    if (!count.ok()) co_return count.status();
    CO_RETURN_IF_ERROR(txn->Put(increment->key, std::to_string(ToInt(*count) + 1)));
    co_return txn->Put(increment->row, "");
  }

  Task<void> ReadCounter(Hands* hands) {
    history::Transaction* seen = history_.Invoke(hands->client, {{.key = Only()}});
    const auto value = co_await hands->database->GetAsync(increments_.Key(0), 10s);
    if (value.ok()) seen->ops[0].value = ToInt(*value);
    history_.Complete(seen, Count(value.status()));
  }

  Increments increments_;
  History history_;
};

}  // namespace

std::unique_ptr<Workload> MakeCounter(const WorkloadContext& context) {
  return std::make_unique<Counter>(context);
}

}  // namespace quorate::sim
