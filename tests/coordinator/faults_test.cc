// Every step of a commit, and of a recovery, fails in every way: lost, late, refused, answered
// twice, leader changed, out of time. And random runs over the same model, which also show that a
// broken rule is noticed. The invariants are those of cluster.h.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "base/random.h"
#include "tests/coordinator/cluster.h"

namespace quorate::coordinator {
namespace {

using model::Broken;
using model::Cluster;

size_t First(size_t) { return 0; }

struct Fault {
  std::string name;
  std::function<void(Cluster&)> strike;
};

// What can happen instead of, or just before, the next step.
std::vector<Fault> Faults(int shards) {
  std::vector<Fault> faults;
  const auto next = [](Cluster& c) {
    const auto messages = c.Messages();
    return messages.empty() ? std::string("nothing on its way") : messages.front();
  };
  faults.push_back({"lost", [next](Cluster& c) { c.Lose(next(c)); }});
  faults.push_back({"answered twice", [next](Cluster& c) { c.Copy(next(c)); }});
  faults.push_back({"late", [](Cluster& c) { c.Step([](size_t n) { return n - 1; }); }});
  faults.push_back({"out of time", [](Cluster& c) {
                      for (const auto& name : c.Coordinators()) c.Deadline(name);
                    }});
  faults.push_back({"rights ended", [](Cluster& c) {
                      c.ChangeLeader(0, true);
                      for (const auto& name : c.Coordinators()) c.Depose(name);
                    }});
  faults.push_back({"a copy of the Commit", [](Cluster& c) { c.Commit("c1"); }});
  faults.push_back({"a push", [](Cluster& c) { c.Push("r1"); }});
  for (int i = 0; i < shards; ++i) {
    const std::string at = " at " + std::string(1, static_cast<char>('A' + i));
    for (const Code code : {Code::kLockConflict, Code::kReadConflict, Code::kStaleEpoch,
                            Code::kOverloaded, Code::kTooOld}) {
      faults.push_back({fmt::format("refused {}{}", CodeName(code), at),
                        [i, code](Cluster& c) { c.Conflict(i, code); }});
    }
    faults.push_back({"sub bits ran out" + at, [i](Cluster& c) { c.Exhaust(i); }});
    faults.push_back(
        {"leader changed, log kept" + at, [i](Cluster& c) { c.ChangeLeader(i, true); }});
    faults.push_back(
        {"leader changed, log lost" + at, [i](Cluster& c) { c.ChangeLeader(i, false); }});
    faults.push_back({"horizon" + at, [i](Cluster& c) { c.Horizon(i); }});
  }
  return faults;
}

// The start of a script that leaves txn1 STAGED without a coordinator, for recovery to find.
void Orphan(Cluster& c) {
  c.Commit("c0");
  c.Apply(0);
  c.ChangeLeader(0, true);
  c.Push("r0");
}

void FailEachStep(const std::function<void(Cluster&)>& begin, int shards) {
  Cluster smooth(shards);
  begin(smooth);
  int steps = 0;
  while (smooth.Step(First)) ++steps;
  ASSERT_GE(steps, 2);
  for (const Fault& fault : Faults(shards)) {
    for (int at = 0; at <= steps; ++at) {
      SCOPED_TRACE(fmt::format("{} shards, {}, before step {}", shards, fault.name, at));
      Cluster c(shards);
      begin(c);
      for (int i = 0; i < at; ++i) c.Step(First);
      fault.strike(c);
      c.Settle();
      ASSERT_EQ(c.violation(), "") << c.TakeTrace() << c.Describe();
    }
  }
}

TEST(CommitMachine, SurvivesAFailureOfEachStep) {
  for (int shards = 1; shards <= 3; ++shards) {
    FailEachStep([](Cluster& c) { c.Commit("c0"); }, shards);
  }
}

TEST(RecoveryMachine, SurvivesAFailureOfEachStep) {
  for (int shards = 2; shards <= 3; ++shards) FailEachStep(Orphan, shards);
}

TEST(RecoveryMachine, SurvivesAFailureOfEachStepWithoutARecord) {
  FailEachStep(
      [](Cluster& c) {
        c.Commit("c0");
        c.Deliver("c0>B Prepare");
        c.ChangeLeader(0, false);
        c.Push("r0");
      },
      2);
}

TEST(CommitMachine, AnswersAfterOneRoundOfConsensus) {
  for (int shards = 1; shards <= 3; ++shards) {
    Cluster c(shards);
    c.Commit("c0");
    c.Run();
    ASSERT_EQ(c.answers().size(), 1u);
    EXPECT_EQ(c.answers()[0], "COMMITTED at 2.1, rounds 1");
  }
}

// A fault of a kind drawn by weight: leaders that change and messages that go astray break most.
void RandomFault(Cluster& c, Random& random, int step, int* copies) {
  const auto messages = c.Messages();
  const std::string message = messages.empty() ? "none" : messages[random.Below(messages.size())];
  const int shard = static_cast<int>(random.Below(static_cast<uint64_t>(c.shards())));
  const auto kind = random.Below(100);
  if (kind < 15) {
    if (*copies < 3) c.Commit(fmt::format("c{}", ++*copies));
  } else if (kind < 25) {
    c.Push(fmt::format("r{}", step));
  } else if (kind < 45) {
    for (const auto& name : c.Coordinators()) {
      if (random.Chance(0.3)) c.Deadline(name);
      if (random.Chance(0.3)) c.DeposeIfOver(name);
    }
  } else if (kind < 65) {
    c.ChangeLeader(random.Chance(0.5) ? 0 : shard, random.Chance(0.5));
  } else if (kind < 78) {
    c.Lose(message);
  } else if (kind < 90) {
    c.Copy(message);
  } else if (kind < 94) {
    c.Horizon(shard);
  } else if (kind < 97) {
    c.Exhaust(shard);
  } else {
    constexpr Code kRefusals[] = {Code::kLockConflict, Code::kReadConflict, Code::kStaleEpoch};
    c.Conflict(shard, kRefusals[random.Below(3)]);
  }
}

// One random run; returns the violation.
std::string RandomRun(uint64_t seed, Broken broken, std::string* trace) {
  Random random(seed);
  const int shards = static_cast<int>(random.Between(1, 3));
  Cluster c(shards, broken);
  const double fault_rate = 0.1 + random.Unit() * 0.5;
  const auto any = [&random](size_t n) { return random.Below(n); };
  int copies = 0;
  c.Commit("c0");
  for (int step = 0; step < 50; ++step) {
    if (random.Chance(fault_rate)) {
      RandomFault(c, random, step, &copies);
    } else {
      c.Step(any);
    }
  }
  c.Settle();
  *trace = c.TakeTrace() + c.Describe();
  return c.violation();
}

TEST(CommitAndRecovery, KeepTheInvariantsInRandomRuns) {
  for (uint64_t seed = 1; seed <= 50'000; ++seed) {
    std::string trace;
    const std::string violation = RandomRun(seed, {}, &trace);
    ASSERT_EQ(violation, "") << "seed " << seed << "\n" << trace;
  }
}

TEST(CommitAndRecovery, RandomRunsNoticeEveryBrokenRule) {
  const std::vector<std::pair<std::string, Broken>> rules{
      {"restart_staged", {.restart_staged = true}},
      {"refusal_not_logged", {.refusal_not_logged = true}},
      {"refuse_over_prepared", {.refuse_over_prepared = true}},
      {"outcome_dropped", {.outcome_dropped = true}},
      {"coord_survives", {.coord_survives = true}},
      {"ack_at_propose", {.ack_at_propose = true}},
      {"abort_unlogged", {.abort_unlogged = true}},
      {"early_resolve", {.early_resolve = true}},
      {"drop_unresolved", {.drop_unresolved = true}},
  };
  for (const auto& [name, broken] : rules) {
    uint64_t seed = 1;
    std::string trace;
    while (seed <= 50'000 && RandomRun(seed, broken, &trace).empty()) ++seed;
    EXPECT_LE(seed, 50'000u) << name << " is not noticed";
  }
}

}  // namespace
}  // namespace quorate::coordinator
