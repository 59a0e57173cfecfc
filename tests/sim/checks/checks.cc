#include "tests/sim/checks/checks.h"

#include "tests/sim/checks/rest.h"
#include "tests/sim/cluster.h"

namespace quorate::sim {

namespace {

constexpr Duration kLook = 50ms;
constexpr uint64_t kDeepEvery = 20;  // looks
// Digests read everything. Replicas that differ go on differing, so a look at each now and then,
// and at all of them in the end, will do.
constexpr uint64_t kDeepParts = 8;

}  // namespace

Checks::Checks(Cluster& cluster) : cluster_(cluster), replicas_(cluster) {
  for (auto& node : cluster.nodes()) node->Watch(&durability_);
  cluster_.world().At(kLook, [this] { Tick(); });
}

void Checks::Tick() {
  replicas_.Look();
  if (++ticks_ % kDeepEvery == 0) replicas_.LookDeep(kDeepParts);
  cluster_.world().At(kLook, [this] { Tick(); });
}

std::vector<std::string> Checks::LeftOver() const {
  std::vector<std::string> found;
  for (const auto& node : cluster_.nodes()) {
    for (std::string& left : JudgeRest(node->address(), LeftOvers(*node))) {
      found.push_back(std::move(left));
    }
  }
  return found;
}

void Checks::End() {
  replicas_.Look();
  replicas_.LookDeep(1);
  replicas_.LookAtRest();
  left_over_ = LeftOver();
}

std::vector<std::string> Checks::Violations() const {
  std::vector<std::string> found = durability_.violations();
  for (const auto* more : {&replicas_.violations(), &left_over_}) {
    found.insert(found.end(), more->begin(), more->end());
  }
  return found;
}

}  // namespace quorate::sim
