// Rules: what they may say, which one a key is under, and what schedulers do about them.
#include "placement/schedule/rule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/limits.h"
#include "base/random.h"
#include "placement/schedule/rule_check.h"
#include "tests/placement/schedule/small_cluster.h"

namespace quorate::placement {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

Rule Of(std::string from, std::string to, uint32_t replicas = 3) {
  Rule rule;
  rule.from = std::move(from);
  rule.to = std::move(to);
  rule.replicas = replicas;
  return rule;
}

// ---- what a rule may say ------------------------------------------------------------------------
TEST(Rule, WhatItMayNotSayIsNamed) {
  const std::string longest(limits::kKeyBytesMax, 'k');
  EXPECT_TRUE(CheckRule(Of("", "")).ok());
  EXPECT_TRUE(CheckRule(Of(longest, "")).ok());
  Labels many;
  for (char c = 'a'; c <= 'q'; ++c) many.emplace_back("zone", std::string(1, c));
  struct Case {
    Rule rule;
    std::string says;
  };
  std::vector<Case> cases = {
      {Of(longest + "k", ""), "481 bytes"},
      {Of("m", "m"), "not before"},
      {Of("m", "a"), "not before"},
      {Of("", "", 2), "replicas: 2 is none of"},
      {Of("", "", 9), "replicas: 9 is none of"},
      {Of("", "", 0), "says nothing"},
  };
  const auto with = [&](Labels Rule::*where, Labels labels, std::string says) {
    Rule rule = Of("a", "b");
    rule.*where = std::move(labels);
    cases.push_back({rule, std::move(says)});
  };
  with(&Rule::require, {{"", "a"}}, "require: an empty");
  with(&Rule::prefer, {{"zone", ""}}, "prefer: an empty");
  with(&Rule::leaders, {{"zo=ne", "a"}}, "leaders: '='");
  with(&Rule::require, {{"zone", "a\n"}}, "printable");
  with(&Rule::require, {{"zone", "a,b"}}, "commas");
  with(&Rule::require, {{"zone", "b"}, {"zone", "a"}}, "ascending");
  with(&Rule::require, {{"zone", "a"}, {"zone", "a"}}, "twice");
  with(&Rule::require, many, "17 labels");
  with(&Rule::leaders, {{"zone", std::string(509, 'z')}}, "513 bytes");
  for (const Case& each : cases) {
    const Status status = CheckRule(each.rule);
    EXPECT_EQ(status.code(), Code::kInvalidArgument) << each.says;
    EXPECT_THAT(status.message(), HasSubstr(each.says));
  }
}

TEST(Rule, LabelsOfOneNameAreAlternativesAndNamesAreAllAsked) {
  const Labels labels = {{"disk", "ssd"}, {"zone", "a"}, {"zone", "b"}};
  EXPECT_TRUE(Fits(labels, {{"zone", "b"}, {"disk", "ssd"}, {"rack", "1"}}));
  EXPECT_FALSE(Fits(labels, {{"zone", "c"}, {"disk", "ssd"}}));
  EXPECT_FALSE(Fits(labels, {{"zone", "a"}}));
  EXPECT_TRUE(Fits({}, {}));
}

// ---- the set ------------------------------------------------------------------------------------
TEST(RuleSet, RefusesOverlapsAndTheOneTooMany) {
  RuleSet set;
  ASSERT_TRUE(set.Put(Of("c", "f")).ok());
  ASSERT_TRUE(set.Put(Of("f", "h")).ok()) << "they touch";
  for (const auto& [from, to] :
       {std::pair("a", "d"), {"d", "e"}, {"e", ""}, {"", ""}, {"g", "z"}}) {
    const Status status = set.Put(Of(from, to));
    EXPECT_THAT(status.message(), HasSubstr("under a rule already")) << from << " " << to;
  }
  EXPECT_FALSE(set.Put(Of("c", "g")).ok());
  ASSERT_TRUE(set.Put(Of("c", "d", 5)).ok()) << "in place of the one that begins there";
  EXPECT_EQ(set.Find("c")->replicas, 5u);
  EXPECT_FALSE(set.Remove("d"));
  EXPECT_TRUE(set.Remove("c"));
  EXPECT_EQ(set.NumberOf("c"), 0u);
  set.Clear();
  for (size_t i = 0; i < RuleSet::kRulesMax; ++i) {
    ASSERT_TRUE(set.Put(Of(fmt::format("{:04}", 2 * i), fmt::format("{:04}", 2 * i + 1))).ok());
  }
  EXPECT_THAT(set.Put(Of("x", "y")).message(), HasSubstr("256 rules"));
  EXPECT_TRUE(set.Put(Of("0000", "0001", 5)).ok());
}

// Against one rule after the other, over keys of one byte.
TEST(RuleSet, RandomAgainstNaive) {
  Random random(7);
  const auto key = [&] {
    return random.Chance(0.1) ? "" : std::string(1, static_cast<char>('a' + random.Below(16)));
  };
  for (int round = 0; round < 2000; ++round) {
    RuleSet set;
    std::vector<Rule> naive;
    for (int i = 0; i < 12; ++i) {
      if (random.Chance(0.2) && !naive.empty()) {
        const size_t at = random.Below(naive.size());
        ASSERT_TRUE(set.Remove(naive[at].from));
        naive.erase(naive.begin() + static_cast<ptrdiff_t>(at));
        continue;
      }
      const Rule rule = Of(key(), key(), 1 + 2 * static_cast<uint32_t>(random.Below(3)));
      const auto has = [](const Rule& r, char c) {
        const std::string k(1, c);
        return r.from <= k && (r.to.empty() || k < r.to);
      };
      bool fine = rule.to.empty() || rule.from < rule.to;
      for (const Rule& other : naive) {
        if (other.from == rule.from) continue;
        for (char c = 'a'; c < 'a' + 17; ++c) fine &= !(has(rule, c) && has(other, c));
      }
      ASSERT_EQ(set.Put(rule).ok(), fine);
      if (!fine) continue;
      std::erase_if(naive, [&](const Rule& other) { return other.from == rule.from; });
      naive.push_back(rule);
    }
    std::sort(naive.begin(), naive.end(),
              [](const Rule& a, const Rule& b) { return a.from < b.from; });
    const auto number = [&](const std::string& k) {
      for (size_t i = 0; i < naive.size(); ++i) {
        if (naive[i].from <= k && (naive[i].to.empty() || k < naive[i].to)) return i + 1;
      }
      return size_t{0};
    };
    for (int i = 0; i < 30; ++i) {
      const std::string from = key(), to = key();
      ASSERT_EQ(set.NumberOf(from), number(from));
      if (!to.empty() && to <= from) continue;
      std::string border;
      for (char c = 'a'; c < 'a' + 17 && border.empty(); ++c) {
        const std::string k(1, c);
        const bool is_border = std::any_of(naive.begin(), naive.end(),
                                           [&](const Rule& r) { return r.from == k || r.to == k; });
        if (is_border && from < k && (to.empty() || k < to)) border = k;
      }
      ASSERT_EQ(set.BorderIn(from, to), border) << from << " " << to;
    }
  }
}

// ---- schedulers ---------------------------------------------------------------------------------
// Nodes 1 and 2 in zone a, 3 and 4 in b, 5 and 6 in c; shard 7 on 1, 3 and 5, led by 1.
struct Zones : SmallCluster {
  Zones() : SmallCluster(0) {
    uint64_t id = 0;
    for (const char* zone : {"a", "a", "b", "b", "c", "c"}) view.Put(UpNode(++id, zone));
    view.Put(MakeShard(7, {1, 3, 5}));
  }
  void Under(Rule rule) {
    view.SetRules({std::move(rule)});
    ShardView shard = *view.Find(ShardId(7));
    shard.rule = 1;
    view.Put(shard);
  }
};

TEST(ScheduleRule, TheFactorOfItsRuleIsKeptUp) {
  Zones c;
  c.Under(Of("", "", 5));
  Proposals proposals = Repair(c.Now());
  ASSERT_EQ(proposals.operators.size(), 1u);
  EXPECT_THAT(proposals.operators[0].explanation.why, HasSubstr("has 3 replicas, 5 are wanted"));
  c.view.SetRules({Of("", "", 1)});
  proposals = Repair(c.Now());
  ASSERT_EQ(proposals.operators.size(), 1u);
  EXPECT_EQ(proposals.operators[0].to, NodeId());
  c.view.SetRules({});
  EXPECT_THAT(Repair(c.Now()).operators, IsEmpty()) << "a number beyond the last is no rule";
}

TEST(ScheduleRule, ReplicasGoWhereItLetsThemBe) {
  Zones c;
  Rule rule = Of("", "", 0);
  rule.require = {{"zone", "a"}, {"zone", "b"}};
  c.Under(rule);
  Proposals proposals = Rules(c.Now());
  ASSERT_EQ(proposals.operators.size(), 1u);
  EXPECT_EQ(proposals.operators[0].from, NodeId(5));
  EXPECT_EQ(proposals.operators[0].explanation.vetoes.at(
                "is not where the shard's rule lets replicas be"),
            1u);
  EXPECT_THAT(Breaches(c.view, c.settings, c.now, *c.view.Find(ShardId(7))),
              Contains(HasSubstr("node 5, which holds a replica, is not on zone=a,zone=b")));
  // A lost one is replaced there, or nowhere.
  c.view.Put(MakeShard(7, {1, 3, 4}));
  ShardView shard = *c.view.Find(ShardId(7));
  shard.rule = 1;
  c.view.Put(shard);
  c.view.Put(DownNode(4, 0, "b"));
  proposals = Repair(c.Now());
  ASSERT_EQ(proposals.operators.size(), 1u);
  EXPECT_EQ(proposals.operators[0].to, NodeId(2));
  c.view.Put(DownNode(2, 0, "a"));
  proposals = Repair(c.Now());
  EXPECT_THAT(proposals.operators, IsEmpty());
  ASSERT_EQ(proposals.wanted.size(), 1u);
  EXPECT_THAT(proposals.wanted[0].why_not, HasSubstr("rule lets replicas be: 2"));
}

TEST(ScheduleRule, PrefersAndMakesDoWithOthers) {
  Zones c;
  Rule rule = Of("", "", 3);
  rule.prefer = {{"zone", "c"}};
  c.Under(rule);
  Proposals proposals = Rules(c.Now());
  ASSERT_EQ(proposals.operators.size(), 1u);
  EXPECT_EQ(proposals.operators[0].to, NodeId(6));
  c.view.Put(MakeShard(7, {1, 5, 6}));
  ShardView shard = *c.view.Find(ShardId(7));
  shard.rule = 1;
  c.view.Put(shard);
  EXPECT_THAT(Rules(c.Now()).operators, IsEmpty()) << "there are but two of them";
  EXPECT_THAT(BalanceReplicas(c.Now()).operators, IsEmpty());
}

TEST(ScheduleRule, LeadersGoWhereTheyAreRatherOnceThatHasBeenUpForAWhile) {
  Zones c;
  Rule rule = Of("", "", 0);
  rule.leaders = {{"zone", "b"}};
  c.Under(rule);
  NodeView young = UpNode(3, "b");
  young.up_since = c.now - kLeadsAfter + 1s;
  c.view.Put(young);
  EXPECT_THAT(Rules(c.Now()).operators, IsEmpty());
  c.now += 1s;
  Proposals proposals = Rules(c.Now());
  ASSERT_EQ(proposals.operators.size(), 1u);
  EXPECT_EQ(proposals.operators[0].to, NodeId(3));
  EXPECT_EQ(proposals.operators[0].kind, OperatorKind::kRules);
  c.view.Put(DownNode(3, 0, "b"));
  EXPECT_THAT(Rules(c.Now()).operators, IsEmpty()) << "none of those is up: anywhere";
  // What is there is left there, by balance and by hand.
  c.view.Put(UpNode(3, "b"));
  for (uint64_t id = 7; id <= 12; ++id) {
    ShardView shard = MakeShard(id, {3, 1, 5});
    shard.rule = 1;
    c.view.Put(shard);
  }
  EXPECT_THAT(BalanceLeaders(c.Now()).operators, IsEmpty());
  EXPECT_THAT(PlanTransfer(c.Now(), ShardId(7), NodeId(1)).status().message(),
              HasSubstr("rather has leaders on zone=b"));
  c.view.SetRules({});
  EXPECT_FALSE(BalanceLeaders(c.Now()).operators.empty());
}

TEST(ScheduleRule, AShardUnderTwoIsDividedAtTheBorderAndNeighboursUnderTwoAreNotMerged) {
  SmallCluster c(3);
  c.settings.shards_min = 1;
  ShardView left = MakeShard(7, {1, 2, 3}), right = MakeShard(8, {1, 2, 3});
  right.left = left.id;
  left.border = "m";
  c.view.Put(left);
  c.view.Put(right);
  const Proposals proposals = Split(c.Now());
  ASSERT_EQ(proposals.operators.size(), 1u);
  EXPECT_EQ(std::get<SplitShard>(proposals.operators[0].steps[0]), (SplitShard{"m", false}));
  EXPECT_THAT(Merge(c.Now()).operators, IsEmpty());
  left.border.clear();
  right.rule = 1;
  c.view.SetRules({Of("x", "")});
  c.view.Put(left);
  c.view.Put(right);
  EXPECT_THAT(Merge(c.Now()).operators, IsEmpty());
  EXPECT_FALSE(PlanMerge(c.Now(), ShardId(7), ShardId(8)).ok());
  left.rule = 1;
  c.view.Put(left);
  EXPECT_EQ(Merge(c.Now()).operators.size(), 1u);
}

TEST(ScheduleRule, NoHostGetsASecondReplicaWhileThereAreEnoughHosts) {
  SmallCluster c(0);
  const auto node = [&](uint64_t id, std::string host, Liveness liveness = Liveness::kUp) {
    NodeView view = UpNode(id);
    view.locality["host"] = std::move(host);
    view.liveness = liveness;
    view.down_since = At(0);
    c.view.Put(view);
  };
  node(1, "x");
  node(2, "y");
  node(3, "z");
  node(4, "x");
  c.view.Put(MakeShard(7, {1, 2, 3}));
  node(3, "z", Liveness::kDown);
  const Proposals proposals = Repair(c.Now());
  EXPECT_THAT(proposals.operators, IsEmpty());
  ASSERT_EQ(proposals.wanted.size(), 1u);
  EXPECT_THAT(proposals.wanted[0].why_not, HasSubstr("on the host of another replica"));
  EXPECT_THAT(PlanMove(c.Now(), ShardId(7), NodeId(2), NodeId(4)).status().message(),
              HasSubstr("host of another replica"));
  c.view.Remove(NodeId(3));  // then there are two hosts for three replicas
  ASSERT_EQ(Repair(c.Now()).operators.size(), 1u);
  EXPECT_EQ(Repair(c.Now()).operators[0].to, NodeId(4));
}

// Nodes whose disk= is 1 to 3 ssd and 4 to 8 hdd; what is on ssd is under a rule that keeps it
// there.
TEST(ScheduleRule, NodesThatARuleHoldsFullAreNoReasonNotToFillOthers) {
  for (const auto where : {&Rule::require, &Rule::prefer}) {
    SmallCluster c(0);
    for (uint64_t id = 1; id <= 8; ++id) {
      NodeView node = UpNode(id);
      node.locality["disk"] = id <= 3 ? "ssd" : "hdd";
      c.view.Put(node);
    }
    Rule rule = Of("", "", 3);
    rule.*where = {{"disk", "ssd"}};
    c.view.SetRules({rule});
    for (uint64_t id = 100; id < 160; ++id) {
      ShardView shard = MakeShard(id, {1, 2, 3});
      shard.rule = 1;
      c.view.Put(shard);
    }
    for (uint64_t id = 200; id < 224; ++id) {
      c.view.Put(id % 2 == 0 ? MakeShard(id, {4, 5, 6}) : MakeShard(id, {7, 4, 5}));
    }
    const Proposals proposals = BalanceReplicas(c.Now());
    ASSERT_FALSE(proposals.operators.empty());
    EXPECT_EQ(proposals.operators[0].to, NodeId(8));
    for (const Operator& op : proposals.operators) EXPECT_GE(op.shard, ShardId(200));
  }
}

TEST(ScheduleRule, WhyReplicasCannotComeInIsTold) {
  Zones c;
  Rule rule = Of("", "", 3);
  rule.require = {{"zone", "b"}, {"zone", "c"}};
  c.Under(rule);  // the replica on node 1 is outside
  const auto low = [&](uint64_t id) {
    NodeView node = UpNode(id, id <= 4 ? "b" : "c");
    node.low_space = true;
    c.view.Put(node);
  };
  low(4);
  low(6);
  Proposals proposals = Rules(c.Now());
  EXPECT_THAT(proposals.operators, IsEmpty());
  ASSERT_EQ(proposals.wanted.size(), 1u);
  EXPECT_THAT(proposals.wanted[0].why_not, HasSubstr("its disk is nearly full: 2"));
  // As well as nodes allow is not as well as it should be.
  low(3);
  low(5);
  proposals = Rules(c.Now());
  EXPECT_THAT(c.view.unsettled(), Contains(ShardId(7)));
  ASSERT_EQ(proposals.wanted.size(), 1u);
  EXPECT_THAT(proposals.wanted[0].why_not, HasSubstr("its disk is nearly full: 2"));
}

TEST(ScheduleRule, WhatWasLostComesBeforeWhatARuleAsksFor) {
  SmallCluster c(7);
  c.settings.snapshots_per_node = 1;
  c.view.SetRules({Of("", "x", 5)});
  for (uint64_t id = 100; id < 200; ++id) {
    ShardView shard = MakeShard(id, {1, 2, 3});
    shard.rule = 1;
    c.view.Put(shard);
  }
  c.view.Put(MakeShard(900, {1, 2, 7}));
  c.view.Put(DownNode(7, 0));
  for (const bool gone : {false, true}) {
    if (gone) c.view.Remove(NodeId(7));
    const Proposals proposals = Repair(c.Now());
    ASSERT_FALSE(proposals.operators.empty());
    EXPECT_EQ(proposals.operators[0].shard, ShardId(900));
    EXPECT_EQ(proposals.operators[0].from, NodeId(7));
  }
  // Nothing can be done for it: that is told once, first, and others have their turn.
  c.view.Put(DownNode(7, 0));
  Rule nowhere = Of("x", "", 3);
  nowhere.require = {{"zone", "none"}};
  c.view.SetRules({Of("", "x", 5), nowhere});
  ShardView shard = *c.view.Find(ShardId(900));
  shard.rule = 2;
  c.view.Put(shard);
  const Proposals proposals = Repair(c.Now());
  ASSERT_FALSE(proposals.operators.empty());
  ASSERT_FALSE(proposals.wanted.empty());
  EXPECT_EQ(proposals.wanted[0].shard, ShardId(900));
  EXPECT_EQ(std::count_if(proposals.wanted.begin(), proposals.wanted.end(),
                          [](const Wanted& wanted) { return wanted.shard == ShardId(900); }),
            1);
}

// ---- before it is made --------------------------------------------------------------------------
TEST(ScheduleRule, IsProvedBeforeItIsMade) {
  Zones c;
  (void)c.Now();
  const std::vector<ShardId> shards = {ShardId(7)};
  const auto prove = [&](const Rule& rule) {
    return ProveRule(c.view, c.settings, c.now, rule, shards);
  };
  auto lines = prove(Of("", "", 5));
  ASSERT_TRUE(lines.ok());
  EXPECT_THAT(*lines, Contains(HasSubstr("1 shards: 2 replicas to copy (0 MiB), 0 to remove")));
  lines = prove(Of("", "", 1));
  ASSERT_TRUE(lines.ok());
  EXPECT_THAT(*lines, Contains(HasSubstr("0 replicas to copy (0 MiB), 2 to remove")));
  EXPECT_THAT(prove(Of("", "", 7)).status().message(), HasSubstr("7 replicas need 7 nodes"));
  Rule rule = Of("", "", 3);
  rule.require = {{"zone", "a"}};
  EXPECT_THAT(prove(rule).status().message(), HasSubstr("and on zone=a: there are 2"));
  rule.require = {{"zone", "aa"}};
  EXPECT_THAT(prove(rule).status().message(), HasSubstr("no node that may hold"));
  rule.require.clear();
  rule.leaders = {{"zone", "d"}};
  EXPECT_THAT(prove(rule).status().message(), HasSubstr("leaders zone=d: no node"));
  rule.leaders.clear();
  c.view.Put(DownNode(3, 0, "b"));
  EXPECT_TRUE(prove(rule).ok());
  c.view.Put(DownNode(5, 0, "c"));
  EXPECT_THAT(prove(rule).status().message(), HasSubstr("shard 7 has no quorum"));
  // Room is asked for where it is known.
  for (uint64_t id = 1; id <= 6; ++id) {
    NodeView node = UpNode(id, id <= 2 ? "a" : id <= 4 ? "b" : "c");
    node.total_bytes = 1 << 30;
    node.free_bytes = 10 << 20;
    c.view.Put(node);
  }
  ShardView shard = *c.view.Find(ShardId(7));
  shard.bytes = 40 << 20;
  c.view.Put(shard);
  EXPECT_THAT(prove(Of("", "", 5)).status().message(),
              HasSubstr("80 MiB would be copied, and the 6 nodes have room for 60 MiB"));
}

TEST(ScheduleRule, WhatIsThereAlreadyNeedsNoRoom) {
  Zones c;
  Rule rule = Of("", "", 3);
  rule.require = {{"zone", "a"}, {"zone", "b"}};
  c.Under(rule);
  ShardView shard = MakeShard(7, {1, 3, 4});
  shard.rule = 1;
  shard.bytes = 40 << 20;
  c.view.Put(shard);
  const auto put = [&](uint64_t id, bool low) {
    NodeView node = UpNode(id, id <= 2 ? "a" : id <= 4 ? "b" : "c");
    node.total_bytes = 1 << 30;
    node.free_bytes = 10 << 20;
    node.low_space = low;
    c.view.Put(node);
  };
  for (uint64_t id = 1; id <= 6; ++id) put(id, id <= 4);
  const auto prove = [&](const Rule& each) {
    (void)c.Now();
    return ProveRule(c.view, c.settings, c.now, each, {ShardId(7)});
  };
  const auto moves_nothing = [&](const Rule& each) {
    const auto lines = prove(each);
    ASSERT_TRUE(lines.ok()) << lines.status().message();
    EXPECT_THAT(*lines, Contains(HasSubstr("0 replicas to copy (0 MiB), 0 to remove")));
    EXPECT_THAT(*lines, testing::Not(Contains(HasSubstr("hosts"))));
  };
  // The nodes that it requires are full: that it requires them no more is the way out.
  moves_nothing(Of("", "", 0));
  rule.require = {{"zone", "a"}, {"zone", "b"}, {"zone", "c"}};
  moves_nothing(rule);
  rule.require = {{"zone", "c"}};
  EXPECT_THAT(prove(rule).status().message(), HasSubstr("3 replicas need 3 nodes"));
  // What moves nothing needs no place.
  for (const uint64_t id : {2, 5, 6}) c.view.Put(DownNode(id, 995, "c"));
  rule = *c.view.RuleOf(shard);
  rule.leaders = {{"zone", "b"}};
  moves_nothing(rule);
  // One that is not up just now holds its replica; one that is lost does not.
  c.view.Put(DownNode(3, 995, "b"));
  moves_nothing(Of("", "", 0));
  c.view.Put(DownNode(3, 0, "b"));
  put(5, false);
  put(6, false);
  EXPECT_THAT(prove(Of("", "", 0)).status().message(), HasSubstr("40 MiB would be copied"));
  EXPECT_THAT(prove(Of("", "", 5)).status().message(), HasSubstr("5 replicas need 5 nodes"));
}

TEST(ScheduleRule, ADrainAsksForNodesWhereTheRuleLetsReplicasBe) {
  Zones c;
  Rule rule = Of("", "", 3);
  rule.require = {{"zone", "a"}, {"zone", "b"}};
  c.Under(rule);
  c.view.Put(MakeShard(7, {1, 2, 3}));
  ShardView shard = *c.view.Find(ShardId(7));
  shard.rule = 1;
  c.view.Put(shard);
  (void)c.Now();
  EXPECT_FALSE(CheckDrain(c.view, NodeId(1)));
  c.view.Put(DownNode(4, 0, "b"));
  const Refusal refusal = CheckDrain(c.view, NodeId(1));
  ASSERT_TRUE(refusal);
  EXPECT_THAT(*refusal, HasSubstr("without node 1 there are 2 nodes"));
}

}  // namespace
}  // namespace quorate::placement
