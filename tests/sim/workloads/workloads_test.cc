// That the workloads' own checks can fail: each works on a small database that is wrong in one way
// (weak_database.h) and has to say so, and on one that is right and has to be content.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/check.h"
#include "tests/sim/checks/contents.h"
#include "tests/sim/checks/recorder.h"
#include "tests/sim/cluster.h"
#include "tests/sim/workloads/weak_database.h"
#include "tests/sim/workloads/workload.h"

namespace quorate::sim {
namespace {

constexpr int kClients = 6;
constexpr int kSteps = 120;

struct Found {
  std::vector<std::string> by_workload;
  std::vector<std::string> by_contents;
};

const WorkloadKind& Named(std::string_view name) {
  for (const WorkloadKind& kind : AllWorkloads()) {
    if (kind.name == name) return kind;
  }
  CHECK(false, "no workload {}", name);
}

Task<void> Client(Workload* workload, Hands* hands, int* running) {
  for (int step = 0; step < kSteps; ++step) {
    co_await workload->Step(hands);
    co_await Sleep(*hands->executor, Duration(hands->random->Below(2'000'000)));
  }
  --*running;
}

Task<void> Setup(Workload* workload, Hands* hands, bool* done) {
  for (bool ok = false; !ok;) ok = (co_await workload->Setup(hands)).ok();
  *done = true;
}

Task<void> Audit(Workload* workload, Hands* hands, bool* done) {
  for (bool ok = false; !ok;) ok = (co_await workload->Audit(hands)).ok();
  *done = true;
}

Found RunWorkload(std::string_view name, Weakness weakness) {
  World world(7);
  Options options;
  options.accounts = 4;
  options.lists = 3;
  options.txn_lifetime = 1s;
  Record record(world);
  const auto workload = Named(name).make({world, options});
  WeakStore store(world, weakness);
  Cluster cluster(world, options, false);
  const auto client = cluster.MakeClient("test");
  Process& process = client->process();
  std::vector<std::unique_ptr<client::Database>> databases;
  std::vector<std::unique_ptr<RecordingDatabase>> recorded;
  std::vector<Random> randoms;
  std::vector<Hands> hands;
  randoms.reserve(kClients);
  hands.reserve(kClients);
  for (int i = 0; i < kClients; ++i) {
    databases.push_back(MakeWeakDatabase(store, process, i));
    recorded.push_back(
        std::make_unique<RecordingDatabase>(*databases.back(), record, fmt::format("c{}", i)));
    randoms.push_back(world.Fork(fmt::format("client {}", i)));
    hands.push_back(
        {recorded.back().get(), nullptr, nullptr, &process, &record, i, &randoms.back()});
  }
  TaskScope scope(process);
  bool set_up = false, audited = false;
  int running = kClients;
  scope.Spawn(Setup(workload.get(), &hands[0], &set_up));
  world.RunUntil(world.now() + 60s, [&] { return set_up; });
  for (Hands& each : hands) scope.Spawn(Client(workload.get(), &each, &running));
  world.RunUntil(world.now() + 3600s, [&] { return running == 0; });
  scope.Spawn(Audit(workload.get(), &hands[0], &audited));
  world.RunUntil(world.now() + 60s, [&] { return audited; });
  CHECK(audited, "{} did not end", name);
  EXPECT_GT(workload->acknowledged(), 100u);
  return {workload->Violations(), JudgeContents(record)};
}

TEST(Workloads, AreContentWithADatabaseThatIsRight) {
  for (const WorkloadKind& kind : AllWorkloads()) {
    static constexpr std::string_view kOverTheNetwork[] = {"thin", "names", "hostile", "mutated"};
    if (std::ranges::find(kOverTheNetwork, kind.name) != std::end(kOverTheNetwork)) continue;
    const Found found = RunWorkload(kind.name, Weakness::kNone);
    EXPECT_THAT(found.by_workload, testing::IsEmpty()) << kind.name;
    EXPECT_THAT(found.by_contents, testing::IsEmpty()) << kind.name;
  }
}

class WeakTest : public testing::TestWithParam<std::pair<const char*, Weakness>> {};

TEST_P(WeakTest, IsNoticed) {
  const auto [name, weakness] = GetParam();
  const Found found = RunWorkload(name, weakness);
  EXPECT_THAT(found.by_workload, testing::Not(testing::IsEmpty()));
}

INSTANTIATE_TEST_SUITE_P(
    Each, WeakTest,
    testing::Values(
        std::pair("bank", Weakness::kNoValidation), std::pair("bank", Weakness::kTorn),
        std::pair("bank", Weakness::kForgets), std::pair("list-append", Weakness::kNoValidation),
        std::pair("list-append", Weakness::kForgets), std::pair("rw-register", Weakness::kTorn),
        std::pair("rw-register", Weakness::kStale), std::pair("set", Weakness::kForgets),
        std::pair("set", Weakness::kStale), std::pair("counter", Weakness::kNoValidation),
        std::pair("counter", Weakness::kForgets), std::pair("long-fork", Weakness::kTwoSides),
        std::pair("causal-reverse", Weakness::kTwoSides),
        std::pair("write-skew", Weakness::kNoValidation),
        std::pair("phantom", Weakness::kNoValidation),
        std::pair("monotonic", Weakness::kNoValidation),
        std::pair("monotonic", Weakness::kTwoSides), std::pair("large", Weakness::kNoLimits),
        std::pair("hot", Weakness::kNoValidation), std::pair("locks", Weakness::kNoValidation),
        std::pair("long-snapshot", Weakness::kMovingSnapshot),
        std::pair("client-death", Weakness::kTorn), std::pair("client-death", Weakness::kLies),
        std::pair("outcome", Weakness::kTorn), std::pair("outcome", Weakness::kLies)));

class WeakContentsTest : public testing::TestWithParam<std::pair<const char*, Weakness>> {};

TEST_P(WeakContentsTest, IsSeenInTheContents) {
  const auto [name, weakness] = GetParam();
  EXPECT_THAT(RunWorkload(name, weakness).by_contents, testing::Not(testing::IsEmpty()));
}

INSTANTIATE_TEST_SUITE_P(Each, WeakContentsTest,
                         testing::Values(std::pair("internal", Weakness::kBlindToOwn),
                                         std::pair("internal", Weakness::kNoValidation),
                                         std::pair("single-key", Weakness::kStale),
                                         std::pair("single-key", Weakness::kForgets),
                                         std::pair("write-skew", Weakness::kNoValidation),
                                         std::pair("phantom", Weakness::kNoValidation),
                                         std::pair("set", Weakness::kTwoSides),
                                         std::pair("long-snapshot", Weakness::kMovingSnapshot),
                                         std::pair("outcome", Weakness::kLies)));

}  // namespace
}  // namespace quorate::sim
