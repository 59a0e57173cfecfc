// What the placement leader makes of reports: orders, and answers to operators. The schedulers
// themselves: tests/placement/schedule.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <set>

#include "base/features.h"
#include "placement/orders.h"
#include "tests/placement/fake_group.h"

namespace quorate::placement {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

// Shards 2 and 3 of MakeSeed on nodes 1 to 3, led by node 1, which does what it is ordered at once.
class Reporting {
 public:
  explicit Reporting(FakeCluster& cluster) : cluster_(cluster) {
    for (const uint64_t id : {2, 3}) {
      v1::ShardDescriptor& shard = shards_[id];
      shard.set_shard_id(id);
      if (id == 2) shard.set_to("m");
      if (id == 3) shard.set_from("m");
      shard.set_version(1);
      shard.set_membership_version(2);
      for (const uint64_t node : {1, 2, 3}) shard.add_replicas()->set_node_id(node);
    }
  }

  // All nodes but `silent` report, round after round.
  void Run(int rounds, uint64_t nodes, std::set<uint64_t> silent = {}) {
    for (int round = 0; round < rounds; ++round) {
      for (uint64_t node = 1; node <= nodes; ++node) {
        if (!silent.contains(node)) Report(node);
      }
      cluster_.executor().RunFor(1s);
    }
  }

  std::set<uint64_t> Voters(uint64_t shard) {
    std::set<uint64_t> voters;
    for (const v1::Replica& replica : shards_[shard].replicas()) {
      if (replica.role() == v1::VOTER) voters.insert(replica.node_id());
    }
    return voters;
  }
  int orders() const { return orders_; }
  // The child of the split that was ordered begins on node 1, and nobody is there to elect it.
  void BeginChild() { begun_ = true; }
  // It has a leader, node 2.
  void ElectChild() {
    begun_ = false;
    if (behind_) {
      shards_[2].set_to(child_.from());
      shards_[2].set_version(child_.version());
    }
    shards_[child_.shard_id()] = child_;
    leaders_[child_.shard_id()] = 2;
  }
  uint64_t child() const { return child_.shard_id(); }
  std::map<uint64_t, uint64_t>& leaders() { return leaders_; }
  // The leaders do not do what they are ordered, and say why.
  void Refuse(std::string why) { refusal_ = std::move(why); }
  // Splits are committed, and whoever leads next has not applied them.
  void StayBehind() { behind_ = true; }
  // What all nodes say that they understand.
  void SetLevel(uint32_t level) { level_ = level; }
  // Its process ended and runs again, before anybody missed a heartbeat.
  void Restart(uint64_t node) { ++restarts_[node]; }

 private:
  void Report(uint64_t node) {
    v1::HeartbeatRequest request;
    *request.mutable_node() = MakeNode(node);
    request.mutable_node()->set_feature_level(level_);
    const uint64_t start = 1 + restarts_[node];
    for (auto* each : {request.mutable_node()->mutable_incarnation(),
                       request.mutable_node()->mutable_descends_from()}) {
      each->set_number(start);
      each->set_nonce(start);
    }
    if (start > 1) {
      request.mutable_node()->mutable_descends_from()->set_number(start - 1);
      request.mutable_node()->mutable_descends_from()->set_nonce(start - 1);
    }
    (*request.mutable_node()->mutable_locality())["zone"] =
        std::string(1, static_cast<char>('a' + node));
    request.set_disk_free_bytes(50ull << 30);
    request.set_disk_total_bytes(100ull << 30);
    for (auto& [id, shard] : shards_) {
      if (leaders_[id] != node) continue;
      v1::ShardReport* report = request.add_led_shards();
      *report->mutable_shard() = shard;
      report->set_leader_node_id(node);
      report->set_term(++term_);
      for (const v1::Replica& replica : shard.replicas()) report->add_caught_up(replica.node_id());
    }
    if (begun_ && node == 1) *request.add_begun_shards() = child_;
    for (auto& refusal : std::exchange(refusals_, {})) *request.add_refusals() = refusal;
    const v1::HeartbeatResponse response = cluster_.Beat(1, std::move(request));
    ASSERT_EQ(response.error().code(), v1::OK) << response.error().message();
    for (const v1::ShardOrder& order : response.orders()) Obey(order);
  }

