// Director: the placement leader's picture of the cluster, and what it has the shards' leaders do
// about it. Volatile: begun anew with each term from what is reported then.
//
//   node's report ─► ClusterView ─► schedulers, each second ─► OperatorTable ─► orders in the
//   answer
//                                                                              to a report
//
// The placement group is one of the shards here (id 1), reported by its own leader: it grows to
// three and to five members as there are nodes, and leaves nodes that are drained or lost.
//
// Threads: executor's thread only.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/env.h"
#include "placement/heartbeats.h"
#include "placement/schedule/cluster_view.h"
#include "placement/schedule/operator_table.h"
#include "placement/schedule/settings.h"
#include "placement/state_machine.h"
#include "quorate/v1/admin.pb.h"
#include "raft/host/host.h"

namespace quorate::placement {

class Director {
 public:
  static constexpr Duration kRoundInterval = 1s;
  static constexpr size_t kListedMax = 1'000;  // of each kind in one answer

  // References outlive it.
  Director(Env& env, const StateMachine& machine, const Heartbeats& heartbeats);

  void BeginTerm(raft::Term term);
  // What was applied may have changed nodes or settings.
  void OnApplied() { settings_old_ = map_old_ = true; }
  // A report that was accepted; adds to the answer what its sender should do.
  void OnHeartbeat(const v1::HeartbeatRequest& request, v1::HeartbeatResponse* response);
  // One round of all schedulers, and what the placement group itself should do: `self` leads it.
  // True: there is more to look at, in another turn.
  bool Round(raft::GroupHandle& group, NodeId self);

  // Splits wait for ids of shards, which the group allocates.
  bool wants_shard_id() const { return wanted_ids_ > 0; }
  void GiveShardId(ShardId id);

  // ---- what operators ask. Refusals are sentences, and nothing is done then.
  // OK: may be proposed.
  Status CheckDrainOf(NodeId node);
  // While a shard has not been reported in this term, where its replicas are is not certain.
  Status CheckRemovalOf(NodeId node, bool lost);
  // Checks name and value: as they are to be kept.
  Status CheckSetting(const std::string& name, const std::string& value,
                      v1::PlacementResponse* response);
  // Begins one operator, or (dry_run) says what it would be.
  Status Move(const v1::MoveReplica& ask, v1::PlacementResponse* response);
  Status Transfer(const v1::TransferLeadership& ask, v1::PlacementResponse* response);
  Status Split(const v1::SplitShard& ask, v1::PlacementResponse* response);
  Status Merge(const v1::MergeShards& ask, v1::PlacementResponse* response);
  Status Cancel(OperatorId id);
  Status Explain(const v1::Explain& ask, v1::PlacementResponse* response);
  void ListSettings(v1::PlacementResponse* response);
  void ListOperators(v1::PlacementResponse* response);
  // Whether it may be logged; the answer tells what it changes.
  Status CheckSetRule(const v1::PlacementRule& rule, v1::PlacementResponse* response);
  Status CheckUnsetRule(const std::string& from, v1::PlacementResponse* response);
  void ListRules(v1::PlacementResponse* response);

 private:
  struct Disk {
    uint64_t free = 0;
    uint64_t total = 0;
    bool low = false;
  };

  void FollowNodes();
  void ForgetUnreported(const v1::HeartbeatRequest& request);
  void ForgetLeader(ShardId shard, NodeId leader);
  void AddOrder(ShardId shard, Instant now, v1::HeartbeatResponse* response);
  // What the map has, until its leaders report: who stands where, and who leads is not known.
  void SeedShards();
  // Shards that were absorbed are gone, and others have new neighbours.
  void FollowMap();
  // As it was reported, and what the map adds.
  ShardView Seen(const v1::ShardReport& report) const;
  // It may have been divided by hand without being marked so.
  bool IsUnmarked(ShardId shard) const;
  void FollowSettings();
  // Which rule each shard is under, and where another begins inside it.
  void FollowRules();
  void NameRule(const v1::ShardDescriptor& range, ShardView* shard) const;
  // ProveRule for the shards that have keys in its range.
  Result<std::vector<std::string>> ProveRuleHere(const Rule& rule) const;
  ShardView PlacementView(raft::GroupHandle& group, NodeId self) const;
  // How many members the placement group should have, given the nodes that can hold one.
  uint32_t PlacementMembers(size_t now, NodeId without) const;
  // The order for a shard's leader; a split has its child's id, the same each time.
  std::optional<v1::ShardOrder> OrderFor(ShardId shard, Instant now);
  // What a shard that was split at `at` waits for (a sentence) if nobody has led the child; or
  // empty.
  std::string WhyMembersStay(ShardId shard, const std::string& at) const;
  void ForgetLedChildren();
  void Seed(const v1::ShardDescriptor& piece);
  void OnBegun(const v1::ShardDescriptor& child);
  Situation Now();
  void FollowPlacementMembers();
  // FAILED_PRECONDITION names the operator that the shard has a part in.
  Status CheckFree(ShardId shard) const;
  // UNAVAILABLE for the first seconds of a term: what could be done is not known yet.
  Status CheckHeardOfAll() const;
  Status Begin(Result<Operator> planned, bool dry_run, v1::PlacementResponse* response);

  Env& env_;
  const StateMachine& machine_;
  const Heartbeats& heartbeats_;
  Settings settings_;
  RuleSet rules_;  // as of the last FollowRules()
  bool settings_old_ = true;
  bool map_old_ = true;
  ClusterView view_;
  OperatorTable table_;
  std::map<NodeId, Disk> disks_;
  // Where shards were split whose child has no leader yet, as their leader said or the child's
  // holder: a leader that has not applied the split does not end what the latter said.
  std::map<ShardId, std::set<std::string>> split_at_;
  std::set<ShardId> begun_;  // that the map has, and nobody has led yet
  std::map<ShardId, std::pair<OperatorId, ShardId>> children_;  // of splits under way, by parent
  std::vector<ShardId> spare_ids_;
  size_t wanted_ids_ = 0;
};

}  // namespace quorate::placement
