// Increments of counters, each with a row of its own that is written with it, so that sending one
// again is safe, and the rows tell afterwards which of them happened.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "client/database.h"

namespace quorate::sim {

struct Increment {
  std::string key;
  std::string row;
  bool acknowledged = false;
  int unknown = 0;  // sendings whose outcome is not known, or not known yet
};

class Increments {
 public:
  Increments(std::string name, int counters) : name_(std::move(name)), counters_(counters) {}

  // A new one, not sent yet.
  std::shared_ptr<Increment> Add(int counter);
  std::string Key(int counter) const;
  int counters() const { return counters_; }

  // Reads all counters and rows in one snapshot.
  Task<Status> Audit(client::Database* database);
  // The sum is the number of rows; each acknowledged increment has its row, no failed one has.
  std::vector<std::string> Violations() const;

 private:
  static Task<Status> ReadFinal(Increments* self, client::Transaction* txn);
  std::string RowPrefix(int bucket) const;

  const std::string name_;
  const int counters_;
  std::vector<std::shared_ptr<Increment>> all_;
  int64_t final_sum_ = 0;
  std::set<std::string> final_rows_;
};

}  // namespace quorate::sim
