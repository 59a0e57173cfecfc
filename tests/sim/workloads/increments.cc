#include "tests/sim/workloads/increments.h"

#include <fmt/format.h>

#include "base/bytes.h"
#include "tests/sim/workloads/workload.h"

namespace quorate::sim {

namespace {

constexpr int kBuckets = 8;

}  // namespace

std::string Increments::Key(int counter) const { return SpreadKey(name_, counter, counters_); }
std::string Increments::RowPrefix(int bucket) const {
  return SpreadKey(name_ + "row", bucket, kBuckets);
}

std::shared_ptr<Increment> Increments::Add(int counter) {
  const size_t number = all_.size();
  const std::string row =
      RowPrefix(static_cast<int>(number % kBuckets)) + fmt::format("/{}", number);
  return all_.emplace_back(std::make_shared<Increment>(Increment{Key(counter), row}));
}

Task<Status> Increments::Audit(client::Database* database) {
  co_return co_await database->SnapshotAsync(
      [this](client::Transaction& txn) { return ReadFinal(this, &txn); }, {});
}

Task<Status> Increments::ReadFinal(Increments* self, client::Transaction* txn) {
  self->final_sum_ = 0;
  self->final_rows_.clear();
  for (int i = 0; i < self->counters_; ++i) {
    const auto count = co_await txn->Get(self->Key(i));
    if (!count.ok()) co_return count.status();
    self->final_sum_ += ToInt(*count);
  }
  for (int i = 0; i < kBuckets; ++i) {
    const auto rows = co_await txn->Scan(self->RowPrefix(i) + "/", self->RowPrefix(i) + "0", {});
    if (!rows.ok()) co_return rows.status();
    for (const client::Row& row : *rows) self->final_rows_.insert(row.key);
  }
  co_return Status::Ok();
}

std::vector<std::string> Increments::Violations() const {
  std::vector<std::string> found;
  if (final_sum_ != static_cast<int64_t>(final_rows_.size())) {
    found.push_back(fmt::format("the counters hold {} in all, but {} increments left a row",
                                final_sum_, final_rows_.size()));
  }
  for (const auto& increment : all_) {
    const bool there = final_rows_.contains(increment->row);
    if (increment->acknowledged && !there) {
      found.push_back("an acknowledged increment is missing: " + Printable(increment->row));
    }
    if (!increment->acknowledged && increment->unknown == 0 && there) {
      found.push_back("an increment that failed for good counts: " + Printable(increment->row));
    }
  }
  return found;
}

}  // namespace quorate::sim
