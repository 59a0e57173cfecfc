// List-append: transactions read and append to lists over many shards. Judged twice: by the
// stand-alone checker of tests/history, and by timestamps, which the database itself claims.
#include "tests/history/list_append.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/coding.h"
#include "tests/sim/workloads/catalogue.h"

namespace quorate::sim {
namespace {

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

struct Record {
  history::Transaction transaction;
  Timestamp commit_ts;
  bool wrote = false;
};

class ListAppend final : public Workload {
 public:
  explicit ListAppend(const WorkloadContext& context)
      : Workload(context.world, "list-append"), lists_(context.options.lists) {}

  Task<void> Step(Hands* hands) override {
    client::Database* database = hands->database;
    Random* random = hands->random;
    auto record = std::make_shared<Record>();
    record->transaction.process = hands->client;
    auto plan = std::make_shared<std::vector<history::MicroOp>>();
    const int steps = static_cast<int>(random->Between(1, 5));
    const bool read_only = random->Chance(0.3);
    for (int i = 0; i < steps; ++i) {
      history::MicroOp op;
      op.key = std::to_string(random->Below(lists_));
      if (!read_only && random->Chance(0.6)) {
        op.kind = history::MicroOp::Kind::kAppend;
        op.element = ++next_element_;
        record->wrote = true;
      }
      plan->push_back(op);
    }
    record->transaction.ops = *plan;
    record->transaction.invoked = Now();
    records_.push_back(record);
    Status status;
    if (!record->wrote) {
      status = co_await database->SnapshotAsync(
          [this, record, plan](client::Transaction& txn) {
            return Perform(this, &txn, record, plan);
          },
          {});
    } else {
      const auto result = co_await database->TransactAsync(
          [this, record, plan](client::Transaction& txn) {
            return Perform(this, &txn, record, plan);
          },
          {});
      status = result.status;
      record->commit_ts = result.commit_ts;
    }
    record->transaction.completed = Now();
    record->transaction.outcome = Count(status);
  }

  // The last word: one read of every list, as a transaction of the history.
  Task<Status> Audit(Hands* hands) override {
    auto record = std::make_shared<Record>();
    auto plan = std::make_shared<std::vector<history::MicroOp>>();
    for (int i = 0; i < lists_; ++i) {
      plan->push_back({history::MicroOp::Kind::kRead, std::to_string(i), 0, {}});
    }
    record->transaction.process = -1;
    record->transaction.invoked = Now();
    const Status status = co_await hands->database->SnapshotAsync(
        [this, record, plan](client::Transaction& txn) {
          return Perform(this, &txn, record, plan);
        },
        {});
    if (status.ok()) {
      record->transaction.completed = Now();
      record->transaction.outcome = history::Outcome::kOk;
      records_.push_back(record);
      audited_ = true;
    }
    co_return status;
  }

  std::vector<std::string> Violations() const override {
    std::vector<std::string> found;
    if (!audited_) found.push_back("no audit");
    std::vector<history::Transaction> transactions;
    for (const auto& record : records_) transactions.push_back(record->transaction);
    for (const auto& anomaly : history::CheckListAppend(transactions)) {
      found.push_back(anomaly.name + ": " + anomaly.explanation);
    }
    return found;
  }

 private:
  std::string Key(const std::string& list) const {
    return SpreadKey("list", std::stoi(list), lists_);
  }

  static Task<Status> Perform(ListAppend* self, client::Transaction* txn,
                              std::shared_ptr<Record> record,
                              std::shared_ptr<std::vector<history::MicroOp>> plan) {
    record->transaction.ops = *plan;
    for (size_t i = 0; i < plan->size(); ++i) {
      const std::string key = self->Key((*plan)[i].key);
      auto value = co_await txn->Get(key);
      if (!value.ok()) co_return value.status();
      if ((*plan)[i].kind == history::MicroOp::Kind::kRead) {
        record->transaction.ops[i].list = Decode(*value);
        continue;
      }
      std::string list = value->value_or("");
      PutFixed64(&list, static_cast<uint64_t>((*plan)[i].element));
      CO_RETURN_IF_ERROR(txn->Put(key, std::move(list)));
    }
    co_return Status::Ok();
  }

  const int lists_;
  int64_t next_element_ = 0;
  bool audited_ = false;
  std::vector<std::shared_ptr<Record>> records_;
};

}  // namespace

std::unique_ptr<Workload> MakeListAppend(const WorkloadContext& context) {
  return std::make_unique<ListAppend>(context);
}

}  // namespace quorate::sim
