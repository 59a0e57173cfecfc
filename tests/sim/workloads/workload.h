// Workload: what clients do in a simulation, and how to tell that the database answered right.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/task.h"
#include "client/database.h"
#include "tests/sim/world.h"

namespace quorate::sim {

class Workload {
 public:
  virtual ~Workload() = default;
  virtual std::string name() const = 0;
  // Fills the database; retried until it succeeds.
  virtual Task<Status> Setup(client::Database* database) = 0;
  // One client's next operation. The frame may be destroyed at any suspension (client death): what
  // was under way then has an unknown outcome.
  virtual Task<void> Step(client::Database* database, int client, Random* random) = 0;
  // Reads the final state, after everything was healed; retried until it succeeds.
  virtual Task<Status> Audit(client::Database* database) = 0;
  // Everything found wrong, each as a sentence.
  virtual std::vector<std::string> Violations() const = 0;
  // Acknowledged operations, to see that a run did something.
  virtual uint64_t Acknowledged() const = 0;
  // Operations that were answered UNKNOWN_OUTCOME.
  virtual uint64_t Unknown() const = 0;
};

// A key whose first two bytes spread `index` of `count` evenly over the key space, and so over the
// shards.
std::string SpreadKey(std::string_view prefix, int index, int count);

std::unique_ptr<Workload> MakeBank(int accounts);
std::unique_ptr<Workload> MakeListAppend(World& world, int lists);

}  // namespace quorate::sim
