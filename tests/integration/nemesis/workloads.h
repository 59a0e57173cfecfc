// What the clients of a nemesis run do. Each workload keeps its keys in every shard: the shard of
// the key "s03/..." is 3, since the cluster is split at "s01", "s02", ...
//
//   bank         transfers between accounts, each with a ledger entry; totals in one snapshot
//   list-append  transactions that read lists and append unique elements
//   rw-register  transactions that read and write registers; a third are single-key calls
//   probe        one writer per shard that writes ascending numbers without a pause: the steady
//                load in which gaps are measured. Judges its own reads.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "client/database.h"
#include "tests/integration/nemesis/op_log.h"

namespace quorate::nemesis {

// One thread's part.
struct Worker {
  client::Database& database;
  int index;    // of this workload's workers
  int process;  // in the history: a new one after each unknown outcome, as Jepsen has it
  Random random;
};

struct Shared {
  std::string directory;  // for histories
  int shards;
  int workers_total;  // steps of Worker::process
  AckLog& acks;
};

class Workload {
 public:
  virtual ~Workload() = default;
  virtual std::string_view name() const = 0;
  // Repeated until it succeeds.
  virtual Status Setup(client::Database& database) { return Status::Ok(); }
  // One operation.
  virtual void Step(Worker* worker) = 0;
  // Final reads, after the last Step; repeated until it succeeds.
  virtual Status Finish(Worker* worker) = 0;
  virtual void Flush() = 0;
  // What this workload itself found to be wrong, each as a sentence. After Finish.
  virtual std::vector<std::string> Violations() const { return {}; }
};

std::string ShardKey(int shard, std::string_view rest);

std::unique_ptr<Workload> MakeBank(const Shared& shared);
std::unique_ptr<Workload> MakeListAppend(const Shared& shared);
std::unique_ptr<Workload> MakeRegister(const Shared& shared);
std::unique_ptr<Workload> MakeProbe(const Shared& shared, int workers);

// The end of one operation: its line in the history and its count.
struct Ended {
  Status status;
  std::string value;        // of an ok operation
  std::vector<int> shards;  // written
};
void RecordEnd(const Shared& shared, OpLog* log, Worker* worker, std::string_view f,
               std::string_view invoked, const Ended& ended, std::string_view more = {});

}  // namespace quorate::nemesis
