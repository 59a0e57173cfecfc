// Known bugs of placement/schedule (base/mutant.h, -DQUORATE_MUTANTS=ON), one process each: random
// runs must find every one. They are not in the simulator's catalogue, which is about whole nodes.
//
//   schedule_mutants [NAME...]    exits 1 if one survives
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "base/mutant.h"
#include "tests/placement/schedule/random_run.h"

namespace {

struct Mutant {
  std::string_view name;
  std::string_view broken;
};

constexpr Mutant kMutants[] = {
    {"schedule-balance-ignores-leader-rules", "balance takes leaders from where rules have them"},
    {"schedule-balance-ignores-spread", "balance moves replicas closer together"},
    {"schedule-balance-inverts", "balance makes the emptier node the fuller one"},
    {"schedule-chooses-a-draining-node", "a replica goes to a node that is being drained"},
    {"schedule-drain-replicas-first", "replicas leave a node that still leads"},
    {"schedule-failed-target-tried-again", "a node that did not catch up is chosen again at once"},
    {"schedule-hosts-shared", "two replicas are put on one host although there are enough"},
    {"schedule-orphans-stay", "a learner that belongs to no operator is left"},
    {"schedule-promotes-before-caught-up", "a learner votes before it has the log"},
    {"schedule-removal-unchecked", "a removal may leave no quorum"},
    {"schedule-removes-the-leader", "a replica that leads is removed"},
    {"schedule-rule-borders-ignored", "a shard under two rules is not divided"},
    {"schedule-rule-factor-ignored", "all shards have as many replicas as the settings say"},
    {"schedule-rule-places-ignored", "replicas go where their rule wants none"},
    {"schedule-spread-ignored", "a node is chosen by load alone"},
    {"schedule-two-replicas-on-a-node", "a node that has a replica may be chosen"},
    {"schedule-unknown-is-lost", "a node that was not heard of yet is replaced"},
};

#ifdef QUORATE_MUTANTS
constexpr uint64_t kSeedsMax = 100;

// Whether some seed finds it, in a process of its own, since a mutant is switched on for good.
bool Hunt(std::string_view name) {
  fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    quorate::active_mutant = name;
    if (const std::string found = quorate::placement::model::CheckRemovals(); !found.empty()) {
      fmt::print("{}: {}\n", name, found);
      fflush(stdout);
      _exit(0);
    }
    for (uint64_t seed = 1; seed <= kSeedsMax; ++seed) {
      const std::string found = quorate::placement::model::RandomRun(seed);
      if (found.empty()) continue;
      fmt::print("{}: seed {}: {}\n", name, seed, found.substr(0, found.find('\n')));
      fflush(stdout);
      _exit(0);
    }
    _exit(1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return !WIFEXITED(status) || WEXITSTATUS(status) == 0;
}
#endif

}  // namespace

int main(int argc, char** argv) {
#ifdef QUORATE_MUTANTS
  int survived = 0;
  for (const Mutant& mutant : kMutants) {
    bool asked = argc == 1;
    for (int i = 1; i < argc; ++i) asked |= mutant.name == argv[i];
    if (!asked || Hunt(mutant.name)) continue;
    fmt::print("{}: SURVIVED ({})\n", mutant.name, mutant.broken);
    ++survived;
  }
  return survived == 0 ? 0 : 1;
#else
  for (const Mutant& mutant : kMutants) fmt::print("{}: {}\n", mutant.name, mutant.broken);
  fmt::print("this build contains none of them: build with -DQUORATE_MUTANTS=ON\n");
  return argc > 1 ? 2 : 0;
#endif
}
