// The shard's scenario scripts: stories of evaluation, apply, locks and leadership, and every
// counterexample that lives in one shard or between shards without split, merge or follower read.
#include <gtest/gtest.h>

#include "tests/shard/world.h"

namespace quorate::shard {
namespace {

script::Handler MakeWorld() {
  auto world = std::make_shared<ScenarioWorld>();
  return [world](const script::Command& c) { return world->Run(c); };
}

TEST(ShardScenarios, Rules) { script::RunFolder(SCENARIO_DIR "/rules", MakeWorld); }
// What broke other systems, by its id in docs/testing.md.
TEST(ShardScenarios, Incidents) { script::RunFolder(SCENARIO_DIR "/incidents", MakeWorld); }
TEST(ShardScenarios, Counterexamples) {
  script::RunFolder(SCENARIO_DIR "/counterexamples", MakeWorld);
}

}  // namespace
}  // namespace quorate::shard