  void Refuse(const v1::ShardOrder& order, const std::string& why) {
    v1::OrderRefusal& refusal = refusals_.emplace_back();
    refusal.set_operator_id(order.operator_id());
    refusal.set_why(why);
  }

  void Obey(const v1::ShardOrder& order) {
    ++orders_;
    v1::ShardDescriptor& shard = shards_.at(order.shard_id());
    ASSERT_EQ(order.membership_version(), shard.membership_version());
    if (!refusal_.empty()) return Refuse(order, refusal_);
    if (order.has_transfer_leader()) {
      leaders_[order.shard_id()] = order.transfer_leader();
      return;
    }
    if (order.has_split()) {
      child_ = shard;
      child_.set_membership_version(1);
      child_.set_shard_id(order.split().child_shard_id());
      child_.set_from(order.split().at());
      child_.set_version(shard.version() + 1);
      if (behind_) return Refuse(order, "deposed");
      shard.set_to(order.split().at());
      shard.set_version(shard.version() + 1);
      return;
    }
    std::map<uint64_t, v1::ReplicaRole> roles;
    for (const v1::Replica& replica : shard.replicas()) roles[replica.node_id()] = replica.role();
    if (order.has_add_learner()) roles[order.add_learner()] = v1::LEARNER;
    if (order.has_promote()) roles.at(order.promote()) = v1::VOTER;
    if (order.has_remove()) roles.erase(order.remove());
    if (order.has_swap()) {
      roles.at(order.swap().add()) = v1::VOTER;
      roles.erase(order.swap().remove());
    }
    shard.clear_replicas();
    for (const auto& [node, role] : roles) {
      v1::Replica* replica = shard.add_replicas();
      replica->set_node_id(node);
      replica->set_role(role);
    }
    shard.set_membership_version(shard.membership_version() + 1);
  }

  FakeCluster& cluster_;
  std::map<uint64_t, v1::ShardDescriptor> shards_;
  std::map<uint64_t, uint64_t> leaders_ = {{2, 1}, {3, 1}};
  std::map<uint64_t, uint64_t> restarts_;
  v1::ShardDescriptor child_;
  bool begun_ = false;
  bool behind_ = false;
  std::vector<v1::OrderRefusal> refusals_;
  std::string refusal_;
  uint64_t term_ = 1;
  int orders_ = 0;
  uint32_t level_ = 0;
};

// Node 1 leads placement, and balance begins nothing: what is tested is alone.
class Director : public ::testing::Test {
 protected:
  Director() : cluster_(3), reporting_(cluster_) {
    cluster_.Elect(1);
    Set("placement.pause", "balance-replicas,balance-leaders");
    Set("placement.replication_factor", "3");
  }

