// list-append and rw-register: random read and write steps, histories in list-append.edn and
// rw-register.edn. Keys are used up and replaced, so that lists stay short.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <set>

#include "base/status_macros.h"
#include "tests/integration/nemesis/workloads.h"

namespace quorate::nemesis {
namespace {

constexpr int kKeysPerShard = 3;        // in use at a time
constexpr uint64_t kWritesPerKey = 60;  // on average, before the next keys are taken
constexpr int kFinalReadKeys = 16;      // in one transaction

struct Step {
  bool write = false;
  std::string key;
  int shard = 0;
  uint64_t element = 0;
};

class Steps : public Workload {
 public:
  Steps(const Shared& shared, std::string_view file, std::string_view prefix)
      : shared_(shared),
        keys_(static_cast<uint64_t>(shared.shards) * kKeysPerShard),
        prefix_(prefix),
        log_(fmt::format("{}/{}.edn", shared.directory, file)) {}

  void Step(Worker* worker) override {
    if (SingleKey(worker)) return;
    std::vector<nemesis::Step> steps;
    const auto count = worker->random.Between(1, 4);
    const bool read_only = worker->random.Chance(0.3);
    for (int i = 0; i < count; ++i) {
      steps.push_back(MakeStep(&worker->random, !read_only && worker->random.Chance(0.6)));
    }
    (void)Run(worker, steps);
  }

  Status Finish(Worker* worker) override {
    for (; finished_ <= Last(); finished_ += kFinalReadKeys) {
      std::vector<nemesis::Step> steps;
      for (uint64_t i = finished_; i <= std::min(Last(), finished_ + kFinalReadKeys - 1); ++i) {
        steps.push_back(KeyNumber(i));
      }
      RETURN_IF_ERROR(Run(worker, steps));
    }
    return Status::Ok();
  }

  void Flush() override { log_.Flush(); }

 protected:
  virtual std::string_view WriteName() const = 0;
  virtual std::string_view EmptyRead() const = 0;
  // The stored form of a key's value, and what a read of it looks like in the history.
  virtual std::string Written(const std::optional<std::string>& before, uint64_t element) const = 0;
  virtual std::string Shown(const std::string& stored) const = 0;
  virtual bool SingleKey(Worker* worker) { return false; }
  // Whether the new value is made of the old one.
  virtual bool ReadsBeforeWriting() const = 0;

  nemesis::Step MakeStep(Random* random, bool write) {
    const uint64_t base = writes_ / (keys_ * kWritesPerKey) * keys_;
    nemesis::Step step = KeyNumber(base + random->Below(keys_));
    if (write) {
      step.write = true;
      step.element = ++writes_;
    }
    return step;
  }

  // `values`: what each step saw; empty: before it ran.
  std::string Show(const std::vector<nemesis::Step>& steps,
                   const std::vector<std::optional<std::string>>& values) const {
    std::vector<std::string> parts;
    for (size_t i = 0; i < steps.size(); ++i) {
      const auto& step = steps[i];
      if (step.write) {
        parts.push_back(fmt::format("[:{} \"{}\" {}]", WriteName(), step.key, step.element));
      } else {
        parts.push_back(fmt::format("[:r \"{}\" {}]", step.key,
                                    values.empty() ? "nil"
                                    : values[i]    ? Shown(*values[i])
                                                   : std::string(EmptyRead())));
      }
    }
    return fmt::format("[{}]", fmt::join(parts, " "));
  }

  const Shared shared_;
  const uint64_t keys_;
  const std::string prefix_;
  OpLog log_;

 private:
  nemesis::Step KeyNumber(uint64_t number) const {
    nemesis::Step step;
    step.shard = static_cast<int>(number % static_cast<uint64_t>(shared_.shards));
    step.key = ShardKey(step.shard, fmt::format("{}/{}", prefix_, number));
    return step;
  }
  uint64_t Last() const { return writes_ / (keys_ * kWritesPerKey) * keys_ + keys_ - 1; }

