// Probe: each key has one writer, so what may be read is known exactly.
#include <fmt/format.h>

#include <charconv>
#include <mutex>

#include "base/status_macros.h"
#include "tests/integration/nemesis/workloads.h"

namespace quorate::nemesis {
namespace {

constexpr int kReadEvery = 16;

class Probe final : public Workload {
 public:
  Probe(const Shared& shared, int workers) : shared_(shared), keys_(static_cast<size_t>(workers)) {}

  std::string_view name() const override { return "probe"; }

  void Step(Worker* worker) override {
    Key& key = keys_[static_cast<size_t>(worker->index)];
    const int shard = worker->index % shared_.shards;
    if (++key.steps % kReadEvery == 0) {
      (void)Read(worker);
      return;
    }
    const uint64_t number = ++key.attempted;
    const auto result = worker->database.Put(NameOf(worker->index), std::to_string(number));
    if (result.ok()) {
      key.low = number;
      shared_.acks.Acknowledged({shard});
    } else if (result.unknown) {
      shared_.acks.Unknown();
      key.high = number;
    } else {
      shared_.acks.Refused();
    }
    if (result.ok()) key.high = number;
  }

  Status Finish(Worker* worker) override {
    for (; finished_ < keys_.size(); ++finished_) {
      Worker reader = *worker;
      reader.index = static_cast<int>(finished_);
      RETURN_IF_ERROR(Read(&reader));
    }
    return Status::Ok();
  }

  void Flush() override {}

  std::vector<std::string> Violations() const override {
    const std::lock_guard lock(mutex_);
    return violations_;
  }

 private:
  // A read must return a number in [low, high]: the last one acknowledged, or a later one whose
  // outcome is unknown. What a read returned is the new low.
  struct Key {
    uint64_t low = 0;
    uint64_t high = 0;
    uint64_t attempted = 0;
    uint64_t steps = 0;
  };

  std::string NameOf(int worker) const {
    return ShardKey(worker % shared_.shards, fmt::format("probe/{}", worker));
  }

  Status Read(Worker* worker) {
    Key& key = keys_[static_cast<size_t>(worker->index)];
    auto read = worker->database.Get(NameOf(worker->index));
    if (!read.ok()) {
      shared_.acks.Refused();
      return read.status();
    }
    shared_.acks.Read();
    uint64_t number = 0;
    if (*read) std::from_chars((*read)->data(), (*read)->data() + (*read)->size(), number);
    if (number < key.low || number > key.high) {
      const std::lock_guard lock(mutex_);
      violations_.push_back(
          fmt::format("{} holds {}, but {} was acknowledged and {} is the last "
                      "that may have been written",
                      NameOf(worker->index), number, key.low, key.high));
    }
    key.low = std::max(key.low, number);
    return Status::Ok();
  }

  const Shared shared_;
  std::vector<Key> keys_;  // each used by one thread at a time
  size_t finished_ = 0;
  mutable std::mutex mutex_;
  std::vector<std::string> violations_;
};

}  // namespace

std::unique_ptr<Workload> MakeProbe(const Shared& shared, int workers) {
  return std::make_unique<Probe>(shared, workers);
}

}  // namespace quorate::nemesis
