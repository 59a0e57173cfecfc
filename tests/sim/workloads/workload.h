// Workload: what clients do in a simulation, and how to tell that the database answered right.
//
// Every workload works through a RecordingDatabase, so the contents check (checks/contents.h)
// judges all it reads and writes; what a workload adds is its own invariant, told in words, and
// where tests/history has a judge for it, a history.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.h"
#include "base/task.h"
#include "client/database.h"
#include "tests/history/history.h"
#include "tests/sim/checks/record.h"
#include "tests/sim/options.h"
#include "tests/sim/world.h"

namespace quorate::sim {

class History;
class ThinClient;

// What one client works with. All of it outlives the client's steps.
struct Hands {
  client::Database* database;
  ThinClient* thin;
  const std::vector<std::string>* nodes;  // addresses for the thin client
  Executor* executor;
  Record* record;
  int client = 0;
  Random* random = nullptr;
};

class Workload {
 public:
  Workload(World& world, std::string_view name) : world_(world), name_(name) {}
  virtual ~Workload() = default;
  std::string_view name() const { return name_; }

  // Fills the database; retried until it succeeds.
  virtual Task<Status> Setup(Hands* hands) { co_return Status::Ok(); }
  // One client's next operation. The frame may be destroyed at any suspension (client death): what
  // was under way then has an unknown outcome.
  virtual Task<void> Step(Hands* hands) = 0;
  // Reads the final state, after everything was healed; retried until it succeeds.
  virtual Task<Status> Audit(Hands* hands) { co_return Status::Ok(); }
  // Everything found wrong, each as a sentence. After the audit.
  virtual std::vector<std::string> Violations() const { return violations_; }

  // What tests/history judges, if it does.
  virtual const History* history() const { return nullptr; }

  // Acknowledged operations, to see that a run did something.
  uint64_t acknowledged() const { return acknowledged_; }
  // Operations that were answered UNKNOWN_OUTCOME.
  uint64_t unknown() const { return unknown_; }

 protected:
  int64_t Now() const { return world_.now().time_since_epoch().count(); }
  void Violation(std::string text) {
    if (violations_.size() < 5) violations_.push_back(std::move(text));
  }
  // Counts an answer and says what it means for a history.
  history::Outcome Count(const Status& status);

  World& world_;
  uint64_t acknowledged_ = 0;
  uint64_t unknown_ = 0;
  std::vector<std::string> violations_;

 private:
  const std::string_view name_;
};

// A key whose first two bytes spread `index` of `count` evenly over the key space, and so over the
// shards.
std::string SpreadKey(std::string_view prefix, int index, int count);
// A number as it is stored; 0 for an absent key.
int64_t ToInt(const std::optional<std::string>& text);

struct WorkloadContext {
  World& world;
  const Options& options;
};
struct WorkloadKind {
  std::string_view name;
  std::string_view about;
  std::unique_ptr<Workload> (*make)(const WorkloadContext& context);
};
// All of them, in a fixed order.
const std::vector<WorkloadKind>& AllWorkloads();
// One or two names, drawn from a stream of their own.
std::vector<std::string> DrawWorkloads(uint64_t seed);

}  // namespace quorate::sim