  v1::PlacementResponse TrySet(const std::string& name, const std::string& value, int node = 1) {
    v1::PlacementRequest request;
    request.mutable_change_setting()->set_name(name);
    request.mutable_change_setting()->set_value(value);
    return cluster_.Ask(node, request);
  }
  void Set(const std::string& name, const std::string& value) {
    const v1::PlacementResponse done = TrySet(name, value);
    ASSERT_EQ(done.error().code(), v1::OK) << done.error().message();
  }
  // Node 4, which holds nothing.
  void AddNode() {
    v1::NodeInfo node = MakeNode(4);
    node.set_node_id(0);
    ASSERT_EQ(cluster_.Register(1, node).node_id(), 4u);
  }
  bool InMap(uint64_t shard) {
    v1::HeartbeatRequest heartbeat;
    *heartbeat.mutable_node() = MakeNode(4);
    const v1::RoutesResponse map = cluster_.Beat(1, heartbeat).map();
    return std::any_of(map.routes().begin(), map.routes().end(),
                       [shard](const auto& route) { return route.shard().shard_id() == shard; });
  }
  v1::PlacementResponse Remove(uint64_t node) {
    v1::PlacementRequest remove;
    remove.mutable_remove_node()->set_node_id(node);
    return cluster_.Ask(1, remove);
  }
  v1::PlacementResponse SetRule(std::string from, std::string to, uint32_t replicas,
                                bool dry_run = false, std::string leaders = "") {
    v1::PlacementRequest set;
    v1::PlacementRule& rule = *set.mutable_set_rule()->mutable_rule();
    rule.set_from(std::move(from));
    rule.set_to(std::move(to));
    rule.set_replicas(replicas);
    if (!leaders.empty()) {
      rule.add_leaders()->set_name("zone");
      rule.mutable_leaders(0)->set_value(leaders);
    }
    set.mutable_set_rule()->set_dry_run(dry_run);
    return cluster_.Ask(1, set);
  }
  v1::PlacementResponse UnsetRule(std::string from) {
    v1::PlacementRequest unset;
    unset.mutable_unset_rule()->set_from(std::move(from));
    return cluster_.Ask(1, unset);
  }
  v1::PlacementResponse ListRules(int node = 1) {
    v1::PlacementRequest list;
    list.mutable_list_rules();
    return cluster_.Ask(node, list);
  }
  v1::PlacementResponse ListOperators() {
    v1::PlacementRequest list;
    list.mutable_list_operators();
    return cluster_.Ask(1, list);
  }

