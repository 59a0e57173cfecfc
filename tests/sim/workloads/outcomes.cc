// Outcomes: commits whose client dies, or gives up, in the middle. Whoever asks later gets an
// answer that is final and true: a row says whether the transaction happened.
#include <fmt/format.h>

#include "base/status_macros.h"
#include "tests/sim/workloads/catalogue.h"

namespace quorate::sim {
namespace {

constexpr int kPair = 3;

constexpr Duration kTimeout = 10s;

struct Left {
  client::TxnHandle handle;
  std::string row;
};

std::string_view Name(const client::Outcome& outcome) {
  return outcome == client::Outcome::kCommitted ? "COMMITTED" : "ABORTED";
}

// What both kinds share: the transactions that were left behind, and asking about them.
class Outcomes : public Workload {
 public:
  using Workload::Workload;

  Task<void> Step(Hands* hands) override {
    if (!left_.empty() && hands->random->Chance(0.4)) {
      co_await Ask(hands, left_[hands->random->Below(left_.size())]);
    } else if (hands->random->Chance(0.3)) {
      Count(co_await hands->database->SnapshotAsync(
          [this](client::Transaction& txn) { return LookAtStamps(this, &txn); }, {}));
    } else {
      co_await LeaveOne(hands);
    }
  }

 protected:
  virtual Task<void> LeaveOne(Hands* hands) = 0;

  std::string NextRow() {
    const auto number = ++rows_;
    return SpreadKey(name(), static_cast<int>(number % 7), 7) + fmt::format("/{}", number);
  }

  // One stamp on keys of several shards, and the row.
  static Task<Status> Stamp(std::string_view name, client::Transaction* txn, std::string row) {
    for (int i = 0; i < kPair; ++i) CO_RETURN_IF_ERROR(txn->Put(SpreadKey(name, i, kPair), row));
    co_return txn->Put(row, "done");
  }

  std::vector<Left> left_;

 private:
  static Task<Status> LookAtStamps(Outcomes* self, client::Transaction* txn) {
    std::vector<std::string> keys;
    for (int i = 0; i < kPair; ++i) keys.push_back(SpreadKey(self->name(), i, kPair));
    const auto stamps = co_await txn->GetMany(std::move(keys));
    if (!stamps.ok()) co_return stamps.status();
    for (const auto& stamp : *stamps) {
      if (stamp != stamps->front()) {
        self->Violation(
            fmt::format("A3: a snapshot at {} shows a transaction on some of its keys "
                        "and not on others",
                        txn->start_ts()));
      }
    }
    co_return Status::Ok();
  }

  Task<void> Ask(Hands* hands, Left left) {
    const auto outcome = co_await hands->database->OutcomeAsync(left.handle, kTimeout);
    Count(outcome.status());
    if (!outcome.ok()) co_return;
    const auto row = co_await hands->database->GetAsync(left.row, kTimeout);
    if (!row.ok()) co_return;
    const bool committed = *outcome == client::Outcome::kCommitted;
    if (row->has_value() == committed) co_return;
    Violation(fmt::format("A2: transaction {} was answered {}, but its row is {}",
                          left.handle.txn_id.ToString(), Name(*outcome),
                          committed ? "not there" : "there"));
  }

  int64_t rows_ = 0;
};

class ClientDeath final : public Outcomes {
 public:
  explicit ClientDeath(const WorkloadContext& context) : Outcomes(context.world, "client-death") {}

 private:
  // What the client was told before it died; nothing: it did not hear.
  using Told = std::optional<client::Outcome>;

  Task<void> LeaveOne(Hands* hands) override {
    const std::shared_ptr<client::Database::Session> session =
        hands->database->Begin(false, GivenName(), kTimeout);
    const std::string row = NextRow();
    Told told;
    client::TxnHandle handle;
    {
      TaskScope process(*hands->executor);
      process.Spawn(Commit(this, session, row, &told));
      co_await Sleep(*hands->executor, Duration(hands->random->Between(0, 20'000'000)));
      handle = session->handle();
      // Somebody else asks while it commits; the two must not be told different things.
      if (!handle.anchor_key.empty() && hands->random->Chance(0.5)) {
        const auto outcome = co_await hands->database->OutcomeAsync(handle, kTimeout);
        if (!told) co_await Sleep(*hands->executor, 1s);
        if (outcome.ok() && told && !(*outcome == told->state)) {
          Violation(fmt::format("A1: transaction {} was {} to its client and {} to who asked",
                                handle.txn_id.ToString(), Name(*told), Name(*outcome)));
        }
      }
    }
    if (!handle.anchor_key.empty()) left_.push_back({handle, row});
  }
  static Task<void> Commit(ClientDeath* self, std::shared_ptr<client::Database::Session> session,
                           std::string row, Told* told) {
    if (!(co_await Stamp(self->name(), &session->transaction(), std::move(row))).ok()) co_return;
    const client::CommitResult result = co_await session->Commit(kTimeout);
    switch (self->Count(result.status)) {
      case history::Outcome::kOk:
        *told = client::Outcome::kCommitted;
        break;
      case history::Outcome::kFail:
        *told = client::Outcome::kAborted;
        break;
      case history::Outcome::kUnknown:
        break;
    }
  }
};

class GivingUp final : public Outcomes {
 public:
  explicit GivingUp(const WorkloadContext& context) : Outcomes(context.world, "outcome") {}

 private:
  Task<void> LeaveOne(Hands* hands) override {
    const std::string row = NextRow();
    const Duration timeout(hands->random->Between(1'000'000, 40'000'000));
    const auto result = co_await hands->database->TransactAsync(
        [this, row](client::Transaction& txn) { return Stamp(name(), &txn, row); },
        {.timeout = timeout});
    Count(result.status);
    if (result.unknown) left_.push_back({*result.unknown, row});
  }
};

}  // namespace

std::unique_ptr<Workload> MakeClientDeath(const WorkloadContext& context) {
  return std::make_unique<ClientDeath>(context);
}
std::unique_ptr<Workload> MakeOutcome(const WorkloadContext& context) {
  return std::make_unique<GivingUp>(context);
}

}  // namespace quorate::sim
