// A naive model of a cluster that carries out what the schedulers order, and judges every order by
// rules of its own: it shares no judgement with placement/schedule. Nodes fail, return, are drained
// and added; data are copied at a rate; orders and reports get lost; the placement leader changes.
// One step is one second.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "placement/schedule/operator_table.h"

namespace quorate::placement::model {

struct Place {
  uint32_t zone = 0;  // 0: no label
  uint32_t rack = 0;
  uint32_t host = 0;
};

struct Options {
  uint64_t seed = 1;
  uint64_t copy_bytes_per_second = 32 << 20;
  double order_lost = 0;  // chance of each
  double report_lost = 0;
  uint64_t disk_bytes = uint64_t{1} << 40;
};

class Model {
 public:
  explicit Model(Options options);

  // ---- what there is
  // -----------------------------------------------------------------------------
  NodeId AddNode(Place place);
  // On nodes that are given, the first of which leads.
  ShardId AddShard(std::vector<NodeId> nodes, uint64_t bytes, uint64_t requests = 0,
                   uint32_t rule = 0);
  void Load(ShardId shard, uint64_t bytes, uint64_t requests);

  // ---- what happens
  // ------------------------------------------------------------------------------
  void Kill(NodeId node);
  void Revive(NodeId node);
  void Forget(NodeId node);  // it is taken from the cluster, dead or alive
  void Drain(NodeId node, bool draining);
  // Shards keep the numbers of their rules; one beyond the last is none.
  void SetRules(std::vector<Rule> rules);
  void PutUnderRule(ShardId shard, uint32_t rule);
  // From some key on the shard is under another rule. There are no keys here: its name is its
  // number.
  void BeginRuleInside(ShardId shard, uint32_t rule);
  void SetStuck(NodeId node, bool stuck);  // no learner there ever catches up
  void Failover();
  // Somebody else changes the members: a learner comes, or a learner goes.
  void Meddle(ShardId shard);
  // A second goes by: elections, copies, a round, orders.
  void Step();

  // ---- what is found
  // ----------------------------------------------------------------------------- The first rule
  // that was broken; empty: none.
  const std::string& violation() const { return violation_; }
  // What is not as it should be by now; empty: all is.
  std::string Unfinished() const;

  ClusterView view;
  OperatorTable table;
  Settings settings;
  Instant now;

  struct Counts {
    uint64_t copies = 0;
    uint64_t copied_bytes = 0;
    uint64_t transfers = 0;  // of leaderships, alone
    uint64_t operators = 0;  // admitted
  } counts;
  // Around each round, if set: for measuring it.
  std::function<void()> before_round, after_round;

  struct Node {
    Place place;
    bool up = true;
    bool draining = false;
    bool stuck = false;
    Instant down_since;
    Instant up_since;
  };
  const std::map<NodeId, Node>& nodes() const { return nodes_; }
  const std::vector<ShardView>& shards() const { return shards_; }
  uint32_t FactorOf(const ShardView& shard) const;
  const std::vector<Rule>& rules() const { return rules_; }

 private:
  // Replicas that are outside, and elsewhere than preferred; pairs that share host, zone, rack.
  using Crowd = std::tuple<uint32_t, uint32_t, uint32_t, uint32_t, uint32_t>;

  ShardView& At(ShardId id) { return shards_[id.value() - 1]; }
  bool Up(NodeId id) const;
  bool Usable(NodeId id) const;
  bool Lost(NodeId id) const;
  size_t Ready(const Replicas& voters) const;
  bool Quorum(const Replicas& voters) const { return Ready(voters) > voters.size() / 2; }
  const Rule& RuleOf(const ShardView& shard) const;
  bool Suits(const Labels& labels, NodeId id) const;
  bool OneHost(NodeId a, NodeId b) const;
  bool EnoughHosts(const ShardView& shard) const;
  Crowd CrowdOf(const ShardView& shard, const std::vector<NodeId>& nodes) const;
  // The least crowd that `shard` could have with one more on a usable node, without `from`.
  Crowd LeastCrowd(const ShardView& shard, NodeId from, Crowd* with, NodeId to) const;

  void Report(const ShardView& shard);
  void Tell(NodeId id);
  void Broken(const ShardView& shard, std::string what);
  void Elect();
  void CatchUp();
  void NoteFailed();
  void JudgeAdmitted();
  void JudgeTransfer(const ShardView& shard, const Operator& op);
  void JudgeOperator(const ShardView& shard, const Operator& op);
  void Carry(const Order& order);
  void JudgeMembers(const ShardView& shard, const Replicas& before);

  Options options_;
  Random random_;
  uint64_t last_node_ = 0;
  uint64_t term_ = 1;
  std::map<NodeId, Node> nodes_;
  std::vector<ShardView> shards_;  // as they are; ShardId n is at n-1
  std::multimap<Instant, std::pair<ShardId, NodeId>> copying_;
  std::multimap<Instant, ShardId> elections_;
  std::map<ShardId, ShardView> held_back_;                // reports that come late
  std::map<std::pair<ShardId, NodeId>, Instant> failed_;  // did not catch up
  std::vector<Rule> rules_;
  std::string violation_;
  uint64_t judged_id_ = 0;
};

}  // namespace quorate::placement::model