  FakeCluster cluster_;
  Reporting reporting_;
};

TEST_F(Director, ALostNodesReplicasAreReplacedByANewNodes) {
  AddNode();
  Set("placement.down_after", "10s");
  reporting_.Run(5, 4);
  EXPECT_EQ(reporting_.orders(), 0) << "nothing is wrong";
  reporting_.Run(8, 4, {3});
  EXPECT_EQ(reporting_.orders(), 0) << "it may come back";
  reporting_.Run(12, 4, {3});
  for (const uint64_t shard : {2, 3}) {
    EXPECT_EQ(reporting_.Voters(shard), (std::set<uint64_t>{1, 2, 4})) << shard;
  }
  const int orders = reporting_.orders();
  reporting_.Run(10, 4, {3});
  EXPECT_EQ(reporting_.orders(), orders) << "all is as it should be";
}

TEST_F(Director, ADrainedNodeEndsEmptyAndCanBeRemoved) {
  AddNode();
  reporting_.Run(3, 4);
  const v1::PlacementResponse early = Remove(3);
  EXPECT_EQ(early.error().code(), v1::FAILED_PRECONDITION);
  EXPECT_THAT(early.error().message(), HasSubstr("drain"));
  v1::PlacementRequest drain;
  drain.mutable_drain_node()->set_node_id(3);
  drain.mutable_drain_node()->set_draining(true);
  ASSERT_EQ(cluster_.Ask(1, drain).error().code(), v1::OK);
  reporting_.Run(12, 4);
  for (const uint64_t shard : {2, 3}) {
    EXPECT_EQ(reporting_.Voters(shard), (std::set<uint64_t>{1, 2, 4})) << shard;
  }
  // It still votes for placement itself here, where the fake group keeps its members.
  const v1::PlacementResponse listed = ListOperators();
  ASSERT_EQ(listed.drains_size(), 1);
  EXPECT_EQ(listed.drains(0).replicas(), 0u);
  EXPECT_EQ(listed.drains(0).leaders(), 0u);
}

TEST_F(Director, ADrainThatWasJustBegunIsNotSaidToStandStill) {
  cluster_.SetVoters({NodeId(1), NodeId(2), NodeId(3)});
  reporting_.Run(3, 3);
  Set("placement.replication_factor", "1");
  reporting_.Run(20, 3);
  v1::PlacementRequest drain;
  drain.mutable_drain_node()->set_node_id(3);
  drain.mutable_drain_node()->set_draining(true);
  ASSERT_EQ(cluster_.Ask(1, drain).error().code(), v1::OK);
  const v1::PlacementResponse listed = ListOperators();
  ASSERT_EQ(listed.drains_size(), 1);
  EXPECT_GT(listed.drains(0).replicas(), 0u) << "one of placement's three";
  EXPECT_EQ(listed.drains(0).standing_still(), "") << "there was room a moment ago";
}

TEST_F(Director, WhatWasNotDrainedIsNotTakenBack) {
  v1::PlacementRequest undrain;
  undrain.mutable_drain_node()->set_node_id(2);
  const v1::PlacementResponse answer = cluster_.Ask(1, undrain);
  EXPECT_EQ(answer.error().code(), v1::OK);
  ASSERT_EQ(answer.lines_size(), 1);
  EXPECT_THAT(answer.lines(0), HasSubstr("node 2 was not being drained"));
}

TEST_F(Director, WhatIsBegunAndWhatIsInTheWayIsToldWithItsId) {
  AddNode();
  reporting_.Run(3, 4);
  v1::PlacementRequest split;
  split.mutable_split_shard()->set_shard_id(2);
  split.mutable_split_shard()->set_at("g");
  split.mutable_split_shard()->set_dry_run(true);
  EXPECT_EQ(cluster_.Ask(1, split).lines(0), "split: split shard 2");
  split.mutable_split_shard()->set_dry_run(false);
  const v1::PlacementResponse begun = cluster_.Ask(1, split);
  ASSERT_EQ(begun.error().code(), v1::OK);
  EXPECT_EQ(begun.lines(0), fmt::format("operator {} (split): split shard 2", begun.operator_id()));
  const v1::PlacementResponse again = cluster_.Ask(1, split);
  EXPECT_EQ(again.error().code(), v1::FAILED_PRECONDITION);
  EXPECT_THAT(again.error().message(),
              HasSubstr(fmt::format("`quorate explain operator {}`", begun.operator_id())));
}

TEST_F(Director, WhyALostNodeIsNotRemovedYetIsTold) {
  AddNode();
  reporting_.Run(3, 4);
  v1::PlacementRequest remove;
  remove.mutable_remove_node()->set_node_id(3);
  remove.mutable_remove_node()->set_lost(true);
  const std::string told = cluster_.Ask(1, remove).error().message();
  EXPECT_THAT(told, HasSubstr("node 3 was heard of"));
  EXPECT_THAT(told, HasSubstr("s ago and holds 2 replicas"));
  EXPECT_THAT(told, HasSubstr("after 5 s of silence"));
}

TEST_F(Director, MembersStayUntilTheChildOfASplitHasALeader) {
  AddNode();
  reporting_.Run(3, 4);
  v1::PlacementRequest split;
  split.mutable_split_shard()->set_shard_id(2);
  split.mutable_split_shard()->set_at("g");
  ASSERT_EQ(cluster_.Ask(1, split).error().code(), v1::OK);
  reporting_.Run(6, 4);
  ASSERT_GT(reporting_.child(), 3u);
  v1::PlacementRequest drain;
  drain.mutable_drain_node()->set_node_id(3);
  drain.mutable_drain_node()->set_draining(true);
  ASSERT_EQ(cluster_.Ask(1, drain).error().code(), v1::OK);
  reporting_.Run(12, 4);
  EXPECT_EQ(reporting_.Voters(2), (std::set<uint64_t>{1, 2, 3})) << "the child may need each";
  EXPECT_EQ(reporting_.Voters(3), (std::set<uint64_t>{1, 2, 4}));
  EXPECT_FALSE(InMap(reporting_.child()));
  reporting_.BeginChild();
  reporting_.Run(12, 4);
  EXPECT_TRUE(InMap(reporting_.child())) << "its members make no replica before that";
  EXPECT_EQ(reporting_.Voters(2), (std::set<uint64_t>{1, 2, 3})) << "the child still may need each";
  reporting_.ElectChild();
  reporting_.Run(30, 4);
  for (const uint64_t shard : {uint64_t{2}, reporting_.child()}) {
    EXPECT_EQ(reporting_.Voters(shard), (std::set<uint64_t>{1, 2, 4})) << shard;
  }
}

// Its next leader has not applied the split yet when it is told of the child.
TEST_F(Director, MembersStayWhateverALeaderOfBeforeTheSplitReports) {
  AddNode();
  reporting_.Run(3, 4);
  reporting_.StayBehind();
  v1::PlacementRequest split;
  split.mutable_split_shard()->set_shard_id(2);
  split.mutable_split_shard()->set_at("g");
  ASSERT_EQ(cluster_.Ask(1, split).error().code(), v1::OK);
  reporting_.Run(10, 4);
  ASSERT_GT(reporting_.child(), 3u);
  reporting_.BeginChild();
  reporting_.Run(3, 4);
  v1::PlacementRequest drain;
  drain.mutable_drain_node()->set_node_id(3);
  drain.mutable_drain_node()->set_draining(true);
  ASSERT_EQ(cluster_.Ask(1, drain).error().code(), v1::OK);
  reporting_.Run(12, 4);
  EXPECT_EQ(reporting_.Voters(2), (std::set<uint64_t>{1, 2, 3})) << "the child may need each";
  v1::PlacementRequest explain;
  explain.mutable_explain()->set_shard_id(2);
  const v1::PlacementResponse told = cluster_.Ask(1, explain);
  EXPECT_THAT(told.lines(), Contains(HasSubstr(fmt::format("shard {}", reporting_.child()))))
      << "nobody else tells why nothing moves";
  reporting_.ElectChild();
  reporting_.Run(30, 4);
  EXPECT_EQ(reporting_.Voters(reporting_.child()), (std::set<uint64_t>{1, 2, 4}));
}

TEST_F(Director, NoNodeIsRemovedWhileSomeShardHasNotReported) {
  AddNode();
  const v1::PlacementResponse early = Remove(4);
  EXPECT_EQ(early.error().code(), v1::UNAVAILABLE);
  EXPECT_THAT(early.error().message(), HasSubstr("has not heard of all nodes"));
  cluster_.executor().RunFor(10s);  // who is silent is down by now
  const v1::PlacementResponse later = Remove(4);
  EXPECT_EQ(later.error().code(), v1::UNAVAILABLE);
  EXPECT_THAT(later.error().message(), HasSubstr("shard 2"));
}

// Its replica may be quarantined: what was reported before is no reason to call anything safe.
TEST_F(Director, AShardThatIsNoLongerReportedIsLedByNobody) {
  AddNode();
  Set("placement.pause", "balance-replicas,balance-leaders,rules");
  reporting_.Run(3, 4);
  reporting_.leaders()[2] = 0;
  reporting_.Run(2, 4);
  const v1::PlacementResponse removed = Remove(4);
  EXPECT_EQ(removed.error().code(), v1::UNAVAILABLE);
  EXPECT_THAT(removed.error().message(), HasSubstr("shard 2"));
}

TEST_F(Director, ARemovedNodeIsToldSo) {
  AddNode();
  Set("placement.pause", "balance-replicas,balance-leaders,rules");
  reporting_.Run(3, 4);
  const v1::PlacementResponse removed = Remove(4);
  ASSERT_EQ(removed.error().code(), v1::OK) << removed.error().message();
  v1::HeartbeatRequest back;
  *back.mutable_node() = MakeNode(4);
  const v1::HeartbeatResponse refused = cluster_.Beat(1, back);
  EXPECT_EQ(refused.error().code(), v1::WRONG_NODE);
  EXPECT_THAT(refused.error().message(), HasSubstr("removed"));
  EXPECT_FALSE(refused.has_remembered()) << "it is for good";
  *back.mutable_node() = MakeNode(5);
  EXPECT_EQ(cluster_.Beat(1, back).error().code(), v1::NOT_FOUND)
      << "it may be registered, and this leader not know it yet";
}

TEST_F(Director, SettingsAreJudgedAndKept) {
  const v1::PlacementResponse refused = TrySet("placement.down_after", "1ms");
  EXPECT_EQ(refused.error().code(), v1::INVALID_ARGUMENT);
  EXPECT_THAT(refused.error().message(), HasSubstr("placement.down_after"));
  EXPECT_EQ(TrySet("placement.nonsense", "1").error().code(), v1::INVALID_ARGUMENT);
  Set("placement.down_after", "5m");
  reporting_.Run(7, 3);
  EXPECT_THAT(TrySet("placement.replication_factor", "2").error().message(),
              HasSubstr("2 is none of 1, 3, 5, 7"));
  EXPECT_THAT(TrySet("placement.replication_factor", "5").error().message(),
              HasSubstr("5 replicas need 5 nodes"));
  v1::PlacementRequest less;
  less.mutable_check_setting()->set_name("placement.replication_factor");
  less.mutable_check_setting()->set_value("1");
  const v1::PlacementResponse proved = cluster_.Ask(1, less);
  EXPECT_EQ(proved.error().code(), v1::OK) << proved.error().message();
  ASSERT_EQ(proved.lines_size(), 2);
  EXPECT_THAT(proved.lines(1), HasSubstr("4 to remove"));
  cluster_.Elect(2);
  cluster_.executor().RunFor(1s);
  v1::PlacementRequest list;
  list.mutable_list_settings();
  const v1::PlacementResponse settings = cluster_.Ask(2, list);
  std::optional<std::string> value;
  for (const v1::SettingStatus& setting : settings.settings()) {
    if (setting.name() == "placement.down_after") value = setting.value();
  }
  EXPECT_EQ(value, "5min");
}

TEST_F(Director, NoRuleIsLoggedBeforeAllMembersKnowRules) {
  reporting_.Run(2, 3);
  const size_t before = cluster_.log_size();
  const v1::PlacementResponse refused = SetRule("m", "", 1);
  EXPECT_EQ(refused.error().code(), v1::FAILED_PRECONDITION);
  EXPECT_THAT(refused.error().message(), HasSubstr("does not know rules"));
  EXPECT_EQ(cluster_.log_size(), before);
  reporting_.SetLevel(kFeatureLevel);
  reporting_.Run(3, 3);
  EXPECT_EQ(SetRule("m", "", 1).error().code(), v1::OK);
}

TEST_F(Director, ShardsComeToStandAsTheirRuleSaysAndGoBackWithoutIt) {
  reporting_.SetLevel(kFeatureLevel);
  reporting_.Run(3, 3);
  EXPECT_EQ(SetRule("m", "m", 1).error().code(), v1::INVALID_ARGUMENT);
  EXPECT_EQ(SetRule("m", "", 5).error().code(), v1::FAILED_PRECONDITION) << "there are 3 nodes";
  const v1::PlacementResponse dry = SetRule("m", "", 1, true);
  EXPECT_EQ(dry.error().code(), v1::OK) << dry.error().message();
  ASSERT_GE(dry.lines_size(), 2);
  EXPECT_THAT(dry.lines(1), HasSubstr("1 shards: 0 replicas to copy (0 MiB), 2 to remove"));
  reporting_.Run(5, 3);
  EXPECT_EQ(reporting_.orders(), 0);
  EXPECT_EQ(ListRules().rules_size(), 0);

  ASSERT_EQ(SetRule("m", "", 1).error().code(), v1::OK);
  EXPECT_EQ(SetRule("a", "z", 3).error().code(), v1::INVALID_ARGUMENT) << "overlaps";
  v1::PlacementResponse rules = ListRules();
  ASSERT_EQ(rules.rules_size(), 1);
  EXPECT_EQ(rules.rules(0).shards(), 1u);
  EXPECT_EQ(rules.rules(0).below(), 1u);
  EXPECT_EQ(rules.other_keys().below(), 0u);
  ASSERT_EQ(rules.breaches_size(), 1);
  EXPECT_EQ(rules.breaches(0).shard_id(), 3u);
  EXPECT_THAT(rules.breaches(0).what(0), HasSubstr("3 replicas that are not lost, 1 is wanted"));
  reporting_.Run(10, 3);
  EXPECT_EQ(reporting_.Voters(3).size(), 1u);
  EXPECT_EQ(reporting_.Voters(2).size(), 3u);
  EXPECT_EQ(ListRules().breaches_size(), 0);

  EXPECT_EQ(UnsetRule("n").error().code(), v1::NOT_FOUND);
  ASSERT_EQ(UnsetRule("m").error().code(), v1::OK);
  reporting_.Run(12, 3);
  EXPECT_EQ(reporting_.Voters(3).size(), 3u);
}

TEST_F(Director, AShardIsDividedWhereARuleBeginsInsideIt) {
  reporting_.SetLevel(kFeatureLevel);
  reporting_.Run(3, 3);
  ASSERT_EQ(SetRule("g", "m", 1).error().code(), v1::OK);
  reporting_.Run(6, 3);
  ASSERT_GT(reporting_.child(), 3u);
  reporting_.ElectChild();
  reporting_.Run(12, 3);
  EXPECT_EQ(reporting_.Voters(2).size(), 3u);
  EXPECT_EQ(reporting_.Voters(reporting_.child()).size(), 1u);
  EXPECT_EQ(ListRules().breaches_size(), 0);
  // Another leader of placement knows it from the log.
  cluster_.Elect(2);
  cluster_.executor().RunFor(1s);
  EXPECT_EQ(ListRules(2).rules_size(), 1);
}

TEST_F(Director, LeadersGoWhereTheirRuleHasThemAndAnyoneLeadsWhileNobodyIsThere) {
  Set("placement.pause", "balance-replicas");
  reporting_.SetLevel(kFeatureLevel);
  reporting_.Run(3, 3);
  ASSERT_EQ(SetRule("m", "", 0, false, "d").error().code(), v1::OK);  // node 3
  reporting_.Run(20, 3);
  EXPECT_NE(reporting_.leaders()[3], 3u) << "not before it has been up for a while";
  reporting_.Run(40, 3);
  EXPECT_EQ(reporting_.leaders()[3], 3u);
  reporting_.Run(8, 3, {3});
  reporting_.leaders()[3] = 1;
  reporting_.Run(20, 3, {3});
  EXPECT_EQ(reporting_.leaders()[3], 1u) << "node 3 is down";
  EXPECT_EQ(ListRules().breaches_size(), 0);
}

TEST_F(Director, ANodeThatWasStartedAnewLeadsOnlyAfterAWhileAlthoughNobodyMissedIt) {
  Set("placement.pause", "balance-replicas");
  reporting_.SetLevel(kFeatureLevel);
  reporting_.Run(3, 3);
  ASSERT_EQ(SetRule("m", "", 0, false, "d").error().code(), v1::OK);  // node 3
  reporting_.Run(60, 3);
  ASSERT_EQ(reporting_.leaders()[3], 3u);
  reporting_.Restart(3);
  reporting_.leaders()[3] = 1;
  reporting_.Run(25, 3);
  EXPECT_EQ(reporting_.leaders()[3], 1u);
  reporting_.Run(30, 3);
  EXPECT_EQ(reporting_.leaders()[3], 3u);
}

TEST_F(Director, WhatANarrowerRuleGivesUpIsProvedAsWell) {
  reporting_.SetLevel(kFeatureLevel);
  reporting_.Run(3, 3);
  const auto text = [](const v1::PlacementResponse& response) {
    std::string all;
    for (const std::string& line : response.lines()) all += line + "\n";
    return all;
  };
  ASSERT_EQ(SetRule("", "z", 1).error().code(), v1::OK);
  const std::string narrower = text(SetRule("", "c", 1, true));
  EXPECT_THAT(narrower, HasSubstr("keys to 'c': 1 replica\n1 shards: 0 replicas to copy"));
  EXPECT_THAT(narrower, HasSubstr("keys from 'c' to 'z': under no rule any more"));
  EXPECT_THAT(narrower, HasSubstr("2 shards: 0 replicas to copy (0 MiB), 0 to remove"));
  EXPECT_THAT(text(SetRule("", "z", 3, true)), Not(HasSubstr("any more")));
  EXPECT_THAT(text(SetRule("", "", 3, true)), Not(HasSubstr("any more"))) << "it is wider";
  ASSERT_EQ(SetRule("", "", 1).error().code(), v1::OK);
  reporting_.Run(12, 3);
  ASSERT_EQ(reporting_.Voters(3).size(), 1u);
  const std::string without_end = text(SetRule("", "c", 1, true));
  EXPECT_THAT(without_end, HasSubstr("keys from 'c': under no rule any more"));
  EXPECT_THAT(without_end, HasSubstr("2 shards: 4 replicas to copy (0 MiB), 0 to remove"));
  // What is given up must have a quorum as well.
  reporting_.leaders()[3] = 0;
  reporting_.Run(2, 3);
  const v1::PlacementResponse refused = SetRule("", "c", 1, true);
  EXPECT_EQ(refused.error().code(), v1::FAILED_PRECONDITION);
  EXPECT_THAT(refused.error().message(), HasSubstr("keys from 'c'"));
  EXPECT_THAT(refused.error().message(), HasSubstr("shard 3 has no quorum"));
  EXPECT_EQ(refused.lines_size(), 0);
}

TEST_F(Director, AnOrderThatIsRefusedAgainAndAgainEndsItsOperator) {
  Set("placement.pause", "balance-replicas,balance-leaders,rules,repair");
  reporting_.Run(3, 3);
  reporting_.Refuse("it has a cold");
  v1::PlacementRequest ask;
  ask.mutable_transfer_leadership()->set_shard_id(2);
  ask.mutable_transfer_leadership()->set_to_node_id(2);
  const v1::PlacementResponse begun = cluster_.Ask(1, ask);
  ASSERT_EQ(begun.error().code(), v1::OK) << begun.error().message();
  ASSERT_NE(begun.operator_id(), 0u);
  reporting_.Run(20, 3);
  v1::PlacementRequest explain;
  explain.mutable_explain()->set_operator_id(begun.operator_id());
  const v1::PlacementResponse explained = cluster_.Ask(1, explain);
  ASSERT_EQ(explained.error().code(), v1::OK) << explained.error().message();
  std::string all;
  for (const std::string& line : explained.lines()) all += line + "\n";
  EXPECT_THAT(all, HasSubstr("it has a cold"));
  EXPECT_EQ(reporting_.leaders()[2], 1u);
}

TEST_F(Director, WhoDoesNotLeadPlacementSaysSo) {
  cluster_.Elect(2);
  const v1::PlacementResponse refused = TrySet("placement.down_after", "5m");
  EXPECT_EQ(refused.error().code(), v1::NOT_LEADER);
  EXPECT_EQ(refused.error().leader().node_id(), 2u);
}

}  // namespace
}  // namespace quorate::placement
