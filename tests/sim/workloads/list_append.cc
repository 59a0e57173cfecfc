// List-append: transactions read and append to lists over many shards. Judged twice: by the
// stand-alone checker of tests/history, and by timestamps, which the database itself claims.
#include "tests/history/list_append.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/coding.h"
#include "tests/sim/workloads/workload.h"

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
  ListAppend(World& world, int lists) : world_(world), lists_(lists) {}

  std::string name() const override { return "list-append"; }
  Task<Status> Setup(client::Database*) override { co_return Status::Ok(); }

  Task<void> Step(client::Database* database, int client, Random* random) override {
    auto record = std::make_shared<Record>();
    record->transaction.process = client;
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
    if (status.ok()) {
      record->transaction.outcome = history::Outcome::kOk;
      ++acknowledged_;
    } else if (status.code() == Code::kUnknownOutcome) {
      ++unknown_;
    } else {
      record->transaction.outcome = history::Outcome::kFail;
    }
  }

  // The last word: one read of every list, as a transaction of the history.
  Task<Status> Audit(client::Database* database) override {
    auto record = std::make_shared<Record>();
    auto plan = std::make_shared<std::vector<history::MicroOp>>();
    for (int i = 0; i < lists_; ++i) {
      plan->push_back({history::MicroOp::Kind::kRead, std::to_string(i), 0, {}});
    }
    record->transaction.process = -1;
    record->transaction.invoked = Now();
    const Status status = co_await database->SnapshotAsync(
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
    JudgeTimestamps(&found);
    return found;
  }

  uint64_t Acknowledged() const override { return acknowledged_; }
  uint64_t Unknown() const override { return unknown_; }

 private:
  int64_t Now() const { return world_.now().time_since_epoch().count(); }
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

  // S1 as the database claims it: acknowledged commit timestamps follow real time (T1), and the
  // order of each list is the order of its writers' commit timestamps.
  void JudgeTimestamps(std::vector<std::string>* found) const {
    std::vector<const Record*> committed;
    for (const auto& record : records_) {
      if (record->transaction.outcome == history::Outcome::kOk && record->wrote) {
        committed.push_back(record.get());
      }
    }
    std::vector<const Record*> by_completed = committed;
    const auto completed = [](const Record* a, const Record* b) {
      return a->transaction.completed < b->transaction.completed;
    };
    const auto invoked = [](const Record* a, const Record* b) {
      return a->transaction.invoked < b->transaction.invoked;
    };
    std::stable_sort(by_completed.begin(), by_completed.end(), completed);
    std::stable_sort(committed.begin(), committed.end(), invoked);
    Timestamp highest;
    size_t next = 0;
    std::map<int64_t, Timestamp> commit_of;
    for (const Record* record : committed) {
      while (next < by_completed.size() &&
             by_completed[next]->transaction.completed < record->transaction.invoked) {
        highest = std::max(highest, by_completed[next++]->commit_ts);
      }
      if (record->commit_ts <= highest) {
        found->push_back(fmt::format("T1: a commit at {} was invoked after one at {} was answered",
                                     record->commit_ts, highest));
      }
      for (const auto& op : record->transaction.ops) {
        if (op.kind == history::MicroOp::Kind::kAppend) commit_of[op.element] = record->commit_ts;
      }
    }
    for (const auto& record : records_) {
      for (const auto& op : record->transaction.ops) {
        Timestamp last;
        for (const int64_t element : op.list) {
          const auto it = commit_of.find(element);
          if (it == commit_of.end()) continue;
          if (it->second < last) {
            found->push_back(fmt::format("list {} is not in commit timestamp order", op.key));
          }
          last = it->second;
        }
      }
    }
  }

  World& world_;
  const int lists_;
  int64_t next_element_ = 0;
  uint64_t acknowledged_ = 0;
  uint64_t unknown_ = 0;
  bool audited_ = false;
  std::vector<std::shared_ptr<Record>> records_;
};

}  // namespace

std::unique_ptr<Workload> MakeListAppend(World& world, int lists) {
  return std::make_unique<ListAppend>(world, lists);
}

}  // namespace quorate::sim
