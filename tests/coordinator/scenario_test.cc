// Runs tests/coordinator/scenarios/*.txt over the model of cluster.h. Each counterexample of the
// protocol that concerns the coordinator or recovery is a script of its name. What is left to the
// tests of shard/ and to the simulator: everything inside a shard (locks, read_high, floors).
//
//   cluster N [broken=RULE]    a new cluster of N shards
//   commit NAME                a copy of Commit(txn1) reaches A's leader
//   push NAME                  somebody asks A's leader
//   deliver|lose|copy "LABEL"  the first message that begins so
//   apply A                    the next entry of A's log
//   leader A inherit|lose      A gets a new leader
//   depose NAME · deadline NAME · horizon A · refuse A CODE · exhaust A
//   run · settle · state · messages
#include <gtest/gtest.h>

#include <map>
#include <memory>

#include "tests/coordinator/cluster.h"
#include "tests/support/script.h"

namespace quorate::coordinator {
namespace {

int ShardOf(const std::string& name) {
  if (name.size() != 1 || name[0] < 'A' || name[0] > 'C') script::Fail("no shard " + name);
  return name[0] - 'A';
}

Code CodeOf(const std::string& name) {
  for (int i = 0; i <= static_cast<int>(Code::kUninitialized); ++i) {
    if (CodeName(static_cast<Code>(i)) == name) return static_cast<Code>(i);
  }
  script::Fail("no code " + name);
}

model::Broken BrokenRule(const std::string& rule) {
  model::Broken broken;
  const std::map<std::string, bool*> rules{
      {"abort_over_staged", &broken.abort_over_staged},
      {"restart_staged", &broken.restart_staged},
      {"refusal_not_logged", &broken.refusal_not_logged},
      {"refuse_over_prepared", &broken.refuse_over_prepared},
      {"outcome_dropped", &broken.outcome_dropped},
      {"coord_survives", &broken.coord_survives},
      {"ack_at_propose", &broken.ack_at_propose},
      {"abort_unlogged", &broken.abort_unlogged},
      {"early_resolve", &broken.early_resolve},
      {"drop_unresolved", &broken.drop_unresolved},
  };
  if (rule.empty()) return broken;
  const auto it = rules.find(rule);
  if (it == rules.end()) script::Fail("no rule " + rule);
  *it->second = true;
  return broken;
}

class World {
 public:
  std::string Run(const script::Command& c) {
    if (c.verb == "cluster") {
      cluster_ = std::make_unique<model::Cluster>(static_cast<int>(c.Number(0)),
                                                  BrokenRule(c.Option("broken")));
      return "";
    }
    if (cluster_ == nullptr) script::Fail("no cluster yet");
    if (c.verb == "state") return cluster_->Describe();
    if (c.verb == "messages") {
      std::string text;
      for (const std::string& label : cluster_->Messages()) text += label + "\n";
      return text;
    }
    Do(c);
    return cluster_->TakeTrace();
  }

 private:
  void Do(const script::Command& c) {
    const auto there_is = [&](bool found) {
      if (!found) script::Fail("no message " + c.Word(0));
    };
    if (c.verb == "commit") return cluster_->Commit(c.Word(0));
    if (c.verb == "push") return cluster_->Push(c.Word(0));
    if (c.verb == "deliver") return there_is(cluster_->Deliver(c.Word(0)));
    if (c.verb == "lose") return there_is(cluster_->Lose(c.Word(0)));
    if (c.verb == "copy") return there_is(cluster_->Copy(c.Word(0)));
    if (c.verb == "apply") return cluster_->Apply(ShardOf(c.Word(0)));
    if (c.verb == "leader")
      return cluster_->ChangeLeader(ShardOf(c.Word(0)), c.Word(1) == "inherit");
    if (c.verb == "depose") return cluster_->Depose(c.Word(0));
    if (c.verb == "deadline") return cluster_->Deadline(c.Word(0));
    if (c.verb == "horizon") return cluster_->Horizon(ShardOf(c.Word(0)));
    if (c.verb == "refuse") return cluster_->Conflict(ShardOf(c.Word(0)), CodeOf(c.Word(1)));
    if (c.verb == "exhaust") return cluster_->Exhaust(ShardOf(c.Word(0)));
    if (c.verb == "run") return cluster_->Run();
    if (c.verb == "settle") return cluster_->Settle();
    script::Fail("unknown verb " + c.verb);
  }

  std::unique_ptr<model::Cluster> cluster_;
};

TEST(CommitAndRecovery, Scripts) {
  script::RunFolder(SCENARIO_DIR, [] {
    auto world = std::make_shared<World>();
    return [world](const script::Command& c) { return world->Run(c); };
  });
}

}  // namespace
}  // namespace quorate::coordinator