  Status Run(Worker* worker, const std::vector<nemesis::Step>& steps) {
    std::set<int> shards;
    for (const auto& step : steps) {
      if (step.write) shards.insert(step.shard);
    }
    const std::string invoked = Show(steps, {});
    log_.Write("invoke", worker->process, "txn", invoked);
    std::vector<std::optional<std::string>> values;
    const auto body = [&](client::SyncTransaction& txn) -> Status {
      values.assign(steps.size(), std::nullopt);
      for (size_t i = 0; i < steps.size(); ++i) {
        if (!steps[i].write || ReadsBeforeWriting()) {
          auto value = txn.Get(steps[i].key);
          if (!value.ok()) return value.status();
          values[i] = *value;
        }
        if (steps[i].write) {
          RETURN_IF_ERROR(txn.Put(steps[i].key, Written(values[i], steps[i].element)));
        }
      }
      return Status::Ok();
    };
    // Read-only ones as snapshots or as transactions: both must fit.
    const bool snapshot = shards.empty() && worker->random.Chance(0.5);
    const Status status =
        snapshot ? worker->database.Snapshot(body) : worker->database.Transact(body).status;
    const std::string shown = status.ok() ? Show(steps, values) : invoked;
    RecordEnd(shared_, &log_, worker, "txn", invoked,
              {status, shown, std::vector<int>(shards.begin(), shards.end())});
    return status;
  }

  std::atomic<uint64_t> writes_{0};
  uint64_t finished_ = 0;
};

class ListAppend final : public Steps {
 public:
  explicit ListAppend(const Shared& shared) : Steps(shared, "list-append", "list") {}
  std::string_view name() const override { return "list-append"; }

 private:
  std::string_view WriteName() const override { return "append"; }
  std::string_view EmptyRead() const override { return "[]"; }
  bool ReadsBeforeWriting() const override { return true; }
  std::string Written(const std::optional<std::string>& before, uint64_t element) const override {
    return before ? fmt::format("{} {}", *before, element) : std::to_string(element);
  }
  std::string Shown(const std::string& stored) const override {
    return fmt::format("[{}]", stored);
  }
};

class Register final : public Steps {
 public:
  explicit Register(const Shared& shared) : Steps(shared, "rw-register", "register") {}
  std::string_view name() const override { return "rw-register"; }

 private:
  std::string_view WriteName() const override { return "w"; }
  std::string_view EmptyRead() const override { return "nil"; }
  bool ReadsBeforeWriting() const override { return false; }
  std::string Written(const std::optional<std::string>&, uint64_t element) const override {
    return std::to_string(element);
  }
  std::string Shown(const std::string& stored) const override { return stored; }

  // A third are Get and Put, which are transactions of one step.
  bool SingleKey(Worker* worker) override {
    if (!worker->random.Chance(0.33)) return false;
    const auto step = MakeStep(&worker->random, worker->random.Chance(0.5));
    const std::string invoked = Show({step}, {});
    log_.Write("invoke", worker->process, "txn", invoked);
    Ended ended;
    if (step.write) {
      ended = {worker->database.Put(step.key, std::to_string(step.element)).status,
               invoked,
               {step.shard}};
    } else {
      auto read = worker->database.Get(step.key);
      ended.status = read.ok() ? Status::Ok() : read.status();
      if (read.ok()) ended.value = Show({step}, {*read});
    }
    RecordEnd(shared_, &log_, worker, "txn", invoked, ended);
    return true;
  }
};

}  // namespace

std::unique_ptr<Workload> MakeListAppend(const Shared& shared) {
  return std::make_unique<ListAppend>(shared);
}

std::unique_ptr<Workload> MakeRegister(const Shared& shared) {
  return std::make_unique<Register>(shared);
}

}  // namespace quorate::nemesis
